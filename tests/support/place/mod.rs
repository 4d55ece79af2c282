//! A folder with a storage, repositories and transactions, in which commands run, and looks at what is in it. It is always the
//! same one, because what is written in it names it.
#![allow(dead_code, reason = "every test binary uses its part of this")]

pub mod opens;
pub mod serving;
pub mod talk;

use crate::black_box::{program, sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What there is: names, with the kind, and for a file its content, for a link where it leads.
pub type View = BTreeMap<String, String>;

pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        // There are thousands of runs, and most wait for a disk if there is one.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        symlink(program::path(), folder.path().join("pvtx")).expect("a link");
        Self { folder }
    }

    /// Where calls count.
    pub fn live(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.live().join(path)
    }

    /// Beside that.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    /// An empty one.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(self.live());
        fs::create_dir_all(self.at("home")).expect("a home");
    }

    /// Remembers what there is.
    pub fn keep(&self) {
        let _ = fs::remove_dir_all(self.kept());
        copy(&self.live(), &self.kept());
    }

    /// Puts back what was remembered.
    pub fn restore(&self) {
        let _ = fs::remove_dir_all(self.live());
        copy(&self.kept(), &self.live());
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, bytes).expect("write a file");
    }

    fn command(&self, mut command: Command, folder: &str, args: &[&str]) -> Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PVR")) {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.at(folder)).env("HOME", self.at("home"));
        command.stdin(Stdio::null());
        command
    }

    /// `pvr-agent`, to be run in a folder.
    pub fn agent(&self, folder: &str, args: &[&str]) -> Command {
        self.command(program::command(), folder, args)
    }

    pub fn pvr(&self, folder: &str, args: &[&str]) -> Command {
        self.agent(folder, &[&["pvr"], args].concat())
    }

    pub fn pvtx(&self, args: &[&str]) -> Command {
        let mut command = self.command(program::called(&self.folder.path().join("pvtx")), "", args);
        command.env("PVTXDIR", self.at("d"));
        command
    }

    /// Everything below some folders and files.
    pub fn view(&self, paths: &[&str]) -> View {
        let mut view = View::new();
        for path in paths {
            look(&self.live(), Path::new(path), &mut view);
        }
        view
    }

    /// All that lies there, as exactly as it matters to who comes next: names without what is drawn by chance, modes, links,
    /// contents but for what is remembered of inodes and times.
    pub fn lies(&self, steady: fn(&str) -> String) -> View {
        let mut view = View::new();
        for (path, shown) in self.view(&[""]) {
            let meta = fs::symlink_metadata(self.at(&path)).expect("look at it");
            let remembered = [".pvr-agent/intact", ".pvr/index"].iter().any(|name| path.ends_with(name));
            let shown = if remembered { "remembered" } else { &shown };
            let name = path.split('/').map(steady).collect::<Vec<_>>().join("/");
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let mut entry = format!("{shown} {:o} {links}", meta.mode());
            // Two temporaries may have one name without their digits.
            if let Some(other) = view.remove(&name) {
                entry = if other < entry { format!("{other}, {entry}") } else { format!("{entry}, {other}") };
            }
            view.insert(name, entry);
        }
        view
    }

    /// Everything in a folder of which objects are named by their bytes: what is wrong with them.
    pub fn bad_objects(&self) -> Vec<String> {
        let mut bad = Vec::new();
        for (path, content) in self.view(&[""]) {
            let mut parts = path.rsplit('/');
            let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if matches!(folder, "objects" | "o" | "staged" | "bind") && name != ".pvr-agent" && content != file(name) {
                bad.push(format!("{path} is {content}"));
            }
        }
        bad
    }

    /// Whatever is there, below a folder, that belongs to somebody who is not at it any more.
    pub fn debris(&self, below: &str) -> Vec<String> {
        let unfinished = |path: &&String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let within = |folder: &str| path.contains(&format!("{folder}/"));
            name.starts_with(".pvr-deploy-")
                || name.starts_with("pvr-clone-")
                || name.ends_with(".was")
                || name.ends_with(".part")
                || name.starts_with("config.json.")
                || name == ".pvtx.tmp"
                || name == "batch"
                || [".pvr-agent/tmp", ".pvr-agent/deploys", ".pvr-agent/replaced", ".pvr/tmp"]
                    .iter()
                    .any(|it| within(it))
        };
        self.view(&[below]).keys().filter(unfinished).cloned().collect()
    }
}

/// How a view shows a file.
fn file(sha: &str) -> String {
    format!("file {sha}")
}

fn look(root: &Path, below: &Path, view: &mut View) {
    let path = root.join(below);
    let Ok(meta) = fs::symlink_metadata(&path) else { return };
    let shown = if meta.is_dir() {
        for entry in fs::read_dir(&path).expect("list a folder") {
            look(root, &below.join(entry.expect("an entry").file_name()), view);
        }
        "folder".to_owned()
    } else if meta.is_symlink() {
        format!("link to {}", fs::read_link(&path).expect("read a link").display())
    } else {
        file(&sha256(&fs::read(&path).expect("read a file")))
    };
    view.insert(below.to_string_lossy().into_owned(), shown);
}

/// With all links and times.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "copy {}", from.display());
}

/// Runs a command that has to succeed.
pub fn done(mut command: Command) -> String {
    let output = command.output().expect("run a command");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command said.
pub fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}{err}", output.status)
}

/// Runs commands that have to succeed.
pub fn prepare(commands: impl IntoIterator<Item = Command>) {
    commands.into_iter().for_each(|command| drop(done(command)));
}
