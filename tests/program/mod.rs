//! Which program the black-box tests run: the one that cargo built beside them, or another one of the same sources.
//!
//!     PVR_AGENT_BIN=cross/out/armv7-unknown-linux-musleabihf/pvr-agent
//!     PVR_AGENT_RUNNER="qemu-arm-static -cpu cortex-a7"
//!
//! The second is for a binary that this machine's CPU can't run: words that stand before it. Every process that a test
//! starts comes from here, so that no test can take this machine's build for the one it was told to test;
//! `tests/targets.rs` holds them to that.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BIN: &str = "PVR_AGENT_BIN";
const RUNNER: &str = "PVR_AGENT_RUNNER";
/// How much longer an emulated processor may take, with other tests beside it.
const SLOWER: u32 = 10;

/// Whether the tests were told which program to run. It is one for devices then, not what cargo has made for them.
pub fn is_told() -> bool {
    std::env::var_os(BIN).is_some_and(|path| !path.is_empty())
}

/// Where the program is, without links: as it finds itself.
pub fn path() -> PathBuf {
    let told = std::env::var_os(BIN).filter(|path| !path.is_empty());
    let path = told.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pvr-agent")), PathBuf::from);
    path.canonicalize().unwrap_or_else(|err| panic!("{BIN}: {}: {err}", path.display()))
}

fn runner() -> Vec<String> {
    let words = std::env::var(RUNNER).unwrap_or_default();
    let mut words: Vec<_> = words.split_whitespace().map(String::from).collect();
    if let Some(first) = words.first_mut() {
        // Where it is, because a test may give the program a PATH of its own.
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders).map(|folder| folder.join(&*first)).find(|path| path.is_file());
        *first = found.map_or_else(|| first.clone(), |path| path.to_string_lossy().into_owned());
    }
    words
}

/// Whether the program is one for a processor that puts the high byte of a number first: its ELF header says so.
pub fn is_big_endian() -> bool {
    const DATA: usize = 5;
    const HIGH_FIRST: u8 = 2;
    let mut head = [0; DATA + 1];
    File::open(path()).and_then(|mut file| file.read_exact(&mut head)).expect("the program can be read");
    head[DATA] == HIGH_FIRST
}

/// Whether something stands between this machine and the program. `/proc` then shows that, not the program.
pub fn emulated() -> bool {
    !runner().is_empty()
}

/// How long to wait for what takes `usual` without an emulator.
pub fn patience(usual: Duration) -> Duration {
    if emulated() { usual * SLOWER } else { usual }
}

/// The program, with the environment of this process.
pub fn command() -> Command {
    called(&path())
}

/// The program by another name: `link` leads to it, and is what it sees as its own name.
pub fn called(link: &Path) -> Command {
    let mut words = runner().into_iter();
    match words.next() {
        None => Command::new(link),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(link);
            command
        }
    }
}

/// What a shell has to be given to run the program.
pub fn shell() -> String {
    let words = runner().into_iter().chain([path().to_string_lossy().into_owned()]);
    words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}
