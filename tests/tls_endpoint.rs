//! The limits of the endpoint where TLS is in between: slow, silent and hostile clients, and how connections end.
#![cfg(feature = "tls")]

#[path = "pki/mod.rs"]
mod pki;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pki::{HERE, Pki};
use pvr_agent::endpoint::{Ended, Limits, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::{Server, factory_state, kernel, sha};

struct Site {
    server: Server,
    config: Arc<ClientConfig>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// The server said that this is the end.
    ended: bool,
}

type Client = StreamOwned<ClientConnection, TcpStream>;

const MS: Duration = Duration::from_millis(1);

impl Site {
    fn new(limits: Limits) -> Self {
        let pki = Pki::new();
        let server = Server::https(limits, Tls::load(pki.leaf("leaf", HERE)).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Self { server, config: Arc::new(config.with_root_certificates(roots).with_no_client_auth()) }
    }

    fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.server.address).unwrap();
        tcp.set_read_timeout(Some(20_000 * MS)).unwrap();
        tcp
    }

    fn connect(&self) -> Client {
        let session = ClientConnection::new(Arc::clone(&self.config), "localhost".try_into().unwrap()).unwrap();
        let mut client = StreamOwned::new(session, self.tcp());
        client.conn.complete_io(&mut client.sock).unwrap();
        client
    }

    fn head(&self, method: &str, below: &str, more: &str) -> String {
        format!("{method} /cgi-bin/pvr/{below} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", self.server.address)
    }

    fn get(&self, below: &str) -> Answer {
        let mut client = self.connect();
        send(&mut client, self.head("GET", below, "Connection: close\r\n"));
        answer(&mut client)
    }

    /// Waits for a line in the log.
    fn logs(&self, text: &str) {
        let deadline = Instant::now() + 5000 * MS;
        while !self.server.log().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {}", self.server.log());
            thread::sleep(20 * MS);
        }
    }
}

/// Sends; that the server has heard enough is fine.
fn send(client: &mut Client, bytes: impl AsRef<[u8]>) {
    let _ = client.write_all(bytes.as_ref()).and_then(|()| client.flush());
}

/// Reads to the end of the connection, which is the end of one answer.
fn answer(client: &mut Client) -> Answer {
    let mut all = Vec::new();
    let ended = match client.read_to_end(&mut all) {
        Ok(_) => true,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "the server doesn't end the connection");
            false
        }
    };
    let Some(end) = all.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Answer { status: 0, body: all, ended };
    };
    let status = std::str::from_utf8(&all[9..12]).unwrap().parse().unwrap();
    Answer { status, body: all[end + 4..].to_vec(), ended }
}

fn reason(answer: &Answer) -> String {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    json["reason"].as_str().unwrap().to_owned()
}

/// How long it takes until a connection that gets nothing is closed.
fn until_closed(tcp: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let end = tcp.read(&mut [0; 4096]);
    assert!(!matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock), "it is not closed");
    begun.elapsed()
}

#[test]
fn whoever_does_not_shake_hands_is_left() {
    let site = Site::new(Limits { head_time: 3000 * MS, ..Limits::default() });
    let begun = Instant::now();
    until_closed(&mut site.tcp());
    let took = begun.elapsed();
    assert!(took > 2500 * MS && took < 15_000 * MS, "silent: {took:?}");
    site.logs("no TLS handshake within");

    // A hello that drips in.
    let mut drips = site.tcp();
    let begun = Instant::now();
    let mut byte = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain(std::iter::repeat(7));
    while drips.write_all(&[byte.next().unwrap()]).is_ok() {
        assert!(begun.elapsed() < 15_000 * MS, "it is still listened to");
        thread::sleep(50 * MS);
    }

    for garbage in [&[0; 300][..], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], b"\x80\x2e\x01\x03\x01", b"hello\r\n\r\n"] {
        let mut tcp = site.tcp();
        tcp.write_all(garbage).unwrap();
        assert!(until_closed(&mut tcp) < 2500 * MS, "{garbage:?}");
    }
    site.logs("the TLS handshake failed");
    drop(site.tcp());
    assert_eq!(site.get("status").status, 200);
}

#[test]
fn plain_http_is_told_what_is_spoken_here() {
    let site = Site::new(Limits::default());
    for body in [0, 4 << 20] {
        let mut plain = support::Client::connect(site.server.address);
        plain.send(site.head("PUT", "json", &format!("Content-Length: {body}\r\n")));
        plain.send(vec![b' '; body]);
        let answer = plain.response("PUT");
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (400, Some("https-only")), "{answer:?}");
        assert!(plain.is_closed());
    }
    site.logs("https-only");
    assert_eq!(site.get("json").body, factory_state().as_bytes());
}

#[test]
fn a_handshake_makes_room_when_all_connections_are_taken() {
    let site = Site::new(Limits { connections: 8, ..Limits::default() });
    let mut silent: Vec<TcpStream> = (0..8).map(|_| site.tcp()).collect();
    thread::sleep(100 * MS);
    let begun = Instant::now();
    assert_eq!(site.get("status").status, 200);
    assert!(begun.elapsed() < 3000 * MS, "{:?}", begun.elapsed());
    assert!(until_closed(&mut silent[0]) < 1000 * MS, "the one that waited longest went");
    silent[7].set_read_timeout(Some(200 * MS)).unwrap();
    assert_eq!(silent[7].read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "the last one stays");
}

#[test]
fn stopping_waits_for_no_handshake() {
    let site = Site::new(Limits::default());
    let (_silent, _idle) = (site.tcp(), site.connect());
    thread::sleep(100 * MS);
    let begun = Instant::now();
    site.server.stop.ask();
    assert_eq!(site.server.wait(), Ended::Drained);
    assert!(begun.elapsed() < 3000 * MS, "{:?}", begun.elapsed());
}

