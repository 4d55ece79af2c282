//! Private keys: PEM of PKCS#1 (RFC 8017 §A.1.2), PKCS#8 (RFC 5208) or SEC 1 (RFC 5915), and what is signed with them.
//!
//! ECDSA signs in constant time, with nonces made of key and message (RFC 6979). RSA computes on blinded numbers, and
//! checks the result before it gives it away. `docs/security.md` says what is left.

use crypto_bigint::BoxedUint;
use p256::ecdsa::signature::Signer;
use sha2::Sha256;

use super::asn1::{self, Values};
use super::jws::Algorithm;
use super::pem;
use super::public::{Curve, PublicKey};

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const OID_ED448: &[u8] = &[0x2b, 0x65, 0x71];

/// What can be signed with, for messages.
const USABLE: &str = "RSA keys, and those on P-256, P-384 and P-521, can sign";

/// A private key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no private key in the file.
    #[error("it holds no PEM block of a private key")]
    None,
    /// It is encrypted.
    #[error("it is encrypted, and nobody is asked for its password\nopenssl pkey -in ENCRYPTED -out PLAIN decrypts it")]
    Encrypted,
    /// The block does not hold what its first line says.
    #[error("it cannot be parsed as PKCS#1, PKCS#8 or SEC 1")]
    Malformed,
    /// Its numbers do not belong together, or are too small or too large.
    #[error("its numbers do not make an RSA key that can sign")]
    Numbers,
    /// Of a kind that pvs@2 has no signature for.
    #[error("keys of type {0} are not supported\n{USABLE}")]
    Kind(&'static str),
    /// On a curve that pvs@2 has no signature for.
    #[error("keys on the curve {0} are not supported\n{USABLE}")]
    Curve(&'static str),
    /// The header would be one that is not read again.
    #[error("the patterns or the certificates are too many or too long for a signature")]
    Header,
    /// The computation failed.
    #[error("signing failed")]
    Sign,
}

/// A private key. Wiped when it goes.
pub struct PrivateKey(Inner);

enum Inner {
    Rsa(Box<rsa::PrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({:?})", self.algorithm())
    }
}

impl PrivateKey {
    /// Reads the first private key of a PEM file.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let blocks = pem::blocks(text);
        let block = blocks.iter().find(|block| block.label.contains("PRIVATE KEY")).ok_or(KeyError::None)?;
        if block.is_encrypted() {
            return Err(KeyError::Encrypted);
        }
        Self::from_der(&block.bytes)
    }

    /// Reads a key in any of its forms.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let mut values = Values(asn1::whole(der, asn1::SEQUENCE).ok_or(KeyError::Malformed)?);
        let begin = values;
        let version = values.small().ok_or(KeyError::Malformed)?;
        match values.0.first() {
            Some(&asn1::INTEGER) => from_pkcs1(begin),
            Some(&asn1::OCTET_STRING) => from_sec1(begin, None),
            Some(&asn1::SEQUENCE) if version <= 1 => from_pkcs8(values),
            _ => Err(KeyError::Malformed),
        }
        .map(Self)
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Inner::Rsa(_) => Algorithm::RS256,
            Inner::P256(_) => Algorithm::ES256,
            Inner::P384(_) => Algorithm::ES384,
            Inner::P521(_) => Algorithm::ES512,
        }
    }

    /// The other half.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        use rsa::traits::PublicKeyParts;
        let (curve, point) = match &self.0 {
            Inner::Rsa(key) => {
                let (n, e) = (key.n().to_be_bytes_trimmed_vartime(), key.e().to_be_bytes_trimmed_vartime());
                return PublicKey::from_rsa(&n, &e).map_err(|_| KeyError::Numbers);
            }
            Inner::P256(key) => (Curve::P256, key.verifying_key().to_sec1_point(false).as_bytes().to_vec()),
            Inner::P384(key) => (Curve::P384, key.verifying_key().to_sec1_point(false).as_bytes().to_vec()),
            Inner::P521(key) => (Curve::P521, key.verifying_key().to_sec1_point(false).as_bytes().to_vec()),
        };
        PublicKey::from_point(curve, &point).map_err(|_| KeyError::Malformed)
    }

    /// Signs a message: PKCS#1 v1.5 for RSA, r and s of fixed width for ECDSA (RFC 7518 §3.3, §3.4).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Inner::Rsa(key) => key.pkcs1v15_sign::<Sha256>(message).map_err(|_| KeyError::Sign),
            Inner::P256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(message).map_err(|_| KeyError::Sign)?;
                Ok(signature.to_bytes().to_vec())
            }
            Inner::P384(key) => {
                let signature: p384::ecdsa::Signature = key.try_sign(message).map_err(|_| KeyError::Sign)?;
                Ok(signature.to_bytes().to_vec())
            }
            Inner::P521(key) => {
                let signature: p521::ecdsa::Signature = key.try_sign(message).map_err(|_| KeyError::Sign)?;
                Ok(signature.to_bytes().to_vec())
            }
        }
    }
}

