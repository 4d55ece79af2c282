//! An upload through Pantavisor's control socket beside one into the storage.
//!
//!     cargo bench --bench socket                 256 MiB in 16 objects over 5 connections
//!     BENCH_MIB=64 cargo bench --bench socket    less
//!
//! The daemon is that of the tests (`tests/support/control`), in this process: it takes 16 KiB at a time, looks for room before
//! each, hashes and writes, as Pantavisor does, but has a thread for each connection. So the bytes go through one more
//! socket and are hashed twice, by two processes; both ways end with all of it on the disk. Every figure is the median of
//! five runs in turns. Nothing is asserted: the table goes into `docs/performance.md`.
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

mod common;
#[path = "../tests/support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
mod control;

use common::{Better, Noise, Running, row, runs, settle, workplace};
use control::{Config, Daemon, Facts};
use sha2::{Digest, Sha256};

const OBJECTS: usize = 16;
const CONNECTIONS: usize = 5;

type Object = (String, Vec<u8>);

fn main() -> io::Result<()> {
    let mib = common::knob("BENCH_MIB", 256);
    let work = workplace("socket")?;
    let size = (mib << 20) / OBJECTS;
    let (mut storage, mut socket, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs() {
        let mut noise = Noise::new();
        let objects: Vec<Object> = (0..OBJECTS)
            .map(|number| {
                let mut bytes = noise.bytes(size);
                bytes[..8].copy_from_slice(&((run * OBJECTS + number) as u64).to_le_bytes());
                (Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(), bytes)
            })
            .collect();
        let rate = |time: Duration| (size * OBJECTS) as f64 / time.as_secs_f64() / 1e6;
        let folder = work.join(run.to_string());
        common::lay_out(&folder.join("storage"))?;
        settle(&work)?;
        let (ours, host) = common::serve(&folder.join("storage"))?;
        storage.push(rate(upload(&host, &objects)?));
        drop(ours);
        settle(&work)?;
        let facts = Facts { total: 1 << 44, ..Facts::default() };
        let control = folder.join("pv-ctrl");
        let daemon = Daemon::start(&folder.join("store"), &control, Config { facts, ..Config::default() });
        let (ours, host) = serve(&control, &folder.join("state"))?;
        socket.push(rate(upload(&host, &objects)?));
        peak.push(memory(ours.0.id())? as f64 / 1024.0);
        drop((ours, daemon));
        fs::remove_dir_all(&folder)?;
    }
    fs::remove_dir_all(&work)?;
    println!(
        "{mib} MiB in {OBJECTS} objects over {CONNECTIONS} connections, median of {} runs, {}\n",
        runs(),
        common::machine()
    );
    common::head("MB/s");
    row(Better::More, "upload through the socket", &socket, "into the storage", &storage, "–");
    println!("\npeak memory of the agent on the socket: {:.1} MiB", common::median(&peak));
    Ok(())
}

fn serve(socket: &Path, state: &Path) -> io::Result<(Running, String)> {
    let mut command = common::program::command();
    command.args(["serve", "--port", "0", "--socket"]).arg(socket).arg("--state-dir").arg(state);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let running = Running(child);
    let mut lines = BufReader::new(out).lines();
    loop {
        let line = lines.next().ok_or_else(|| io::Error::other("the server named no URL"))??;
        if let (Some(start), Some(end)) = (line.find("http://"), line.find("/cgi-bin/pvr")) {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((running, line[start + 7..end].to_owned()));
        }
    }
}

fn upload(host: &str, objects: &[Object]) -> io::Result<Duration> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            while let Some((sha, bytes)) = objects.get(next.fetch_add(1, Ordering::SeqCst)) {
                let record = format!(r#"{{"sha256sum":"{sha}","size":"{}"}}"#, bytes.len());
                ask(host, "POST", "/cgi-bin/pvr/objects/", record.as_bytes())?;
                ask(host, "PUT", &format!("/cgi-bin/pvr/objects/{sha}/blob?size={}", bytes.len()), bytes)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a panic"))))
    })?;
    Ok(begun.elapsed())
}

fn ask(host: &str, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let ok = answer.starts_with("HTTP/1.1 200 ");
    if ok { Ok(()) } else { Err(io::Error::other(format!("{method} {path}: {answer}"))) }
}

fn memory(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let figure = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    figure.ok_or_else(|| io::Error::other("no VmHWM"))
}
