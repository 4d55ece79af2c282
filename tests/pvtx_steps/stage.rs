//! The folder in which steps run: `/W` and `/I` of the recording have a place in it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Step;

#[path = "../program/mod.rs"]
pub mod program;

pub struct Stage {
    _folder: tempfile::TempDir,
    pub base: PathBuf,
}

pub struct Ran {
    pub rc: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Stage {
    pub fn new(vectors: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Some steps are another user's.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir(base.join("W")).unwrap();
        super::inputs(vectors, &base.join("I"));
        symlink(program::path(), base.join("pvtx")).unwrap();
        Self { _folder: folder, base }
    }

    /// A path or a text of the recording with its roots where they are here.
    pub fn place(&self, text: &str) -> String {
        let base = self.base.to_str().unwrap();
        ["/W", "/I", "/var/cache"].iter().fold(text.to_owned(), |text, root| {
            let mut out = String::new();
            let mut rest = text.as_str();
            while let Some(at) = rest.find(root) {
                let (before, found) = rest.split_at(at);
                let after = &found[root.len()..];
                out.push_str(before);
                let inside = before.ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
                if !inside && (after.is_empty() || after.starts_with(['/', '"'])) {
                    out.push_str(base);
                }
                out.push_str(root);
                rest = after;
            }
            out + rest
        })
    }

    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(self.place(path))
    }

    pub fn recorded(&self, text: &str) -> String {
        text.replace(self.base.to_str().unwrap(), "")
    }

    pub fn empty(&self) {
        let root = self.base.join("W");
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
    }

    pub fn set_up(&self, edit: &[String]) {
        let words: Vec<&str> = edit.iter().map(String::as_str).collect();
        let path = self.path(words[1]);
        let parent = |path: &Path| fs::create_dir_all(path.parent().unwrap()).unwrap();
        match words[0] {
            "mkdir" => fs::create_dir_all(&path).unwrap(),
            "write" => {
                parent(&path);
                fs::write(&path, words[2]).unwrap();
            }
            "writehex" => {
                let mut bytes = bytes(words[2]);
                if path.ends_with(".status") && program::is_big_endian() {
                    // Numbers as the processor of the recording had them.
                    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
                }
                fs::write(&path, bytes).unwrap();
            }
            "fill" => fs::write(&path, words[2].repeat(words[3].parse().unwrap())).unwrap(),
            "copy" => {
                let to = self.path(words[2]);
                parent(&to);
                fs::copy(&path, &to).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            }
            "rm" if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) => fs::remove_dir_all(&path).unwrap(),
            // What ours has not made, nobody removes.
            "rm" => drop(fs::remove_file(&path)),
            "symlink" => symlink(&path, self.path(words[2])).unwrap(),
            "chmod" => {
                let mode = u32::from_str_radix(words[2], 8).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            "chown" => {
                let id = words[2].parse().unwrap();
                std::os::unix::fs::chown(&path, Some(id), None).unwrap();
            }
            other => panic!("{other}"),
        }
    }

    /// The same, but a path that is as long as it can be stays as long as it was.
    fn as_long(&self, word: &str) -> String {
        let mut placed = self.place(word);
        if word.len() > 1000 {
            placed.truncate(word.len());
        }
        placed
    }

    /// Runs a step. One that has not ended after two minutes has no exit code.
    pub fn run(&self, step: &Step, socket: Option<&Path>) -> Ran {
        let (out, err) = (self.base.join("stdout"), self.base.join("stderr"));
        let mut command: Command = program::called(&self.base.join("pvtx"));
        if let Some(socket) = socket {
            command.arg("--socket").arg(socket);
        }
        command.args(step.argv.iter().map(|word| self.as_long(word))).current_dir(self.path(&step.cwd)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C").env("TZ", "UTC");
        // The folder of root is not this machine's.
        if step.uid.is_none() {
            command.env("PREFIX", &self.base);
        }
        command.envs(step.env.iter().map(|(name, value)| (name, self.place(value))));
        if let Some(uid) = step.uid {
            command.uid(uid).gid(uid);
        }
        let given = step.stdin_file.as_ref().map(|path| self.path(path));
        command.stdin(match &given {
            Some(_) if step.stdin_pipe => Stdio::piped(),
            Some(path) => File::open(path).unwrap().into(),
            None => Stdio::null(),
        });
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        if let (Some(mut pipe), Some(path)) = (child.stdin.take(), given) {
            // One that does not read its input has ended, or will.
            std::io::copy(&mut File::open(path).unwrap(), &mut pipe).ok();
        }
        let (begun, limit) = (Instant::now(), program::patience(Duration::from_secs(120)));
        let rc = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status.code().unwrap_or(-1)),
                None if begun.elapsed() > limit => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break None;
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        let text = |path| self.recorded(&String::from_utf8_lossy(&fs::read(path).unwrap()));
        Ran { rc, stdout: text(&out), stderr: text(&err) }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
