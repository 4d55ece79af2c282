//! Signatures made here are verified by OpenSSL and by an independent implementation of JOSE (`tests/jose`), and the other way
//! round; keys, certificates and chains of every kind that OpenSSL makes are read.

#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pvr::Home;
use pvr_agent::sig::base64;
use pvr_agent::sig::cert::Certificate;
use pvr_agent::sig::chain_pvr::{self, ChainError};
use pvr_agent::sig::jws::Algorithm;
use pvr_agent::sig::public::{Curve, Hash, Kind, PublicKey, Signature};

/// Name, arguments for a key of `openssl genpkey`, algorithm.
const KINDS: [(&str, &str, &str); 6] = [
    ("rsa2048", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RS256"),
    ("rsa1024", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "RS256"),
    ("rsa3072", "-algorithm RSA -pkeyopt rsa_keygen_bits:3072", "RS256"),
    ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ES256"),
    ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ES384"),
    ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "ES512"),
];

fn ran(command: &mut Command) -> Vec<u8> {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn openssl(folder: &Path, words: &str) -> Vec<u8> {
    ran(Command::new("openssl").args(words.split_whitespace()).current_dir(folder))
}

fn fails(folder: &Path, words: &str) {
    let out = Command::new("openssl").args(words.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(!out.status.success(), "{words}");
}

/// The Python that has jwcrypto; `.ci/run` makes it.
fn python() -> Option<PathBuf> {
    let told = std::env::var_os("PVR_JOSE_PYTHON").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let python =
        told.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("jose-venv/bin/python"));
    if python.exists() {
        return Some(python);
    }
    assert!(std::env::var_os("CI_RUN").is_none(), "there is no {}", python.display());
    eprintln!("SKIPPED in part: there is no {}; .ci/run makes it", python.display());
    None
}

fn peer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jose/peer.py")
}

/// `SEQUENCE { r, s }` of two numbers side by side.
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
    let length = if inner.len() < 0x80 { vec![inner.len() as u8] } else { vec![0x81, inner.len() as u8] };
    [&[0x30][..], &length, &inner].concat()
}

/// The other way round.
fn raw(der: &[u8], width: usize) -> Vec<u8> {
    let Some(Signature::Ecdsa { r, s }) = Signature::ecdsa_from_der(der) else { panic!("{der:x?}") };
    let mut out = vec![0; 2 * width];
    out[width - r.len()..width].copy_from_slice(r);
    out[2 * width - s.len()..].copy_from_slice(s);
    out
}

fn keys(folder: &Path) {
    for (name, arguments, _) in KINDS {
        openssl(folder, &format!("genpkey {arguments} -out {name}.key"));
        openssl(folder, &format!("pkey -in {name}.key -pubout -out {name}.pub"));
    }
}

#[test]
fn what_is_signed_here_is_verified_elsewhere() {
    let home = Home::new();
    home.repo(&[("app/run.json", b"{\"n\":1.50,\"b\":[1,{\"z\":null}]}"), ("app/x", b"x"), ("other/y", b"y")]);
    let folder = home.at("");
    keys(&folder);
    let python = python();
    for (name, _, algorithm) in KINDS {
        let key = format!("../{name}.key");
        home.pvr("r", &["sig", "--key", &key, "--x5c", "no", "--with-payload", "add", "--part", "app"]).code(0);
        let document: serde_json::Value = serde_json::from_str(&home.read("r/_sigs/app.json")).unwrap();
        let text = |member: &str| document[member].as_str().unwrap().to_owned();
        let header: serde_json::Value = serde_json::from_slice(&base64::from_url(&text("protected")).unwrap()).unwrap();
        assert_eq!(header["alg"], algorithm);
        let payload = base64::from_url(&text("payload")).unwrap();
        assert!(payload.starts_with(b"{\"app/run.json\":{\"b\":[1,{\"z\":null}],\"n\":1.5E0},\"app/x\":\""));
        home.write("payload", &payload);
        home.write("input", format!("{}.{}", text("protected"), base64::url(&payload)));
        let signature = base64::from_url(&text("signature")).unwrap();
        home.write("signature", if algorithm.starts_with("ES") { der(&signature) } else { signature });
        let bits = &algorithm[2..];
        let verify = format!("dgst -sha{bits} -verify {name}.pub -signature signature input");
        openssl(&folder, &verify);
        home.write("input", format!("{}.{}", text("protected"), base64::url(b"{}")));
        fails(&folder, &verify);
        let Some(python) = &python else { continue };
        home.write("document.json", home.read("r/_sigs/app.json"));
        let verify = |payload: &str| {
            let public = format!("{name}.pub");
            let mut command = Command::new(python);
            command.arg(peer()).args(["verify", &public, "document.json", payload]).current_dir(&folder);
            command.output().unwrap().status.success()
        };
        home.write("wrong", b"{}");
        // jwcrypto has no RSA keys of less than 2048 bits.
        if name != "rsa1024" {
            assert!(verify("payload") && !verify("wrong"), "{name}");
        }
    }
}

