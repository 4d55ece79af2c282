//! The recorded requests of the real `pvr`, replayed by following our answers.
//!
//! From the recording come method, headers and body; the URL comes from what we answered: the discovery document and
//! the objects' records. Each answer is held against what the real client depends on (`hub.md` B1–B4): the exact
//! status, members that are present and of the right JSON type, bytes that hash to their name.
mod black_box;
mod recorded_remote;
mod shape;

use black_box::agent::Server;
use black_box::http::{Conn, Response, Target};
use black_box::sha256;
use pvr_agent::state::json::Value as StateValue;
use pvr_agent::state::parse::{JsonLimits, parse_strict};
use recorded_remote::{canonical, seed, squashfs};
use serde_json::Value;
use shape::Shape;
use shape::device::{Back, Device};
use std::collections::HashMap;

const RECORDED: &str = include_str!("vectors/f-http/requests.txt");

/// Steps with exit code 0 that are not replayed. What they show is how the client takes an answer that only the
/// recording's server gives; following our answers, it would never be in that place.
const LEFT_OUT: &[(u16, &str)] = &[
    (24, "`--rev 5`: a revision number is the hub's to give; we answer 422 with a hint"),
    (33, "409 for objects that were never uploaded"),
    (34, "409 for objects that were never uploaded, then an upload all the same (--force)"),
    (35, "409 with `Pantahub-Object-Type: link`, which only a hub with several owners has"),
    (36, "409 without `Pantahub-Object-Type`"),
    (37, "409 without a body"),
    (66, "the state is answered with 404, which the client takes for an empty state"),
    (67, "the state is answered with 404 and a JSON error, which the client takes for a state"),
    (68, "the state is `{}`, and an upload is answered with what no device answers"),
    (69, "as 068, by 037"),
    (76, "409 for objects that were never uploaded, then an upload all the same (--force)"),
    (80, "409 for objects that were never uploaded"),
    (81, "409 for objects that were never uploaded, then an upload all the same (--force)"),
    (113, "a download URL that answers 404"),
    (114, "a download URL that answers 403"),
    (115, "a download URL that answers 500"),
    (120, "a download URL that redirects"),
    (144, "an anonymous login, which no device grants; see access_recorded"),
    (145, "an anonymous login, which no device grants; see access_recorded"),
    (152, "a device with accounts: see access_recorded"),
    (153, "a device with accounts: see access_recorded"),
    (158, "a device with accounts: see access_recorded"),
    (163, "a device with accounts: see access_recorded"),
];

/// How much the recording holds. Fewer means that a step was lost on the way, not that it passed.
const STEPS: usize = 85;
const REQUESTS: usize = 779;

struct Step {
    name: &'static str,
    /// The remote had the recorded state and its objects, or nothing.
    full: bool,
    requests: Vec<Request>,
}

struct Request {
    connection: &'static str,
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = RECORDED.lines();
    while let Some(line) = lines.next() {
        if let Some(head) = line.strip_prefix("#### ") {
            let mut parts = head.split(" | ");
            let (name, remote) = (parts.next().expect("a name"), parts.next().expect("a remote"));
            assert!(["full", "empty"].contains(&remote), "{line}");
            steps.push(Step { name, full: remote == "full", requests: Vec::new() });
        } else if let Some(connection) = line.strip_prefix("## ") {
            let mut first = lines.next().expect("a request line").split(' ');
            let (method, target) = (first.next().expect("a method"), first.next().expect("a target"));
            let headers: Vec<_> = lines
                .by_ref()
                .take_while(|line| !line.is_empty())
                .map(|line| line.split_once(": ").expect("a header"))
                .collect();
            let framed = headers
                .iter()
                .any(|(name, value)| (*name == "Content-Length" && *value != "0") || *name == "Transfer-Encoding");
            let body = if framed { body(lines.next().expect("a body")) } else { Vec::new() };
            let step = steps.last_mut().expect("a step before its requests");
            step.requests.push(Request { connection, method, target, headers, body });
        } else {
            panic!("neither step nor request: {line:?}");
        }
    }
    steps
}

fn body(line: &str) -> Vec<u8> {
    match line {
        "<empty chunked body>" => b"0\r\n\r\n".to_vec(),
        line if line.starts_with("<153600 body bytes, sha256 ") => {
            let bytes = squashfs();
            assert!(line.contains(&sha256(&bytes)), "not the recorded bytes: {line}");
            bytes
        }
        line => line.as_bytes().to_vec(),
    }
}

/// What the client knows by following our answers.
struct Follower<'a> {
    device: &'a Device,
    server: &'a Server,
    step: &'static str,
    remote: Value,
    state: String,
    get_urls: HashMap<String, String>,
    put_urls: HashMap<String, String>,
    connections: HashMap<String, Conn>,
    posted: Option<String>,
}

