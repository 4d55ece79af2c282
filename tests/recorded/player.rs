//! Plays the answers of a recording, as a proxy: addresses stay those of the recording.
//!
//! `http.json` beside the steps has, for each step, the requests that the original sent and the answers that it got;
//! `texts` holds what is said more than once. An answer belongs to a method and a target, to the token that was sent,
//! and to the object that was announced. Where there are several, they come in their order, the last of them again and
//! again. What was never asked for in the recording is answered with 404.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Around;
use super::Step;

#[path = "../client/server.rs"]
mod server;

use server::{Reply, Request, Server};

/// What the recorded remote said in one place.
type Key = (String, String, String, String);

#[derive(Deserialize)]
struct Recording {
    texts: Vec<String>,
    steps: BTreeMap<String, Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    /// Method, target and token; body.
    requests: Vec<(String, usize)>,
    /// Method, target, token, announced object; head or -1 where the connection was closed; body.
    answers: Vec<(String, String, String, String, i64, usize)>,
}

pub struct Player {
    recording: Recording,
    server: Option<Server>,
    address: String,
}

impl Player {
    pub fn new(folder: &str) -> Self {
        let text = std::fs::read_to_string(super::vectors(folder).join("http.json")).unwrap();
        Self { recording: serde_json::from_str(&text).unwrap(), server: None, address: String::new() }
    }
}

impl Around for Player {
    fn before(&mut self, step: &mut Step) {
        let Some(recorded) = self.recording.steps.get(&step.name) else { return };
        let mut answers: BTreeMap<Key, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        for (method, target, token, object, head, body) in &recorded.answers {
            let key = (method.clone(), target.clone(), token.clone(), object.clone());
            let head = usize::try_from(*head).ok().map(|head| self.recording.texts[head].as_str());
            answers.entry(key).or_default().push(head.map(|head| answer(head, &self.recording.texts[*body])));
        }
        let answers = Arc::new(Mutex::new(answers));
        // Nobody is there in a step without answers.
        let nobody = answers.lock().unwrap().is_empty();
        let server = Server::start(move |request| {
            let played = play(request, &mut answers.lock().unwrap());
            // Late, so that what is in the recording decides how the step ends.
            let unknown = || {
                thread::sleep(Duration::from_millis(700));
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            };
            Reply::Raw(played.unwrap_or_else(unknown))
        });
        self.address = server.address.to_string();
        step.env.insert("PVR_HTTP_PROXY".to_owned(), format!("http://{}", server.address));
        self.server = (!nobody).then_some(server);
    }

    fn recorded(&self, text: &str) -> String {
        // The emulator hands on what a socket failed with as this machine numbers it, and MIPS has no such number.
        let text = text.replace("No error information (os error 111)", "Connection refused (os error 111)");
        text.replace(&self.address, "127.0.0.1:12368")
    }

    fn after(&mut self, step: &Step) -> (Option<String>, Option<String>) {
        let Some(recorded) = self.recording.steps.get(&step.name) else { return (None, None) };
        let text = |at: &usize| self.recording.texts[*at].as_str();
        let today = recorded.requests.iter().map(|(line, body)| format!("{line} {}", short(text(body))));
        let here = self.server.take().map(|server| server.requests()).unwrap_or_default();
        let here = here.iter().map(|request| {
            let token = request.header("authorization").map_or(String::new(), |token| format!(" {token}"));
            let bytes = match request.body.len() {
                153_600 => body_of_squashfs(&request.body),
                _ => String::from_utf8_lossy(&request.body).into_owned(),
            };
            format!("{} {}{token} {}", request.method, path(request), short(&bytes))
        });
        (Some(sorted(today)), Some(sorted(here)))
    }
}

fn sorted(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned() + "\n").collect();
    lines.sort_unstable();
    lines.concat()
}

/// What the recording has in place of the one large object's bytes.
fn body_of_squashfs(bytes: &[u8]) -> String {
    let sha: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{} body bytes, sha256 {sha},", bytes.len())
}

/// A placeholder without the first of its bytes.
fn short(body: &str) -> &str {
    if body.starts_with('<') { body.split(" first 64").next().unwrap() } else { body }
}

/// The target as it would be without a proxy.
fn path(request: &Request) -> String {
    let rest = request.target.split_once("://").map_or(request.target.as_str(), |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..]).to_owned()
}

/// The bytes of an answer. The connection is closed behind it, because none of the recorded heads says how long it stays.
fn answer(head: &str, body: &str) -> Vec<u8> {
    let body = match body {
        body if body.starts_with("<153600 ") => (0..=255).collect::<Vec<u8>>().repeat(600),
        // Compressed, which was not asked for: what it says does not matter.
        body if body.contains(" body bytes, sha256 ") => {
            vec![0; body[1..].split(' ').next().unwrap().parse().unwrap()]
        }
        body => body.as_bytes().to_vec(),
    };
    let mut bytes = Vec::new();
    for line in head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
        bytes.extend(format!("{line}\r\n").as_bytes());
    }
    bytes.extend(b"Connection: close\r\n\r\n");
    bytes.extend(&body);
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        // The recording has the chunks as they were, up to the empty lines at the end.
        while bytes.ends_with(b"\n") || bytes.ends_with(b"\r") {
            bytes.pop();
        }
        bytes.extend(b"\r\n\r\n");
    }
    bytes
}

fn play(request: &Request, answers: &mut BTreeMap<Key, Vec<Option<Vec<u8>>>>) -> Option<Vec<u8>> {
    let token = request.header("authorization").unwrap_or_default();
    let announced: Option<serde_json::Value> = serde_json::from_slice(&request.body).ok();
    let object = announced.as_ref().and_then(|body| body["sha256sum"].as_str()).unwrap_or_default();
    // Two slashes are one.
    let same = |key: &Key| key.0 == request.method && key.1.replace("//", "/") == path(request).replace("//", "/");
    let of = |key: &Key| same(key) && key.3 == object;
    let exact = answers.keys().find(|key| of(key) && key.2 == token).cloned();
    let known = exact.or_else(|| answers.keys().find(|key| of(key)).cloned());
    // The original gave up before it came to this object: it would have been answered as the others.
    let like = |key: &&Key| same(key) && !object.is_empty();
    match known.or_else(|| answers.keys().find(like).cloned()) {
        None => None,
        Some(key) => {
            let queue = answers.get_mut(&key).unwrap();
            let answer = if queue.len() > 1 { queue.remove(0) } else { queue[0].clone() };
            Some(answer.unwrap_or_default())
        }
    }
}
