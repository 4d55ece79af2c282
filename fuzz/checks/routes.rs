//! Every request through the router, without a network: it is answered, never with a failure of the device; a refusal is JSON that
//! says why and has changed nothing; nothing that was sent acts in a line of the log.
//!
//! It is asked three times: of a device without accounts; of one with accounts as it came, which gets nothing from there; and with
//! the token of somebody who may only read, which changes nothing there.
//!
//! An input is a request as it looks on the wire, with lines that end in a line feed: request line, header lines, an empty
//! line, the body. One whose encoding is `chunked` has no length that is known beforehand.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::AUTHORIZATION;
use hyper::http::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, Version};
use pvr_agent::device::{Device, Runner};
use pvr_agent::endpoint::access::{AccountsFile, Credential, Scope};
use pvr_agent::endpoint::log::{Format, Log};
use pvr_agent::endpoint::{Arrival, Endpoint, Hosts, Limits};
use pvr_agent::trails::factory;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// So many files, and the storage is made anew.
const CROWDED: usize = 200;
/// How long is read of an answer that goes on for as long as its client likes.
const PATIENCE: Duration = Duration::from_millis(20);

/// What reads and takes more than leave to read.
const CLOSED_TO_READERS: [&str; 3] = ["/metrics", "/cgi-bin/logs", "/cgi-bin/logs/"];

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Somebody on a device without accounts.
    Anybody,
    /// Whoever the request says it is.
    Nobody,
    /// An account with the scope `read`.
    Reader,
}

/// A device, and whom to ask about it.
struct Place {
    root: PathBuf,
    /// The token of the reader, if there are accounts.
    token: Option<HeaderValue>,
    endpoint: Endpoint,
    log: Sink,
    runtime: Runtime,
    files: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where files cost least.
fn memory() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

impl Place {
    fn new(guarded: bool) -> Self {
        let kind = if guarded { "guarded" } else { "open" };
        let root = memory().join(format!("routes-fuzz-{}-{kind}", std::process::id()));
        fs::remove_dir_all(&root).ok();
        let storage = factory::make(&root).expect("a storage");
        let logs = root.join("logs/0/pantavisor");
        fs::create_dir_all(&logs).expect("a folder");
        fs::write(logs.join("pantavisor.log"), "one line\nand another\n").expect("a log");
        let log = Sink::default();
        let lines = Log::to(Format::Text, Box::new(log.clone())).expect("a thread");
        let accounts = AccountsFile::within(root.join(".pvr-agent"));
        let token = guarded.then(|| {
            let token = accounts.add("reader", Scope::Read, Credential::Token(None), false, false);
            let token = token.expect("an account").expect("a token");
            HeaderValue::try_from(format!("Bearer {token}")).expect("a header")
        });
        let device = Device::open(storage, Runner::Nobody).expect("a device");
        let hosts = Hosts::new(&["device.example".to_owned()], None);
        let endpoint = Endpoint::new(device, Limits::default(), hosts, lines, Vec::new());
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let files = files(&root);
        Self { root, token, endpoint, log, runtime, files }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).ok();
    }
}

/// Every name in the storage, but for what remembers and locks. The audit log is written beside the answer, of refusals too.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        // One that is not there has been cleared away meanwhile.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let known = ["intact", "lock", "install.lock", "audit.log", "audit.log.1"]
                .iter()
                .any(|name| path.ends_with(Path::new(".pvr-agent").join(name)));
            // What a log is followed by is made by a GET, too.
            let follows = entry.file_name().to_string_lossy().starts_with("follow.");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if !known && !follows && !path.starts_with(root.join(".pvr-agent/pvtx")) {
                found.insert(path);
            }
        }
    }
    found
}

