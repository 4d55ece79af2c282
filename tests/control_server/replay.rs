//! Plays transcripts against a server and says where it differs.

use super::control::{Caller, Config, Daemon, Facts, Pace};
use super::transcripts::{Stand, Transcript, normal};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long is waited for an answer that has to come.
const LONG: Duration = Duration::from_secs(5);
/// How long is waited for one that must not come.
const SHORT: Duration = Duration::from_millis(60);

/// What happened on a connection.
struct Seen {
    bytes: Vec<u8>,
    closed: bool,
}

/// Sends, and reads until what is wanted is there, or for as long as there may be an answer.
fn exchange(socket: &Path, request: &[u8], transcript: &Transcript, wanted: &dyn Fn(&[u8]) -> bool) -> Seen {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut seen = Seen { bytes: Vec::new(), closed: false };
    let mut buf = vec![0; 64 * 1024];
    let waits = request.windows(12).any(|window| window == b"100-continue");
    let mut at = 0;
    for part in &transcript.parts {
        if stream.write_all(&request[at..at + part]).is_err() {
            break;
        }
        at += part;
        // Who asks first whether to go on goes on when told to.
        if waits && at < request.len() {
            stream.set_read_timeout(Some(LONG)).unwrap();
            let got = stream.read(&mut buf).unwrap_or(0);
            seen.bytes.extend_from_slice(&buf[..got]);
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if at < request.len() {
        stream.write_all(&request[at..]).ok();
    }
    if transcript.end == "left" {
        return Seen { bytes: Vec::new(), closed: false };
    }
    if [50, 147].contains(&transcript.number()) {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let silent = transcript.end == "silent";
    let deadline = Instant::now() + if silent { SHORT } else { LONG };
    loop {
        let complete = !silent && wanted(&seen.bytes);
        let left = if complete && transcript.end == "open" {
            Duration::from_millis(2)
        } else {
            deadline.saturating_duration_since(Instant::now())
        };
        if left.is_zero() {
            return seen;
        }
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut buf) {
            Ok(0) => {
                seen.closed = true;
                return seen;
            }
            Ok(got) => seen.bytes.extend_from_slice(&buf[..got]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if complete || Instant::now() >= deadline {
                    return seen;
                }
            }
            Err(_) => {
                seen.closed = true;
                return seen;
            }
        }
    }
}

/// The body of the first answer to a request, as recorded.
pub fn body_of(all: &[Transcript], step: &str, stand: &Stand) -> String {
    let transcript = all.iter().find(|transcript| transcript.step == step).unwrap();
    stand.response(transcript).split_once("\r\n\r\n").unwrap().1.to_owned()
}

pub struct Replayed {
    pub steps: usize,
    /// Moments at which nobody listened: there is nothing to compare.
    pub deaf: usize,
    pub wrong: Vec<String>,
}

/// Plays the transcripts with these numbers against a new device.
pub fn run(all: &[Transcript], numbers: &[std::ops::RangeInclusive<u32>], strict: bool) -> Replayed {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("pv-ctrl");
    let stand = Stand::default();
    let facts = Facts {
        config: body_of(all, "320-config", &stand),
        config2: body_of(all, "322-config2", &stand),
        wakelocks: body_of(all, "332-wakelocks", &stand),
        device_meta: Vec::new(),
        total: 41_943_040 + 400_000_000 * u64::from(numbers[0].start() >= &601),
        reserved: 2_097_152,
        ..Facts::default()
    };
    let bad = all.iter().find(|t| t.step == "771-put-bad").map(|t| Stand::default().request(t)).unwrap();
    let at = bad.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let verdicts = vec![(super::sha(&bad[at..]).to_string(), "Secureboot: Signature validation failed")];
    let config = Config { pace: Pace::ByHand, facts, strict, verdicts, ..Config::default() };
    let daemon = Daemon::start(&dir.path().join("storage"), &socket, config);
    let mut player = Player { daemon, stand, root: dir.path().join("storage"), left: false };
    let mut out = Replayed { steps: 0, deaf: 0, wrong: Vec::new() };
    for transcript in all.iter().filter(|t| numbers.iter().any(|range| range.contains(&t.number()))) {
        out.steps += 1;
        if matches!(transcript.end.as_str(), "refused" | "reset")
            || transcript.end == "silent" && (transcript.group.starts_with("flow") || transcript.group == "commands")
        {
            out.deaf += 1;
            continue;
        }
        if let Some(wrong) = player.play(transcript) {
            out.wrong.push(wrong);
        }
    }
    out
}

struct Player {
    daemon: Daemon,
    stand: Stand,
    root: std::path::PathBuf,
    /// The client before left in the middle.
    left: bool,
}

impl Player {
    fn play(&mut self, transcript: &Transcript) -> Option<String> {
        if std::mem::replace(&mut self.left, transcript.end == "left") {
            // What the one that left has done shows only once the daemon has seen it leave.
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.daemon.is_connected() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.unrecorded(transcript.number());
        let request = self.stand.request(transcript);
        let wanted = self.stand.response(transcript);
        let caller = match transcript.caller.as_deref() {
            None | Some("mg") => Caller::Privileged,
            Some("nb") => Caller::Container("nb".into()),
            Some(_) => Caller::Unknown,
        };
        self.daemon.configure(|config| config.caller = caller);
        let is_get = request.starts_with(b"GET ");
        if request.starts_with(b"POST /commands") && !wanted.contains("already in progress") {
            self.daemon.advance();
        } else if wanted.contains("HTTP/1.1 200 OK")
            && wanted.matches("HTTP/1.1").count() == 2
            && request.starts_with(b"POST /commands")
        {
            // Two in one go: the first finds nothing under way.
            self.daemon.advance();
        }
        let wanted_nothing = wanted.is_empty();
        let goal = self.comparable(transcript, wanted.chars().map(|c| c as u8).collect());
        assert!(!goal.is_empty() || wanted_nothing, "{}: nothing to compare", transcript.name());
        let matches = |bytes: &[u8]| self.comparable(transcript, bytes.to_vec()) == goal;
        // What a poll shows is where the update has got to; a list shows what another connection has just done.
        for attempt in 0..8 {
            let quick = is_get && attempt < 7;
            let seen =
                exchange(self.daemon.socket(), &request, transcript, &|bytes| matches(bytes) || quick && whole(bytes));
            let closed = transcript.end == "closed";
            // Where the daemon ends, it ends in the middle of connections, too.
            let ends = transcript.number() == 892
                || transcript.daemon.is_some()
                || transcript.group.starts_with("flow")
                || transcript.group == "reboot";
            if matches(&seen.bytes) && (transcript.end == "left" || seen.closed == closed || ends) {
                return None;
            }
            if !quick {
                return Some(format!(
                    "{}:\n  wanted {} {}\n  got    {} {}",
                    transcript.name(),
                    goal,
                    transcript.end,
                    self.comparable(transcript, seen.bytes),
                    if seen.closed { "closed" } else { "open" },
                ));
            }
            self.daemon.advance();
            std::thread::sleep(Duration::from_millis(3));
        }
        None
    }

    /// What two machines have in common.
    fn comparable(&self, transcript: &Transcript, bytes: Vec<u8>) -> String {
        let text = normal(&bytes);
        if transcript.says_what_the_machine_is() {
            return without_the_machine(&text);
        }
        if let Some((before, rest)) = text.split_once(",\"logs\":\"") {
            // It says where in the daemon's source it failed.
            let mut escaped = false;
            let end = rest.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let before = before.split_once("\r\n\r\n").map_or(before, |(_, body)| body);
            return format!("{before}{}", end.map_or("", |end| &rest[end + 1..]));
        }
        // The stray line break behind this one was not read before the recording ended.
        if transcript.number() == 892 {
            return text.split("HTTP/1.1 400").next().unwrap_or_default().to_owned();
        }
        if text.contains("@PREFIX@") {
            // Lengths are those of another prefix.
            return text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
        }
        text
    }

    /// What was done between the recorded steps.
    fn unrecorded(&self, number: u32) {
        let write = |path: &str, bytes: &[u8]| {
            let path = self.root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let ready = br#"{"status":"NEW","status-msg":"Update ready to be run","progress":0,"retries":0}"#;
        match number {
            286 | 317 => self.daemon.forget_metadata(),
            241 => write("trails/locals/m1/.pv/progress", ready),
            501 => {
                write("objects/de28a32acf4cb1090716cb928a033834c6d58c5c031ba1cdf61aab55783d2158", b"bytes");
                write("trails/locals/gc1/.pv/progress", ready);
            }
            // Somebody damaged it on the disk.
            675 => write("objects/106675dc1490d5cdd6d1f0410731316ce93fc964c6cf6726e2b0d53e19688feb", b"evil\n"),
            _ => {}
        }
    }
}

/// Whether there is an answer, whole.
fn whole(bytes: &[u8]) -> bool {
    let text = normal(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
    length
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|_| !body.is_empty() || head.contains("Content-Length: 0"))
        || body.ends_with("0\r\n\r\n")
}

/// An answer with device-meta, without the values that are those of a machine.
fn without_the_machine(text: &str) -> String {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text.to_owned() };
    let Ok(serde_json::Value::Object(mut values)) = serde_json::from_str(body) else { return text.to_owned() };
    let machine = |key: &str| {
        ["storage", "interfaces", "sysinfo", "time"].contains(&key)
            || key.starts_with("pantavisor.")
            || key.starts_with("pantahub.")
    };
    values.retain(|key, _| !machine(key));
    let head: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("Content-Length")).collect();
    format!("{}\r\n\r\n{}", head.join("\r\n"), serde_json::Value::Object(values))
}
