//! The folder in which steps run, and the edits between them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Step;

#[path = "../program/mod.rs"]
mod program;

const ROOTS: [&str; 5] = ["W", "HOME", "TMP", "SRC", "X"];

/// What somebody did between two steps. Paths begin with one of the roots.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields, rename_all = "kebab-case")]
pub enum Edit {
    /// A file that holds a text, in which roots are put in place.
    Text {
        write: String,
        text: String,
        mode: Option<String>,
    },
    /// A file that holds these bytes.
    Hex {
        write: String,
        hex: String,
        mode: Option<String>,
    },
    /// A file whose bytes are in a file beside the steps.
    File {
        write: String,
        file: String,
    },
    /// A file with a name that is not UTF-8.
    #[serde(rename_all = "kebab-case")]
    Name {
        write_hex: String,
        text: String,
    },
    Link {
        link: String,
        to: String,
    },
    HardLink {
        hardlink: String,
        to: String,
    },
    Rename {
        rename: String,
        to: String,
    },
    Fifo {
        fifo: String,
    },
    Folder {
        folder: String,
    },
    Remove {
        remove: String,
    },
    Mode {
        chmod: String,
        mode: String,
    },
}

/// What a run said.
pub struct Ran {
    pub rc: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

pub struct Scratch {
    folder: tempfile::TempDir,
    base: PathBuf,
    files: PathBuf,
}

impl Scratch {
    pub fn new(files: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for root in ROOTS {
            fs::create_dir(base.join(root)).unwrap();
        }
        symlink(program::path(), base.join("pvr")).unwrap();
        Self { folder, base, files: files.to_owned() }
    }

    /// A text of the recording with the roots where they are here.
    pub fn place(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut before = None;
        for (at, c) in text.char_indices() {
            let inside = before.is_some_and(|b: char| b.is_alphanumeric() || "._-/".contains(b));
            let root = |root: &&str| {
                let rest = text[at + 1..].strip_prefix(*root);
                rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || "._-".contains(c)))
            };
            if c == '/' && !inside && ROOTS.iter().any(root) {
                out.push_str(self.base.to_str().unwrap());
            }
            out.push(c);
            before = Some(c);
        }
        out
    }

    /// The other way round.
    pub fn recorded(&self, text: &str) -> String {
        text.replace(self.base.to_str().unwrap(), "")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(self.place(path))
    }

    fn parent(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }

    pub fn edit(&self, edit: &Edit) {
        let write = |path: &Path, bytes: &[u8], mode: &Option<String>| {
            Self::parent(path);
            fs::write(path, bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            let mode = mode.as_deref().map_or(0o644, octal);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        match edit {
            Edit::Text { write: path, text, mode } => {
                write(&self.path(path), self.place(&expand(text)).as_bytes(), mode);
            }
            Edit::Hex { write: path, hex, mode } => write(&self.path(path), &bytes(hex), mode),
            Edit::File { write: path, file } => {
                write(&self.path(path), &fs::read(self.files.join(file)).unwrap(), &None);
            }
            Edit::Name { write_hex, text } => {
                let recorded = bytes(write_hex);
                let slash = recorded.iter().rposition(|b| *b == b'/').unwrap();
                let folder = self.path(std::str::from_utf8(&recorded[..slash]).unwrap());
                write(&folder.join(OsString::from_vec(recorded[slash + 1..].to_owned())), text.as_bytes(), &None);
            }
            Edit::Link { link, to } => {
                Self::parent(&self.path(link));
                symlink(self.place(to), self.path(link)).unwrap();
            }
            Edit::HardLink { hardlink, to } => {
                Self::parent(&self.path(hardlink));
                fs::hard_link(self.path(to), self.path(hardlink)).unwrap();
            }
            Edit::Rename { rename, to } => fs::rename(self.path(rename), self.path(to)).unwrap(),
            Edit::Fifo { fifo } => {
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(rustix::fs::CWD, self.path(fifo), rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
            Edit::Folder { folder } => fs::create_dir_all(self.path(folder)).unwrap(),
            Edit::Remove { remove } => {
                let path = self.path(remove);
                let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
                if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
            }
            Edit::Mode { chmod, mode } => {
                fs::set_permissions(self.path(chmod), fs::Permissions::from_mode(octal(mode))).unwrap();
            }
        }
    }

    /// Runs a step. One that has not ended after two minutes has no exit code.
    pub fn run(&self, step: &Step) -> Ran {
        let cwd = self.path(&step.cwd);
        fs::create_dir_all(&cwd).unwrap();
        let stream = |name: &str| (self.base.join(name), File::create(self.base.join(name)).unwrap());
        let ((out, stdout), (err, stderr)) = (stream("stdout"), stream("stderr"));
        let mut command = program::called(&self.base.join("pvr"));
        command.args(step.argv.iter().map(|word| self.place(word))).current_dir(&cwd).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC");
        command.env("HOME", self.base.join("HOME")).env("TMPDIR", self.base.join("TMP"));
        command.envs(step.env.iter().map(|(name, value)| (name, self.place(value))));
        let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
        // One that does not read its input has ended, or will.
        child.stdin.take().unwrap().write_all(step.stdin.as_bytes()).ok();
        let (begun, limit) = (Instant::now(), program::patience(Duration::from_secs(120)));
        let rc = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status.code().unwrap_or(-1)),
                None if begun.elapsed() > limit => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break None;
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        Ran { rc, stdout: fs::read(out).unwrap(), stderr: fs::read(err).unwrap() }
    }
}

fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Vectors write a run of one character as `⟨x*70000⟩`.
pub fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('⟨') {
        out.push_str(before);
        let (run, after) = after.split_once('⟩').unwrap();
        let (character, times) = run.split_once('*').unwrap();
        out.push_str(&character.repeat(times.parse().unwrap()));
        rest = after;
    }
    out + rest
}

/// The other way round, for runs of 200 or more.
pub fn squeeze(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut times = 1;
        while chars.next_if_eq(&c).is_some() {
            times += 1;
        }
        match times {
            200.. => out.push_str(&format!("⟨{c}*{times}⟩")),
            _ => out.extend(std::iter::repeat_n(c, times)),
        }
    }
    out
}

#[test]
fn runs_of_a_character() {
    let long = format!("a{}b", "x".repeat(300));
    assert_eq!(squeeze(&long), "a⟨x*300⟩b");
    assert_eq!(expand("a⟨x*300⟩b"), long);
    assert_eq!(squeeze("aab"), "aab");
}

#[test]
fn roots_are_put_in_place_and_taken_out() {
    let scratch = Scratch::new(Path::new("."));
    let base = scratch.base.to_str().unwrap().to_owned();
    for (recorded, placed) in [
        ("/W/a", format!("{base}/W/a")),
        ("/HOME", format!("{base}/HOME")),
        ("-o=/W/x", format!("-o={base}/W/x")),
        ("{\"a\":\"/X/y\"}", format!("{{\"a\":\"{base}/X/y\"}}")),
        ("a/W/b", "a/W/b".to_owned()),
        ("/Wx", "/Wx".to_owned()),
        ("http://h/W/", "http://h/W/".to_owned()),
    ] {
        assert_eq!(scratch.place(recorded), placed);
        assert_eq!(scratch.recorded(&placed), recorded);
    }
}
