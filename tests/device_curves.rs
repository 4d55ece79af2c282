//! The arithmetic of curves beside mbedTLS, which is the library that a device verifies with: keys and digests at the edges,
//! numbers that are no part of a signature, every spelling of DER; and the verdict on signatures of every curve with every
//! hash, which OpenSSL makes. A C program (`mbedtls/oracle.c`) answers for mbedTLS.

#[path = "black_box/chance.rs"]
mod chance;
mod verdicts;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use chance::{rounds, skip};
use pvr_agent::sig::base64;
use pvr_agent::sig::device::{Answer, Clock, Policy, Reason, Trust, verify};
use pvr_agent::sig::public::{Curve, Hash, PublicKey, Signature};

/// OpenSSL's name, ours.
const CURVES: [(&str, Curve); 8] = [
    ("P-224", Curve::P224),
    ("P-256", Curve::P256),
    ("P-384", Curve::P384),
    ("P-521", Curve::P521),
    ("secp256k1", Curve::Secp256k1),
    ("brainpoolP256r1", Curve::BrainpoolP256),
    ("brainpoolP384r1", Curve::BrainpoolP384),
    ("brainpoolP512r1", Curve::BrainpoolP512),
];

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What the oracle prints when it is asked for so many random keys; none where there is no mbedTLS.
fn oracle(test: &str, keys: usize) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("oracle");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mbedtls/oracle.c");
    if !Path::new("/usr/include/mbedtls/ecdsa.h").exists() {
        skip(test, "there is no mbedTLS: libmbedtls-dev");
        return None;
    }
    let built = Command::new("cc").arg("-O1").arg("-o").arg(&program).arg(source).arg("-lmbedcrypto").status().unwrap();
    assert!(built.success(), "the oracle does not compile");
    let output = Command::new(program).arg(keys.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A key as a certificate has it.
fn spki(curve: Curve, point: &[u8]) -> Vec<u8> {
    let value = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = match content.len() {
            short @ 0..0x80 => vec![short as u8],
            long => vec![0x81, u8::try_from(long).unwrap()],
        };
        [&[tag][..], &length, &content].concat()
    };
    const EC: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let oid: &[u8] = match curve {
        Curve::P224 => &[0x2b, 0x81, 0x04, 0x00, 0x21],
        Curve::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        Curve::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
        Curve::P521 => &[0x2b, 0x81, 0x04, 0x00, 0x23],
        Curve::Secp256k1 => &[0x2b, 0x81, 0x04, 0x00, 0x0a],
        Curve::BrainpoolP256 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        Curve::BrainpoolP384 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        Curve::BrainpoolP512 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
    };
    let algorithm = value(0x30, &[&EC, &value(0x06, &[oid])]);
    value(0x30, &[&algorithm, &value(0x03, &[&[0], point])])
}

/// Verified and refused, counted for each kind of case.
type Counts = BTreeMap<String, [usize; 2]>;

fn count(counts: &mut Counts, kind: &str, verified: bool) {
    counts.entry(kind.to_owned()).or_default()[usize::from(!verified)] += 1;
}

#[test]
fn numbers_points_and_spellings_as_mbedtls_has_them() {
    let keys = rounds(40, 1);
    let Some(cases) = oracle("numbers_points_and_spellings_as_mbedtls_has_them", keys) else { return };
    let mut counts = Counts::new();
    // What mbedTLS reads besides: it does not hold DER to its one spelling.
    let mut lax: BTreeMap<String, usize> = BTreeMap::new();
    for line in cases.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (_, curve) = CURVES.into_iter().find(|(name, _)| *name == words[1]).unwrap();
        let theirs = words[3] == "1";
        let numbers: Vec<Vec<u8>> = words[4..].iter().map(|word| hex(word)).collect();
        let ours = match (words[0], numbers.as_slice()) {
            ("point", [point]) => PublicKey::from_spki(&spki(curve, point)).is_ok(),
            // The name of the hash counts for RSA alone.
            ("numbers", [point, digest, r, s]) => {
                let key = PublicKey::from_spki(&spki(curve, point)).unwrap();
                key.verify_hashed(Hash::Sha256, digest, Signature::Ecdsa { r, s })
            }
            ("der", [point, digest, der]) => {
                let key = PublicKey::from_spki(&spki(curve, point)).unwrap();
                Signature::ecdsa_from_der(der).is_some_and(|numbers| key.verify_hashed(Hash::Sha256, digest, numbers))
            }
            _ => panic!("{line}"),
        };
        if theirs && !ours && words[0] == "der" {
            *lax.entry(words[2].to_owned()).or_default() += 1;
        } else {
            assert_eq!(ours, theirs, "{line}");
        }
        count(&mut counts, &format!("{} {}", words[0], words[2]), ours);
    }
    println!("{keys} keys by chance on each curve: [verified, refused] {counts:#?}");
    let one_kind: Vec<&str> = lax.keys().map(String::as_str).collect();
    assert_eq!(one_kind, ["long-length", "needless-zero", "no-sign-byte"], "docs/differences.md has these");
    // Every kind came up, and those that can only go one way went that way.
    for (kind, [verified, refused]) in &counts {
        match kind.as_str() {
            "point good" | "numbers good" | "numbers other-s" | "der good" => assert_eq!(*refused, 0, "{kind}"),
            "numbers chance" => {}
            _ => assert_eq!(*verified, 0, "{kind}"),
        }
    }
    assert!(counts.len() >= 25, "{counts:#?}");
}

