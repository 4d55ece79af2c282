//! Hash trees beside `veritysetup`, in one run on one machine, as ratios.
//!
//!     cargo bench --bench verity                 a volume of 1 GiB
//!     BENCH_MIB=64 cargo bench --bench verity    less
//!     BENCH_DIR=/dev/shm cargo bench --bench verity    on another file system
//!     PVR_AGENT_BIN=cross/out/x86_64-unknown-linux-musl/pvr-agent cargo bench --bench verity    another build
//!
//! Each figure is that of a whole command: `pvr dm-convert` and `pvr dm-verify`, `veritysetup format` and `verify`. The
//! volume is in the page cache. Beside them, plain SHA-256 of the same bytes with a thread for each core, which is what no
//! tree can be faster than. Everything is done in turns, and ratios are taken run by run, so that other work on the machine
//! weighs on both. Nothing is asserted: the table goes into `docs/performance.md`.
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/program/mod.rs"]
mod program;

const RUNS: usize = 5;

/// Of what two things took.
type Ratio = fn(f64, f64) -> f64;

/// What one turn took, in seconds.
struct Turn {
    format: f64,
    verify: f64,
    their_format: f64,
    their_verify: f64,
    plain: f64,
}

struct Place {
    folder: PathBuf,
    bytes: u64,
    cores: u64,
    /// The most memory that a command of ours has had, in KiB.
    peak: u64,
}

fn main() -> io::Result<()> {
    let mib: u64 = std::env::var("BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let above = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::tempdir_in(above)?;
    let cores = std::thread::available_parallelism()?.get() as u64;
    let mut place = Place { folder: scratch.path().to_owned(), bytes: mib << 20, cores, peak: 0 };
    place.prepare()?;
    place.turn()?;
    let turns = (0..RUNS).map(|_| place.turn()).collect::<io::Result<Vec<Turn>>>()?;
    println!("\n{mib} MiB, {cores} cores, median of {RUNS} runs\n");
    println!("| MB/s | here | beside it | | ratio (lowest to highest of the runs) | aim |");
    println!("|---|---|---|---|---|---|");
    let speed = |of: fn(&Turn) -> f64| place.bytes as f64 / 1e6 / median(turns.iter().map(of).collect());
    let row = |what: &str, beside: &str, one: fn(&Turn) -> f64, other: fn(&Turn) -> f64, ratio: Ratio, aim| {
        let mut ratios: Vec<f64> = turns.iter().map(|turn| ratio(one(turn), other(turn))).collect();
        ratios.sort_by(f64::total_cmp);
        let (lowest, highest) = (ratios[0], ratios[RUNS - 1]);
        println!(
            "| {what} | {:.0} | {beside} | {:.0} | **{:.2}** ({lowest:.2} to {highest:.2}) | {aim} |",
            speed(one),
            speed(other),
            median(ratios)
        );
    };
    let faster: Ratio = |one, other| other / one;
    let time: Ratio = |one, other| one / other;
    let plain = format!("plain sha256 on {cores} cores, as time");
    row("dm-convert", "veritysetup format", |turn| turn.format, |turn| turn.their_format, faster, "at least 1.5");
    row("dm-convert", &plain, |turn| turn.format, |turn| turn.plain, time, "at most 1.25");
    row("dm-verify", "veritysetup verify", |turn| turn.verify, |turn| turn.their_verify, faster, "at least 1.5");
    row("dm-verify", &plain, |turn| turn.verify, |turn| turn.plain, time, "at most 1.25");
    println!("\n| | here | aim |\n|---|---|---|");
    println!("| peak memory of both, MiB | {:.1} | at most 16 |", place.peak as f64 / 1024.0);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

impl Place {
    fn volume(&self) -> PathBuf {
        self.folder.join("r/app/root.squashfs")
    }

    fn prepare(&mut self) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("r/app"))?;
        let mut file = File::create(self.volume())?;
        let mut block = vec![0u8; 1 << 20];
        for number in 0..self.bytes >> 20 {
            for (index, word) in block.chunks_exact_mut(8).enumerate() {
                word.copy_from_slice(
                    &((number << 17 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes(),
                );
            }
            file.write_all(&block)?;
        }
        file.sync_all()?;
        fs::write(self.folder.join("r/app/run.json"), r#"{"root-volume":"root.squashfs"}"#)?;
        self.pvr(&["init"])?;
        Ok(())
    }

    /// One after the other, so that what the machine does besides weighs on all.
    fn turn(&mut self) -> io::Result<Turn> {
        let hash = self.folder.join("theirs");
        fs::remove_file(&hash).ok();
        let format = self.pvr(&["dm-convert", "app", "root.squashfs"])?;
        let (their_format, said) = veritysetup(&[Path::new("format"), &self.volume(), &hash])?;
        let root = said.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap_or_default().trim().to_owned();
        let plain = self.plain()?;
        let verify = self.pvr(&["dm-verify"])?;
        let (their_verify, _) = veritysetup(&[Path::new("verify"), &self.volume(), &hash, Path::new(&root)])?;
        Ok(Turn { format, verify, their_format, their_verify, plain })
    }

    fn pvr(&mut self, args: &[&str]) -> io::Result<f64> {
        let begun = Instant::now();
        let mut command = program::command();
        command.arg("pvr").args(args).current_dir(self.folder.join("r")).env("HOME", &self.folder);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        loop {
            if let Some(ended) = child.try_wait()? {
                assert!(ended.success(), "pvr {args:?}: {ended}");
                return Ok(begun.elapsed().as_secs_f64());
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
            // Before it is what it will be, it is this process.
            if begun.elapsed() > Duration::from_millis(20) {
                self.peak = self.peak.max(kib.unwrap_or(0));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SHA-256 of as many parts as there are cores.
    fn plain(&self) -> io::Result<f64> {
        let begun = Instant::now();
        let part = self.bytes / self.cores;
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..self.cores)
                .map(|number| {
                    scope.spawn(move || -> io::Result<()> {
                        let mut file = File::open(self.volume())?;
                        file.seek(SeekFrom::Start(number * part))?;
                        let (mut file, mut hasher, mut buf) = (file.take(part), Sha256::new(), vec![0; 256 << 10]);
                        loop {
                            match file.read(&mut buf)? {
                                0 => break,
                                got => hasher.update(&buf[..got]),
                            }
                        }
                        std::hint::black_box(hasher.finalize());
                        Ok(())
                    })
                })
                .collect();
            parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
        })?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

fn veritysetup(args: &[&Path]) -> io::Result<(f64, String)> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let begun = Instant::now();
    let output = Command::new("veritysetup").args(args).env("PATH", path).output()?;
    assert!(output.status.success(), "veritysetup {args:?}: {output:?}");
    Ok((begun.elapsed().as_secs_f64(), String::from_utf8_lossy(&output.stdout).into_owned()))
}
