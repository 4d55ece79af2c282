//! A control socket that answers as it was recorded.
//!
//! Each request for a step or an object gets the next recorded answer. What only ours asks (which objects are there, which
//! revisions) is answered truly: objects are those that were answered with 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Reply, Request};

/// Objects that are there: name and size.
type Objects = Arc<Mutex<Vec<(String, u64)>>>;

pub struct Daemon {
    path: PathBuf,
    seen: Receiver<String>,
}

impl Daemon {
    pub fn start(path: &Path, answers: &[Request], long: &Path, objects: Objects) -> Self {
        std::fs::remove_file(path).ok();
        let listener = UnixListener::bind(path).unwrap();
        let (seen, requests) = channel();
        let mut answers: Vec<Option<Reply>> = answers.iter().map(|request| request.reply.clone()).collect();
        answers.reverse();
        let (stored, long) = (Arc::clone(&objects), std::fs::read(long).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap_or(0) > 0 && !head.ends_with("\r\n\r\n") {}
                let line = head.lines().next().unwrap_or_default().to_owned();
                if line.starts_with("STOP") {
                    break;
                }
                let words: Vec<&str> = line.split(' ').collect();
                let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
                match (words[0], words.get(1).copied().unwrap_or_default()) {
                    ("GET", "/objects") => {
                        let list: Vec<_> = stored.lock().unwrap().iter().map(listed).collect();
                        say(reader.get_mut(), &format!("[{}]", list.join(",")));
                    }
                    ("GET", "/steps") => say(reader.get_mut(), "[]"),
                    (method, path) => {
                        let mut body = Vec::new();
                        if method == "PUT" && length == 1 {
                            (&mut reader).take(1).read_to_end(&mut body).ok();
                            if !path.ends_with(&sha(&body)) {
                                // With this, ours has the rest of a broken upload removed. Nothing of it was recorded.
                                refuse(reader.get_mut());
                                continue;
                            }
                        }
                        let answer = answers.pop().flatten();
                        let early = answer.as_ref().is_some_and(|answer| answer.early);
                        if !early && body.is_empty() {
                            (&mut reader).take(length).read_to_end(&mut body).ok();
                        }
                        let whole = if early { "early".to_owned() } else { sha(&body) };
                        seen.send(format!("{method} {path} {length} {whole}")).ok();
                        let object = path.strip_prefix("/objects/").map(str::to_owned);
                        let accepted = answer.as_ref().is_none_or(|it| it.reply.starts_with("HTTP/1.1 200"));
                        if let Some(object) = object.filter(|_| accepted && body.len() as u64 == length) {
                            stored.lock().unwrap().push((object, length));
                        }
                        reply(reader.get_mut(), answer.as_ref(), &long);
                    }
                }
            }
        });
        Self { path: path.to_owned(), seen: requests }
    }

    /// What it was asked, apart from what only ours asks.
    pub fn stop(self) -> Vec<String> {
        UnixStream::connect(&self.path).and_then(|mut stream| stream.write_all(b"STOP\r\n\r\n")).ok();
        self.seen.iter().collect()
    }
}

fn listed((name, size): &(String, u64)) -> String {
    format!(r#"{{"sha256":"{name}","size":"{size}"}}"#)
}

fn say(stream: &mut UnixStream, body: &str) {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .ok();
}

fn refuse(stream: &mut UnixStream) {
    let body = r#"{"Error":"Object has bad checksum"}"#;
    let head = "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\nContent-Length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).ok();
}

fn reply(stream: &mut UnixStream, answer: Option<&Reply>, long: &[u8]) {
    let Some(answer) = answer else { return say(stream, "") };
    if answer.delay_s > 0.0 {
        // Long enough to be waited for, not as long as it was.
        thread::sleep(Duration::from_millis(300));
    }
    if let Some(head) = &answer.reply_head {
        let head = head.split_inclusive("\r\n\r\n").next().unwrap();
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(long)).ok();
        return;
    }
    for piece in &answer.pieces {
        stream.write_all(piece.as_bytes()).ok();
        thread::sleep(Duration::from_millis(20));
    }
    stream.write_all(answer.reply.as_bytes()).ok();
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
        .map(|it| it.1.trim())
}

pub fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
