//! `GET steps/<rev>/events`: server-sent events and long polls, on both back ends and in every shape.
mod black_box;
mod following;
mod shape;

use black_box::http::{self, Conn, Response, Target};
use black_box::{sha256, skip};
use following::{BACKS, Back, Device, until};
use serde_json::{Value, json};
use shape::Shape;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

const STREAM: &[(&str, &str)] = &[("Accept", "text/event-stream")];

/// One event as the standard for them reads it.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

/// Reads a stream: blocks between empty lines, fields before colons, comments skipped.
fn events(text: &str) -> Vec<Event> {
    let mut found = Vec::new();
    for block in text.split("\n\n") {
        let (mut id, mut name, mut data) = (String::new(), String::new(), Vec::new());
        for line in block.lines().filter(|line| !line.starts_with(':')) {
            match line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no field")) {
                ("id", value) => id = value.to_owned(),
                ("event", value) => name = value.to_owned(),
                ("data", value) => data.push(value.to_owned()),
                ("retry", value) => assert!(value.parse::<u32>().is_ok(), "{value}"),
                other => panic!("{other:?}"),
            }
        }
        if !data.is_empty() {
            found.push(Event { id, name, data: serde_json::from_str(&data.join("\n")).expect("JSON") });
        }
    }
    found
}

/// What is said of a revision there, and the id of that.
fn now(device: &Device, rev: &str) -> (Value, String) {
    let answer = device.get(&format!("steps/{rev}/events"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer}");
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    (answer.json(), id)
}

/// Asks in the background.
fn asking(device: &Device, below: &str, headers: &'static [(&str, &str)]) -> thread::JoinHandle<Response> {
    let url = device.url(below);
    thread::spawn(move || http::ask(&url, "GET", headers, b"").expect("an answer"))
}

fn statuses(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.data["status"].as_str()).collect()
}

/// `curl -N`, and what it has printed so far.
struct Curl {
    child: Child,
    seen: Arc<Mutex<String>>,
    reader: thread::JoinHandle<()>,
}

impl Curl {
    fn start(url: &str, more: &[&str]) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sSN", "-i", "--max-time", "120", "-H", "Accept: text/event-stream"]).args(more).arg(url);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start curl");
        let mut stream = child.stdout.take().expect("its output");
        let seen = Arc::new(Mutex::new(String::new()));
        let filled = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(got @ 1..) = stream.read(&mut piece) {
                filled.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..got]));
            }
        });
        Self { child, seen, reader }
    }

    fn is_here(test: &str) -> bool {
        let here = Command::new("curl").arg("--version").output().is_ok();
        if !here {
            skip(test, "there is no curl");
        }
        here
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        until(&format!("{text} does not come"), || self.seen.lock().unwrap().contains(text));
    }

    /// The head and the body of what came, once it ends by itself.
    fn end(mut self) -> (String, String) {
        assert!(self.child.wait().expect("curl ends").success(), "{}", self.seen.lock().unwrap());
        self.reader.join().unwrap();
        let seen = self.seen.lock().unwrap();
        let (head, body) = seen.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }
}

#[test]
fn a_stream_says_each_change_and_ends_with_the_update() {
    if !Curl::is_here("a_stream_says_each_change") {
        return;
    }
    for back in BACKS {
        let device = Device::start(back);
        for last in ["DONE", "UPDATED", "WONTGO", "ERROR"] {
            let name = format!("{}-x", last.to_lowercase());
            let rev = format!("locals/{name}");
            device.install(&name);
            let curl = Curl::start(&device.url(&format!("steps/{rev}/events")), &[]);
            curl.wait_for("\"NEW\"");
            for status in ["INPROGRESS", "TESTING", last] {
                device.say(&rev, status);
                curl.wait_for(&format!("\"{status}\""));
            }
            let (head, body) = curl.end();
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream\r\n"), "{head}");
            assert!(head.contains("cache-control: no-store"), "{head}");
            let all = events(&body);
            assert_eq!(statuses(&all), ["NEW", "INPROGRESS", "TESTING", last], "{back:?}: {body}");
            let (document, id) = now(&device, &rev);
            let (end, before) = (&all[4], &all[3]);
            assert_eq!((end.name.as_str(), &end.id), ("end", &format!("{id}.end")));
            assert_eq!(end.data, json!({"rev": rev, "ended": last}));
            assert!(all[..4].iter().all(|event| event.name == "progress"));
            assert_eq!((&before.id, &before.data), (&id, &document["progress"]));
            assert_eq!(before.data["status-msg"], format!("about {last}"));
            assert_eq!(document["ended"], last);
        }
    }
}

