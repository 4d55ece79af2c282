//! Logs over the network: what is read of them, who follows them, and what is not to be had by way of them.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::http::Conn;
use black_box::{agent, program};
use sdk::{Back, Device, each};
use shape::Shape;
use shape::control::Config;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("make a folder");
    fs::write(path, text).expect("write a log");
}

fn append(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("append to a log");
}

fn lines(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn a_log_is_read_whole_or_from_its_end() {
    each("a_log_is_read", |device| {
        write(&device.logs.join("0/pantavisor/pantavisor.log"), &lines(1, 30));
        write(&device.logs.join("0/nb/lxc/console.log"), "console\n");
        write(&device.logs.join("0/nb/lxc/lxc.log"), "lxc\n");
        write(&device.logs.join("locals/x/nb/a.log"), "of another revision\n");
        let both = "==> lxc/console.log <==\nconsole\n\n==> lxc/lxc.log <==\nlxc\n";
        for (query, want) in [
            ("", lines(1, 30)),
            ("?rev=0", lines(1, 30)),
            ("?rev=current&source=pantavisor&tail=false&follow=true&tailn=3", lines(1, 30)),
            ("?tail=true", lines(21, 30)),
            ("?tail=true&tailn=3", lines(28, 30)),
            ("?tail=1&tailn=0", String::new()),
            ("?tail=true&tailn=18446744073709551615", lines(1, 30)),
            ("?source=nb", both.to_owned()),
            ("?source=nb&rev=locals/x", "of another revision\n".to_owned()),
            ("?source=nb&rev=locals%2Fx", "of another revision\n".to_owned()),
        ] {
            let answer = device.get(&format!("logs{query}"));
            assert_eq!(answer.status, 200, "{}: {query}: {answer}", device.name());
            assert_eq!(String::from_utf8_lossy(&answer.body), want, "{}: {query}", device.name());
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{query}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{query}");
        }
        assert_eq!(device.ask("HEAD", "logs?tail=true&follow=true", &[], b"").status, 200, "{}", device.name());
        for (query, reason) in
            [("rev=7", "no-such-log"), ("rev=locals/y", "no-such-log"), ("source=none", "no-such-log")]
        {
            device.refused(&device.get(&format!("logs?{query}")), 404, reason);
        }
        let queries = ["tail=perhaps", "tailn=-1", "tailn=x", "rev=0&rev=1", "source=%ff"];
        for query in queries.into_iter().filter(|query| device.hands_on(query)) {
            device.refused(&device.get(&format!("logs?{query}")), 400, "bad-query");
        }
        assert_eq!(device.bare("POST", "logs").status, 405, "{}", device.name());
    });
}

#[test]
fn nothing_else_is_to_be_had() {
    each("nothing_else_is_to_be_had", |device| {
        write(&device.logs.join("0/nb/a.log"), "a log\n");
        write(&device.logs.join("../secret/nb/a.log"), "secret\n");
        symlink("../../../secret/nb/a.log", device.logs.join("0/nb/link.log")).expect("a link");
        symlink("../../secret/nb", device.logs.join("0/linked")).expect("a link");
        symlink("../secret", device.logs.join("5")).expect("a link");
        let queries = [
            "source=..",
            "source=.",
            "source=..%2Fnb",
            "source=nb%2Fa.log",
            "source=%2Fetc",
            "source=.hidden",
            "source=a%0Ab",
            "rev=..",
            "rev=..%2Fsecret",
            "rev=locals%2F..",
            "rev=locals%2F..%2F..%2Fsecret",
            "rev=0%2F..%2F0",
            "rev=%2F",
            "rev=00",
            "rev=secret",
        ];
        for query in queries.into_iter().filter(|query| device.hands_on(query)) {
            device.refused(&device.get(&format!("logs?{query}")), 400, "bad-query");
        }
        for query in ["rev=0&source=linked", "rev=5&source=nb"] {
            device.refused(&device.get(&format!("logs?{query}")), 404, "no-such-log");
        }
        assert_eq!(device.get("logs?source=nb").body, b"a log\n", "{}", device.name());
    });
}

#[test]
fn where_the_daemon_is_deaf_the_logs_say_what_ran() {
    let mut device = Device::start(Back::Socket, Shape::Serve);
    write(&device.logs.join("locals/x/pantavisor/p.log"), "why\n");
    device.daemon.take();
    assert_eq!(device.get("logs").status, 503);
    symlink("locals/x", device.logs.join("current")).expect("a link");
    assert_eq!(device.get("logs").body, b"why\n");
    fs::remove_file(device.logs.join("current")).expect("remove the link");
    symlink("../secret", device.logs.join("current")).expect("a link");
    assert_eq!(device.get("logs").status, 503);
}

#[test]
fn a_web_server_that_ended_left_those_who_followed_a_quiet_log() {
    let device = Device::start(Back::Storage, Shape::Serve);
    write(&device.logs.join("0/nb/a.log"), "a line\n");
    let mut command = agent::command();
    command.args(["cgi", "logs"]).env("PVR_AGENT_STORAGE", &device.storage).env("PVR_AGENT_LOG_DIR", &device.logs);
    command.env("REQUEST_METHOD", "GET").env("HTTP_HOST", "localhost").env("SCRIPT_NAME", "/cgi-bin/logs");
    command.env("QUERY_STRING", "tail=true&follow=true&source=nb");
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("run pvr-agent cgi");
    let (mut out, mut text) = (program.stdout.take().expect("its output"), Vec::new());
    while !text.ends_with(b"a line\n") {
        let mut piece = [0; 512];
        let got = out.read(&mut piece).expect("read");
        assert!(got > 0, "it ended: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..got]);
    }
    std::thread::sleep(Duration::from_millis(2500));
    assert!(program.try_wait().expect("look").is_none(), "somebody still reads");
    drop(out);
    let deadline = Instant::now() + program::patience(Duration::from_secs(10));
    while program.try_wait().expect("look").is_none() {
        assert!(Instant::now() < deadline, "nobody reads, and it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clients_that_left_a_quiet_log_kept_everybody_else_from_following() {
    // The emulator has no calls for looking at the connection of a parent.
    if program::emulated() || !Shape::cgi("clients_that_left_a_quiet_log").contains(&Shape::Busybox) {
        return;
    }
    let device = Device::start(Back::Storage, Shape::Busybox);
    write(&device.logs.join("0/nb/a.log"), "a line\n");
    let mut followers: Vec<_> = (0..8).map(|_| Follower::begin(&device, "source=nb")).collect();
    for follower in &mut followers {
        follower.until("a line\n");
    }
    std::thread::sleep(Duration::from_millis(2500));
    let more = || device.get("logs?tail=true&follow=true&source=nb");
    device.refused(&more(), 503, "busy");
    drop(followers);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Follower::begin(&device, "source=nb").until("\r\n").contains(" 200 ") {
        assert!(Instant::now() < deadline, "nobody's slot is free");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One who follows.
struct Follower {
    stream: TcpStream,
    text: String,
    _conn: Conn,
}

impl Follower {
    fn begin(device: &Device, query: &str) -> Self {
        Self::at(&device.server.host(), query)
    }

    fn at(host: &str, query: &str) -> Self {
        let mut conn = Conn::open(host).expect("connect");
        let path = format!("/cgi-bin/logs?tail=true&follow=true&{query}");
        conn.send("GET", &path, &[], b"").expect("send");
        Self { stream: conn.socket().expect("a socket"), text: String::new(), _conn: conn }
    }

    /// Reads until what has come since has `end` in it; returns it, and forgets it.
    fn until(&mut self, end: &str) -> String {
        let mut piece = [0; 4096];
        while !self.text.contains(end) {
            let got = self.stream.read(&mut piece).unwrap_or_else(|err| panic!("{err}: {:?} lacks {end:?}", self.text));
            assert!(got > 0, "it ended: {:?} lacks {end:?}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&piece[..got]));
        }
        std::mem::take(&mut self.text)
    }
}

#[test]
fn whoever_follows_gets_what_comes_and_survives_rotation() {
    for shape in Shape::all("whoever_follows") {
        let device = Device::start(Back::Storage, shape);
        let log = device.logs.join("0/nb/a.log");
        write(&log, &lines(1, 5));
        let mut follower = Follower::begin(&device, "source=nb&tailn=2");
        let first = follower.until("line 5\n");
        assert!(first.contains("line 4\n") && !first.contains("line 3\n"), "{}: {first}", device.name());
        append(&log, &lines(6, 6));
        follower.until("line 6\n");
        fs::rename(&log, device.logs.join("0/nb/a.log.1")).expect("rotate");
        append(&device.logs.join("0/nb/a.log.1"), &lines(7, 7));
        append(&log, &lines(8, 8));
        let both = follower.until("line 8\n");
        assert!(both.contains("line 7\n") && both.contains("==> a.log <==\n"), "{}: {both}", device.name());
        // Cut short in its place.
        write(&log, "");
        std::thread::sleep(Duration::from_millis(700));
        append(&log, "9\n");
        let rest = follower.until("9\n");
        assert!(!rest.contains("line"), "{}: {rest}", device.name());
        append(&device.logs.join("0/nb/b.log"), "anew\n");
        assert!(follower.until("anew\n").contains("==> b.log <==\n"), "{}", device.name());
    }
}

#[test]
fn so_many_follow_over_all_processes_and_no_more() {
    let device = Device::start(Back::Storage, Shape::Serve);
    write(&device.logs.join("0/nb/a.log"), "a line\n");
    let mut command = agent::command();
    command.args(["serve", "--port", "0", "--storage"]).arg(&device.storage).arg("--log-dir").arg(&device.logs);
    let other = agent::Server::spawn(command);
    let query = "source=nb";
    let mut followers: Vec<_> = [device.server.host(), other.host()]
        .iter()
        .flat_map(|host| (0..4).map(|_| Follower::at(host, query)).collect::<Vec<_>>())
        .collect();
    for follower in &mut followers {
        follower.until("a line\n");
    }
    let more = || device.get(&format!("logs?tail=true&follow=true&{query}"));
    device.refused(&more(), 503, "busy");
    assert_eq!(device.get(&format!("logs?tail=true&{query}")).status, 200, "who only looks is not counted");
    followers.clear();
    let deadline = Instant::now() + program::patience(Duration::from_secs(20));
    loop {
        // A slot is free as soon as somebody sees that its client has gone.
        let mut next = Follower::begin(&device, query);
        if next.until("\r\n").contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "nobody's slot is free");
        std::thread::sleep(Duration::from_millis(50));
    }
    agent::assert_clean(&device.storage, "followers");
}

#[test]
fn a_signal_ends_who_follows() {
    let device = Device::start(Back::Storage, Shape::Serve);
    write(&device.logs.join("0/nb/a.log"), "a line\n");
    let mut follower = Follower::begin(&device, "source=nb");
    follower.until("a line\n");
    let pid = device.server.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    // The body ends as it should, and nothing is cut off.
    let mut rest = String::new();
    follower.stream.read_to_string(&mut rest).expect("the end");
    assert!((follower.text + &rest).ends_with("0\r\n\r\n"), "{rest:?}");
    let Device { mut server, .. } = device;
    let deadline = Instant::now() + program::patience(Duration::from_secs(20));
    while !server.ended() {
        assert!(Instant::now() < deadline, "the server is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!server.log().contains("cut"), "{}", server.log());
}

#[test]
fn a_log_of_any_size_takes_no_memory() {
    let device = Device::with(Back::Storage, Shape::Serve, Config::default(), &[]);
    let log = device.logs.join("0/nb/a.log");
    write(&log, "");
    // Nothing but a hole, and a line.
    fs::OpenOptions::new().write(true).open(&log).and_then(|file| file.set_len(1 << 33)).expect("a large file");
    append(&log, "\nthe end\n");
    let tail = device.get("logs?source=nb&tail=true&tailn=1");
    assert_eq!((tail.status, tail.body.as_slice()), (200, &b"the end\n"[..]));
    let mut conn = Conn::open(&device.server.host()).expect("connect");
    conn.send("GET", "/cgi-bin/logs?source=nb", &[], b"").expect("send");
    let mut stream = conn.socket().expect("a socket");
    let (mut piece, mut got) = (vec![0; 1 << 20], 0);
    while got < 256 << 20 {
        got += stream.read(&mut piece).expect("more of the log");
    }
    if !program::emulated() {
        let peak = device.server.memory_kib("VmHWM");
        assert!(peak < 64 * 1024, "{peak} KiB");
    }
}