#[test]
fn what_is_signed_elsewhere_is_verified_here() {
    let home = Home::new();
    home.repo(&[("app/run.json", b"{\"a\":1}"), ("other/y", b"y")]);
    let folder = home.at("");
    keys(&folder);
    let python = python();
    home.write("payload", b"{\"app/run.json\":{\"a\":1}}");
    let pvs = "{\"include\": [\"app/**\"], \"exclude\": []}";
    home.write("pvs.json", pvs);
    let ls = |name: &str| home.pvr("r", &["sig", "--pubkey", &format!("../{name}.pub"), "ls", "peer"]);
    let stronger =
        [("rsa2048", "", "RS384"), ("rsa2048", "", "RS512"), ("rsa2048", "", "PS256"), ("rsa3072", "", "PS512")];
    for (name, _, algorithm) in KINDS.into_iter().chain(stronger) {
        let bits = &algorithm[2..];
        let header = format!("{{\"typ\":\"PVS\",\"pvs\":{pvs},\"alg\":\"{algorithm}\"}}");
        let protected = base64::url(header.as_bytes());
        home.write("input", format!("{protected}.{}", base64::url(&fs::read(home.at("payload")).unwrap())));
        let pss =
            if algorithm.starts_with("PS") { "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1" } else { "" };
        let mut signature = openssl(&folder, &format!("dgst -sha{bits} {pss} -sign {name}.key input"));
        let widths = [("ES256", 32), ("ES384", 48), ("ES512", 66)];
        if let Some((_, width)) = widths.iter().find(|(name, _)| *name == algorithm) {
            signature = raw(&signature, *width);
        }
        let document = format!(
            "{{\"#spec\":\"pvs@2\",\"protected\":\"{protected}\",\"signature\":\"{}\"}}",
            base64::url(&signature)
        );
        home.write("r/_sigs/peer.json", document);
        let listed = ls(name).code(0);
        assert!(listed.out.contains("\"protected\": [\n        \"app/run.json\"\n    ]"), "{listed:?}");
        ls(if name == "p256" { "rsa2048" } else { "p256" }).code(13);
        let Some(python) = python.as_ref().filter(|_| name != "rsa1024") else { continue };
        let words = ["sign", &format!("{name}.key"), algorithm, "pvs.json", "payload"];
        let document = ran(Command::new(python).arg(peer()).args(words).current_dir(&folder));
        home.write("r/_sigs/peer.json", document);
        ls(name).code(0);
    }
}

/// Every curve and every hash that a device takes, those of ours among them.
#[test]
fn signatures_of_openssl_on_all_curves() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (curve, name, kind) in [
        ("P-224", "p224", Curve::P224),
        ("secp256k1", "k1", Curve::Secp256k1),
        ("brainpoolP256r1", "b256", Curve::BrainpoolP256),
        ("brainpoolP384r1", "b384", Curve::BrainpoolP384),
        ("brainpoolP512r1", "b512", Curve::BrainpoolP512),
        ("P-256", "p256", Curve::P256),
        ("P-384", "p384", Curve::P384),
        ("P-521", "p521", Curve::P521),
    ] {
        openssl(folder, &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {name}.key"));
        let spki = openssl(folder, &format!("pkey -in {name}.key -pubout -outform DER"));
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.kind(), Kind::Ec(kind));
        for round in 0..4 {
            for (hash, bits) in [(Hash::Sha256, 256), (Hash::Sha384, 384), (Hash::Sha512, 512)] {
                let message = format!("message {round}");
                fs::write(folder.join("message"), &message).unwrap();
                let der = openssl(folder, &format!("dgst -sha{bits} -sign {name}.key message"));
                let signature = Signature::ecdsa_from_der(&der).unwrap();
                assert!(key.verify(hash, message.as_bytes(), signature), "{curve} {bits}");
                assert!(!key.verify(hash, b"another", signature), "{curve} {bits}");
                let Signature::Ecdsa { r, s } = signature else { panic!() };
                assert!(!key.verify(hash, message.as_bytes(), Signature::Ecdsa { r: s, s: r }), "{curve} {bits}");
                let mut wrong = s.to_vec();
                *wrong.last_mut().unwrap() ^= 1;
                assert!(!key.verify(hash, message.as_bytes(), Signature::Ecdsa { r, s: &wrong }), "{curve} {bits}");
            }
        }
        // A point beside the curve, and one that is none at all.
        let mut beside = spki.clone();
        *beside.last_mut().unwrap() ^= 1;
        assert!(PublicKey::from_spki(&beside).is_err(), "{curve}");
    }
}

const CONFIG: &str = "
[req]
distinguished_name = none
[none]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign
[short]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = keyCertSign
[nosign]
basicConstraints = critical,CA:TRUE
keyUsage = digitalSignature
[noca]
basicConstraints = critical,CA:FALSE
[leaf]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = codeSigning
[server]
extendedKeyUsage = serverAuth
[any]
extendedKeyUsage = serverAuth,anyExtendedKeyUsage
[unknown]
1.2.3.4 = critical,DER:0500
";

