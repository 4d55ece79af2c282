//! A thousand clients that take their time: heads and bodies that come byte by byte, connections that nobody uses, downloads that
//! nobody reads. Whoever asks properly is answered meanwhile, and what all of it costs has an end.

mod black_box;
mod hostile;

use black_box::agent::{self, Server};
use black_box::http::Conn;
use black_box::seed::{Seed, debris};
use black_box::{Dice, per_cent, program, rounds, sha256};
use hostile::connect_from;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// As many, and as long, as the issue names; and the fewest of whom those with a request in progress alone are more than there
/// are places for.
const CLIENTS: usize = 1_000;
const FEWEST: usize = 600;
const SECONDS: usize = 180;
const SHORTEST: usize = 8;
/// From how many addresses: one may have 96 requests in progress, so these may have them all.
const ADDRESSES: usize = 20;
/// Of what a good client reads, 99 of 100. What it uploads is made durable, which takes what the disk of this machine takes.
const WITHIN: Duration = Duration::from_millis(250);
/// Between two of its requests, every so many of which are uploads.
const PAUSE: Duration = Duration::from_millis(10);
const UPLOADS: usize = 20;
/// Between two bytes of the others.
const TICK: Duration = Duration::from_millis(200);
/// Two for each of the 256 places (an upload and a download have a file each), and what the program has for itself.
const DESCRIPTORS: usize = 2 * 256 + 64;
/// Of the resident memory: what 256 requests in progress may have, and the program itself, as it goes onto a device, and as cargo
/// builds it for tests.
const MEMORY_KIB: u64 = 24 * 1024;
const MEMORY_OF_DEBUG_KIB: u64 = 48 * 1024;
/// Enough not to fit into what the kernel keeps of a connection.
const LARGE: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Silent,
    Head,
    Upload,
    ChunkedUpload,
    Post,
    Idle,
    Reader,
}

const KINDS: [Kind; 7] =
    [Kind::Head, Kind::Upload, Kind::Idle, Kind::Reader, Kind::Post, Kind::ChunkedUpload, Kind::Silent];

/// One client: connected, or about to be again.
struct Slow {
    kind: Kind,
    from: u8,
    stream: Option<TcpStream>,
    due: Instant,
}

