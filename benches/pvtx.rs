//! `pvtx add` beside `tar xzf` and `sha256sum`, in one run on one machine.
//!
//!     cargo bench --bench pvtx                 a package of 200 MB with 20 objects
//!     BENCH_MIB=20 cargo bench --bench pvtx    less
//!     BENCH_DIR=/dev/shm cargo bench --bench pvtx    on another file system
//!     PVR_AGENT_BIN=cross/out/x86_64-unknown-linux-musl/pvr-agent cargo bench --bench pvtx    another build
//!
//! What the two do together is what `add` does: unpack, and hash what was unpacked. `add` also makes it durable and merges
//! the state; so that is measured with `sync` behind the other two as well. Each figure is the median of five runs in
//! turns. Nothing is asserted: the table goes into `docs/performance.md`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

#[path = "../tests/program/mod.rs"]
mod program;
#[path = "../tests/support/tar.rs"]
mod tar;

const OBJECTS: usize = 20;
const RUNS: usize = 5;

fn main() -> io::Result<()> {
    let mib = std::env::var("BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let folder = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?,
    };
    let at = folder.path();
    println!("package of {mib} MiB in {OBJECTS} objects, median of {RUNS} runs, {}", at.display());
    for (what, half) in [("does not compress", false), ("compresses to half", true)] {
        package(&at.join("p.tgz"), mib << 20, half)?;
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..RUNS {
            times[0].push(add(at, true)?);
            times[1].push(unpack(at, true)?);
            times[2].push(unpack(at, false)?);
            times[3].push(add(at, false)?);
        }
        let [fresh, synced, plain, again] = times.map(median);
        println!(
            "| {what} | add {fresh:.2} s | tar and sha256sum {plain:.2} s | with sync {synced:.2} s | add again {again:.2} s |"
        );
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Random bytes, of which every other 4 KiB are zeros if they are to compress to half.
fn package(path: &Path, size: usize, half: bool) -> io::Result<()> {
    let mut seed = 1_u64;
    let mut body = Vec::new();
    let mut keys = String::new();
    for object in 0..OBJECTS {
        let mut bytes = Vec::with_capacity(size / OBJECTS);
        while bytes.len() < size / OBJECTS {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let zeros = half && bytes.len() / 4096 % 2 == 1;
            bytes.extend_from_slice(&if zeros { [0; 4] } else { ((seed >> 32) as u32).to_le_bytes() });
        }
        let sha: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        keys.push_str(&format!(r#","app/file{object}":"{sha}""#));
        body.extend(tar::file(&format!("objects/{sha}"), &bytes));
    }
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1"{keys}}}"##);
    let mut out = GzEncoder::new(File::create(path)?, Compression::new(if half { 6 } else { 1 }));
    out.write_all(&tar::file("json", state.as_bytes()))?;
    out.write_all(&body)?;
    out.write_all(&tar::end())?;
    out.finish()?.sync_all()
}

fn timed(command: &mut Command) -> io::Result<Duration> {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    assert!(status.success(), "{command:?}");
    Ok(begun.elapsed())
}

/// Adds the package; with no objects there before, or with all of them.
fn add(at: &Path, fresh: bool) -> io::Result<Duration> {
    let (objects, dir) = (at.join("o"), at.join("d"));
    if fresh {
        fs::remove_dir_all(&objects).ok();
        fs::create_dir(&objects)?;
    }
    let pvtx = |words: &[&str]| {
        let mut command = program::command();
        command.arg("pvtx").args(words).current_dir(at).env("PVTXDIR", &dir);
        command
    };
    timed(&mut pvtx(&["abort"]))?;
    timed(&mut pvtx(&["begin", "empty", "o"]))?;
    settle()?;
    timed(&mut pvtx(&["add", "p.tgz"]))
}

/// What a script does instead.
fn unpack(at: &Path, sync: bool) -> io::Result<Duration> {
    let to = at.join("u");
    fs::remove_dir_all(&to).ok();
    fs::create_dir(&to)?;
    settle()?;
    let script = format!("tar xzf ../p.tgz && sha256sum objects/*{}", if sync { " && sync -f ." } else { "" });
    timed(Command::new("sh").args(["-c", &script]).current_dir(&to))
}

/// What others have written is not part of it.
fn settle() -> io::Result<()> {
    Command::new("sync").status().map(drop)
}
