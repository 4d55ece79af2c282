//! What a device in `strict` lets through (`storage.md` §6, §11) and `hardened` does not.
//!
//! | refused | because |
//! |---|---|
//! | a text that isn't strict JSON, a header that says a thing twice | the daemon takes the first of two at any depth; other readers don't |
//! | a signature outside of `_sigs/` | it needs no place there, and nobody looks for it there |
//! | something below `_sigs/` that is no signature | a signature whose `#spec` or header was taken away passes for nothing |
//! | something with the parts of a signature anywhere that is none | the same |
//! | `alg` of another kind or size than the key; other spellings than a JWS has | the daemon takes only the hash from `alg` |
//! | a key that is only excluded | it may be changed at will. `src.json`, `build.json` and signatures may be excluded |
//! | certificates out of their dates, where the time is known | the daemon doesn't look |

use super::chain;
use super::header::Header;
use super::policy::Clock;
use super::proof::Proof;
use super::raw::{Kind, Pair, Raw};
use super::verdict::{Answer, Reason, Verdict};
use super::{FOLDER, Found};
use crate::sig::base64;
use crate::sig::public;
use crate::state::JsonLimits;
use crate::state::parse::parse_strict;

pub(super) fn judge(
    verdict: &mut Verdict,
    state: &[u8],
    pairs: &[Pair<'_>],
    found: &[Found<'_>],
    proofs: &[Proof],
    clock: Clock,
) {
    let mut refuse = |key: Option<&[u8]>, reason, why: &str| verdict.refuse(Answer::Accepted, key, reason, why);
    // How large it may be has been decided where it came from.
    let limits = JsonLimits { bytes: usize::MAX, depth: JsonLimits::MAX_DEPTH };
    if let Err(error) = parse_strict(state, &limits) {
        refuse(None, Reason::Ambiguous, &format!("two readers could take it for two different states: {error}"));
    }
    for (found, proof) in found.iter().zip(proofs) {
        let key = pairs[found.at].key;
        if !key.starts_with(FOLDER) {
            refuse(Some(key), Reason::Misplaced, "it is a signature, and signatures belong below _sigs/");
        }
        let Ok(parts) = found.parts else { continue };
        if !is_plain(pairs[found.at].value) || !Header::is_plain(parts.protected) {
            refuse(Some(key), Reason::Ambiguous, "its members are nested, or there twice");
        }
        if let (Some(algorithm), Some(signer)) = (proof.algorithm, &proof.key)
            && !algorithm.fits(signer.kind())
        {
            refuse(Some(key), Reason::Algorithm, "its algorithm is not that of the key it is made with");
        }
        let exact = std::str::from_utf8(parts.signature).ok().and_then(base64::from_url);
        let length = exact.map(|bytes| bytes.len());
        if let Some(signer) = &proof.key
            && proof.failure.is_none()
            && length != Some(signature_length(signer.kind()))
        {
            refuse(Some(key), Reason::Algorithm, "it is not written as a JWS has it (RFC 7518 §3.3, §3.4)");
        }
        if let Clock::Right(now) = clock
            && let Some(place) = proof.chain.iter().position(|cert| !cert.is_valid_at(now))
        {
            let which = chain::shown(&proof.chain[place].subject);
            let why = format!("a certificate has expired or is not valid yet: {}", crate::state::escape(&which));
            refuse(Some(key), Reason::Expired, &why);
        }
    }
    for (at, pair) in pairs.iter().enumerate() {
        let is_signature = found.iter().any(|found| found.at == at);
        if !is_signature && pair.key.starts_with(FOLDER) {
            refuse(Some(pair.key), Reason::Stripped, "it is below _sigs/ and no signature, or no longer");
        } else if !is_signature && looks_signed(pair) {
            refuse(
                Some(pair.key),
                Reason::Stripped,
                "it looks like a signature, and a device would not take it for one",
            );
        }
    }
    let only_excluded: Vec<usize> = (0..pairs.len())
        .filter(|at| verdict.keys[*at].included.is_empty() && !verdict.keys[*at].excluded.is_empty())
        .filter(|at| !may_be_excluded(pairs[*at].key))
        .collect();
    for at in only_excluded {
        let why = "signatures only exclude it, so nothing keeps it from being changed";
        verdict.refuse(Answer::Accepted, Some(pairs[at].key), Reason::OnlyExcluded, why);
    }
}

/// How the daemon installs containers doesn't depend on these.
fn may_be_excluded(key: &[u8]) -> bool {
    let name = key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    key.starts_with(FOLDER) || name == b"src.json" || name == b"build.json"
}

/// Whether a signature is one object with its members once each.
fn is_plain(value: &[u8]) -> bool {
    let Ok(raw) = Raw::parse(value) else { return false };
    let names: [&[u8]; 3] = [b"#spec", b"protected", b"signature"];
    let pairs = raw.pairs().unwrap_or_default();
    names.iter().all(|name| pairs.iter().any(|pair| pair.key == *name) && raw.all(name).count() == 1)
}

/// Whether something has the parts of a signature.
fn looks_signed(pair: &Pair<'_>) -> bool {
    if !matches!(pair.kind, Kind::Object | Kind::Array) {
        return false;
    }
    let Ok(raw) = Raw::parse(pair.value) else { return false };
    let says_so = raw.all(b"#spec").any(|spec| spec.starts_with(b"pvs@"));
    says_so || (raw.all(b"protected").next().is_some() && raw.all(b"signature").next().is_some())
}

/// How long a JWS makes a signature with such a key.
fn signature_length(key: public::Kind) -> usize {
    match key {
        public::Kind::Rsa { bits } => bits.div_ceil(8),
        public::Kind::Ec(curve) => 2 * curve.bytes(),
    }
}
