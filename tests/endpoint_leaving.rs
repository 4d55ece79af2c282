//! Clients that leave before their answer, and clients that are slow to take it.

mod support;

use pvr_agent::endpoint::{Ended, Limits};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use support::{BASE, Server, factory_state, sha};

#[test]
fn posts_whose_clients_had_left_took_every_thread_of_the_server() {
    let server = Server::start();
    let installing = server.storage().store().lock_install().unwrap();
    for number in 0..12 {
        let state = factory_state().replacen("\"app/empty\"", &format!("\"a.json\":{number},\"app/empty\""), 1);
        let envelope = format!("{{\"rev\":\"locals/r{number}\",\"state\":{state}}}");
        let mut client = server.connect();
        client.send(format!("POST /cgi-bin/pvr/steps HTTP/1.1\r\nHost: {}\r\n", server.address));
        client.send(format!("Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", envelope.len()));
        assert_eq!(client.response("POST").status, 100);
        client.send(envelope);
        match number {
            0 => until("the first waits for its turn to install", || is_waited_for(&server)),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    until("the others are seen to have left", || open_connections(&server) == 1);
    let mut client = server.connect();
    client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(client.request("GET", "json", &[], b"").status, 200, "others are served while a post waits");
    drop(installing);
    assert_eq!(server.connect().post(&format!("{{\"state\":{}}}", factory_state())).status, 200);
    let steps = server.get("steps").json().as_array().unwrap().len();
    assert_eq!(steps, 3, "of twelve posts that were given up, one had begun");
}

fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether somebody waits for the right to install.
fn is_waited_for(server: &Server) -> bool {
    let lock = server.storage().store().agent().join("install.lock");
    let end = format!(":{} 0 EOF", std::fs::metadata(lock).unwrap().ino());
    std::fs::read_to_string("/proc/locks").unwrap().lines().any(|line| line.contains("->") && line.ends_with(&end))
}

/// With the one that asks.
fn open_connections(server: &Server) -> u64 {
    let mut client = server.connect();
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    let answer = client.response("GET");
    let value = answer.text().lines().find_map(|line| line.strip_prefix("pvr_agent_connections "));
    value.and_then(|value| value.trim().parse().ok()).expect("how many there are")
}

#[test]
fn what_others_left_behind_stayed_until_the_next_start() {
    let server = Server::with(Limits { sweep_every: Duration::from_millis(100), ..Limits::default() });
    let left = server.storage().root().join(".pvr-agent/tmp/left");
    std::fs::write(&left, b"x").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while left.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!left.exists());
}

#[test]
fn the_end_of_an_answer_that_was_not_taken_yet_was_cut_off_by_a_stop() {
    // How much the kernel takes at once is its own affair: somewhere here only the last piece is left to us.
    for size in (2_000_000..8_000_000).step_by(120_000) {
        let server = Server::start();
        let bytes = vec![7; size];
        assert_eq!(server.upload(&bytes).status, 200);
        let mut client = server.connect();
        let below = format!("{BASE}/objects/{}/blob", sha(&bytes));
        client.send(format!("GET {below} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
        // It has begun to answer.
        assert_eq!(client.stream.peek(&mut [0]).unwrap(), 1);
        server.stop.ask();
        std::thread::sleep(Duration::from_millis(40));
        let answer = client.response("GET");
        assert_eq!((answer.status, answer.body.len()), (200, size));
        drop(client);
        assert_eq!(server.wait(), Ended::Drained);
    }
}
