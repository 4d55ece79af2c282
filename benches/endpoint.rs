//! The endpoint beside its peers, in one run on one machine, as ratios.
//!
//!     cargo bench --bench endpoint                 1 GiB in 16 objects over 5 connections
//!     BENCH_MIB=64 cargo bench --bench endpoint    less
//!     BENCH_DIR=/dev/shm cargo bench --bench endpoint    on another file system
//!     PVR_AGENT_BIN=cross/out/x86_64-unknown-linux-musl/pvr-agent cargo bench --bench endpoint    another build
//!
//! The peer is `busybox httpd` with a shell CGI that stores the body and `sha256sum`s it, which is what devices run
//! today; for downloads, the same `httpd` serving files. The client is the same for both: files from the page cache
//! into sockets, bytes from sockets into nothing. What one core can hash and what the disk takes are measured in the
//! same run, because they are the bounds; and, because client and server share this machine, what is left of them when a program
//! does nothing but receive, hash, write and sync. Every figure is the median of five runs in turns. Nothing is asserted: the
//! table goes into `docs/performance.md`.
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[path = "endpoint/bare.rs"]
mod bare;
mod common;

use common::{Better, Noise, Running, lay_out, median, row, runs, serve, workplace};

const OBJECTS: usize = 16;
const CONNECTIONS: usize = 5;

/// What a device's web server runs for an upload today, reduced to the work: store, hash, compare, name.
const CGI: &str = r#"#!/bin/sh
tmp=$PUT_DIR/new.$$
cat > "$tmp"
sha=$(busybox sha256sum "$tmp")
if [ "${sha%% *}" = "$QUERY_STRING" ]; then
    mv "$tmp" "$PUT_DIR/$QUERY_STRING"
    printf 'Status: 200 OK\r\n\r\n'
else
    rm -f "$tmp"
    printf 'Status: 400 Bad Request\r\n\r\n'
fi
"#;

struct Object {
    path: PathBuf,
    sha: String,
    size: u64,
}

fn main() -> io::Result<()> {
    let mib = common::knob("BENCH_MIB", 1024);
    let work = workplace("endpoint")?;
    let busybox = Command::new("busybox").arg("true").status().is_ok_and(|status| status.success());
    if !busybox {
        eprintln!("no busybox: the peer's columns stay empty");
    }

    let objects = objects(&work, mib)?;
    let total: u64 = objects.iter().map(|object| object.size).sum();
    let rate = |time: Duration| total as f64 / time.as_secs_f64() / 1e6;

    let [mut hash, mut disk, mut least, mut up, mut down, mut one_down] = [const { Vec::new() }; 6];
    let [mut peer_up, mut peer_down, mut peer_one_down] = [const { Vec::new() }; 3];
    let [mut idle, mut peak, mut start] = [const { Vec::new() }; 3];
    for run in 0..runs() {
        hash.push(rate(hash_all(&objects)?));
        let before = write_all(&work.join("disk"), &objects)?;
        let bare = bare::Receiver::start(&work.join(format!("bare{run}")))?;
        least.push(rate(over_connections(CONNECTIONS, &objects, |object| send_file(bare.host(), "PUT", "/", object))?));
        drop(bare);
        let storage = work.join(format!("storage{run}"));
        let ours = ours(&storage, &objects)?;
        fs::remove_dir_all(&storage)?;
        // Disks of virtual machines change their mind: measured on both sides of what is held against it.
        disk.push(rate((before + write_all(&work.join("disk"), &objects)?) / 2));
        up.push(rate(ours.up));
        down.push(rate(ours.down));
        one_down.push(rate(ours.one_down));
        idle.push(ours.idle_kib as f64 / 1024.0);
        peak.push(ours.peak_kib as f64 / 1024.0);
        start.push(ours.start.as_secs_f64() * 1e3);
        if busybox {
            let www = work.join(format!("www{run}"));
            let [up, down, one_down] = peer(&www, &objects)?;
            peer_up.push(rate(up));
            peer_down.push(rate(down));
            peer_one_down.push(rate(one_down));
            fs::remove_dir_all(&www)?;
        }
    }
    fs::remove_dir_all(&work)?;

    println!(
        "{mib} MiB in {OBJECTS} objects over {CONNECTIONS} connections, median of {} runs, {}",
        runs(),
        common::machine()
    );
    println!();
    common::head("MB/s");
    if busybox {
        row(Better::More, "upload", &up, "busybox httpd + CGI", &peer_up, "at least 3");
    }
    let bound: Vec<f64> = hash.iter().zip(&disk).map(|(hash, disk)| hash.min(*disk)).collect();
    let bounds = format!("slower of one-core sha256 ({:.0}) and disk ({:.0})", median(&hash), median(&disk));
    row(Better::More, "upload", &up, &bounds, &bound, "at least 0.8");
    row(Better::More, "upload", &up, "receive, hash, write, sync and nothing else", &least, "–");
    if busybox {
        row(Better::More, "download", &down, "busybox httpd", &peer_down, "at least 1");
        row(Better::More, "download over one connection", &one_down, "busybox httpd", &peer_one_down, "at least 1");
    }
    println!();
    println!("| | here | aim |");
    println!("|---|---|---|");
    println!("| peak memory of all that, MiB | {:.1} | at most 8 |", median(&peak));
    println!("| idle memory, MiB | {:.1} | at most 4 |", median(&idle));
    println!("| start to first answer, ms | {:.0} | at most 50 |", median(&start));
    Ok(())
}

