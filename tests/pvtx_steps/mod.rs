//! The recorded steps of today's `pvtx`, replayed against ours.
//!
//! `tests/vectors/i-pvtx` has them: `steps.json.gz` what was run, what had been done before it, and what came of it;
//! `inputs.json.gz` and `blocks.gz` the files that it was given, as lists of blocks of 512 bytes, which they share. The
//! steps of a scenario run one after the other in one folder. A step of which the recording shows a defect says what is right
//! instead; from there on the scenario goes on with what ours has left.
//!
//! Not compared: modes, which are ours (objects 0444, other files 0644, what a transaction keeps 0600), and the words of
//! messages behind `ERROR: <command>:`.

pub mod daemon;
pub mod observe;
pub mod stage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

/// One run of the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    pub argv: Vec<String>,
    pub cwd: String,
    pub env: BTreeMap<String, String>,
    /// Without one, the original did not end.
    pub rc: Option<i32>,
    pub uid: Option<u32>,
    pub stdin_file: Option<String>,
    #[serde(default)]
    pub stdin_pipe: bool,
    pub defect: Option<String>,
    pub expected: Option<String>,
    pub socket: Option<String>,
    #[serde(default)]
    pub setup: Vec<Vec<String>>,
    pub stdout: String,
    /// `ERROR: <command>`, where it said something.
    pub stderr: String,
    /// `current.json`, if there is one.
    pub current: Option<String>,
    pub status: Option<Status>,
    pub files: Vec<String>,
    #[serde(default)]
    pub texts: BTreeMap<String, String>,
    #[serde(default)]
    pub requests: Vec<Request>,
    #[serde(default)]
    pub reset: bool,
}

/// `.status`, taken apart.
#[derive(Debug, Deserialize)]
pub struct Status {
    pub size: u64,
    #[serde(default)]
    pub status: i32,
    #[serde(default)]
    pub is_local: i32,
    #[serde(default)]
    pub objdir: String,
    #[serde(default)]
    pub queue: String,
    #[serde(default)]
    pub count: u32,
}

/// What the control socket was asked, and what it answered.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    pub head: String,
    pub bytes: u64,
    pub sha: String,
    pub reply: Option<Reply>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reply {
    #[serde(default)]
    pub reply: String,
    #[serde(default)]
    pub pieces: Vec<String>,
    /// The body is the input `vals-long.json`.
    pub reply_head: Option<String>,
    #[serde(default)]
    pub early: bool,
    #[serde(default)]
    pub delay_s: f64,
}

pub fn steps(folder: &Path) -> Vec<Step> {
    serde_json::from_slice(&unpacked(&folder.join("steps.json.gz"))).unwrap()
}

/// Writes all files that the steps were given.
pub fn inputs(folder: &Path, into: &Path) {
    #[derive(Deserialize)]
    struct Input {
        size: usize,
        blocks: Vec<(usize, usize)>,
    }
    let files: BTreeMap<String, Input> = serde_json::from_slice(&unpacked(&folder.join("inputs.json.gz"))).unwrap();
    let blocks = unpacked(&folder.join("blocks.gz"));
    for (name, input) in files {
        let runs = input.blocks.iter().map(|(first, count)| &blocks[first * 512..(first + count) * 512]);
        let bytes = runs.collect::<Vec<_>>().concat();
        let path = into.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes[..input.size]).unwrap();
    }
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}
