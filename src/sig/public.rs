//! Public keys, and what they verify. Everything in here is public, so that nothing has to take the same time.
//!
//! | in | read by |
//! |---|---|
//! | `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7), of RSA or ECDSA | [`PublicKey::from_spki`] |
//! | `RSAPublicKey` (RFC 8017 §A.1.1) | [`PublicKey::from_pkcs1`] |
//! | PEM of either | [`PublicKey::from_pem`] |

use crypto_bigint::BoxedUint;
use rsa::pss;
use rsa::signature::hazmat::PrehashVerifier;
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::asn1::{self, Values};
use super::curve::{self, Equation};
use super::pem;

/// Largest RSA modulus, in bits. Verifying with one of these is the work of a millisecond; with 64 KiB, of minutes.
pub const MAX_RSA_BITS: usize = 8192;

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A hash of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// The hash of a message.
    pub fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// A curve that keys lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Curve {
    P224,
    P256,
    P384,
    P521,
    Secp256k1,
    BrainpoolP256,
    BrainpoolP384,
    BrainpoolP512,
}

impl Curve {
    const ALL: [Self; 8] = [
        Self::P224,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Secp256k1,
        Self::BrainpoolP256,
        Self::BrainpoolP384,
        Self::BrainpoolP512,
    ];

    /// The content of its object identifier (SEC 2 §A.2, RFC 5639 §4.1).
    fn oid(self) -> &'static [u8] {
        match self {
            Self::P224 => &[0x2b, 0x81, 0x04, 0x00, 0x21],
            Self::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x2b, 0x81, 0x04, 0x00, 0x23],
            Self::Secp256k1 => &[0x2b, 0x81, 0x04, 0x00, 0x0a],
            Self::BrainpoolP256 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
            Self::BrainpoolP384 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
            Self::BrainpoolP512 => &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        }
    }

    pub(super) fn from_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.oid() == oid)
    }

    /// Bytes of a coordinate, and of each half of a raw signature.
    pub fn bytes(self) -> usize {
        match self {
            Self::P224 => 28,
            Self::P256 | Self::Secp256k1 | Self::BrainpoolP256 => 32,
            Self::P384 | Self::BrainpoolP384 => 48,
            Self::BrainpoolP512 => 64,
            Self::P521 => 66,
        }
    }

    /// The name of the curve in a JWK (RFC 7518 §6.2.1.1), and the hash that belongs to it there.
    pub fn jose(self) -> Option<(&'static str, Hash)> {
        match self {
            Self::P256 => Some(("P-256", Hash::Sha256)),
            Self::P384 => Some(("P-384", Hash::Sha384)),
            Self::P521 => Some(("P-521", Hash::Sha512)),
            _ => None,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::P224 => "P-224",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Secp256k1 => "secp256k1",
            Self::BrainpoolP256 => "brainpoolP256r1",
            Self::BrainpoolP384 => "brainpoolP384r1",
            Self::BrainpoolP512 => "brainpoolP512r1",
        }
    }

    /// Those whose arithmetic is ours.
    fn equation(self) -> Option<&'static Equation> {
        Some(match self {
            Self::P224 => &curve::P224,
            Self::Secp256k1 => &curve::SECP256K1,
            Self::BrainpoolP256 => &curve::BRAINPOOL_P256,
            Self::BrainpoolP384 => &curve::BRAINPOOL_P384,
            Self::BrainpoolP512 => &curve::BRAINPOOL_P512,
            Self::P256 | Self::P384 | Self::P521 => return None,
        })
    }
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RSA, with a modulus of so many bits.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// A point of a curve.
    Ec(Curve),
}

/// A public key is none that could be used.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// It is not what it should be.
    #[error("it is malformed")]
    Malformed,
    /// Of another kind than RSA or ECDSA.
    #[error("it is neither RSA nor ECDSA")]
    Algorithm,
    /// On a curve that there is nothing for.
    #[error("its curve is not supported")]
    Curve,
    /// Not on its curve.
    #[error("it is no point of its curve")]
    Point,
    /// Modulus or exponent.
    #[error("its RSA modulus has fewer than 512 or more than 8192 bits, or its exponent is out of range")]
    RsaSize,
}