#[test]
fn clocks_of_heads_and_of_silence() {
    let site = Site::new(Limits { head_time: 3000 * MS, idle_time: 1500 * MS, ..Limits::default() });
    let mut slow = site.connect();
    send(&mut slow, "GET /cgi-bin/pvr/status HTTP/1.1\r\nHo");
    let late = answer(&mut slow);
    assert_eq!((late.status, reason(&late).as_str(), late.ended), (408, "head-too-slow", true));

    let mut unreadable = site.connect();
    send(&mut unreadable, "G\u{1}T / HTTP/1.1\r\n\r\n");
    let refused = answer(&mut unreadable);
    assert_eq!((refused.status, reason(&refused).as_str(), refused.ended), (400, "bad-request-head", true));

    let begun = Instant::now();
    let idle = answer(&mut site.connect());
    assert_eq!(idle.status, 0);
    assert!(begun.elapsed() > 1200 * MS && begun.elapsed() < 8000 * MS, "{:?}", begun.elapsed());
}

#[test]
fn several_requests_in_one_record() {
    let site = Site::new(Limits::default());
    let mut client = site.connect();
    let more = site.head("GET", "json", "");
    send(&mut client, more.repeat(3) + &site.head("GET", "json", "Connection: close\r\n"));
    let all = answer(&mut client);
    let text = String::from_utf8(all.body).unwrap();
    assert!(all.ended);
    assert_eq!(text.matches(&factory_state()).count(), 4, "{text}");
}

#[test]
fn bodies_that_stop_or_are_refused() {
    let limits = Limits { stall_time: 800 * MS, grace: 800 * MS, ..Limits::default() };
    let site = Site::new(limits);
    let before = site.server.snapshot();
    let blob = format!("objects/{}/blob", sha(b"abcdef"));
    let mut stalled = site.connect();
    send(&mut stalled, site.head("PUT", &blob, "Content-Length: 6\r\n") + "abc");
    assert_eq!(answer(&mut stalled).status, 408);

    // Cut off without a word.
    let mut cut = site.connect();
    send(&mut cut, site.head("PUT", &blob, "Content-Length: 6\r\n") + "abc");
    drop(cut.sock.shutdown(std::net::Shutdown::Both));

    // Refused while it is still being sent: the answer is read all the same.
    let size = 64 << 20;
    let mut refused = site.connect();
    let head = site.head("PUT", &format!("objects/{}/blob?size=1", sha(b"")), &format!("Content-Length: {size}\r\n"));
    send(&mut refused, head);
    for _ in 0..32 {
        send(&mut refused, vec![0; 64 << 10]);
    }
    assert_eq!(answer(&mut refused).status, 400);
    let deadline = Instant::now() + 5000 * MS;
    while site.server.snapshot() != before {
        assert!(Instant::now() < deadline, "something stays");
        thread::sleep(20 * MS);
    }
}

/// More than what the two sockets hold between them.
const LARGE: usize = 24 << 20;

fn with_large(limits: Limits) -> (Site, Vec<u8>, String) {
    let site = Site::new(limits);
    let bytes: Vec<u8> = (0..LARGE as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let blob = format!("objects/{}/blob", sha(&bytes));
    let mut client = site.connect();
    send(&mut client, site.head("PUT", &blob, &format!("Connection: close\r\nContent-Length: {LARGE}\r\n")));
    send(&mut client, &bytes);
    assert_eq!(answer(&mut client).status, 200);
    (site, bytes, blob)
}

#[test]
fn a_reader_that_takes_nothing_is_left_and_a_slow_one_is_not() {
    let limits = Limits { stall_time: 1000 * MS, grace: 1000 * MS, min_rate: 1 << 20, ..Limits::default() };
    let (site, bytes, blob) = with_large(limits);
    let mut nothing = site.connect();
    send(&mut nothing, site.head("GET", &blob, ""));
    thread::sleep(3000 * MS);
    let got = answer(&mut nothing);
    assert!(!got.ended && got.body.len() < LARGE, "{} bytes, {}", got.body.len(), got.ended);

    // Slower than the server could, faster than it has to be, and never silent for long.
    let mut slow = site.connect();
    send(&mut slow, site.head("GET", &blob, "Connection: close\r\n"));
    let mut got = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match slow.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => got.extend_from_slice(&piece[..read]),
            Err(error) => panic!("{error} after {} bytes", got.len()),
        }
        // Some 5 MiB per second, if it reads 16 KiB at a time.
        thread::sleep(3 * MS);
    }
    assert!(got.ends_with(&bytes), "{} bytes", got.len());
}

#[test]
fn many_at_once_get_what_they_asked_for() {
    let (site, bytes, blob) = with_large(Limits::default());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let got = site.get(&blob);
                assert!(got.ended && got.body == bytes);
                assert!(site.get(&format!("objects/{}/blob", sha(&kernel()))).body == kernel());
            });
        }
    });
}

/// The last piece of a file is written when the request is done with; it was taken for an answer of the HTTP library.
#[test]
fn the_last_piece_of_a_file_that_reads_like_an_answer_was_kept_from_the_client() {
    let site = Site::new(Limits::default());
    let bytes = [&vec![b'x'; 128 * 1024][..], b"HTTP/1.1 404 Not Found\r\n\r\n"].concat();
    let below = format!("objects/{}/blob", sha(&bytes));
    let mut client = site.connect();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n", bytes.len());
    send(&mut client, site.head("PUT", &below, &length));
    send(&mut client, &bytes);
    assert_eq!(answer(&mut client).status, 200);
    let got = site.get(&below);
    assert!(got.status == 200 && got.body == bytes, "{} bytes", got.body.len());
}