/// Files that don't compress and don't repeat, in the page cache.
fn objects(work: &Path, mib: usize) -> io::Result<Vec<Object>> {
    let block = Noise::new().bytes(1 << 20);
    (0..OBJECTS)
        .map(|number| {
            let path = work.join(format!("object{number}"));
            let mut file = File::create(&path)?;
            let mut hash = Sha256::new();
            let blocks = (mib / OBJECTS).max(1);
            for at in 0..blocks {
                let mark = ((number * blocks + at) as u64).to_le_bytes();
                for part in [&mark[..], &block[8..]] {
                    file.write_all(part)?;
                    hash.update(part);
                }
            }
            file.sync_all()?;
            let sha = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Object { path, sha, size: (blocks as u64) << 20 })
        })
        .collect()
}

fn hash_all(objects: &[Object]) -> io::Result<Duration> {
    let begun = Instant::now();
    common::hash_files(objects.iter().map(|object| object.path.as_path()))?;
    Ok(begun.elapsed())
}

/// One stream into one file, to the disk.
fn write_all(path: &Path, objects: &[Object]) -> io::Result<Duration> {
    let mut buffer = vec![0; 1 << 18];
    let begun = Instant::now();
    let mut out = File::create(path)?;
    for object in objects {
        let mut file = File::open(&object.path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => out.write_all(&buffer[..read])?,
            }
        }
    }
    out.sync_data()?;
    let took = begun.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}

struct Ours {
    start: Duration,
    up: Duration,
    down: Duration,
    one_down: Duration,
    idle_kib: u64,
    peak_kib: u64,
}

fn ours(storage: &Path, objects: &[Object]) -> io::Result<Ours> {
    lay_out(storage)?;
    let begun = Instant::now();
    let (server, host) = serve(storage)?;
    let (status, _) = request(&host, "GET", "/cgi-bin/pvr/.pvrremote", b"")?;
    let start = begun.elapsed();
    assert_eq!(status, 200, "the first answer");
    std::thread::sleep(Duration::from_secs(2));
    let pid = server.0.id();
    let idle_kib = memory(pid, "VmRSS:")?;
    let up = over_connections(CONNECTIONS, objects, |object| {
        let record = format!(
            r#"{{"objectname":"bench","sha256sum":"{}","size":"{}","mime-type":"application/octet-stream"}}"#,
            object.sha, object.size
        );
        let (status, body) = request(&host, "POST", "/cgi-bin/pvr/objects/", record.as_bytes())?;
        assert_eq!(status, 200, "an announcement");
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        let url = body["signed-puturl"].as_str().unwrap_or_default();
        send_file(&host, "PUT", path_of(url), object)
    })?;
    let download = |object: &Object| {
        let (status, body) = request(&host, "GET", &format!("/cgi-bin/pvr/objects/{}", object.sha), b"")?;
        assert_eq!(status, 200, "a record");
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        fetch(&host, path_of(body["signed-geturl"].as_str().unwrap_or_default()), object)
    };
    let down = over_connections(CONNECTIONS, objects, download)?;
    let one_down = over_connections(1, objects, download)?;
    Ok(Ours { start, up, down, one_down, idle_kib, peak_kib: memory(pid, "VmHWM:")? })
}

