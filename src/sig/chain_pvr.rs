//! Whether a chain of certificates leads to one that is trusted, as today's pvr asks (`sig-dm.md` §6; RFC 5280 §6).
//!
//! A chain is: the signer's certificate; any number of others that came with it, each having signed the one before; one that is trusted.
//!
//! - Every certificate in the file of authorities is trusted, also one that is no authority: that pins a signer.
//! - Names have to be the same byte for byte, and signatures have to verify: RSA, RSA-PSS or ECDSA with SHA-2.
//! - Whoever signs a certificate is an authority (basic constraints; in version 3 they have to be there), may sign certificates
//!   (key usage, if it says anything), and keeps the length of its path.
//! - All of them are valid at the given time, and where they name purposes, code signing is among these. Extensions that are
//!   critical and unknown here condemn a certificate.
//! - Nothing is revoked, and names mean nothing.

use super::cert::{Certificate, EKU_ANY, EKU_CODE_SIGNING, KEY_USAGE_CERT_SIGN};
use super::public::{Kind, PublicKey};

/// Signatures that are checked before a chain is given up: certificates with one name could lead on for long.
const MAX_SIGNATURES: usize = 100;
/// Smallest RSA key, in bits: below that, signatures can be forged.
pub const MIN_RSA_BITS: usize = 1024;

/// Why a chain is not trusted.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no certificate.
    #[error("the header has no certificate")]
    Empty,
    /// One cannot be read.
    #[error("certificate {at} of the header cannot be read")]
    Malformed {
        /// Which, from 1.
        at: usize,
    },
    /// One is not valid yet.
    #[error("the certificate of {0} is not valid yet\nis the clock right?")]
    Early(String),
    /// One is not valid any more.
    #[error("the certificate of {0} has expired")]
    Expired(String),
    /// One is for something else.
    #[error("the certificate of {0} is not for code signing")]
    Purpose(String),
    /// One has an extension that nobody here knows.
    #[error("the certificate of {0} has an unknown critical extension")]
    Critical(String),
    /// One has issued what it may not.
    #[error("the certificate of {0} may not issue the one below it")]
    NotAuthority(String),
    /// One is too far up.
    #[error("the certificate of {0} allows fewer intermediate ones")]
    PathLength(String),
    /// Its key is of no use.
    #[error("the key of {0} cannot be used")]
    Key(String),
    /// None that is trusted has issued it.
    #[error("none of the trusted certificates has issued the one of {0}")]
    Untrusted(String),
    /// It is signed by nobody whose name is its issuer's, or with what is not accepted.
    #[error("the certificate of {0} is not signed by its issuer")]
    Signature(String),
    /// There are too many ways.
    #[error("the certificates lead on in too many ways")]
    TooMany,
}

/// Reads the certificates of a header. Bytes behind one are not taken.
pub fn read(x5c: &[Vec<u8>]) -> Result<Vec<Certificate>, ChainError> {
    let certs = x5c.iter().enumerate();
    certs.map(|(at, der)| Certificate::parse(der).map_err(|_| ChainError::Malformed { at: at + 1 })).collect()
}

/// The key of the first certificate, if it leads to one of `trusted` at that second from 1970.
pub fn validate(chain: &[Certificate], trusted: &[Certificate], at: i64) -> Result<PublicKey, ChainError> {
    let (leaf, others) = chain.split_first().ok_or(ChainError::Empty)?;
    let mut search = Search { others, trusted, at, signatures: 0 };
    search.fit(leaf, None)?;
    search.up(&mut vec![leaf])?;
    let key = leaf.public_key().map_err(|_| ChainError::Key(shown(leaf)))?;
    strong(&key).then_some(key).ok_or_else(|| ChainError::Key(shown(leaf)))
}

struct Search<'a> {
    others: &'a [Certificate],
    trusted: &'a [Certificate],
    at: i64,
    signatures: usize,
}

impl<'a> Search<'a> {
    /// Whether the last of `path` leads to a trusted one. The error is that of the way that came furthest.
    fn up(&mut self, path: &mut Vec<&'a Certificate>) -> Result<(), ChainError> {
        let Some(last) = path.last().copied() else { return Err(ChainError::Empty) };
        if self.trusted.contains(last) {
            return Ok(());
        }
        let mut found = ChainError::Untrusted(shown(last));
        let (trusted, others) = (self.trusted, self.others);
        for issuer in trusted.iter().chain(others).filter(|issuer| issuer.subject == last.issuer) {
            if path.contains(&issuer) {
                continue;
            }
            self.signatures += 1;
            if self.signatures > MAX_SIGNATURES {
                return Err(ChainError::TooMany);
            }
            let step = self.fit(issuer, Some(path.len() - 1)).and_then(|()| signed(last, issuer));
            let way = match step {
                Ok(()) => {
                    path.push(issuer);
                    let way = self.up(path);
                    path.pop();
                    way
                }
                Err(why) => Err(why),
            };
            match way {
                Ok(()) => return Ok(()),
                Err(ChainError::TooMany) => return Err(ChainError::TooMany),
                Err(why) => found = why,
            }
        }
        Err(found)
    }

    /// Whether a certificate may stand in a path: the signer's, or with so many intermediate ones below it.
    fn fit(&self, cert: &Certificate, below: Option<usize>) -> Result<(), ChainError> {
        if cert.unknown_critical().next().is_some() {
            return Err(ChainError::Critical(shown(cert)));
        }
        if self.at < cert.not_before {
            return Err(ChainError::Early(shown(cert)));
        }
        if self.at > cert.not_after {
            return Err(ChainError::Expired(shown(cert)));
        }
        let purpose = |oid: &Vec<u8>| oid == EKU_CODE_SIGNING || oid == EKU_ANY;
        if cert.extended_key_usage.as_ref().is_some_and(|oids| !oids.iter().any(purpose)) {
            return Err(ChainError::Purpose(shown(cert)));
        }
        let Some(below) = below else { return Ok(()) };
        let authority = match cert.basic_constraints {
            Some(constraints) => constraints.ca,
            // Version 1 has no way to say so; only as a trusted one it is believed.
            None => cert.version < 3 && self.trusted.contains(cert),
        };
        if !authority || cert.key_usage.is_some_and(|usage| usage & KEY_USAGE_CERT_SIGN == 0) {
            return Err(ChainError::NotAuthority(shown(cert)));
        }
        let longest = cert.basic_constraints.and_then(|constraints| constraints.path_len);
        if longest.is_some_and(|longest| usize::try_from(longest).is_ok_and(|longest| below > longest)) {
            return Err(ChainError::PathLength(shown(cert)));
        }
        Ok(())
    }
}

fn signed(cert: &Certificate, issuer: &Certificate) -> Result<(), ChainError> {
    let key = issuer.public_key().map_err(|_| ChainError::Key(shown(issuer)))?;
    if !strong(&key) {
        return Err(ChainError::Key(shown(issuer)));
    }
    if cert.is_signed_by(&key) { Ok(()) } else { Err(ChainError::Signature(shown(cert))) }
}

fn strong(key: &PublicKey) -> bool {
    !matches!(key.kind(), Kind::Rsa { bits } if bits < MIN_RSA_BITS)
}

/// A certificate for people.
fn shown(cert: &Certificate) -> String {
    let name = cert.common_name.as_deref().unwrap_or("somebody without a name");
    crate::state::escape(name).chars().take(100).collect()
}
