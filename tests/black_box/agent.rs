//! The real binary: as a server on a port of its own, and as a command.
use super::http::{self, Response};
use super::program;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// `pvr-agent` with an environment that holds nothing of the caller's settings.
pub fn command() -> Command {
    let mut command = program::command();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PVR") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Output {
    command().args(args).output().expect("run pvr-agent")
}

/// `fsck --json` has to find nothing.
pub fn assert_clean(storage: &Path, when: &str) {
    let output = command().arg("fsck").arg("--storage").arg(storage).arg("--json").output().expect("run fsck");
    assert!(
        output.status.code() == Some(0),
        "fsck after {when}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice::<Value>(&output.stdout).expect("fsck --json prints JSON");
}

/// A running `pvr-agent serve`. Killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:<port>/cgi-bin/pvr`
    pub base: String,
    /// From the start of the process to the line that names the URL.
    pub ready: Duration,
    log: Arc<Mutex<String>>,
    /// What stands beside a web server that runs the program, and where its files are.
    beside: Vec<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts on a free port and waits for the line that names the URL.
    pub fn start(storage: &Path) -> Self {
        Self::start_with(storage, &[])
    }

    pub fn start_with(storage: &Path, more: &[&str]) -> Self {
        let mut command = command();
        command.arg("serve").arg("--storage").arg(storage).args(["--port", "0"]).args(more);
        Self::spawn(command)
    }

    /// Starts what `command` says; it has to print its URL within 20 seconds, under an emulator within ten times as many.
    pub fn spawn(mut command: Command) -> Self {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start pvr-agent serve");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, url) = mpsc::channel();
        drain(child.stdout.take().expect("stdout"), log.clone(), Some(found));
        drain(child.stderr.take().expect("stderr"), log.clone(), None);
        match url.recv_timeout(program::patience(Duration::from_secs(20))) {
            Ok(base) => Self { child, base, ready: begun.elapsed(), log, beside: Vec::new(), _folder: None },
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the server named no URL:\n{}", log.lock().expect("log"));
            }
        }
    }

    /// Web servers that run the program, the last of which listens at `base`.
    pub fn behind(mut servers: Vec<Child>, base: String, folder: tempfile::TempDir) -> Self {
        let child = servers.pop().expect("a server");
        let (ready, log) = (Duration::ZERO, Arc::default());
        Self { child, base, ready, log, beside: servers, _folder: Some(folder) }
    }

    /// `host:port`
    pub fn host(&self) -> String {
        http::Target::parse(&self.base).host
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// A member of `/proc/<pid>/status` in KiB.
    pub fn memory_kib(&self, member: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("process status");
        let line = status.lines().find(|line| line.starts_with(member)).expect("member of status");
        line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).expect("figure")
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill the server");
        self.child.wait().expect("wait for the server");
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("look at the server").is_some()
    }

    /// The `.pvrremote` document.
    pub fn remote(&self) -> Value {
        let response = http::get(&format!("{}/.pvrremote", self.base));
        assert_eq!(response.status, 200, "{response}");
        response.json()
    }

    /// Announces an object; the answer as it came.
    pub fn announce(&self, sha: &str, size: usize) -> std::io::Result<Response> {
        let record = announcement("file", sha, size as u64);
        http::ask(&format!("{}/objects/", self.base), "POST", JSON, record.as_bytes())
    }

    /// Announces and uploads; true if the object had to be sent.
    pub fn upload(&self, bytes: &[u8]) -> std::io::Result<bool> {
        let sha = super::sha256(bytes);
        let response = self.announce(&sha, bytes.len())?;
        if response.status == 409 {
            return Ok(false);
        }
        let url = member(&response, 200, "signed-puturl")?;
        let length = bytes.len().to_string();
        let response = http::ask(&url, "PUT", &[("Content-Length", &length)], bytes)?;
        expect(&response, 200)?;
        Ok(true)
    }

    /// Posts a state under the name that the server gives it, or under `rev`.
    pub fn post(&self, state: &str, rev: Option<&str>) -> std::io::Result<Response> {
        let rev = rev.map_or("-1".to_string(), |rev| format!("\"{rev}\""));
        let body = format!(r#"{{"commit-msg":"test","rev":{rev},"state":{state}}}"#);
        http::ask(&format!("{}/steps", self.base), "POST", TEXT, body.as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for beside in &mut self.beside {
            let _ = beside.kill();
            let _ = beside.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const JSON: &[(&str, &str)] = &[("Content-Type", "application/json; charset=utf-8")];
/// How the real client sends a post.
pub const TEXT: &[(&str, &str)] = &[("Content-Type", "text/plain; charset=utf-8")];

/// The announcement of an object as the real client makes it: every member a string.
pub fn announcement(name: &str, sha: &str, size: u64) -> String {
    format!(
        r#"{{"id":"","storage-id":"","owner":"","objectname":"{name}","sha256sum":"{sha}","size":"{size}","mime-type":"application/octet-stream","signed-puturl":"","signed-geturl":"","now":"","expire-time":""}}"#
    )
}

fn expect(response: &Response, status: u16) -> std::io::Result<()> {
    if response.status == status { Ok(()) } else { Err(std::io::Error::other(format!("not {status}: {response}"))) }
}

/// A string member of a JSON answer with the given status.
pub fn member(response: &Response, status: u16, name: &str) -> std::io::Result<String> {
    expect(response, status)?;
    match response.json().get(name).and_then(Value::as_str) {
        Some(value) => Ok(value.to_string()),
        None => Err(std::io::Error::other(format!("no {name} in {response}"))),
    }
}

/// Collects what the server prints, so that it never blocks on a full pipe, and looks for the URL.
fn drain(pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>, mut found: Option<mpsc::Sender<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(start) = line.find("http://") {
                let url = line[start..].split_whitespace().next().unwrap_or_default();
                if let (Some(end), Some(sender)) = (url.find("/cgi-bin/pvr"), found.take()) {
                    let _ = sender.send(url[..end + "/cgi-bin/pvr".len()].to_string());
                }
            }
            let mut log = log.lock().expect("log");
            log.push_str(&line);
            log.push('\n');
        }
    });
}
