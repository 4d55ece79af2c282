//! Whatever is altered in a signature, in its certificates or in what it covers: it does not verify any more, and nothing crashes.
//!
//! Each alteration is one byte flipped, dropped or doubled, at a place that is drawn, of the text of a signed state. One that
//! leaves the canonical form of the state as it was is none.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use pvr_agent::sig::cert::Certificate;
use pvr_agent::sig::jws::{Document, Header, Patterns};
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::payload::Selection;
use pvr_agent::sig::verify::{Trust, verify};
use pvr_agent::sig::{base64, chain_pvr};
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Object, Value};

/// So many of `full` as `PVR_ROUNDS` (per cent, 5 if unset) says.
fn rounds(full: usize) -> usize {
    let percent = std::env::var("PVR_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    (full * percent / 100).max(100)
}

/// A small generator of numbers (xorshift), so that a failing run can be repeated from the seed that it prints.
struct Dice(u64);

impl Dice {
    /// Seeded from `PVR_SEED`, or from the keys of the standard library's hasher, which are random.
    fn new(test: &str) -> Self {
        let given = std::env::var("PVR_SEED").ok().and_then(|value| value.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish() | 1);
        println!("{test}: PVR_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// 2027-01-01
const AT: i64 = 1_798_761_600;
const STATE: &str = r##"{"#spec":"pantavisor-service-system@1","_config/app/a.json":{"a":[1,2,{"b":null}]},"app/root.squashfs":"7a08ab9a71757efad75bc28b9499f7b404cee80641355c447254f8260c35dd5a","app/run.json":{"#spec":"service-manifest-run@1","n":1.5E0,"name":"app","u":"é<&>"},"app/src.json":{}}"##;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys").join(name)).unwrap()
}

/// A signed state, and whom to believe about it.
struct Signed {
    state: Object,
    trust: Vec<Trust>,
}

const KEY: &str = "_sigs/app.json";

fn parse(text: &[u8]) -> Option<Object> {
    match parse_strict(text, &JsonLimits::default()) {
        Ok(Value::Object(state)) => Some(state),
        _ => None,
    }
}

fn signed(key: &str, chain: Option<&str>) -> Signed {
    let key = PrivateKey::from_pem(&file(key)).unwrap();
    let mut state = parse(STATE.as_bytes()).unwrap();
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let patterns = Patterns { include: list(&["app/**", "_config/app/**"]), exclude: list(&["app/src.json", KEY]) };
    let payload = Selection::of(&state, &patterns).unwrap().payload(&state).unwrap();
    let x5c: Option<Vec<_>> = chain.map(|name| Certificate::from_pem(&file(name)).into_iter().map(|c| c.raw).collect());
    let document = Document::sign(&key, &patterns, x5c.as_deref(), payload.as_bytes()).unwrap();
    state.insert(KEY.to_owned(), parse_strict(document.write(None).as_bytes(), &JsonLimits::default()).unwrap());
    let mut trust = vec![Trust::Keys(vec![key.public().unwrap()])];
    trust.extend(chain.map(|_| Trust::Authorities(Certificate::from_pem(&file("root.pem")))));
    Signed { state, trust }
}

/// Whom a state is by, as far as its one signature says so.
fn verified(state: &Object, trust: &Trust) -> bool {
    let document = state.get(KEY).and_then(|value| Document::from_value(value).ok());
    document.is_some_and(|document| verify(state, &document, trust, AT).is_ok())
}

/// What the signature of a state covers: all members that its patterns select.
fn covered(state: &Object) -> Option<String> {
    let document = Document::from_value(state.get(KEY)?).ok()?;
    Selection::of(state, &document.header.patterns).ok()?.payload(state).ok()
}

fn alter(dice: &mut Dice, text: &[u8], at: usize) -> Vec<u8> {
    let mut out = text.to_vec();
    match dice.below(3) {
        0 => out[at] ^= 1 << dice.below(8),
        1 => drop(out.remove(at)),
        _ => out.insert(at, text[at]),
    }
    out
}

/// Everywhere in the text of the state. What is not covered may change; then the covered part is what it was.
#[test]
fn one_byte_of_a_signed_state() {
    let mut dice = Dice::new("one_byte_of_a_signed_state");
    let rounds = rounds(20_000);
    let cases = [
        signed("rsa.key", Some("rsa.chain.pem")),
        signed("ec.key", Some("ec.chain.pem")),
        signed("ec384.key", None),
        signed("ec521.key", None),
    ];
    let (mut altered, mut same, mut unread, mut beside) = (0, 0, 0, 0);
    for case in &cases {
        assert!(case.trust.iter().all(|trust| verified(&case.state, trust)));
    }
    while altered < rounds {
        let case = &cases[dice.below(cases.len() as u64) as usize];
        let text = to_canonical(&Value::Object(case.state.clone())).unwrap();
        let at = dice.below(text.len() as u64) as usize;
        let Some(state) = parse(&alter(&mut dice, text.as_bytes(), at)) else {
            unread += 1;
            altered += 1;
            continue;
        };
        if to_canonical(&Value::Object(state.clone())).unwrap() == text {
            same += 1;
            continue;
        }
        altered += 1;
        for trust in &case.trust {
            if verified(&state, trust) {
                // Nothing of the signature, and nothing that it covers.
                assert_eq!(state.get(KEY), case.state.get(KEY), "byte {at}");
                assert_eq!(covered(&state), covered(&case.state), "byte {at}");
                beside += 1;
            }
        }
    }
    println!("{altered} alterations: {unread} are no JSON, {beside} beside what is covered; {same} were none");
    assert!(unread < altered / 2 && beside < altered / 5);
}

/// Within what the base64 stands for: header, signature, certificates. The state around them stays.
#[test]
fn one_byte_of_what_is_decoded() {
    let mut dice = Dice::new("one_byte_of_what_is_decoded");
    let rounds = rounds(20_000);
    let cases = [signed("rsa.key", Some("rsa.chain.pem")), signed("ec.key", Some("ec.chain.pem"))];
    for round in 0..rounds {
        let case = &cases[round % 2];
        let mut document = Document::from_value(&case.state[KEY]).unwrap();
        match dice.below(3) {
            0 => {
                let header = base64::from_url(&document.protected).unwrap();
                let at = dice.below(header.len() as u64) as usize;
                let header = alter(&mut dice, &header, at);
                let Ok(read) = Header::parse(&header) else { continue };
                document.protected = base64::url(&header);
                document.header = read;
            }
            1 => {
                let at = dice.below(document.signature.len() as u64) as usize;
                document.signature = alter(&mut dice, &document.signature, at);
            }
            // The header is signed: here the chain alone is looked at.
            _ => {
                let mut x5c = document.header.x5c.clone().unwrap();
                let which = dice.below(x5c.len() as u64) as usize;
                let at = dice.below(x5c[which].len() as u64) as usize;
                x5c[which] = alter(&mut dice, &x5c[which], at);
                let Trust::Authorities(trusted) = &case.trust[1] else { panic!() };
                let chain = chain_pvr::read(&x5c);
                assert!(chain.and_then(|chain| chain_pvr::validate(&chain, trusted, AT)).is_err(), "{which} {at}");
                continue;
            }
        }
        for trust in &case.trust {
            assert!(verify(&case.state, &document, trust, AT).is_err(), "round {round}");
        }
    }
}

/// Every place of a signature's base64: no other spelling of the same bytes is read.
#[test]
fn base64_has_no_stray_bits() {
    let case = signed("ec521.key", None);
    let document = Document::from_value(&case.state[KEY]).unwrap();
    let text = base64::url(&document.signature);
    let digits: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_', '+', '/', '=', ' ', '\n']).collect();
    let mut read = 0;
    for at in 0..text.len() {
        for digit in &digits {
            let other: String = text.chars().enumerate().map(|(i, c)| if i == at { *digit } else { c }).collect();
            match base64::from_url(&other) {
                Some(bytes) => {
                    assert_eq!(bytes == document.signature, other == text);
                    read += 1;
                }
                None => assert!(!digit.is_ascii_alphanumeric() || at + 1 == text.len(), "{at} {digit}"),
            }
        }
    }
    assert!(read > 10_000);
}