fn openssl(folder: &Path, words: &str) -> Vec<u8> {
    let out = Command::new("openssl").args(words.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// A state with a signature over all of it.
fn state(header: &str, signature: &[u8]) -> String {
    let mut members = verdicts::members(&[("a/x", r#"{"n":1}"#)]);
    let protected = base64::url(header.as_bytes());
    let signature = base64::url(signature);
    let text = format!(r##"{{"#spec":"pvs@2","protected":"{protected}","signature":"{signature}"}}"##);
    members.insert("_sigs/a.json".to_owned(), text);
    verdicts::text(&members)
}

/// P-521 with SHA-256, P-224 with SHA-512, and all others.
#[test]
fn every_curve_with_every_hash_is_taken_as_a_device_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out other.key");
    let payload = r##"{"#spec":"pantavisor-service-system@1","a/x":{"n":1}}"##;
    for (name, curve) in CURVES {
        openssl(folder, &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{name} -out key"));
        for (algorithm, bits) in [("RS256", 256), ("ES256", 256), ("ES384", 384), ("ES512", 512)] {
            // Its issuer uses the same pair for the certificate.
            openssl(folder, &format!("req -x509 -new -key key -sha{bits} -subj /CN=signer -days 3000 -out crt"));
            let pem = fs::read_to_string(folder.join("crt")).unwrap();
            let trust = Trust::from_pem(&pem).unwrap();
            let x5c: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            let header = format!(
                r##"{{"alg":"{algorithm}","pvs":{{"include":["#spec","a/**"],"exclude":[]}},"typ":"PVS","x5c":["{x5c}"]}}"##
            );
            fs::write(
                folder.join("input"),
                format!("{}.{}", base64::url(header.as_bytes()), base64::url(payload.as_bytes())),
            )
            .unwrap();
            let der = openssl(folder, &format!("dgst -sha{bits} -sign key input"));
            let Some(Signature::Ecdsa { r, s }) = Signature::ecdsa_from_der(&der) else { panic!("{der:x?}") };
            let halves = |width: usize, r: &[u8], s: &[u8]| {
                let padded = |number: &[u8]| [vec![0; width - number.len()], number.to_vec()].concat();
                [padded(r), padded(s)].concat()
            };
            let width = curve.bytes();
            let raw = halves(width, r, s);
            let other = openssl(folder, &format!("dgst -sha{bits} -sign other.key input"));
            let weaker = openssl(folder, &format!("dgst -sha{} -sign key input", if bits == 256 { 512 } else { 256 }));
            for (what, signature, taken) in [
                ("raw", raw.clone(), true),
                ("DER", der.clone(), true),
                ("wide", halves(70, r, s), true),
                ("a byte more", [&raw[..], &[0]].concat(), true),
                ("a byte less", raw[..raw.len() - 1].to_vec(), false),
                ("swapped", halves(width, s, r), false),
                ("r is 0", halves(width, &[], s), false),
                ("s is 0", halves(width, r, &[]), false),
                ("both are 0", halves(width, &[], &[]), false),
                ("by another", other, false),
                ("another hash", weaker, false),
            ] {
                let state = state(&header, &signature);
                for policy in [Policy::Lenient, Policy::Audit, Policy::Strict] {
                    let verdict = verify(state.as_bytes(), &trust, policy, Clock::Unknown);
                    assert_eq!(verdict.accepted, taken, "{name} {algorithm} {what} {policy}: {:?}", verdict.lines());
                    assert_eq!(verdict.device == Answer::Accepted, taken, "{name} {algorithm} {what}");
                }
                // What belongs together by RFC 7518 is all that `hardened` takes.
                let fits = curve.jose().is_some_and(|(_, hash)| algorithm == format!("ES{}", 8 * hash.of(b"").len()));
                let hardened = verify(state.as_bytes(), &trust, Policy::Hardened, Clock::Unknown);
                assert_eq!(hardened.accepted, what == "raw" && fits, "{name} {algorithm} {what}");
                let why = hardened.refusals.iter().any(|refusal| refusal.reason == Reason::Algorithm);
                assert!(!taken || why != hardened.accepted, "{name} {algorithm} {what}");
            }
        }
    }
}
