//! Certificates and keys in DER. A certificate that is read is made of the bytes that were given, and what is signed lies within.

use pvr_agent::sig::cert::Certificate;
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::public::{Hash, PublicKey, Signature};

/// Panics when anything is not as it should be.
pub fn run(bytes: &[u8]) {
    PublicKey::from_spki(bytes).ok();
    PublicKey::from_pkcs1(bytes).ok();
    PrivateKey::from_der(bytes).ok();
    let Ok((cert, rest)) = Certificate::parse_prefix(bytes) else { return };
    assert_eq!([&cert.raw, rest].concat(), bytes);
    assert!(cert.raw.windows(cert.tbs.len()).any(|window| window == cert.tbs));
    if let Ok(key) = cert.public_key() {
        cert.is_signed_by(&key);
        key.verify(Hash::Sha256, bytes, Signature::RsaPkcs1(&cert.signature));
    }
}