impl Follower<'_> {
    fn field(&self, name: &str) -> String {
        let value = self.remote[name].as_str();
        value.unwrap_or_else(|| panic!("{}: {name} is no string in {}", self.step, self.remote)).to_string()
    }

    fn send(&mut self, request: &Request, url: &str, body: &[u8]) -> Response {
        let target = Target::parse(url);
        assert_eq!(target.host, self.server.host(), "{}: a URL of another server: {url}", self.step);
        let key = request.connection.to_string();
        let length = body.len().to_string();
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| *name != "Host")
            .map(|&(name, value)| if name == "Content-Length" { (name, length.as_str()) } else { (name, value) })
            .collect();
        let kept = std::cell::RefCell::new(None);
        let taken = std::cell::RefCell::new(self.connections.remove(&key));
        let answer = self.device.patiently(|| {
            let kept_before = kept.take().or_else(|| taken.take());
            let mut conn = kept_before.map_or_else(|| Conn::open(&target.host), Ok)?;
            let answer = conn.ask(request.method, &target.path, &headers, body)?;
            if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
                kept.replace(Some(conn));
            }
            Ok(answer)
        });
        let response = answer.unwrap_or_else(|err| panic!("{}: {} {url}: {err}", self.step, request.method));
        if let Some(conn) = kept.take() {
            self.connections.insert(key, conn);
        }
        response
    }

    fn expect(&self, response: &Response, status: u16, what: &str) {
        assert_eq!(response.status, status, "{}: {what}: {response}", self.step);
    }

    fn string(&self, response: &Response, name: &str) -> String {
        let value = response.json();
        let text = value[name].as_str();
        text.unwrap_or_else(|| panic!("{}: {name} is no string in {response}", self.step)).to_string()
    }

    fn replay(&mut self, request: &Request) {
        let path = request.target.split('?').next().expect("a path");
        let last = path.rsplit('/').next().expect("a last component");
        match (request.method, path) {
            ("GET", "/cgi-bin/pvr/.pvrremote") => {
                // The user gave this URL; a query that came with it is kept.
                let url = format!("http://{}{}", self.server.host(), request.target);
                let response = self.send(request, &url, b"");
                self.expect(&response, 200, "discovery");
                self.remote = response.json();
                assert_eq!(self.field("pvr-spec"), "pvr-pantahub-1");
                assert_eq!(self.field("json-key"), "state");
                for name in ["post-fields", "post-fields-opt"] {
                    let list = self.remote[name].as_array().unwrap_or_else(|| panic!("{name} is no list"));
                    assert!(list.iter().all(Value::is_string), "{name}: {list:?}");
                }
                for name in ["json-get-url", "objects-endpoint", "post-url"] {
                    Target::parse(&self.field(name));
                }
            }
            ("GET", "/cgi-bin/pvr/json") => {
                let url = self.field("json-get-url");
                let response = self.send(request, &url, b"");
                self.expect(&response, 200, "the state");
                assert_eq!(String::from_utf8_lossy(&response.body), self.state, "{}: the state", self.step);
            }
            ("PUT", "/cgi-bin/pvr/json") => {
                let url = self.field("json-get-url");
                let response = self.send(request, &url, &request.body);
                self.expect(&response, 200, "put of a state");
                assert!(response.json().is_object(), "{}: {response}", self.step);
                self.posted = Some(String::from_utf8(request.body.clone()).expect("text"));
            }
            ("POST", "/cgi-bin/pvr/post") => self.post(request),
            ("POST", "/cgi-bin/pvr/objects/") => self.announce(request),
            ("GET", _) if path.starts_with("/cgi-bin/pvr/objects/") => {
                let url = format!("{}/{last}", self.field("objects-endpoint"));
                let response = self.send(request, &url, b"");
                self.expect(&response, 200, "an object's record");
                self.string(&response, "objectname");
                assert_eq!(self.string(&response, "sha256sum"), last);
                let url = self.string(&response, "signed-geturl");
                self.get_urls.insert(last.into(), url);
            }
            ("GET", _) if path.starts_with("/cgi-bin/pvr/dl/") => {
                let url = self.get_urls[last].clone();
                let response = self.send(request, &url, b"");
                self.expect(&response, 200, "a download");
                assert_eq!(sha256(&response.body), last, "{}: the bytes of {last}", self.step);
                // The client preallocates and shows progress by it.
                assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
            }
            ("PUT", _) if path.starts_with("/cgi-bin/pvr/up/") => {
                let url = self.put_urls[last].clone();
                let response = self.send(request, &url, &request.body);
                self.expect(&response, 200, "an upload");
            }
            (method, target) => panic!("{}: what is {method} {target}?", self.step),
        }
    }

    fn announce(&mut self, request: &Request) {
        let url = format!("{}/", self.field("objects-endpoint"));
        let response = self.send(request, &url, &request.body);
        if response.status == 409 {
            assert_eq!(response.header("pantahub-object-type"), Some("object"), "{}: {response}", self.step);
        } else {
            self.expect(&response, 200, "an announcement");
        }
        let asked: Value = serde_json::from_slice(&request.body).expect("the recorded body");
        for name in ["sha256sum", "size", "objectname"] {
            assert_eq!(self.string(&response, name), asked[name], "{}: {name}", self.step);
        }
        for name in ["id", "storage-id", "owner", "mime-type", "signed-geturl", "now", "expire-time"] {
            self.string(&response, name);
        }
        let (sha, url) = (self.string(&response, "sha256sum"), self.string(&response, "signed-puturl"));
        Target::parse(&url);
        self.put_urls.insert(sha, url);
    }

    fn post(&mut self, request: &Request) {
        // The client takes the name of the member that holds the state from the discovery document. One recording's
        // document had none (028), and the state went out as `post`.
        let text = std::str::from_utf8(&request.body).expect("text");
        let renamed = text.replacen(r#""post":{"#, &format!(r#""{}":{{"#, self.field("json-key")), 1);
        let body = if request.target.ends_with("/post") && !text.contains(r#""state":{"#) { &renamed } else { text };
        let StateValue::Object(sent) = parse_strict(body.as_bytes(), &JsonLimits::default()).expect("the envelope")
        else {
            panic!("{}: not an envelope: {body}", self.step)
        };
        let url = self.field("post-url");
        let response = self.send(request, &url, body.as_bytes());
        self.expect(&response, 200, "a post");
        let state = canonical(&sent["state"]);
        assert_eq!(self.string(&response, "state-sha"), sha256(state.as_bytes()), "{}", self.step);
        self.string(&response, "trail-id");
        let reply = response.json();
        // A string here makes 037 panic; with -1 it reads `revlocal`.
        assert_eq!(reply["rev"].as_i64(), Some(-1), "{}: {response}", self.step);
        assert!(self.string(&response, "revlocal").starts_with("locals/"), "{}: {response}", self.step);
        if let Some(StateValue::String(message)) = sent.get("commit-msg") {
            assert_eq!(reply["commit-msg"].as_str(), Some(message.as_str()), "{}", self.step);
        }
        if let Some(StateValue::String(rev)) = sent.get("rev") {
            assert_eq!(reply["revlocal"].as_str(), Some(rev.as_str()), "{}", self.step);
        }
        self.posted = Some(state);
    }
}

#[test]
fn the_real_client_is_answered_as_it_needs() {
    let shapes = Shape::all("the_real_client_is_answered_as_it_needs");
    shapes.into_iter().for_each(|shape| replay_with(shape, Back::Storage));
}

#[test]
fn the_real_client_is_answered_as_it_needs_on_the_control_socket() {
    let shapes = Shape::all("the_real_client_is_answered_on_the_control_socket");
    shapes.into_iter().for_each(|shape| replay_with(shape, Back::Socket));
}

fn replay_with(shape: Shape, back: Back) {
    let (mut replayed, mut requests) = (0, 0);
    for step in &steps() {
        let number: u16 = step.name[..3].parse().expect("a number");
        assert!(!LEFT_OUT.iter().any(|(left, _)| *left == number), "{} is left out and recorded", step.name);
        let device = Device::holding(shape, back, |empty| seed(empty, step.full));
        let mut follower = Follower {
            device: &device,
            server: &device.server,
            step: step.name,
            // `putobjects` is given the endpoint by the user, who has it from here.
            remote: device.server.remote(),
            state: device.state.clone(),
            get_urls: HashMap::new(),
            put_urls: HashMap::new(),
            connections: HashMap::new(),
            posted: None,
        };
        for request in &step.requests {
            follower.replay(request);
            requests += 1;
        }
        if let Some(posted) = &follower.posted {
            // What the next clone sees.
            device.wait_until_it_runs(posted);
        }
        drop(follower);
        device.assert_clean(step.name);
        replayed += 1;
    }
    println!(
        "{} on the {back:?}: replayed {replayed} recorded steps, {requests} requests; {} steps left out",
        shape.name(),
        LEFT_OUT.len()
    );
    assert!(replayed >= STEPS && requests >= REQUESTS, "{replayed} steps and {requests} requests are too few");
}
