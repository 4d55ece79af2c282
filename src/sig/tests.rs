//! Keys, certificates and documents of the recordings, and their other halves made by hand.

use super::cert::{Certificate, SignatureAlgorithm};
use super::jws::{Document, Patterns};
use super::key::{KeyError, PrivateKey};
use super::public::{Curve, Hash, Kind, PublicKey, Signature};

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys").join(name)).unwrap()
}

fn key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&file(name)).unwrap()
}

fn cert(name: &str) -> Certificate {
    Certificate::from_pem(&file(name)).remove(0)
}

#[test]
fn keys_sign_what_their_other_half_verifies() {
    for (name, algorithm) in [
        ("rsa.key", "RS256"),
        ("rsa.pkcs1.key", "RS256"),
        ("rsa.pkcs8.key", "RS256"),
        ("rsa1024.key", "RS256"),
        ("ec.key", "ES256"),
        ("ec.pkcs8.key", "ES256"),
        ("ec384.key", "ES384"),
        ("ec521.key", "ES512"),
    ] {
        let key = key(name);
        assert_eq!(key.algorithm().name(), algorithm);
        let public = key.public().unwrap();
        let patterns = Patterns { include: vec!["a/**".into()], exclude: vec!["<&>".into()] };
        let document = Document::sign(&key, &patterns, Some(&[vec![1, 2], vec![3]]), b"payload").unwrap();
        assert!(document.is_signed_by(&public, b"payload"), "{name}");
        assert!(!document.is_signed_by(&public, b"payloae"), "{name}");
        let read = Document::parse(document.write(Some(b"payload")).as_bytes(), &Default::default()).unwrap();
        assert_eq!(read, document);
        for other in
            ["rsa.pub", "ec.pub", "ec384.pub"].map(|other| PublicKey::from_pem(&file(other)).remove(0).unwrap())
        {
            assert_eq!(document.is_signed_by(&other, b"payload"), other == public, "{name}");
        }
    }
}

#[test]
fn keys_that_cannot_sign() {
    let refused = |text: &str| PrivateKey::from_pem(text).unwrap_err();
    assert!(matches!(refused(&file("ed.key")), KeyError::Kind("Ed25519")));
    assert!(matches!(refused(&file("rsa.pub")), KeyError::None));
    assert!(matches!(refused(""), KeyError::None));
    let new = file("rsa.pkcs8.key").replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(matches!(refused(&new), KeyError::Encrypted));
    let body = file("rsa.pkcs1.key");
    let old = body.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1);
    assert!(matches!(refused(&old), KeyError::Encrypted));
    let wrong = body.replacen("MII", "MIJ", 1);
    assert!(matches!(refused(&wrong), KeyError::Malformed));
}

#[test]
fn certificates_of_the_recordings() {
    let (root, inter, leaf) = (cert("root.pem"), cert("inter.pem"), cert("rsa.pem"));
    assert_eq!(
        (root.version, inter.common_name.as_deref(), leaf.common_name.as_deref()),
        (3, Some("inter"), Some("rsa"))
    );
    assert!(root.is_ca() && inter.is_ca() && !leaf.is_ca());
    assert_eq!((&leaf.issuer, &inter.issuer), (&inter.subject, &root.subject));
    assert_eq!(leaf.authority_key_id, inter.subject_key_id);
    assert_eq!(leaf.extended_key_usage.as_deref(), Some(&[super::cert::EKU_CODE_SIGNING.to_vec()][..]));
    assert_eq!(leaf.signature_algorithm, SignatureAlgorithm::Rsa(Hash::Sha256));
    assert_eq!(leaf.unknown_critical().count(), 0);
    // 2027-01-01
    assert!(leaf.is_valid_at(1_798_761_600) && !cert("expired.pem").is_valid_at(1_798_761_600));
    let keys = [&root, &inter, &leaf].map(|cert| cert.public_key().unwrap());
    for (signed, by) in [(&root, 0), (&inter, 0), (&leaf, 1), (&cert("ec.pem"), 1)] {
        let found: Vec<_> = keys.iter().map(|key| signed.is_signed_by(key)).collect();
        assert_eq!(found.iter().position(|yes| *yes), Some(by));
        assert_eq!(found.iter().filter(|yes| **yes).count(), 1);
    }
    assert_eq!(cert("ec.pem").public_key().unwrap().kind(), Kind::Ec(Curve::P256));
    assert_eq!(leaf.public_key().unwrap(), PublicKey::from_pem(&file("rsa.pub")).remove(0).unwrap());
    assert_eq!(leaf.public_key().unwrap(), PublicKey::from_pem(&file("rsa.rsapub")).remove(0).unwrap());
}

#[test]
fn certificates_with_a_byte_too_many_or_wrong() {
    let leaf = cert("ec.pem");
    let issuer = cert("inter.pem").public_key().unwrap();
    let mut longer = leaf.raw.clone();
    longer.push(0);
    assert!(Certificate::parse(&longer).is_err());
    assert_eq!(Certificate::parse_prefix(&longer).unwrap().1, [0]);
    let mut read = 0;
    for at in 0..leaf.raw.len() {
        for bit in 0..8 {
            let mut raw = leaf.raw.clone();
            raw[at] ^= 1 << bit;
            if let Ok((cert, _)) = Certificate::parse_prefix(&raw) {
                assert!(!cert.is_signed_by(&issuer), "byte {at}, bit {bit}");
                read += 1;
            }
        }
        assert!(Certificate::parse(&leaf.raw[..at]).is_err());
    }
    assert!(read > 1000, "{read}");
}

#[test]
fn ecdsa_in_der_has_one_spelling() {
    let key = key("ec.key");
    let public = key.public().unwrap();
    let raw = key.sign(b"m").unwrap();
    let number = |half: &[u8]| {
        let mut bytes: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        [&[2, bytes.len() as u8][..], &bytes].concat()
    };
    let inner = [number(&raw[..32]), number(&raw[32..])].concat();
    let der = [&[0x30, inner.len() as u8][..], &inner].concat();
    let verify = |signature: Option<Signature<'_>>| signature.is_some_and(|s| public.verify(Hash::Sha256, b"m", s));
    assert!(verify(Signature::ecdsa_from_der(&der)));
    assert!(verify(Signature::ecdsa_from_raw(&raw, Curve::P256)));
    assert!(!verify(Signature::ecdsa_from_der(&[&der[..], &[0]].concat())));
    assert!(!verify(Signature::ecdsa_from_raw(&[&raw[..], &[0]].concat(), Curve::P256)));
    for at in 0..der.len() {
        let mut other = der.clone();
        other[at] ^= 1;
        assert!(!verify(Signature::ecdsa_from_der(&other)), "{at}");
    }
}