/// A small authority by OpenSSL.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        fs::write(pki.0.path().join("config"), CONFIG).unwrap();
        pki
    }

    /// A certificate for `name`, by `issuer` or by itself.
    fn cert(&self, name: &str, issuer: &str, section: &str, more: &str) -> Certificate {
        let folder = self.0.path();
        openssl(folder, &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
        openssl(folder, &format!("req -config config -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        let by = if issuer == name {
            format!("-signkey {name}.key")
        } else {
            format!("-CA {issuer}.crt -CAkey {issuer}.key")
        };
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr {by} -set_serial 7 -days 3000 -extfile config -extensions {section} {more} -out {name}.crt"
            ),
        );
        Certificate::from_pem(&fs::read_to_string(folder.join(format!("{name}.crt"))).unwrap()).remove(0)
    }
}

#[test]
fn chains_that_are_trusted_and_those_that_are_not() {
    let pki = Pki::new();
    let root = pki.cert("root", "root", "root", "");
    let inter = pki.cert("inter", "root", "short", "");
    let leaf = pki.cert("leaf", "inter", "leaf", "-sha384");
    let at = root.not_before + 1000;
    let validate = |chain: &[&Certificate], trusted: &[&Certificate], at: i64| {
        let owned = |list: &[&Certificate]| list.iter().map(|cert| (*cert).clone()).collect::<Vec<_>>();
        chain_pvr::validate(&owned(chain), &owned(trusted), at)
    };
    let good = validate(&[&leaf, &inter], &[&root], at).unwrap();
    assert_eq!(good, leaf.public_key().unwrap());
    assert!(validate(&[&leaf, &root, &inter], &[&root], at).is_ok(), "in any order, with more than needed");
    assert!(validate(&[&leaf], &[&inter], at).is_ok() && validate(&[&leaf], &[&leaf], at).is_ok());
    assert_eq!(validate(&[&leaf], &[&root], at).unwrap_err(), ChainError::Untrusted("leaf".into()));
    assert_eq!(validate(&[], &[&root], at).unwrap_err(), ChainError::Empty);
    assert_eq!(
        validate(&[&leaf, &inter], &[&root], root.not_before - 1).unwrap_err(),
        ChainError::Early("leaf".into())
    );
    assert_eq!(
        validate(&[&leaf, &inter], &[&root], leaf.not_after + 1).unwrap_err(),
        ChainError::Expired("leaf".into())
    );

    let other = pki.cert("other", "other", "root", "");
    assert_eq!(validate(&[&leaf, &inter], &[&other], at).unwrap_err(), ChainError::Untrusted("inter".into()));
    // One of the same name, with another key.
    fs::rename(pki.0.path().join("root.key"), pki.0.path().join("real.key")).unwrap();
    let false_root = pki.cert("root", "root", "root", "");
    assert_eq!(validate(&[&leaf, &inter], &[&false_root], at).unwrap_err(), ChainError::Signature("inter".into()));
    assert!(validate(&[&leaf, &inter], &[&false_root, &root], at).is_ok());

    let deep = pki.cert("deep", "inter", "root", "");
    let under = pki.cert("under", "deep", "leaf", "");
    let long = validate(&[&under, &deep, &inter], &[&root], at).unwrap_err();
    assert_eq!(long, ChainError::PathLength("inter".into()));
    for (section, why) in [("noca", "no authority"), ("nosign", "may not sign")] {
        let issuer = pki.cert("issuer", "inter", section, "");
        let below = pki.cert("below", "issuer", "leaf", "");
        let found = validate(&[&below, &issuer], &[&inter], at).unwrap_err();
        assert_eq!(found, ChainError::NotAuthority("issuer".into()), "{why}");
    }
    assert_eq!(
        validate(&[&pki.cert("server", "inter", "server", "")], &[&inter], at).unwrap_err(),
        ChainError::Purpose("server".into())
    );
    assert!(validate(&[&pki.cert("any", "inter", "any", "")], &[&inter], at).is_ok());
    assert_eq!(
        validate(&[&pki.cert("unknown", "inter", "unknown", "")], &[&inter], at).unwrap_err(),
        ChainError::Critical("unknown".into())
    );
    let weak = pki.cert("weak", "inter", "leaf", "-sha1");
    assert_eq!(validate(&[&weak], &[&inter], at).unwrap_err(), ChainError::Signature("weak".into()));
}

#[test]
fn algorithms_fit_their_keys() {
    for (name, kind, fits) in [
        ("RS256", Kind::Rsa { bits: 2048 }, true),
        ("PS512", Kind::Rsa { bits: 2048 }, true),
        ("ES256", Kind::Rsa { bits: 2048 }, false),
        ("ES256", Kind::Ec(Curve::P256), true),
        ("ES256", Kind::Ec(Curve::Secp256k1), false),
        ("ES384", Kind::Ec(Curve::P256), false),
        ("ES512", Kind::Ec(Curve::P521), true),
        ("RS256", Kind::Ec(Curve::P256), false),
    ] {
        assert_eq!(Algorithm::from_name(name).unwrap().fits(kind), fits, "{name}");
    }
    for name in ["none", "HS256", "EdDSA", "rs256", ""] {
        assert_eq!(Algorithm::from_name(name), None);
    }
}