fn from_pkcs1(mut values: Values<'_>) -> Result<Inner, KeyError> {
    // More than two primes make version 1, and a list at the end.
    if values.small() != Some(0) {
        return Err(KeyError::Kind("multi-prime RSA"));
    }
    let mut number = || values.unsigned().map(BoxedUint::from_be_slice_vartime).ok_or(KeyError::Malformed);
    let (n, e, d, p, q) = (number()?, number()?, number()?, number()?, number()?);
    // The rest follows from these, and is computed again.
    let key = rsa::PrivateKey::from_components(n, e, d, vec![p, q]).map_err(|_| KeyError::Numbers)?;
    Ok(Inner::Rsa(Box::new(key)))
}

fn from_pkcs8(mut values: Values<'_>) -> Result<Inner, KeyError> {
    let read = |values: &mut Values<'_>| -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let mut algorithm = values.sequence()?;
        let oid = algorithm.take(asn1::OID)?.to_vec();
        Some((oid, algorithm.0.to_vec(), values.take(asn1::OCTET_STRING)?.to_vec()))
    };
    let (oid, parameters, key) = read(&mut values).ok_or(KeyError::Malformed)?;
    let inner = || asn1::whole(&key, asn1::SEQUENCE).map(Values).ok_or(KeyError::Malformed);
    match oid.as_slice() {
        OID_RSA => from_pkcs1(inner()?),
        OID_EC => from_sec1(inner()?, asn1::whole(&parameters, asn1::OID)),
        OID_ED25519 => Err(KeyError::Kind("Ed25519")),
        OID_ED448 => Err(KeyError::Kind("Ed448")),
        _ => Err(KeyError::Kind("that is neither RSA nor ECDSA")),
    }
}

/// The curve stands outside, in PKCS#8, or within.
fn from_sec1(mut values: Values<'_>, outside: Option<&[u8]>) -> Result<Inner, KeyError> {
    if values.small() != Some(1) {
        return Err(KeyError::Malformed);
    }
    let secret = values.take(asn1::OCTET_STRING).ok_or(KeyError::Malformed)?;
    let within = values.take_if(0xa0).and_then(|parameters| asn1::whole(parameters, asn1::OID));
    let curve = outside.or(within).ok_or(KeyError::Malformed)?;
    let curve = Curve::from_oid(curve).ok_or(KeyError::Curve("it names"))?;
    match curve {
        Curve::P256 => p256::ecdsa::SigningKey::from_slice(secret).map(Inner::P256).map_err(|_| KeyError::Malformed),
        Curve::P384 => p384::ecdsa::SigningKey::from_slice(secret).map(Inner::P384).map_err(|_| KeyError::Malformed),
        Curve::P521 => p521::ecdsa::SigningKey::from_slice(secret).map(Inner::P521).map_err(|_| KeyError::Malformed),
        other => Err(KeyError::Curve(other.name())),
    }
}