impl Slow {
    fn connect(&mut self, server: SocketAddr, large: &str, dice: &mut Dice) -> std::io::Result<()> {
        let mut stream = connect_from(self.from, server)?;
        let id = sha256(&dice.bytes(16));
        let host = format!("Host: {server}\r\n");
        let begin = match self.kind {
            Kind::Silent => String::new(),
            Kind::Head => format!("GET /cgi-bin/pvr/json HTTP/1.1\r\n{host}X: "),
            Kind::Upload => {
                format!("PUT /cgi-bin/pvr/objects/{id}/blob HTTP/1.1\r\n{host}Content-Length: 100000\r\n\r\n")
            }
            Kind::ChunkedUpload => {
                format!(
                    "PUT /cgi-bin/pvr/objects/{id}/blob?size=100000 HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n186a0\r\n"
                )
            }
            Kind::Post => format!("POST /cgi-bin/pvr/steps HTTP/1.1\r\n{host}Content-Length: 60000\r\n\r\n{{"),
            Kind::Idle => format!("GET /cgi-bin/pvr/json HTTP/1.1\r\n{host}\r\n"),
            Kind::Reader => {
                rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096)?;
                format!("GET /cgi-bin/pvr/objects/{large}/blob HTTP/1.1\r\n{host}\r\n")
            }
        };
        stream.write_all(begin.as_bytes())?;
        stream.set_nonblocking(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// A byte more. False: the server has ended it.
    fn step(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let alive = |result: std::io::Result<usize>| match result {
            Ok(got) => got > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        let mut piece = [0; 64];
        match self.kind {
            Kind::Head | Kind::Upload | Kind::ChunkedUpload | Kind::Post => {
                alive(stream.write(b" ")) && alive(stream.read(&mut piece))
            }
            Kind::Silent | Kind::Idle | Kind::Reader => alive(stream.read(&mut piece)),
        }
    }
}

/// Keeps its share of clients slow until told to stop. Returns how often one of them was cut off.
fn be_slow(mut clients: Vec<Slow>, server: SocketAddr, large: &str, mut dice: Dice, stop: &AtomicBool) -> usize {
    let mut cut = 0;
    while !stop.load(Ordering::Relaxed) {
        for client in &mut clients {
            if client.due > Instant::now() {
                continue;
            }
            client.due = Instant::now() + TICK;
            if client.stream.is_none() {
                // One that is in nobody's way any more may come again.
                let _ = client.connect(server, large, &mut dice);
            } else if !client.step() {
                cut += 1;
                client.stream = None;
                client.due += Duration::from_millis(500 + dice.below(1500));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    cut
}

/// What a good client does, and how long it took. One whose connection ends without an answer asks again, as clients do; how often
/// that was is counted.
fn ask(server: &Server, number: usize, state: &str, dice: &mut Dice, again: &mut usize) -> Duration {
    let begun = Instant::now();
    let object = dice.bytes(2000);
    let asked = || -> std::io::Result<()> {
        if number.is_multiple_of(UPLOADS) {
            return server.upload(&object).map(drop);
        }
        let answer = Conn::open(&server.host())?.ask("GET", "/cgi-bin/pvr/json", &[], b"")?;
        assert_eq!((answer.status, answer.body.as_slice()), (200, state.as_bytes()), "{answer}");
        Ok(())
    };
    while let Err(error) = asked() {
        let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(ended.contains(&error.kind()) && begun.elapsed() < Duration::from_secs(30), "no answer: {error}");
        *again += 1;
    }
    begun.elapsed()
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count)
}

#[test]
fn a_thousand_slow_clients() {
    let root = tempfile::tempdir().expect("a folder");
    let seed = Seed::factory(root.path());
    let state = std::fs::read_to_string(root.path().join("trails/0/.pvr/json")).expect("the state");
    let mut dice = Dice::new("slow");
    let large = seed.object(&dice.bytes(LARGE));
    hostile::allow_descriptors();
    let mut server = Server::start(root.path());
    let address: SocketAddr = server.host().parse().expect("an address");
    let (count, time) = (rounds(CLIENTS, FEWEST), Duration::from_secs(rounds(SECONDS, SHORTEST) as u64));
    // An object that was never asked for is hashed once, which is nobody's fault.
    let answer = Conn::open(&server.host()).expect("connect");
    { answer }.ask("HEAD", &format!("/cgi-bin/pvr/objects/{large}/blob"), &[], b"").expect("an answer");
    let at_rest = descriptors(&server);

    let stop = AtomicBool::new(false);
    let (mut took, mut uploads) = (Vec::new(), Vec::new());
    let (mut most, mut again, cut) = (0, 0, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ours = (0..count).filter(|at| at % 2 == half);
            let clients = ours.map(|at| Slow {
                kind: KINDS[at % KINDS.len()],
                from: 2 + (at / KINDS.len() % ADDRESSES) as u8,
                stream: None,
                due: Instant::now(),
            });
            let (clients, dice) = (clients.collect(), Dice::new("a slow half"));
            let (large, stop, cut) = (&large, &stop, &cut);
            scope.spawn(move || cut.fetch_add(be_slow(clients, address, large, dice, stop), Ordering::Relaxed));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let begun = Instant::now();
            while begun.elapsed() < time {
                let number = took.len() + uploads.len();
                let time = ask(&server, number, &state, &mut dice, &mut again);
                if number.is_multiple_of(UPLOADS) {
                    uploads.push(time);
                } else {
                    took.push(time);
                }
                most = most.max(descriptors(&server));
                std::thread::sleep(PAUSE);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    });
    assert!(!server.ended(), "the program has ended:\n{}", server.log());
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    let peak = (!program::emulated()).then(|| server.memory_kib("VmHWM"));
    println!(
        "{count} slow clients for {} s, cut off {} times; {} good requests: median {:?}, 99 of 100 within {:?}, all within {:?}; {} uploads within {:?}; \
         {again} asked again; {most} descriptors (at rest {at_rest}), memory {peak:?} KiB at most",
        time.as_secs(),
        cut.load(Ordering::Relaxed),
        took.len(),
        at(50),
        at(99),
        at(100),
        uploads.len(),
        uploads.iter().max()
    );
    assert!(took.len() > 10, "a good client was kept from asking: {took:?}");
    // Of a few requests to a debug build, beside other builds, it shows that a good client gets its answers, not how fast.
    let (within, one_in) =
        if program::is_told() || per_cent() == 100 { (program::patience(WITHIN), 50) } else { (8 * WITHIN, 5) };
    assert!(at(99) < within, "99 of 100 within {:?}", at(99));
    // What they wait for besides is the disk.
    let longest = uploads.iter().max().copied().unwrap_or_default();
    let bound = if program::is_told() { program::patience(Duration::from_secs(10)) } else { Duration::from_secs(60) };
    assert!(longest < bound, "an upload took {longest:?}");
    // An emulated processor takes so long for each that there are too many at once.
    assert!(program::emulated() || again * one_in <= took.len(), "{again} of {} were cut off", took.len());
    assert!(most > at_rest + 200, "these were no crowd: {most} descriptors");
    assert!(most <= DESCRIPTORS, "{most} descriptors");
    let limit = if program::is_told() { MEMORY_KIB } else { MEMORY_OF_DEBUG_KIB };
    assert!(peak.is_none_or(|peak| peak < limit), "{peak:?} KiB");

    // They are gone, and so is all that they held.
    let begun = Instant::now();
    while descriptors(&server) > at_rest + 8 && begun.elapsed() < program::patience(Duration::from_secs(20)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = descriptors(&server);
    assert!(left <= at_rest + 8, "{left} descriptors are left of {most}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.kill();
    assert_eq!(debris(root.path()), Vec::<String>::new());
    agent::assert_clean(root.path(), "slow clients");
}
