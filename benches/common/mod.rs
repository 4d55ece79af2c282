//! What the benches share: a place to work in, data, the machine's name, and rows for `docs/performance.md`.
//!
//! Everything is measured in turns, and ratios are taken run by run: what else the machine did in a run, it did to both.
//! Nothing is asserted of a figure. A command that fails ends the bench.
#![allow(dead_code)] // every bench compiles all of this and uses a part

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../tests/program/mod.rs"]
pub mod program;

/// A number from the environment, to measure with less.
pub fn knob(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).filter(|value| *value > 0).unwrap_or(usual)
}

/// How often everything is measured.
pub fn runs() -> usize {
    knob("BENCH_RUNS", 5)
}

/// An empty folder, on the file system that `BENCH_DIR` names.
pub fn workplace(name: &str) -> io::Result<PathBuf> {
    let place = std::env::var_os("BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let work = Path::new(&place).join(format!("pvr-agent-bench-{name}"));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    work.canonicalize()
}

/// Whether there is such a program to measure beside.
pub fn there_is(name: &str) -> bool {
    let there = Command::new(name).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("no {name}: its rows stay out");
    }
    there
}

/// Numbers that don't repeat.
pub struct Noise(u64);

impl Noise {
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes that don't shrink; a multiple of eight of them.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length / 8).flat_map(|_| self.next().to_le_bytes()).collect()
    }

    /// Lines of words, as logs and configurations have them.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        let words: Vec<String> = (0..2048).map(|_| format!("{:x}", self.next() >> (20 + self.next() % 36))).collect();
        let mut text = Vec::with_capacity(length + 16);
        while text.len() < length {
            // The smaller, the more often.
            let at = (self.next() % 2048 * (self.next() % 2048) / 2048) as usize;
            text.extend_from_slice(words[at].as_bytes());
            text.push(if self.next().is_multiple_of(9) { b'\n' } else { b' ' });
        }
        text.truncate(length);
        text
    }
}

/// A process that ends with this value.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The endpoint on a storage, and its host and port.
pub fn serve(storage: &Path) -> io::Result<(Running, String)> {
    let mut child = program::command()
        .args(["serve", "--port", "0", "--storage"])
        .arg(storage)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let running = Running(child);
    let mut lines = BufReader::new(out).lines();
    let host = loop {
        let line = lines.next().ok_or_else(|| io::Error::other("the server named no URL"))??;
        if let (Some(start), Some(end)) = (line.find("http://"), line.find("/cgi-bin/pvr")) {
            break line[start + 7..end].to_string();
        }
    };
    std::thread::spawn(move || lines.for_each(drop)); // never let it block on a full pipe
    Ok((running, host))
}

/// A storage with an empty factory revision.
pub fn lay_out(storage: &Path) -> io::Result<()> {
    fs::create_dir_all(storage.join("objects"))?;
    fs::create_dir_all(storage.join("trails/0/.pvr"))?;
    fs::create_dir_all(storage.join("trails/0/.pv"))?;
    fs::write(storage.join("trails/0/.pvr/json"), br##"{"#spec":"pantavisor-service-system@1"}"##)?;
    fs::write(storage.join("trails/0/.pv/done"), b"")?;
    std::os::unix::fs::symlink("0", storage.join("trails/current"))
}

/// `pvr`, in a folder, with its settings and its pool in `home`.
pub fn pvr(folder: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = program::command();
    command.arg("pvr").args(args).current_dir(folder).env("HOME", home);
    for name in ["PVR_CONFIG_DIR", "PVR_OBJECTS_DIR", "PVR_NO_INDEX", "PVR_ACCESSTOKEN", "PVR_DEBUG"] {
        command.env_remove(name);
    }
    command
}

/// A shell that stops at the first failure, also within a pipe.
pub fn shell(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder);
    command
}

/// How long a command takes. What it prints on the standard output is read and passed over.
pub fn took(mut command: Command) -> io::Result<Duration> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = begun.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{command:?}: {}: {said}", output.status)));
    }
    Ok(took)
}

/// What a machine writes back from a measurement, it should not write during the next one.
pub fn settle(folder: &Path) -> io::Result<()> {
    took(shell(folder, "sync -f ."))?;
    Ok(())
}

pub fn hash_files<'a>(paths: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    use sha2::{Digest, Sha256};
    let mut buffer = vec![0; 1 << 18];
    for path in paths {
        let (mut file, mut hash) = (File::open(path)?, Sha256::new());
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        std::hint::black_box(hash.finalize());
    }
    Ok(())
}

/// Writes a file of pieces.
pub fn write<'a>(path: &Path, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(path)?;
    pieces.into_iter().try_for_each(|piece| file.write_all(piece))
}

pub fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Which of two figures is the better one.
#[derive(Clone, Copy)]
pub enum Better {
    /// MB/s.
    More,
    /// Milliseconds.
    Less,
}

/// The head of a table of rows.
pub fn head(unit: &str) {
    println!("| {unit} | here | beside it | | ratio (lowest to highest of the runs) | aim |");
    println!("|---|---|---|---|---|---|");
}

/// Above one is better, whatever is measured.
pub fn row(better: Better, what: &str, here: &[f64], name: &str, beside: &[f64], aim: &str) {
    let ratio = |(here, beside): (&f64, &f64)| match better {
        Better::More => here / beside,
        Better::Less => beside / here,
    };
    let mut ratios: Vec<f64> = here.iter().zip(beside).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let (lowest, highest) = (ratios[0], ratios[ratios.len() - 1]);
    println!(
        "| {what} | {:.0} | {name} | {:.0} | **{:.2}** ({lowest:.2} to {highest:.2}) | {aim} |",
        median(here),
        median(beside),
        median(&ratios)
    );
}

pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown CPU");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches(['\t', ' ', ':']))
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
