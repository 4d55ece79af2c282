//! Whether a signature holds, as pvr asks (`sig-dm.md` §6): state, signature, trust and time in, what it covers out.
//!
//! | trust | keys that are tried |
//! |---|---|
//! | public keys | all of them; certificates mean nothing |
//! | authorities, and certificates in the header | that of the first one, if the chain leads to an authority |
//! | authorities alone | those of the certificates among them that are valid for it themselves |
//!
//! The key in the header is never believed.

use super::cert::Certificate;
use super::chain_pvr::{self, ChainError};
use super::glob::GlobError;
use super::jws::Document;
use super::payload::Selection;
use super::public::PublicKey;
use crate::state::Object;
use crate::state::canonical::CanonicalError;

/// Who may sign.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The owners of these keys.
    Keys(Vec<PublicKey>),
    /// Whom these certificates, or those that they vouch for, name.
    Authorities(Vec<Certificate>),
}

/// A signature does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Its patterns cannot be read.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// What it covers cannot be written out.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// There is nobody whom it could be by.
    #[error("no pubKeys available. Neither as parameters nor from x5c header nor from root pool{}", because(.0))]
    NoKey(Option<ChainError>),
    /// It is by none of those whom it could be by: it, or something that it covers, has been altered, or somebody else made it.
    #[error(
        "could not verify payload of {covered} keys (error= the signature is by none of the {keys} keys that may have made it)"
    )]
    Wrong {
        /// How many keys of the state it covers.
        covered: usize,
        /// How many keys were tried.
        keys: usize,
    },
}

fn because(why: &Option<ChainError>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!("\n{why}"))
}

/// What a signature covers, and that it holds.
#[derive(Debug)]
pub struct Verified {
    /// The keys of the state.
    pub selection: Selection,
    /// What is signed.
    pub payload: String,
}

/// Verifies one signature over a state, at that second from 1970.
pub fn verify(state: &Object, document: &Document, trust: &Trust, at: i64) -> Result<Verified, VerifyError> {
    let selection = Selection::of(state, &document.header.patterns)?;
    let payload = selection.payload(state)?;
    let keys = keys(document, trust, at)?;
    if keys.iter().any(|key| document.is_signed_by(key, payload.as_bytes())) {
        return Ok(Verified { selection, payload });
    }
    Err(VerifyError::Wrong { covered: selection.selected.len(), keys: keys.len() })
}

fn keys(document: &Document, trust: &Trust, at: i64) -> Result<Vec<PublicKey>, VerifyError> {
    let no_key = |why| VerifyError::NoKey(Some(why));
    match (trust, &document.header.x5c) {
        (Trust::Keys(keys), _) if keys.is_empty() => Err(VerifyError::NoKey(None)),
        (Trust::Keys(keys), _) => Ok(keys.clone()),
        (Trust::Authorities(trusted), _) if trusted.is_empty() => Err(VerifyError::NoKey(None)),
        (Trust::Authorities(trusted), Some(x5c)) => {
            let chain = chain_pvr::read(x5c).map_err(no_key)?;
            Ok(vec![chain_pvr::validate(&chain, trusted, at).map_err(no_key)?])
        }
        (Trust::Authorities(trusted), None) => {
            let mut why = None;
            let mut keys = Vec::new();
            for cert in trusted {
                match chain_pvr::validate(std::slice::from_ref(cert), trusted, at) {
                    Ok(key) => keys.push(key),
                    Err(error) => why = Some(error),
                }
            }
            if keys.is_empty() { Err(VerifyError::NoKey(why)) } else { Ok(keys) }
        }
    }
}