#[test]
fn a_stream_goes_on_where_it_broke_off() {
    for back in BACKS {
        let device = Device::start(back);
        device.install("x");
        let below = "steps/locals/x/events";
        let (_, id) = now(&device, "locals/x");
        // What is known is not said again; what has changed since is.
        let url = device.url(below);
        let known = id.clone();
        let waiting = thread::spawn(move || {
            let headers = [STREAM[0], ("Last-Event-ID", known.as_str())];
            http::ask(&url, "GET", &headers, b"").expect("an answer")
        });
        until("the server has not heard of it", || device.server.log().matches(below).count() >= 2);
        device.say("locals/x", "DONE");
        let all = events(&String::from_utf8(waiting.join().unwrap().body).unwrap());
        assert_eq!(statuses(&all), ["DONE"]);
        // The end is missing, or nothing is.
        let (_, done) = now(&device, "locals/x");
        let last = |id: &str| device.ask("GET", below, &[STREAM[0], ("Last-Event-ID", id)], b"");
        let end = events(&String::from_utf8(last(&done).body).unwrap());
        assert_eq!((end.len(), end[0].name.as_str(), &end[0].id), (1, "end", &format!("{done}.end")));
        let nothing = last(&format!("{done}.end"));
        assert_eq!((nothing.status, nothing.body.len()), (204, 0), "a browser would ask again for ever");
        assert_eq!(statuses(&events(&String::from_utf8(last("unknown").body).unwrap())), ["DONE"]);
    }
}