fn path_of(url: &str) -> &str {
    let rest = url.trim_start_matches("http://");
    rest.find('/').map_or("/", |slash| &rest[slash..])
}

fn peer(www: &Path, objects: &[Object]) -> io::Result<[Duration; 3]> {
    let files = www.join("objects");
    fs::create_dir_all(www.join("cgi-bin"))?;
    fs::create_dir_all(&files)?;
    let script = www.join("cgi-bin/put");
    fs::write(&script, CGI)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let host = format!("127.0.0.1:{port}");
    let _httpd = Running(
        Command::new("busybox")
            .args(["httpd", "-f", "-p", &host, "-h"])
            .arg(www)
            .env("PUT_DIR", &files)
            .stderr(Stdio::null())
            .spawn()?,
    );
    while TcpStream::connect(&host).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let up = over_connections(CONNECTIONS, objects, |object| {
        send_file(&host, "POST", &format!("/cgi-bin/put?{}", object.sha), object)
    })?;
    let download = |object: &Object| fetch(&host, &format!("/objects/{}", object.sha), object);
    let down = over_connections(CONNECTIONS, objects, download)?;
    let one_down = over_connections(1, objects, download)?;
    Ok([up, down, one_down])
}

/// Works off the objects with so many threads; each has one request open at a time.
fn over_connections(
    connections: usize,
    objects: &[Object],
    work: impl Fn(&Object) -> io::Result<()> + Sync,
) -> io::Result<Duration> {
    let queue = Mutex::new(objects.iter());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().map_err(|_| io::Error::other("a worker failed"))?.next();
                        match next {
                            Some(object) => work(object)?,
                            None => return Ok(()),
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))))
    })?;
    Ok(begun.elapsed())
}

fn head(stream: &mut TcpStream, method: &str, host: &str, path: &str, length: u64) -> io::Result<()> {
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {length}\r\n") };
    stream
        .write_all(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n").as_bytes())
}

/// Status and the reader of the body.
fn answer(stream: TcpStream) -> io::Result<(u16, BufReader<TcpStream>)> {
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut status = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no answer"));
        }
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        }
        if line.trim().is_empty() {
            let status = status.ok_or_else(|| io::Error::other("no status"))?;
            return Ok((status, reader));
        }
    }
}

fn request(host: &str, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(host)?;
    head(&mut stream, method, host, path, body.len() as u64)?;
    stream.write_all(body)?;
    let (status, mut reader) = answer(stream)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok((status, body))
}

fn send_file(host: &str, method: &str, path: &str, object: &Object) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    head(&mut stream, method, host, path, object.size)?;
    io::copy(&mut File::open(&object.path)?, &mut stream)?; // within the kernel
    let (status, _) = answer(stream)?;
    if status == 200 { Ok(()) } else { Err(io::Error::other(format!("{method} {path}: {status}"))) }
}

fn fetch(host: &str, path: &str, object: &Object) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    head(&mut stream, "GET", host, path, 0)?;
    let (status, mut reader) = answer(stream)?;
    let mut seen = reader.buffer().len() as u64;
    let mut buffer = vec![0; 1 << 17];
    let stream = reader.get_mut();
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => seen += read as u64,
        }
    }
    if status == 200 && seen == object.size {
        return Ok(());
    }
    Err(io::Error::other(format!("GET {path}: {status}, {seen} of {} bytes", object.size)))
}

fn memory(pid: u32, member: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(member));
    let figure = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|figure| figure.parse().ok());
    figure.ok_or_else(|| io::Error::other(format!("no {member} of process {pid}")))
}
