//! Our answers and those of the HTTP library, which are told apart by when they come.

mod support;

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::time::Duration;
use support::{BASE, Server, sha};

const LIKE_AN_ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// What the library writes by itself was known by its first bytes and by no request being worked on. The last piece of a
/// file is written when the request is done with, and may begin with anything.
#[test]
fn the_end_of_a_file_that_reads_like_an_answer_was_kept_from_the_client() {
    let server = Server::start();
    let tail = [&vec![b'x'; 128 * 1024], LIKE_AN_ANSWER].concat();
    for bytes in [LIKE_AN_ANSWER, &tail] {
        assert_eq!(server.upload(bytes).status, 200);
        // From the disk, so that the head goes out before the body is there.
        let on_disk = File::open(server.storage().store().path(&sha(bytes))).unwrap();
        on_disk.sync_all().unwrap();
        fadvise(&on_disk, 0, None, Advice::DontNeed).unwrap();
        let mut client = server.connect();
        client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let blob = format!("objects/{}/blob", sha(bytes));
        assert!(client.request("GET", &blob, &[], b"").body == bytes, "{} bytes", bytes.len());
        assert_eq!(client.request("GET", "json", &[], b"").status, 200, "and the connection goes on");
    }
}

/// The library answers in the version of the request before, and its answer was looked for in the other version only.
#[test]
fn a_bad_head_behind_a_request_of_http_1_0_was_answered_twice() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(format!("GET {BASE}/json HTTP/1.0\r\nHost: {}\r\nConnection: keep-alive\r\n\r\n", server.address));
    assert_eq!(client.response("GET").status, 200);
    client.send("G\u{1}T / HTTP/1.0\r\n\r\n");
    let answer = client.response("GET");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["reason"], "bad-request-head");
    assert!(client.is_closed(), "after one answer");
}
