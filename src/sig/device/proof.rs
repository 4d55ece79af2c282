//! One signature: what it says, who made it, whether it holds.

use super::chain;
use super::header::{self, Header};
use super::raw::Pair;
use super::select::{self, Picked};
use super::trust::Trust;
use super::verdict::{Failure, SignatureReport};
use super::{Found, Parts, shown};
use crate::sig::base64;
use crate::sig::cert::Certificate;
use crate::sig::fnmatch::{Pattern, Work};
use crate::sig::jws::Algorithm;
use crate::sig::public::{Hash, Kind, PublicKey, Signature};

/// Longest signature: RSA of 8192 bits, or two numbers of an odd length.
const MAX_SIGNATURE: usize = 2048;

/// What looking at one signature, or at one certificate of a chain, is worth in comparisons: a small processor takes some
/// milliseconds for the largest keys, and a state of a stranger could make it do that for minutes.
const COST: u64 = 50_000;

/// What came of one signature, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) algorithm: Option<Algorithm>,
    /// The key that it was verified with.
    pub(super) key: Option<PublicKey>,
    /// From the signer to one that is trusted.
    pub(super) chain: Vec<Certificate>,
    /// What it makes of each key of the state.
    pub(super) picked: Vec<Picked>,
    pub(super) failure: Option<Failure>,
}

impl Proof {
    pub(super) fn of(found: &Found<'_>, pairs: &[Pair<'_>], trust: &Trust, work: &mut Work) -> Self {
        let mut proof = Self::default();
        let parts = found.parts.map_err(Failure::Unclear);
        proof.failure = parts.and_then(|parts| proof.verify(parts, pairs, trust, work)).err();
        proof
    }

    pub(super) fn report(&self, key: &[u8]) -> SignatureReport {
        let signer = match (self.chain.first(), &self.key) {
            (Some(cert), _) => Some(chain::shown(&cert.subject)),
            (None, Some(key)) => Some(match key.kind() {
                Kind::Rsa { bits } => format!("the device's own key, RSA with {bits} bits"),
                Kind::Ec(curve) => format!("the device's own key, {}", curve.name()),
            }),
            (None, None) => None,
        };
        SignatureReport {
            key: shown(key),
            algorithm: self.algorithm,
            signer,
            chain: self.chain.iter().map(|cert| chain::shown(&cert.subject)).collect(),
            failure: self.failure.clone(),
        }
    }

    fn verify(&mut self, parts: Parts<'_>, pairs: &[Pair<'_>], trust: &Trust, work: &mut Work) -> Result<(), Failure> {
        let header = Header::parse(parts.protected)?;
        self.algorithm = Some(header.algorithm);
        self.picked =
            header.selection.pick(pairs, work).map_err(|_| Failure::TooLarge("number of patterns and keys"))?;
        let bytes = header::decoded(parts.signature).filter(|bytes| !bytes.is_empty()).ok_or(Failure::SignatureText)?;
        if bytes.len() > MAX_SIGNATURE {
            return Err(Failure::TooLarge("signature"));
        }
        let certificates = header.certificates.as_ref().map_or(0, Vec::len) as u64;
        let cost = COST * (1 + certificates);
        work.0 = work.0.checked_sub(cost).ok_or(Failure::TooLarge("share of all the work that signatures are"))?;
        let key = match &header.certificates {
            Some(given) => self.signer(given, pairs, trust, work)?,
            None => trust.key.clone().ok_or(Failure::NoKey)?,
        };
        let payload = select::payload(pairs, &self.picked);
        let signed = [parts.protected, b".", base64::url(&payload).as_bytes()].concat();
        let holds = holds(&key, header.algorithm.hash(), &signed, &bytes);
        self.key = Some(key);
        if holds { Ok(()) } else { Err(Failure::Wrong) }
    }

    /// The key of the first certificate, if it is trusted for these keys.
    fn signer(
        &mut self,
        given: &[Vec<u8>],
        pairs: &[Pair<'_>],
        trust: &Trust,
        work: &mut Work,
    ) -> Result<PublicKey, Failure> {
        let read = |(at, der): (usize, &Vec<u8>)| {
            let cert = Certificate::parse_prefix(der).ok().map(|(cert, _)| cert);
            cert.filter(chain::is_readable).ok_or(Failure::Certificate(at + 1))
        };
        let given: Vec<Certificate> = given.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        // Whoever it is, people want to know.
        self.chain = given.iter().take(1).cloned().collect();
        let anchors = match &trust.oem {
            Some(oem)
                if given[0].common_name.as_ref() == Some(&oem.name) && !self.is_reserved(&oem.name, pairs, work)? =>
            {
                &oem.anchors
            }
            _ => &trust.anchors,
        };
        let chain = chain::trusted(&given, anchors).map_err(Failure::Untrusted)?;
        self.chain = chain.into_iter().cloned().collect();
        given[0].public_key().map_err(|_| Failure::Certificate(1))
    }

    /// Whether something is selected that a device's maker may not sign.
    fn is_reserved(&self, oem: &str, pairs: &[Pair<'_>], work: &mut Work) -> Result<bool, Failure> {
        let reserved = [b"bsp".as_slice(), oem.as_bytes()].map(|folder| Pattern::new(folder, true));
        for (pair, _) in pairs.iter().zip(&self.picked).filter(|(_, picked)| **picked == Picked::Included) {
            for pattern in &reserved {
                let too_much = |_| Failure::TooLarge("number of patterns and keys");
                if pattern.matches(pair.key, work).map_err(too_much)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Whether a signature holds. What kind it is, the key says; one of a curve may be written as a JWS has it or as DER. The
/// two numbers of the former are its halves, whatever its length, without a byte that is left over (`storage.md` §11.8).
fn holds(key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    match key.kind() {
        Kind::Rsa { .. } => key.verify(hash, message, Signature::RsaPkcs1(signature)),
        Kind::Ec(_) => {
            let half = signature.len() / 2;
            let halves = Signature::Ecdsa { r: &signature[..half], s: &signature[half..2 * half] };
            let digest = hash.of(message);
            key.verify_hashed(hash, &digest, halves)
                || Signature::ecdsa_from_der(signature).is_some_and(|numbers| key.verify_hashed(hash, &digest, numbers))
        }
    }
}
