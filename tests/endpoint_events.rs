//! Whoever follows an update keeps a connection for long and writes little: the clocks and the shares of the endpoint.

mod support;

use pvr_agent::endpoint::Limits;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{BASE, Client, Server, factory_state, sha};

/// A server with a revision that nobody runs.
fn server(limits: Limits) -> Server {
    let server = Server::with(limits);
    let body = format!(r#"{{"on-post":"install","rev":"locals/x","state":{}}}"#, factory_state());
    assert_eq!(server.connect().post(&body).status, 200);
    server
}

/// A stream of its events, of which the preamble and the first event have come.
fn stream(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let host = server.address;
    let head =
        format!("GET {BASE}/steps/locals/x/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let begun = read_until(&mut stream, "\"NEW\"");
    assert!(begun.contains("retry: "), "{begun}");
    stream
}

fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let got = stream.read(&mut piece).unwrap();
        assert!(got > 0, "ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..got]);
        if String::from_utf8_lossy(&seen).contains(text) {
            return String::from_utf8(seen).unwrap();
        }
    }
}

fn say(server: &Server, status: &str) {
    let file = server.root.path().join("storage/trails/locals/x/.pv/progress");
    std::fs::write(file, format!(r#"{{"status":"{status}"}}"#)).unwrap();
}

#[test]
fn a_healthy_stream_outlives_every_clock_and_says_that_it_is_there() {
    let short = Duration::from_secs(1);
    let server = server(Limits {
        idle_time: short,
        head_time: short,
        stall_time: short,
        grace: short,
        min_rate: 1 << 20,
        heartbeat: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut stream = stream(&server);
    let begun = Instant::now();
    let mut beats = 0;
    while begun.elapsed() < 2 * short + short / 2 {
        beats += read_until(&mut stream, ":\n\n").matches(":\n\n").count();
    }
    assert!(beats > 2, "{beats}");
    say(&server, "DONE");
    // The connection is as any other from there on: idle, until its time is up.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: end") && rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
}

#[test]
fn who_follows_is_not_at_work_and_leaves_its_place_at_once() {
    let server = server(Limits { per_address: 1, watchers: 3, ..Limits::default() });
    let all: Vec<_> = (0..3).map(|_| stream(&server)).collect();
    // The share of the address is one, and nobody has taken it.
    assert_eq!(server.upload(b"an upload").status, 200);
    assert_eq!(server.get(&format!("objects/{}", sha(b"an upload"))).status, 200);
    let refused = |server: &Server| server.connect().request("GET", "events?stream", &[], b"").status == 503;
    say(&server, "TESTING");
    let id = server.get("steps/locals/x/events").json()["id"].as_str().unwrap().to_owned();
    let poll = format!("steps/locals/x/events?since={id}");
    assert_eq!(server.get(&poll).status, 503);
    assert!(refused(&server));
    // Nothing is written to those who leave, and none of them says so twice.
    drop(all);
    let deadline = Instant::now() + Duration::from_secs(20);
    let places: Vec<_> = std::iter::from_fn(|| {
        assert!(Instant::now() < deadline, "a place stays taken");
        let mut client = Client::connect(server.address);
        client.send(format!("GET {BASE}/{poll} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
        let mut status = [0; 12];
        client.stream.read_exact(&mut status).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        Some((status.ends_with(b"200"), client))
    })
    .filter(|(begun, _)| *begun)
    .take(3)
    .collect();
    assert_eq!((places.len(), server.get(&poll).status), (3, 503));
}

/// Somebody who reads nothing costs no memory: nothing is queued, and what is so in the end is what comes.
#[test]
fn who_reads_late_is_told_how_it_is_by_then() {
    let server = server(Limits::default());
    let mut late = stream(&server);
    for round in 0..6 {
        say(&server, &format!("STATE-{round}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    say(&server, "ERROR");
    let seen = read_until(&mut late, "event: end");
    assert!(seen.contains(r#""status":"ERROR""#), "{seen}");
    assert!(seen.contains(r#"data: {"rev":"locals/x","ended":"ERROR"}"#), "{seen}");
}