/// A signature in the form in which it is verified.
#[derive(Debug, Clone, Copy)]
pub enum Signature<'a> {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(&'a [u8]),
    /// RSASSA-PSS with the same hash in its mask; with salts of any length where none is given.
    RsaPss {
        /// The signature.
        bytes: &'a [u8],
        /// The length of its salt.
        salt: Option<usize>,
    },
    /// ECDSA: two numbers, big-endian, of any length.
    Ecdsa {
        /// r
        r: &'a [u8],
        /// s
        s: &'a [u8],
    },
}

impl<'a> Signature<'a> {
    /// The two numbers of `ECDSA-Sig-Value` (RFC 3279 §2.2.3), read strictly.
    pub fn ecdsa_from_der(der: &'a [u8]) -> Option<Self> {
        let mut values = Values(asn1::whole(der, asn1::SEQUENCE)?);
        let (r, s) = (values.unsigned()?, values.unsigned()?);
        values.is_empty().then_some(Self::Ecdsa { r, s })
    }

    /// The two halves of a JWS signature (RFC 7518 §3.4).
    pub fn ecdsa_from_raw(raw: &'a [u8], curve: Curve) -> Option<Self> {
        (raw.len() == 2 * curve.bytes()).then(|| {
            let (r, s) = raw.split_at(curve.bytes());
            Self::Ecdsa { r, s }
        })
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Inner);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner {
    Rsa(rsa::PublicKey),
    Ec {
        curve: Curve,
        /// Coordinates, each as long as the curve has it; on the curve.
        x: Vec<u8>,
        y: Vec<u8>,
    },
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    pub fn from_spki(der: &[u8]) -> Result<Self, PublicKeyError> {
        let (algorithm, parameters, key) = spki(der).ok_or(PublicKeyError::Malformed)?;
        match algorithm {
            OID_RSA => Self::from_pkcs1(key),
            OID_EC => {
                let oid = asn1::whole(parameters, asn1::OID).ok_or(PublicKeyError::Curve)?;
                Self::from_point(Curve::from_oid(oid).ok_or(PublicKeyError::Curve)?, key)
            }
            _ => Err(PublicKeyError::Algorithm),
        }
    }

    /// Reads an `RSAPublicKey`.
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, PublicKeyError> {
        let numbers = || {
            let mut values = Values(asn1::whole(der, asn1::SEQUENCE)?);
            let (n, e) = (values.unsigned()?, values.unsigned()?);
            values.is_empty().then_some((n, e))
        };
        let (n, e) = numbers().ok_or(PublicKeyError::Malformed)?;
        Self::from_rsa(n, e)
    }

    pub(super) fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, PublicKeyError> {
        if n.len() > MAX_RSA_BITS / 8 || e.len() > 8 {
            return Err(PublicKeyError::RsaSize);
        }
        let (n, e) = (BoxedUint::from_be_slice_vartime(n), BoxedUint::from_be_slice_vartime(e));
        let key = rsa::PublicKey::new_with_size_limits(n, e, 512..=MAX_RSA_BITS);
        Ok(Self(Inner::Rsa(key.map_err(|_| PublicKeyError::RsaSize)?)))
    }

    /// Reads a point (SEC 1 §2.3.4) in its long form.
    pub(super) fn from_point(curve: Curve, point: &[u8]) -> Result<Self, PublicKeyError> {
        let coordinates = point.strip_prefix(&[4]).filter(|bytes| bytes.len() == 2 * curve.bytes());
        let (x, y) = coordinates.ok_or(PublicKeyError::Malformed)?.split_at(curve.bytes());
        let is_point = match curve {
            Curve::P256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
            Curve::P384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
            Curve::P521 => p521::PublicKey::from_sec1_bytes(point).is_ok(),
            other => other.equation().is_some_and(|equation| equation.is_point(x, y)),
        };
        if !is_point {
            return Err(PublicKeyError::Point);
        }
        Ok(Self(Inner::Ec { curve, x: x.to_vec(), y: y.to_vec() }))
    }

    /// The keys of a PEM file, `PUBLIC KEY` and `RSA PUBLIC KEY`, each with its own error. Other blocks are passed over.
    pub fn from_pem(text: &str) -> Vec<Result<Self, PublicKeyError>> {
        let blocks = pem::blocks(text);
        let keys = blocks.iter().filter_map(|block| match block.label.as_str() {
            "RSA PUBLIC KEY" => Some(Self::from_pkcs1(&block.bytes)),
            label if label.starts_with("PUBLIC ") => {
                Some(Self::from_spki(&block.bytes).or_else(|why| Self::from_pkcs1(&block.bytes).map_err(|_| why)))
            }
            _ => None,
        });
        keys.collect()
    }

    /// What kind of key it is.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Inner::Rsa(key) => Kind::Rsa { bits: key.n().as_ref().bit_width_vartime() as usize },
            Inner::Ec { curve, .. } => Kind::Ec(*curve),
        }
    }

    /// The numbers of an RSA key, big-endian without leading zeros: modulus, exponent.
    pub fn rsa_numbers(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.0 {
            Inner::Rsa(key) => {
                Some((key.n().to_be_bytes_trimmed_vartime().to_vec(), key.e().to_be_bytes_trimmed_vartime().to_vec()))
            }
            Inner::Ec { .. } => None,
        }
    }

    /// The coordinates of a point, each as long as its curve has it.
    pub fn coordinates(&self) -> Option<(&[u8], &[u8])> {
        match &self.0 {
            Inner::Rsa(_) => None,
            Inner::Ec { x, y, .. } => Some((x, y)),
        }
    }

    /// Whether this key has signed the message, whose hash is that one.
    pub fn verify(&self, hash: Hash, message: &[u8], signature: Signature<'_>) -> bool {
        self.verify_hashed(hash, &hash.of(message), signature)
    }

    /// The same, where the message has been hashed already.
    pub fn verify_hashed(&self, hash: Hash, digest: &[u8], signature: Signature<'_>) -> bool {
        match (&self.0, signature) {
            (Inner::Rsa(key), Signature::RsaPkcs1(bytes)) => match hash {
                Hash::Sha256 => key.pkcs1v15_verify_prehash::<Sha256>(digest, bytes).is_ok(),
                Hash::Sha384 => key.pkcs1v15_verify_prehash::<Sha384>(digest, bytes).is_ok(),
                Hash::Sha512 => key.pkcs1v15_verify_prehash::<Sha512>(digest, bytes).is_ok(),
            },
            (Inner::Rsa(key), Signature::RsaPss { bytes, salt }) => match hash {
                Hash::Sha256 => verify_pss::<Sha256>(key, digest, bytes, salt),
                Hash::Sha384 => verify_pss::<Sha384>(key, digest, bytes, salt),
                Hash::Sha512 => verify_pss::<Sha512>(key, digest, bytes, salt),
            },
            (Inner::Ec { curve, x, y }, Signature::Ecdsa { r, s }) => match curve {
                Curve::P256 => verify_p256(&point(x, y), digest, r, s).unwrap_or(false),
                Curve::P384 => verify_p384(&point(x, y), digest, r, s).unwrap_or(false),
                Curve::P521 => verify_p521(&point(x, y), digest, r, s).unwrap_or(false),
                other => other.equation().is_some_and(|equation| equation.verify((x, y), digest, (r, s))),
            },
            _ => false,
        }
    }
}