#[test]
fn a_long_poll_answers_when_there_is_news_or_at_its_deadline() {
    for shape in Shape::all("a_long_poll_answers") {
        for back in BACKS {
            let device = Device::with(back, shape);
            device.install("x");
            let name = shape.name();
            let (document, id) = now(&device, "locals/x");
            assert_eq!(document["rev"], "locals/x");
            assert_eq!(document["progress"]["status"], "NEW");
            assert_eq!(document["progress"], device.get("steps/locals/x/progress").json());
            assert_eq!((document.get("ended"), document.get("overtaken-by")), (None, None));
            // Nothing new: the same again, after a while or at once.
            for timeout in [1, 0] {
                let same = device.get(&format!("steps/locals/x/events?since={id}&timeout={timeout}"));
                assert_eq!((same.status, same.json()), (200, document.clone()), "{name} {back:?}");
            }
            // Anything else is news.
            let other = device.get("steps/locals/x/events?since=ffff&timeout=50");
            assert_eq!(other.json(), document);
            let waiting = asking(&device, &format!("steps/locals/x/events?since={id}"), &[]);
            device.say("locals/x", "TESTING");
            let news = waiting.join().unwrap();
            assert_eq!(news.json()["progress"]["status"], "TESTING", "{name} {back:?}: {news}");
            let id = news.json()["id"].as_str().unwrap().to_owned();
            // An end is told at once, whether or not it is known.
            device.say("locals/x", "ERROR");
            let ended = device.get(&format!("steps/locals/x/events?since={id}&timeout=50")).json();
            assert_eq!(ended["ended"], "ERROR");
            let known = ended["id"].as_str().unwrap();
            assert_eq!(device.get(&format!("steps/locals/x/events?since={known}&timeout=50")).json(), ended);
        }
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for back in BACKS {
        let device = Device::start(back);
        for stream in [&[][..], STREAM] {
            let status = |below: &str| device.ask("GET", below, stream, b"").status;
            assert_eq!(status("steps/locals/none/events"), 404, "{back:?}");
            assert_eq!(status("steps/0/events?since=a/b"), 400);
            assert_eq!(status("steps/0/events?timeout=soon"), 400);
            assert_eq!(status("steps/0/events/more"), 404);
        }
        for method in ["POST", "PUT", "DELETE"] {
            let answer = device.ask(method, "steps/0/events", &[("Content-Length", "0")], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
        }
        for (headers, kind) in [(&[][..], "application/json"), (STREAM, "text/event-stream")] {
            let answer = device.ask("HEAD", "steps/0/events", headers, b"");
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{answer}");
        }
        // Of the running one.
        let current = device.get("events").json();
        assert_eq!((&current["rev"], &current["ended"]), (&json!("0"), &json!("DONE")));
        assert_eq!(device.get("steps/current/events").json()["rev"], "0");
        assert_eq!(device.server.remote()["events-url"], device.url("events"));
        let zero = device.get("steps/0/.pvrremote").json();
        assert_eq!(zero["events-url"], device.url("steps/0/events"));
    }
}

/// What a power cut leaves, or a daemon in the middle of writing, is no end and no event.
#[test]
fn a_progress_that_cannot_be_read_is_waited_out() {
    let device = Device::start(Back::Storage);
    device.install("x");
    let file = device.storage.join("trails/locals/x/.pv/progress");
    std::fs::write(&file, b"").unwrap();
    let (document, id) = now(&device, "locals/x");
    assert_eq!(document, json!({"rev": "locals/x", "id": id, "progress": null}));
    let waiting = asking(&device, "steps/locals/x/events", STREAM);
    until("the stream has not begun", || device.server.log().matches("locals/x/events").count() >= 2);
    device.say("locals/x", "UPDATED");
    let all = events(&String::from_utf8(waiting.join().unwrap().body).unwrap());
    assert_eq!(statuses(&all), ["UPDATED"]);
    // One that goes while somebody looks.
    device.install("y");
    let waiting = asking(&device, "steps/locals/y/events", STREAM);
    until("the stream has not begun", || device.server.log().matches("locals/y/events").count() >= 1);
    std::fs::remove_dir_all(device.storage.join("trails/locals/y")).unwrap();
    let all = events(&String::from_utf8(waiting.join().unwrap().body).unwrap());
    assert_eq!(all.last().unwrap().data, json!({"rev": "locals/y", "ended": "gone"}));
}

/// A connection on which a stream has begun.
fn stream(device: &Device, rev: &str) -> Conn {
    let target = Target::parse(&device.url(&format!("steps/{rev}/events")));
    let mut conn = Conn::open(&target.host).expect("connect");
    conn.send("GET", &target.path, STREAM, b"").expect("ask");
    let mut socket = conn.socket().expect("a socket");
    let mut head = [0; 15];
    socket.read_exact(&mut head).expect("the head of an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    conn
}

#[test]
fn only_so_many_may_follow_and_all_else_goes_on() {
    const PLACES: usize = 32;
    let device = Device::start(Back::Storage);
    device.install("x");
    let mut all: Vec<Conn> = (0..PLACES).map(|_| stream(&device, "locals/x")).collect();
    let (_, id) = now(&device, "locals/x");
    for (below, headers) in
        [("steps/locals/x/events".to_owned(), STREAM), (format!("steps/locals/x/events?since={id}"), &[][..])]
    {
        let refused = device.ask("GET", &below, headers, b"");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused}");
        assert_eq!(refused.json()["reason"], "too-many-watchers");
    }
    // None of these is anybody's work.
    assert!(device.server.upload(&[3; 100_000]).expect("upload"));
    assert_eq!(device.get(&format!("objects/{}/blob", sha256(&[3; 100_000]))).status, 200);
    drop(all.pop());
    until("a place that was left is not given again", || {
        let target = Target::parse(&device.url(&format!("steps/locals/x/events?since={id}&timeout=1")));
        http::ask(&device.url(target.path.strip_prefix("/cgi-bin/pvr/").unwrap()), "GET", &[], b"").unwrap().status
            == 200
    });
}

#[test]
fn whoever_follows_is_let_go_when_the_server_ends() {
    for back in BACKS {
        let mut device = Device::start(back);
        device.install("x");
        let (document, id) = now(&device, "locals/x");
        let streams: Vec<_> = (0..4).map(|_| asking(&device, "steps/locals/x/events", STREAM)).collect();
        let polls: Vec<_> =
            (0..4).map(|_| asking(&device, &format!("steps/locals/x/events?since={id}&timeout=50"), &[])).collect();
        until("not all of them have begun", || device.server.log().matches("locals/x/events").count() >= 9);
        let pid = rustix::process::Pid::from_raw(device.server.pid() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        // Whole answers, each: their chunks have an end.
        for stream in streams {
            let all = events(&String::from_utf8(stream.join().unwrap().body).unwrap());
            assert_eq!(statuses(&all), ["NEW"], "no end of the update is made up");
        }
        for poll in polls {
            assert_eq!(poll.join().unwrap().json(), document);
        }
        until("the server does not end", || std::net::TcpStream::connect(device.server.host()).is_err());
        let server = std::cell::RefCell::new(&mut device.server);
        until("its process does not end", || server.borrow_mut().ended());
    }
}

#[test]
fn one_who_waits_behind_an_old_proxy_is_told_by_the_end_of_the_connection() {
    let device = Device::start(Back::Storage);
    let target = Target::parse(&device.url("steps/0/events?stream"));
    let mut conn = Conn::open(&target.host).expect("connect");
    conn.raw(format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", target.path, target.host).as_bytes()).expect("ask");
    let answer = conn.receive("GET").expect("an answer");
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None), "{answer}");
    let all = events(&String::from_utf8(answer.body).unwrap());
    assert_eq!((statuses(&all), all.len()), (vec!["DONE"], 2));
}

/// Ten seconds, because a command that was just given looks the same until the daemon gets to it.
#[test]
fn what_a_newer_one_overtakes_is_not_waited_for() {
    let device = Device::start(Back::Storage);
    device.install("old");
    let folder = device.storage.join("trails/locals/old");
    let made = std::fs::metadata(&folder).unwrap().mtime().unsigned_abs();
    let earlier = UNIX_EPOCH + Duration::from_secs(made - 10);
    std::fs::File::open(&folder).unwrap().set_modified(earlier).unwrap();
    let (_, id) = now(&device, "locals/old");
    let poll = asking(&device, &format!("steps/locals/old/events?since={id}&timeout=50"), &[]);
    let waiting = asking(&device, "steps/locals/old/events", STREAM);
    until("not all of them have begun", || device.server.log().matches("locals/old/events").count() >= 3);
    device.install("new");
    device.say("locals/new", "TESTING");
    let document = poll.join().unwrap().json();
    assert_eq!((&document["overtaken-by"], document.get("ended")), (&json!("locals/new"), None), "it may yet go");
    let all = events(&String::from_utf8(waiting.join().unwrap().body).unwrap());
    let end = json!({"rev": "locals/old", "ended": "overtaken", "overtaken-by": "locals/new"});
    assert_eq!(all.last().unwrap().data, end, "{all:?}");
}

#[test]
fn a_stream_passes_what_a_web_server_lets_through() {
    if !Curl::is_here("a_stream_passes_what_a_web_server_lets_through") {
        return;
    }
    for shape in Shape::cgi("a_stream_passes") {
        for back in BACKS {
            let device = Device::with(back, shape);
            device.install("x");
            device.say("locals/x", "TESTING");
            let curl = Curl::start(&device.url("steps/locals/x/events"), &[]);
            curl.wait_for("TESTING");
            device.say("locals/x", "DONE");
            let (head, body) = curl.end();
            let head = head.to_ascii_lowercase();
            assert!(head.contains("content-type: text/event-stream\r\n"), "{}: {head}", shape.name());
            let all = events(&body);
            assert_eq!(statuses(&all), ["TESTING", "DONE"], "{} {back:?}", shape.name());
            assert_eq!(all.last().unwrap().name, "end");
        }
    }
}

#[test]
fn a_stream_that_may_not_go_on_ends_without_an_end() {
    for shape in Shape::all("a_stream_that_may_not_go_on") {
        let device = Device::with(Back::Socket, shape);
        device.install("x");
        let answer = device.get("steps/locals/x/events?stream&timeout=1");
        let all = events(&String::from_utf8(answer.body).unwrap());
        assert_eq!((statuses(&all), all.len()), (vec!["NEW"], 1), "{}", shape.name());
    }
}
