//! Fifty thousand requests that nobody should send: the program answers each or ends its connection, takes none of them for another
//! one, stays within its memory and serves whoever asks properly.

mod black_box;
mod hostile;

use black_box::agent::{self, Server};
use black_box::http::Conn;
use black_box::seed::{Seed, debris, visible};
use black_box::{Dice, program, rounds};
use hostile::answers::{Answer, parse};
use hostile::connect_from;
use hostile::requests::{ABSENT, Case, Generator, Rule, SMUGGLED};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// As many as the issue names, and after how many of them somebody asks properly.
const REQUESTS: usize = 50_000;
const BETWEEN: usize = 1_000;
/// Connections at one time.
const CLIENTS: usize = 8;
/// Of the resident memory of the program, at its highest: as it goes onto a device, and as cargo builds it for tests, with TLS,
/// unoptimised, and with a heap of its own for each thread.
const MEMORY_KIB: u64 = 16 * 1024;
const MEMORY_OF_DEBUG_KIB: u64 = 32 * 1024;

/// Sends it and reads to the end of the connection. An end by reset is one.
fn exchange(case: &Case, address: SocketAddr, from: u8) -> Vec<u8> {
    let mut stream = connect_from(from, address).expect("connect");
    let patience = Some(program::patience(Duration::from_secs(15)));
    stream.set_read_timeout(patience).expect("a time limit");
    stream.set_write_timeout(patience).expect("a time limit");
    // The server may have heard enough.
    let _ = stream.write_all(&case.bytes);
    if case.rule == Rule::Any {
        // Of these, nobody knows whether more is waited for.
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(got) => bytes.extend_from_slice(&piece[..got]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("{}: no end of the connection: {error}\n{}", case.kind, shown(&case.bytes)),
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("{} bytes: {}", bytes.len(), bytes[..bytes.len().min(700)].escape_ascii())
}

/// What is wrong with what came for it.
fn wrong(case: &Case, bytes: &[u8], state: &str) -> Option<String> {
    let answers = match parse(bytes, case.bodiless) {
        // A refusal of a head that could not be read has a body, whatever the method was to be.
        Err(_) if case.bodiless => parse(bytes, false),
        answers => answers,
    };
    let answers = match answers {
        Ok(answers) => answers,
        // Whoever ends its side early may not get all of an answer.
        Err(_) if case.rule == Rule::Any => return None,
        Err(why) => return Some(why),
    };
    if let Some(wrong) = answers.iter().enumerate().find_map(|(at, answer)| answer.wrong(case.bodiless && at == 0)) {
        return Some(wrong);
    }
    let is_good = |answer: &Answer| answer.status == 200 && answer.body == state.as_bytes();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let right = match (case.rule, answers.as_slice()) {
        (Rule::Any, _) => true,
        (Rule::Refused, [one]) => one.status >= 400,
        (Rule::Once, [_]) => true,
        (Rule::RefusedThenGood, [one]) => one.status >= 400,
        (Rule::RefusedThenGood, [one, good]) => one.status >= 400 && is_good(good),
        (Rule::Good(count), all) => all.len() == count && all.iter().all(is_good),
        _ => false,
    };
    (!right).then(|| format!("{:?} was answered with {statuses:?}", case.rule))
}

/// A request as it should be, and an object that comes and is asked for.
fn ask_properly(server: &Server, state: &str) {
    let mut conn = Conn::open(&server.host()).expect("connect");
    for _ in 0..2 {
        let answer = conn.ask("GET", "/cgi-bin/pvr/json", &[], b"").expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, state.as_bytes()), "{answer}");
    }
    server.upload(b"an object between all that").expect("an upload");
}

#[test]
fn fifty_thousand_malformed_requests() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let state = std::fs::read_to_string(root.path().join("trails/0/.pvr/json")).expect("the state");
    let mut server = Server::start(root.path());
    let address: SocketAddr = server.host().parse().expect("an address");
    ask_properly(&server, &state);
    let (before, pid) = (visible(root.path()), server.pid());
    let mut generator = Generator::new(server.host(), Dice::new("malformed"));
    let (total, mut kinds) = (rounds(REQUESTS, BETWEEN), BTreeMap::<_, (usize, usize)>::new());
    for thousand in 0..total.div_ceil(BETWEEN) {
        let count = BETWEEN.min(total - thousand * BETWEEN);
        let cases: Vec<Case> = (0..count).map(|_| generator.case()).collect();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let found = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (cases, next, found, state) = (&cases, &next, &found, &state);
                scope.spawn(move || {
                    while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                        let bytes = exchange(case, address, client as u8 + 2);
                        let wrong = wrong(case, &bytes, state);
                        found.lock().expect("a list").push((case, wrong, bytes));
                    }
                });
            }
        });
        assert!(!server.ended(), "the program has ended:\n{}", server.log());
        let found = found.into_inner().expect("a list");
        assert_eq!(found.len(), count);
        for (case, wrong, bytes) in found {
            let count = kinds.entry(case.kind).or_default();
            *count = (count.0 + 1, count.1 + usize::from(!bytes.is_empty()));
            if let Some(why) = wrong {
                panic!(
                    "{} of thousand {thousand}: {why}\n{}\nanswer: {}",
                    case.kind,
                    shown(&case.bytes),
                    shown(&bytes)
                );
            }
        }
        ask_properly(&server, &state);
    }
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains(SMUGGLED), "what was smuggled was taken for a request");
    assert_eq!(server.pid(), pid);
    let mut after = visible(root.path());
    // What is changed by chance may be an upload as it should be: one byte more, and it is. All others had to be refused.
    after.remove(&format!("objects/{ABSENT}"));
    assert_eq!(after, before, "nothing was left behind");
    let peak = (!program::emulated()).then(|| server.memory_kib("VmHWM"));
    server.kill();
    assert_eq!(debris(root.path()), Vec::<String>::new());
    agent::assert_clean(root.path(), "malformed requests");
    for (kind, (sent, answered)) in &kinds {
        println!("{kind}: {sent} sent, {answered} answered");
        assert!(*answered > 0, "no {kind} was ever answered");
    }
    let between = total.div_ceil(BETWEEN);
    println!("{total} malformed requests, {between} times proper ones between, memory {peak:?} KiB at most");
    let limit = if program::is_told() { MEMORY_KIB } else { MEMORY_OF_DEBUG_KIB };
    assert!(peak.is_none_or(|peak| peak < limit), "{peak:?} KiB");
}