/// Algorithm, its parameters, key.
fn spki(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut outer = Values(asn1::whole(der, asn1::SEQUENCE)?);
    let mut algorithm = outer.sequence()?;
    let oid = algorithm.take(asn1::OID)?;
    let key = outer.bits()?;
    outer.is_empty().then_some((oid, algorithm.0, key))
}

fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn verify_pss<D: Digest + sha2::digest::FixedOutputReset>(
    key: &rsa::PublicKey,
    digest: &[u8],
    bytes: &[u8],
    salt: Option<usize>,
) -> bool {
    let key = match salt {
        Some(length) => pss::VerifyingKey::<D>::new_with_salt_len(key.clone(), length),
        None => pss::VerifyingKey::<D>::new_with_auto_salt_len(key.clone()),
    };
    pss::Signature::try_from(bytes).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
}

/// A number in exactly `N` bytes; none if it is larger.
fn exactly<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut out = [0; N];
    out.get_mut(N.checked_sub(significant.len())?..)?.copy_from_slice(significant);
    Some(out)
}

macro_rules! verify_with {
    ($name:ident, $curve:ident, $bytes:literal) => {
        fn $name(point: &[u8], digest: &[u8], r: &[u8], s: &[u8]) -> Option<bool> {
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
            let (r, s) = (exactly::<$bytes>(r)?, exactly::<$bytes>(s)?);
            let signature = $curve::ecdsa::Signature::from_scalars(r, s).ok()?;
            Some(key.verify_prehash(digest, &signature).is_ok())
        }
    };
}

verify_with!(verify_p256, p256, 32);
verify_with!(verify_p384, p384, 48);
verify_with!(verify_p521, p521, 66);
