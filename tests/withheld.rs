//! What busybox httpd withholds of a body, and where the program takes it from: `docs/cgi.md` says why that is sound, and these
//! tests show it. A filter takes away the system call that it needs, as an old kernel or a strict one does.
#![cfg(target_arch = "x86_64")]
mod black_box;
mod shape;

use black_box::agent::{self, announcement};
use black_box::http::{Conn, Response};
use black_box::seed::{Seed, visible};
use black_box::{program, sha256, skip};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use shape::Shape;
use shape::device::{Back, Device};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

const PIDFD_OPEN: i64 = 434;
const PIDFD_GETFD: i64 = 438;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Without these calls for this thread and for what it starts.
fn without(calls: &[i64], error: u32) {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), TargetArch::x86_64);
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    apply_filter(&program).expect("apply the filter");
}

/// busybox httpd, if it can be had and its parent is what the kernel knows as such.
fn busybox(test: &str) -> Option<Shape> {
    if program::emulated() {
        skip(test, "the emulator stands between the program and the web server");
        return None;
    }
    Shape::cgi(test).into_iter().find(|shape| *shape == Shape::Busybox)
}

fn put(device: &Device, bytes: &[u8]) -> Response {
    device.ask("PUT", &format!("objects/{}/blob", sha256(bytes)), &[], bytes)
}

/// Old (5.2 and before; 5.5 and before), and strict: another user, `ptrace` restricted.
#[test]
fn a_kernel_that_does_not_hand_the_connection_over_is_an_answer() {
    let Some(shape) = busybox("a_kernel_that_does_not_hand") else { return };
    for (calls, error) in [(&[PIDFD_OPEN, PIDFD_GETFD][..], ENOSYS), (&[PIDFD_GETFD], ENOSYS), (&[PIDFD_GETFD], EPERM)]
    {
        for back in Back::BOTH {
            std::thread::scope(|scope| scope.spawn(|| withheld(shape, back, calls, error)).join()).expect("the test");
        }
    }
}

fn withheld(shape: Shape, back: Back, calls: &[i64], error: u32) {
    without(calls, error);
    let device = Device::start(shape, back);
    let before = visible(&device.store());
    let large = vec![9; 1_000_000];
    let answer = put(&device, &large);
    assert_eq!(answer.status, 501, "{}: {answer}", device.name());
    let said = answer.json();
    assert_eq!(said["reason"], "body-withheld");
    assert!(said["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{answer}");
    let text = announcement(&"n".repeat(5000), &sha256(b"x"), 1);
    let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let chunked = device.ask("POST", "objects", &[("Transfer-Encoding", "chunked")], body.as_bytes());
    assert_eq!((chunked.status, &chunked.json()["reason"]), (501, &"body-withheld".into()), "{chunked}");
    assert_eq!(visible(&device.store()), before, "{}", device.name());

    // What it hands over itself still goes: bodies of a POST, and those that come together with the head.
    assert_eq!(device.server.announce(&sha256(&large), large.len()).expect("an answer").status, 200);
    let (sha, host) = (sha256(b"small"), device.server.host());
    let head =
        format!("PUT /cgi-bin/pvr/objects/{sha}/blob HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nsmall");
    assert_eq!(device.raw(head.as_bytes(), "PUT").status, 200, "{}", device.name());
    assert_eq!(std::fs::read(device.object(&sha)).expect("the object"), b"small");
    device.assert_clean("without the rest of a body");
}

/// Wherever a piece ends: what the server has read already comes first, the rest from the connection.
#[test]
fn no_byte_is_lost_or_read_twice_wherever_the_server_has_stopped_reading() {
    let Some(shape) = busybox("no_byte_is_lost") else { return };
    for back in Back::BOTH {
        let device = Device::start(shape, back);
        for (round, at_first) in
            [0, 1, 500, 900, 1000, 1023, 1024, 1025, 2000, 4096, 8192, 9000, 60_000].iter().enumerate()
        {
            let bytes: Vec<u8> = (0..60_000u32).map(|i| (i * 7 + round as u32) as u8 ^ (i >> 8) as u8).collect();
            let path = format!("/cgi-bin/pvr/objects/{}/blob", sha256(&bytes));
            let mut head = format!("PUT {path} HTTP/1.1\r\nHost: {}\r\n", device.server.host());
            head += &format!("Content-Length: {}\r\n\r\n", bytes.len());
            let mut conn = Conn::open(&device.server.host()).expect("connect");
            conn.raw(&[head.as_bytes(), &bytes[..*at_first]].concat()).expect("send");
            for piece in bytes[*at_first..].chunks(7001) {
                std::thread::sleep(Duration::from_millis(10));
                conn.raw(piece).expect("send");
            }
            let answer = conn.receive("PUT").expect("an answer");
            assert_eq!(answer.status, 200, "{}: {at_first}: {answer}", device.name());
            assert!(std::fs::read(device.object(&sha256(&bytes))).expect("the object") == bytes, "{at_first}");
        }
        device.assert_clean("slow uploads");
    }
}

/// The program may have taken bytes behind the body out of the connection. The server serves one request and says so; what is
/// behind it is nobody's, and a client sends it again.
#[test]
fn what_is_sent_behind_an_upload_is_not_done() {
    let Some(shape) = busybox("what_is_sent_behind") else { return };
    let device = Device::start(shape, Back::Storage);
    let host = device.server.host();
    let other = device.state.replace("kernel.img\"}", "other.img\"}");
    for len in [10, 1000, 100_000] {
        let bytes = vec![len as u8; len];
        let head = format!(
            "PUT /cgi-bin/pvr/objects/{}/blob HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\n\r\n",
            sha256(&bytes)
        );
        let behind =
            format!("PUT /cgi-bin/pvr/json HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{other}", other.len());
        let mut conn = Conn::open(&host).expect("connect");
        conn.raw(&[head.as_bytes(), &bytes, behind.as_bytes()].concat()).expect("send");
        let answer = conn.receive("PUT").expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{len}: {answer}");
        assert!(conn.receive("PUT").is_err(), "{len}: one answer");
        assert_eq!(device.get("json").body, device.state.as_bytes(), "{len}");
    }
    device.assert_clean("pipelined requests");
}

/// A descriptor of the parent counts only if it is the connection with the client that the server named.
#[test]
fn a_parent_that_is_no_web_server_is_not_read() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let before = visible(root.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let stranger = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let port = stranger.local_addr().expect("an address").port().to_string();
    let mut command = agent::command();
    command.arg("cgi").env("PVR_AGENT_STORAGE", root.path()).env("REQUEST_METHOD", "PUT");
    command.env("SERVER_SOFTWARE", "busybox httpd/1.35.0").env("REMOTE_ADDR", "127.0.0.1").env("REMOTE_PORT", &port);
    command.env("PATH_INFO", format!("/objects/{}/blob", sha256(b"abcdef"))).env("HTTP_CONTENT_LENGTH", "6");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("run pvr-agent");
    child.stdin.take().expect("stdin").write_all(b"abc").expect("write");
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Status: 501 ") && text.contains("body-withheld"), "{text}");
    assert_eq!(visible(root.path()), before);
}
