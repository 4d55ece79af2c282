//! One request of a web server, from the client's connection to the end of the answer, as ratios.
//!
//!     cargo bench --bench cgi
//!     PVR_AGENT_BIN=cross/out/x86_64-unknown-linux-musl/pvr-agent cargo bench --bench cgi    another build
//!
//! `busybox httpd` runs three programs in turns: ours (`GET .pvrremote`), a shell with `cat` that answers with the same document
//! from a file, and `/bin/true`, which is what starting any process costs. The same three are then run without a server, from
//! fork to exit. Medians of all rounds. Nothing is asserted: the table goes into `docs/performance.md`.
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/program/mod.rs"]
mod program;

const ROUNDS: usize = 400;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> io::Result<()> {
    let root = std::env::temp_dir().join(format!("pvr-bench-cgi-{}", std::process::id()));
    let programs = root.join("cgi-bin");
    fs::create_dir_all(&programs)?;
    let storage = storage(&root)?;
    let busybox = which("busybox")?;
    write(&programs.join("pvr"), &format!("#!{} cgi\n", program::path().display()))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let server = Command::new(&busybox)
        .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
        .arg(&root)
        .env("PVR_AGENT_STORAGE", &storage)
        .stderr(Stdio::null())
        .spawn();
    let _server = Running(server?);
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (_, document) = ask(port, "pvr/.pvrremote")?;
    assert!(document.contains("pvr-pantahub-1"), "no document: {document}");
    fs::write(root.join("remote"), &document)?;
    let head = r"Status: 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let script = format!("#!{busybox} sh\nprintf '{head}'\nbusybox cat {}\n", root.join("remote").display());
    write(&programs.join("shell"), &script)?;
    fs::copy("/bin/true", programs.join("true"))?;

    let mut served: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (times, path) in served.iter_mut().zip(["pvr/.pvrremote", "shell", "true"]) {
            times.push(ask(port, path)?.0);
        }
    }
    let mut alone: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (times, name) in alone.iter_mut().zip(["pvr", "shell", "true"]) {
            let mut command = Command::new(programs.join(name));
            command.env("PVR_AGENT_STORAGE", &storage).env("REQUEST_METHOD", "GET").env("PATH_INFO", "/.pvrremote");
            command.env("SCRIPT_NAME", "/cgi-bin/pvr").env("HTTP_HOST", "localhost").stdin(Stdio::null());
            let begun = Instant::now();
            command.output()?;
            times.push(begun.elapsed());
        }
    }
    println!("| | ms | peer | ms | ratio | aim |\n|---|---|---|---|---|---|");
    for (what, times) in [("`GET .pvrremote` under busybox httpd", served), ("the same, from fork to exit", alone)] {
        let [ours, shell, nothing] = times.map(median);
        let aim = if what.starts_with('`') { "at most 2" } else { "" };
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
        let ratio = |peer: Duration| format!("**{:.2}**", ours.as_secs_f64() / peer.as_secs_f64());
        println!("| {what} | {} | busybox sh with cat | {} | {} | |", ms(ours), ms(shell), ratio(shell));
        println!("| {what} | {} | `/bin/true` | {} | {} | {aim} |", ms(ours), ms(nothing), ratio(nothing));
    }
    fs::remove_dir_all(&root)
}

fn which(name: &str) -> io::Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut all = path.split(':').map(|folder| format!("{folder}/{name}"));
    all.find(|path| Path::new(path).is_file()).ok_or_else(|| io::Error::other(format!("no {name}")))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// A storage as `serve` makes it to try things with.
fn storage(root: &Path) -> io::Result<std::path::PathBuf> {
    let mut server = program::command();
    server.args(["serve", "--port", "0"]).current_dir(root).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running(server.spawn()?);
    let mut first = [0; 1];
    // It prints where it is once it is made.
    server.0.stdout.as_mut().ok_or_else(|| io::Error::other("no output"))?.read_exact(&mut first)?;
    Ok(root.join("pvroot"))
}

/// From the connection to the last byte.
fn ask(port: u16, path: &str) -> io::Result<(Duration, String)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("GET /cgi-bin/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = begun.elapsed();
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok((took, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
