//! The real binary, run as `pvr` in a folder of its own.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../program/mod.rs"]
pub mod program;

pub struct Home {
    folder: tempfile::TempDir,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:#?}");
        self
    }
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::create_dir(folder.path().join("w")).unwrap();
        Self { folder }
    }

    /// A path below the working folder.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("w").join(path)
    }

    pub fn object(&self, id: &str) -> PathBuf {
        self.folder.path().join("home/.pvr/objects").join(id)
    }

    /// Writes a file below the working folder.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        String::from_utf8(fs::read(self.at(path)).unwrap()).unwrap()
    }

    /// Runs `pvr` in a folder below the working folder. One that hangs is ended: five minutes are more than any of these
    /// takes on a machine that is busy with other tests, without an emulator.
    pub fn pvr<S: AsRef<OsStr>>(&self, folder: &str, args: &[S]) -> Ran {
        self.run(folder, args, &[])
    }

    pub fn run<S: AsRef<OsStr>>(&self, folder: &str, args: &[S], env: &[(&str, &str)]) -> Ran {
        let mut child = self.command(&self.at(folder), args, env).spawn().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |stream: &mut dyn Read| {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let (code, out, err) = thread::scope(|scope| {
            let out = scope.spawn(|| read(&mut out));
            let err = scope.spawn(|| read(&mut err));
            let begun = Instant::now();
            let status = loop {
                match child.try_wait().unwrap() {
                    Some(status) => break status,
                    None if begun.elapsed() > program::patience(Duration::from_secs(300)) => {
                        child.kill().unwrap();
                        break child.wait().unwrap();
                    }
                    None => thread::sleep(Duration::from_millis(10)),
                }
            };
            (status.code(), out.join().unwrap(), err.join().unwrap())
        });
        Ran { code, out, err }
    }

    pub fn command<S: AsRef<OsStr>>(&self, cwd: &Path, args: &[S], env: &[(&str, &str)]) -> Command {
        let mut command = program::command();
        // Nothing of the tests' own environment, whatever it is set to.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PVR_")) {
            if name != "PVR_AGENT_BIN" && name != "PVR_ROUNDS" {
                command.env_remove(name);
            }
        }
        command.arg("pvr").args(args).current_dir(cwd).env("HOME", self.folder.path().join("home"));
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A repository `r` with these files, added and committed.
    pub fn repo(&self, files: &[(&str, &[u8])]) {
        fs::create_dir(self.at("r")).unwrap();
        for (path, bytes) in files {
            self.write(&format!("r/{path}"), bytes);
        }
        self.pvr("r", &["init"]).code(0);
        self.pvr("r", &["add"]).code(0);
        self.pvr("r", &["commit", "-m", "first"]).code(0);
    }
}

/// Whether the program has TLS: the one that cargo built has it if this test has, another one is asked. With `PVR_EXPECT_TLS`, it has to.
pub fn has_tls() -> bool {
    let ran = Home::new().pvr("", &["clone", "https://localhost:1/x", "c"]);
    let has = !ran.err.contains("built without TLS");
    assert!(has == cfg!(feature = "tls") || std::env::var_os("PVR_AGENT_BIN").is_some(), "{ran:?}");
    assert!(has || std::env::var_os("PVR_EXPECT_TLS").is_none(), "the program that was to have TLS was built without");
    if !has {
        eprintln!("SKIPPED: the program was built without TLS");
    }
    has
}

/// Whether nothing but these objects is in the pool, and nothing unfinished beside it.
#[track_caller]
pub fn pool_has(home: &Home, ids: &[String]) {
    let pool = home.object("");
    let mut names: Vec<String> =
        fs::read_dir(&pool).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".pvr-agent");
    names.sort();
    let mut ids = ids.to_vec();
    ids.sort();
    assert_eq!(names, ids);
    let tmp = pool.join(".pvr-agent/tmp");
    assert!(!tmp.exists() || fs::read_dir(&tmp).unwrap().next().is_none(), "unfinished files");
}