/// A body as a connection brings it.
struct Sent {
    pieces: VecDeque<Bytes>,
    known: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
    fn is_end_stream(&self) -> bool {
        self.known && self.pieces.is_empty()
    }
    fn size_hint(&self) -> SizeHint {
        match self.known {
            true => SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}

/// A request, if the library would make one of it.
fn request(data: &[u8]) -> Option<Request<Sent>> {
    let mut lines = data.split_inclusive(|byte| *byte == b'\n');
    let mut used = 0;
    let mut next = || {
        let line = lines.next()?;
        used += line.len();
        Some(line.strip_suffix(b"\n").unwrap_or(line))
    };
    let mut first = next()?.splitn(2, |byte| *byte == b' ');
    let (method, target) = (Method::from_bytes(first.next()?).ok()?, Uri::try_from(first.next()?).ok()?);
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, target, Version::HTTP_11);
    let mut known = true;
    while let Some(line) = next().filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        match name.as_str() {
            // A connection takes a body apart by these; here the body is what follows.
            "content-length" => continue,
            "transfer-encoding" => known = false,
            _ => {}
        }
        request.headers_mut().append(name, value);
    }
    let body = data.get(used..).unwrap_or_default();
    let pieces = body.chunks(4096).map(Bytes::copy_from_slice).collect();
    Some(request.map(|()| Sent { pieces, known }))
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    thread_local!(static PLACES: RefCell<[Option<Place>; 2]> = const { RefCell::new([const { None }; 2]) });
    for who in [Who::Anybody, Who::Nobody, Who::Reader] {
        let Some(request) = request(data) else { return };
        let guarded = who != Who::Anybody;
        PLACES.with_borrow_mut(|places| {
            let place = &mut places[usize::from(guarded)];
            if place.as_ref().is_none_or(|place| place.files.len() > CROWDED) {
                place.take();
            }
            place.get_or_insert_with(|| Place::new(guarded)).ask(request, who);
        });
    }
}

impl Place {
    fn ask(&mut self, mut request: Request<Sent>, who: Who) {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if let Some(token) = self.token.as_ref().filter(|_| who == Who::Reader) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        // Who is on the device itself may have metrics without being anybody.
        let peer = if who == Who::Anybody { [127, 0, 0, 1] } else { [192, 0, 2, 7] };
        let arrival = Arrival {
            scheme: "http",
            local: Some(([127, 0, 0, 1], 12368).into()),
            peer: Some(peer.into()),
            two_lengths: false,
            outbox: None,
            mount: None,
            stopping: None,
            certificate: None,
        };
        let (endpoint, runtime) = (&self.endpoint, &self.runtime);
        let (status, json, record, body) = runtime.block_on(async {
            let reply = endpoint.handle(request, arrival).await;
            let json = reply.headers().get("content-type").is_some_and(|kind| kind == "application/json");
            // That an object is there already is told with its record.
            let record = reply.headers().contains_key("pantahub-object-type");
            let (status, mut body, mut bytes) = (reply.status().as_u16(), reply.into_body(), Vec::new());
            let whole = async {
                while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    bytes.extend_from_slice(&frame.expect("what is there can be read").into_data().unwrap_or_default());
                }
            };
            let ended = timeout(PATIENCE, whole).await.is_ok();
            (status, json && ended, record, bytes)
        });
        assert!((200..500).contains(&status) || matches!(status, 501 | 503 | 507), "{status}");
        let read_only = matches!(method, Method::GET | Method::HEAD) && !CLOSED_TO_READERS.contains(&path.as_str());
        let may = who == Who::Anybody || who == Who::Reader && read_only;
        assert!(status >= 400 || may, "{method} {path} was let through: {status}");
        if status >= 400 && !record {
            let error: serde_json::Value = serde_json::from_slice(&body).expect("an error is JSON");
            assert_eq!(error["code"], status);
            assert!(error["error"].is_string() && error["reason"].is_string() && error["request-id"].is_string());
        } else if json && method != Method::HEAD {
            serde_json::from_slice::<serde_json::Value>(&body).expect("JSON is what it says it is");
        }
        endpoint.log().flush();
        let line = std::mem::take(&mut *self.log.0.lock().unwrap_or_else(PoisonError::into_inner));
        let line = String::from_utf8(line).expect("a log is text");
        assert!(line.ends_with('\n') && !line.trim_end_matches('\n').chars().any(char::is_control), "{line:?}");
        if !matches!(method, Method::GET | Method::HEAD) {
            let files = files(&self.root);
            // An object that is there already, and is asked about, gets a second name for who is about to post.
            let staged = self.root.join(".pvr-agent/staged");
            let mut changed =
                files.symmetric_difference(&self.files).filter(|path| !record || !path.starts_with(&staged));
            let left = changed.next();
            assert!(status < 400 || left.is_none(), "{status} has left {left:?}");
            self.files = files;
        }
    }
}
