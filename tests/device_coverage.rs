//! What a signature covers on a device (`storage.md` §5, §6.2, §11.9), as a table: each row is signed over exactly the keys
//! that it names as included, so that a matcher which selects one more or one less finds the signature wrong.

mod verdicts;

use pvr_agent::sig::device::{Answer, Clock, Policy, Reason, Trust, verify};
use std::fs;
use verdicts::{folder, header, members, signature, text, trust};

const KEYS: [&str; 13] =
    [".h/x", "A/x", "a/.h", "a/c", "a/d/c", "a/d/e/c", "a/j.json", "a/src.json", "a/x", "b/x", "j.json", "x", "é/x"];

fn state() -> std::collections::BTreeMap<String, String> {
    members(&KEYS.map(|key| (key, if key.ends_with(".json") { r#"{"k":[1,"v"]}"# } else { r#""ab""# })))
}

/// Include, exclude, included, excluded.
type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);

const IN_A: &[&str] = &["a/.h", "a/c", "a/d/c", "a/d/e/c", "a/j.json", "a/src.json", "a/x"];

const TABLE: &[Row<'_>] = &[
    (&["**"], &[], &[], &[]),
    (&["*"], &[], &["#spec", "j.json", "x"], &[]),
    (&["#spec"], &[], &["#spec"], &[]),
    (&["a/**"], &[], IN_A, &[]),
    (&["a/*"], &[], &["a/.h", "a/c", "a/j.json", "a/src.json", "a/x"], &[]),
    (&["*/x"], &[], &[".h/x", "A/x", "a/x", "b/x", "é/x"], &[]),
    (&["?/x"], &[], &["A/x", "a/x", "b/x"], &[]),
    (&["??/x"], &[], &[".h/x", "é/x"], &[]),
    (&["[ab]/x"], &[], &["a/x", "b/x"], &[]),
    (&["[!a]/x"], &[], &["A/x", "b/x"], &[]),
    (&["[[:upper:]]/**"], &[], &["A/x"], &[]),
    (&["**/src.json"], &[], &["a/src.json"], &[]),
    (&["a/**/c"], &[], &["a/d/c"], &[]),
    (&["a/*/*/c"], &[], &["a/d/e/c"], &[]),
    (&["a/d"], &[], &[], &[]),
    (&["a/d/**"], &[], &["a/d/c", "a/d/e/c"], &[]),
    (&["x/**"], &[], &["x"], &[]),
    (&["{a,b}/x"], &[], &[], &[]),
    (&["a/"], &[], &[], &[]),
    (&["a**"], &[], &[], &[]),
    (&["a/**"], &["a/src.json"], &["a/.h", "a/c", "a/d/c", "a/d/e/c", "a/j.json", "a/x"], &["a/src.json"]),
    (&["a/**"], &["a/d/**"], &["a/.h", "a/c", "a/j.json", "a/src.json", "a/x"], &["a/d/c", "a/d/e/c"]),
    (&["a/x"], &["b/x"], &["a/x"], &["b/x"]),
    (&["a/x"], &["a/**"], &[], IN_A),
    (&["a/**"], &["**"], IN_A, &[]),
    (&["é/x"], &["*/x"], &[], &[".h/x", "A/x", "a/x", "b/x", "é/x"]),
    (&[], &["*"], &[], &["#spec", "j.json", "x"]),
];

#[test]
fn the_table() {
    let trust = trust();
    for (include, exclude, included, excluded) in TABLE {
        let mut state = state();
        let signed = signature(&state, &header(include, exclude), included);
        state.insert("_sigs/a.json".to_owned(), signed);
        let verdict = verify(text(&state).as_bytes(), &trust, Policy::Lenient, Clock::Unknown);
        assert!(verdict.accepted, "{include:?} {exclude:?}: {verdict:?}");
        for report in &verdict.keys {
            let want = |list: &[&str]| if list.contains(&report.key.as_str()) { vec![0] } else { vec![] };
            assert_eq!(report.included, want(included), "{include:?} {exclude:?}: {}", report.key);
            assert_eq!(report.excluded, want(excluded), "{include:?} {exclude:?}: {}", report.key);
        }
        // Strict: what no pattern matches is what it names, `_sigs/` aside.
        let strict = verify(text(&state).as_bytes(), &trust, Policy::Strict, Clock::Unknown);
        assert_eq!(strict.device, Answer::NotCovered);
        let uncovered: Vec<&str> = strict.refusals.iter().filter_map(|refusal| refusal.key.as_deref()).collect();
        let mut left: Vec<&str> = state.keys().map(String::as_str).collect();
        left.retain(|key| !included.contains(key) && !excluded.contains(key) && !key.starts_with("_sigs/"));
        assert_eq!(uncovered, left, "{include:?} {exclude:?}");
    }
}

/// Several signatures: each key lists all that cover it; what one includes may another exclude.
#[test]
fn several_signatures() {
    let mut state = state();
    let rows = [
        (
            "_sigs/0.json",
            header(&["*", "*/**"], &["_sigs/**", "a/**"]),
            KEYS.iter().copied().filter(|key| !IN_A.contains(key)).chain(["#spec"]).collect::<Vec<_>>(),
        ),
        (
            "_sigs/1.json",
            header(&["a/**"], &["a/src.json"]),
            IN_A.iter().copied().filter(|key| *key != "a/src.json").collect(),
        ),
    ];
    let signed: Vec<_> = rows.iter().map(|(_, header, keys)| signature(&state, header, keys)).collect();
    for ((name, ..), signed) in rows.iter().zip(signed) {
        state.insert((*name).to_owned(), signed);
    }
    for policy in [Policy::Lenient, Policy::Strict, Policy::Hardened] {
        let verdict = verify(text(&state).as_bytes(), &trust(), policy, Clock::Unknown);
        assert!(verdict.accepted, "{policy}: {:?}", verdict.refusals);
        let of = |key: &str| {
            let report = verdict.keys.iter().find(|report| report.key == key).unwrap();
            (report.included.clone(), report.excluded.clone())
        };
        assert_eq!(of("a/x"), (vec![1], vec![0]));
        assert_eq!(of("a/src.json"), (vec![], vec![0, 1]));
        assert_eq!(of("b/x"), (vec![0], vec![]));
        let signers: Vec<_> =
            verdict.signatures.iter().map(|report| (report.signer.as_deref(), report.chain.len())).collect();
        assert_eq!(signers, [(Some("CN=p256"), 2), (Some("CN=p256"), 2)]);
    }
}

/// The maker of a device may sign what is neither `bsp` nor its own folder, by certificates of a store of its own.
#[test]
fn the_maker_of_a_device() {
    let stores = fs::read_to_string(folder().join("trust.crt")).unwrap();
    let other = fs::read_to_string(folder().join("p256.crt")).unwrap();
    // The certificate's CN is p256. As the maker's, only p256.crt itself is trusted here, which vouches for nobody.
    let maker = |name: &str| Trust::from_pem(&stores).unwrap().with_oem(name, &other).unwrap();
    for (include, keys, name, taken) in [
        ("a/x", "a/x", "p256", false),
        ("a/x", "a/x", "other", true),
        ("bsp/**", "bsp/k", "p256", true),
        ("p256/**", "p256/k", "p256", true),
    ] {
        let mut state = members(&[("a/x", r#""ab""#), ("bsp/k", r#""ab""#), ("p256/k", r#""ab""#)]);
        let signed = signature(&state, &header(&[include], &[]), &[keys]);
        state.insert("_sigs/a.json".to_owned(), signed);
        let verdict = verify(text(&state).as_bytes(), &maker(name), Policy::Lenient, Clock::Unknown);
        assert_eq!(verdict.accepted, taken, "{include} {name}: {:?}", verdict.refusals);
    }
}

/// Without certificates in the header, the device's own key verifies; a public key in the trust file is that.
#[test]
fn the_key_of_a_device() {
    let pem = fs::read_to_string(folder().join("p256.key")).unwrap();
    let key = pvr_agent::sig::key::PrivateKey::from_pem(&pem).unwrap().public().unwrap();
    let (x, y) = key.coordinates().unwrap();
    let prefix = [
        0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
        3, 0x42, 0, 4,
    ];
    let spki = pvr_agent::sig::base64::standard(&[&prefix[..], x, y].concat());
    let trust = Trust::from_pem(&format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")).unwrap();
    let header = r#"{"alg":"ES256","pvs":{"include":["*","*/**"],"exclude":[]},"typ":"PVS"}"#;
    let mut state = members(&[("a/x", r#""ab""#)]);
    let signed = signature(&state, header, &["#spec", "a/x"]);
    state.insert("_sigs/a.json".to_owned(), signed);
    let verdict = |trust: &Trust| verify(text(&state).as_bytes(), trust, Policy::Lenient, Clock::Unknown);
    // Its patterns select the signature itself, which cannot have been signed.
    assert!(!verdict(&trust).accepted);
    let header = r#"{"alg":"ES256","pvs":{"include":["*","*/x"],"exclude":[]},"typ":"PVS"}"#;
    state.remove("_sigs/a.json");
    let signed = signature(&state, header, &["#spec", "a/x"]);
    state.insert("_sigs/a.json".to_owned(), signed);
    let verdict = |trust: &Trust, policy| verify(text(&state).as_bytes(), trust, policy, Clock::Unknown);
    assert!(verdict(&trust, Policy::Hardened).accepted, "{:?}", verdict(&trust, Policy::Hardened).refusals);
    let without = verdict(&verdicts::trust(), Policy::Lenient);
    assert_eq!(without.refusals[0].reason, Reason::BadSignature);
    assert!(without.refusals[0].why.contains("no key of its own"), "{}", without.refusals[0].why);
}

/// Everything from outside has a limit.
#[test]
fn limits() {
    let reason = |members: &std::collections::BTreeMap<String, String>| {
        let verdict = verify(text(members).as_bytes(), &trust(), Policy::Lenient, Clock::Unknown);
        assert!(!verdict.accepted && verdict.device == Answer::Unknown);
        verdict.refusals[0].reason
    };
    let mut many = members(&[("a/x", r#""ab""#)]);
    let one = signature(&many, &header(&["a/x"], &[]), &["a/x"]);
    for number in 0..257 {
        many.insert(format!("_sigs/{number}.json"), one.clone());
    }
    assert_eq!(reason(&many), Reason::TooLarge);
    many.remove("_sigs/0.json");
    assert!(verify(text(&many).as_bytes(), &trust(), Policy::Lenient, Clock::Unknown).accepted);

    // Each place of the key is tried, each time to the end of the pattern.
    let slow = format!("k/*{}c", "a".repeat(5_000));
    let key = format!("k/{}b", "a".repeat(60_000));
    let mut work = members(&[(key.as_str(), r#""ab""#), ("a/x", r#""ab""#)]);
    let header_text = header(&[slow.as_str()], &[]);
    let signed = signature(&work, &header_text, &[]);
    work.insert("_sigs/a.json".to_owned(), signed);
    assert_eq!(reason(&work), Reason::TooLarge);
}
