//! Verifying signatures beside `openssl dgst -verify`, in one run on one machine, as ratios.
//!
//!     cargo bench --bench sig
//!     PVR_AGENT_BIN=cross/out/x86_64-unknown-linux-musl/pvr-agent cargo bench --bench sig    another build
//!
//! A state of 20 parts with 10 keys each and a signature for each part, once with RSA 2048 and once with P-256. Four ways of
//! verifying it: the library as `pvr` selects keys, and as a device does; `pvr sig ls` with the public key; and one
//! `openssl dgst -verify` for each of the 20 payloads, which lie in files by then: what selects and spells them is for us
//! alone. Every figure is the median of five runs in turns.
//! Nothing is asserted of the times: the table goes into `docs/performance.md`.
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pvr_agent::sig::device::{self, Clock, Policy};
use pvr_agent::sig::jws::{Document, signing_input};
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::payload::Selection;
use pvr_agent::sig::public::{Kind, PublicKey, Signature};
use pvr_agent::sig::sign::About;
use pvr_agent::sig::verify::{Trust, verify};
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Object, Value};

#[path = "../tests/program/mod.rs"]
mod program;

const PARTS: usize = 20;
const KEYS: usize = 10;
const RUNS: usize = 5;

fn quiet(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().expect("a command");
    assert!(status.success(), "{command:?}");
}

fn openssl(folder: &Path, words: &str) {
    quiet(Command::new("openssl").args(words.split_whitespace()).current_dir(folder).stderr(Stdio::null()));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// ECDSA in the form that OpenSSL reads.
fn der(raw: &[u8]) -> Vec<u8> {
    let number = |half: &[u8]| {
        let mut bytes: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes.first().is_none_or(|first| *first >= 0x80) {
            bytes.insert(0, 0);
        }
        [&[2, bytes.len() as u8][..], &bytes].concat()
    };
    let (r, s) = raw.split_at(raw.len() / 2);
    let inner = [number(r), number(s)].concat();
    let der = [&[0x30, inner.len() as u8][..], &inner].concat();
    assert!(Signature::ecdsa_from_der(&der).is_some());
    der
}

fn state() -> Object {
    let mut text = String::from("{\"#spec\":\"pantavisor-service-system@1\"");
    for part in 0..PARTS {
        for key in 0..KEYS {
            text.push_str(&format!(",\"part{part:02}/file{key}\":\"{}\"", format!("{part:02}{key:02}").repeat(16)));
        }
    }
    text.push('}');
    match parse_strict(text.as_bytes(), &JsonLimits::default()) {
        Ok(Value::Object(state)) => state,
        other => panic!("{other:?}"),
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    println!("verifying {PARTS} signatures over {} keys, median of {RUNS} runs", PARTS * KEYS);
    println!(
        "| keys | library | the same, as a device | `pvr sig ls` | {PARTS} × `openssl dgst -verify` | openssl : `ls` |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, arguments) in [
        ("RSA 2048", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("P-256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
    ] {
        openssl(folder, &format!("genpkey {arguments} -out key"));
        openssl(folder, "pkey -in key -pubout -out public");
        let key = PrivateKey::from_pem(&fs::read_to_string(folder.join("key")).expect("a key")).expect("a key");
        let public: PublicKey = key.public().expect("a key");
        let mut state = state();
        let mut documents = Vec::new();
        for part in 0..PARTS {
            let part = format!("part{part:02}");
            let about = About::Part { name: &part, config: true };
            let patterns = about.patterns(&["**".to_owned()], &["src.json".to_owned()]).expect("patterns");
            let payload = Selection::of(&state, &patterns).expect("patterns").payload(&state).expect("a payload");
            let document = Document::sign(&key, &patterns, None, payload.as_bytes()).expect("a signature");
            let ec = matches!(public.kind(), Kind::Ec(_));
            fs::write(folder.join(format!("{part}.input")), signing_input(&document.protected, payload.as_bytes()))
                .expect("write");
            let signature = if ec { der(&document.signature) } else { document.signature.clone() };
            fs::write(folder.join(format!("{part}.sig")), signature).expect("write");
            documents.push((about.key().expect("a name"), document));
        }
        let repo = folder.join("repo");
        fs::create_dir_all(repo.join("_sigs")).expect("a folder");
        for (key, document) in &documents {
            let text = document.write(None);
            fs::write(key.below(&repo), &text).expect("write");
            state.insert(key.to_string(), parse_strict(text.as_bytes(), &JsonLimits::default()).expect("JSON"));
        }
        if !repo.join(".pvr").exists() {
            quiet(program::command().args(["pvr", "init"]).current_dir(&repo).env("HOME", folder));
        }
        let text = to_canonical(&Value::Object(state.clone())).expect("a state");
        fs::write(repo.join(".pvr/json"), &text).expect("write");
        let trust = Trust::Keys(vec![public]);
        let of_device = fs::read_to_string(folder.join("public")).expect("a key");
        let of_device = device::Trust::from_pem(&of_device).expect("a key");
        let (mut library, mut verdict, mut ls, mut peer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let begun = Instant::now();
            for (_, document) in &documents {
                black_box(verify(&state, document, &trust, 0).expect("it holds"));
            }
            library.push(begun.elapsed());
            let begun = Instant::now();
            let found = device::verify(text.as_bytes(), &of_device, Policy::Lenient, Clock::Unknown);
            verdict.push(begun.elapsed());
            assert!(found.accepted && found.signatures.len() == PARTS, "{:?}", found.lines());
            let begun = Instant::now();
            quiet(
                program::command().args(["pvr", "sig", "-p", "../public", "ls"]).current_dir(&repo).env("HOME", folder),
            );
            ls.push(begun.elapsed());
            let begun = Instant::now();
            for part in 0..PARTS {
                openssl(
                    folder,
                    &format!("dgst -sha256 -verify public -signature part{part:02}.sig part{part:02}.input"),
                );
            }
            peer.push(begun.elapsed());
        }
        let (library, verdict, ls, peer) = (median(library), median(verdict), median(ls), median(peer));
        let ratio = peer.as_secs_f64() / ls.as_secs_f64();
        println!("| {name} | {library:.1?} | {verdict:.1?} | {ls:.1?} | {peer:.1?} | **{ratio:.2}** |");
    }
}
