//! A server on a free port with a storage of its own, and a client that sends exactly the bytes it is told to.
#![allow(dead_code, reason = "every test binary uses its part of this")]

use pvr_agent::device::{Device, Runner};
use pvr_agent::endpoint::log::{Format, Log};
use pvr_agent::endpoint::{Ended, Endpoint, Hosts, Limits, Listener, Stop, Tls, run};
use pvr_agent::state::{JsonLimits, ObjectId, Revision, Spec, State};
use pvr_agent::store::Stage;
use pvr_agent::trails::{Install, Storage, install};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub const BASE: &str = "/cgi-bin/pvr";

/// A running server.
pub struct Server {
    pub root: tempfile::TempDir,
    pub address: SocketAddr,
    pub stop: Stop,
    log: Sink,
    endpoint: Arc<Endpoint>,
    thread: Option<JoinHandle<Ended>>,
}

#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn sha(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(Sha256::digest(bytes).into())
}

/// The kernel of revision 0: enough bytes for ranges, and for more than one read.
pub fn kernel() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}

/// The state of revision 0.
pub fn factory_state() -> String {
    let kernel = sha(&kernel());
    format!(
        r##"{{"#spec":"pantavisor-service-system@1","app/empty":"{}","bsp/kernel.img":"{kernel}","bsp/run.json":{{"linux":"kernel.img"}}}}"##,
        sha(b"")
    )
}

/// A storage with revision 0, current.
pub fn make_storage(root: &Path) -> Storage {
    let storage = Storage::create(root).unwrap();
    for bytes in [kernel(), Vec::new()] {
        let mut writer = storage.store().begin(Some(sha(&bytes)), Some(bytes.len() as u64)).unwrap();
        writer.write_all(&bytes).unwrap();
        storage.store().publish(vec![writer.finish().unwrap()], Stage::Yes).unwrap();
    }
    let state = State::parse_strict(factory_state().as_bytes(), &JsonLimits::default(), Spec::Known).unwrap();
    let factory = Install { rev: &Revision::FACTORY, state: &state, commit_msg: None, make_current: true };
    install(&storage, factory).unwrap();
    storage
}

impl Server {
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::listening(limits, Listener::from)
    }

    pub fn https(limits: Limits, tls: Tls) -> Self {
        Self::listening(limits, |socket| Listener::https(socket, tls))
    }

    fn listening(limits: Limits, listener: impl FnOnce(TcpListener) -> Listener) -> Self {
        let root = tempfile::tempdir().unwrap();
        let storage = make_storage(&root.path().join("storage"));
        let device = Device::open(storage, Runner::Nobody).unwrap();
        let log = Sink::default();
        let lines = Log::to(Format::Text, Box::new(log.clone())).unwrap();
        let hosts = Hosts::new(&["device.example".to_owned()], None);
        let endpoint = Arc::new(Endpoint::new(device, limits, hosts, lines, Vec::new()));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = listener(socket);
        let stop = Stop::default();
        let (asked, serving) = (stop.clone(), Arc::clone(&endpoint));
        let thread = std::thread::spawn(move || run(listener, serving, asked, false).unwrap());
        Self { root, address, stop, log, endpoint, thread: Some(thread) }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.endpoint.log().flush();
        self.log.text()
    }

    pub fn storage(&self) -> Storage {
        Storage::open(&self.root.path().join("storage")).unwrap()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn get(&self, below: &str) -> Response {
        self.connect().request("GET", below, &[], b"")
    }

    pub fn url(&self, below: &str) -> String {
        format!("http://{}{BASE}/{below}", self.address)
    }

    /// Announces an object and uploads it where the answer says.
    pub fn upload(&self, bytes: &[u8]) -> Response {
        let mut client = self.connect();
        let answer = client.announce(&sha(bytes).to_string(), bytes.len() as u64);
        if answer.status == 409 {
            return answer;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let url = answer.json()["signed-puturl"].as_str().unwrap().to_owned();
        let below = url.strip_prefix(&self.url("")).unwrap().to_owned();
        client.request("PUT", &below, &[], bytes)
    }

    pub fn wait(mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Every file of the storage with its size and links, but for what remembers, locks and tells.
    pub fn snapshot(&self) -> BTreeMap<String, (u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<String, (u64, u64)>) {
            // What is cleared away meanwhile is not there.
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                let Ok(meta) = path.symlink_metadata() else { continue };
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                if meta.is_dir() {
                    walk(&path, root, found);
                } else if !matches!(
                    name.as_str(),
                    ".pvr-agent/intact" | ".pvr-agent/lock" | ".pvr-agent/install.lock" | ".pvr-agent/audit.log"
                ) {
                    found.insert(name, (meta.len(), meta.nlink()));
                }
            }
        }
        let root = self.root.path().join("storage");
        let mut found = BTreeMap::new();
        walk(&root, &root, &mut found);
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.ask();
            self.stop.ask();
            let _ = thread.join();
        }
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, host: address.to_string(), buffer: Vec::new() }
    }

    /// Sends bytes. That the server has heard enough is fine.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub fn request(&mut self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut head = format!("{method} {BASE}/{below} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send(head);
        self.send(body);
        self.response(method)
    }

    pub fn announce(&mut self, sha256: &str, size: u64) -> Response {
        let record = format!(
            r#"{{"id":"","storage-id":"","owner":"","objectname":"app/file","sha256sum":"{sha256}","size":"{size}","mime-type":"application/octet-stream","signed-puturl":"","signed-geturl":"","now":"","expire-time":""}}"#
        );
        self.request("POST", "objects/", &[], record.as_bytes())
    }

    pub fn post(&mut self, envelope: &str) -> Response {
        self.request("POST", "steps", &[("Content-Type", "text/plain; charset=utf-8")], envelope.as_bytes())
    }

    /// Begins an upload of `length` bytes, and waits until the server wants them: it is at work then.
    pub fn begin_upload(&mut self, sha256: &ObjectId, length: usize) {
        self.send(format!("PUT {BASE}/objects/{sha256}/blob HTTP/1.1\r\nHost: {}\r\n", self.host));
        self.send(format!("Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"));
        assert_eq!(self.response("PUT").status, 100);
    }

    /// The next response.
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("the connection ended without a response")
    }

    pub fn try_response(&mut self, method: &str) -> Option<Response> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            if self.fill() == 0 {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        if method == "HEAD" || status == 304 || status < 200 {
            return Some(response);
        }
        let length = response.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let length = length.unwrap_or_else(|| panic!("an answer without length: {response:?}"));
        while self.buffer.len() < length && self.fill() > 0 {}
        assert!(self.buffer.len() >= length, "a truncated body: {response:?}");
        response.body = self.buffer.drain(..length).collect();
        Some(response)
    }

    fn fill(&mut self) -> usize {
        let mut piece = [0; 65536];
        let n = self.stream.read(&mut piece).unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..n]);
        n
    }

    /// Whether the server has closed the connection (and sent nothing more before).
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill() == 0
    }
}
