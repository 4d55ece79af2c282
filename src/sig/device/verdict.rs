//! What comes of looking at a state.
//!
//! As JSON (`pvr sig check --json`, and in the answer to a post that is refused):
//!
//! ```json
//! {"policy":"strict","accepted":false,"device":"not-covered",
//!  "refusals":[{"key":"app/run.json","reason":"not-covered","why":"no signature covers it"}],
//!  "signatures":[{"key":"_sigs/app.json","algorithm":"RS256","signer":"CN=…","chain":["CN=…"],"failure":null}],
//!  "keys":[{"key":"app/root.squashfs","included":[0],"excluded":[]}]}
//! ```
//!
//! `device` is the word for what a Pantavisor in that mode would answer; for `hardened`, what one in `strict` would.

use serde::{Serialize, Serializer};

use super::policy::Policy;
use crate::sig::jws::Algorithm;

/// Whether a state is to be had, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// What was demanded.
    #[serde(serialize_with = "policy_name")]
    pub policy: Policy,
    /// Whether the policy takes it.
    pub accepted: bool,
    /// What a device would answer.
    pub device: Answer,
    /// Everything that speaks against it.
    pub refusals: Vec<Refusal>,
    /// Its signatures, in the order of the state.
    pub signatures: Vec<SignatureReport>,
    /// Its keys, in the order of the state.
    pub keys: Vec<KeyReport>,
}

/// What a Pantavisor says to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// Nothing: it takes it.
    Accepted,
    /// `Parser: State JSON has bad format`
    BadFormat,
    /// `Secureboot: Signature validation failed`
    BadSignature,
    /// `Secureboot: State not fully covered by signatures`
    NotCovered,
    /// It would end with a segmentation fault.
    Crash,
    /// That is not known: there was too much to look at.
    Unknown,
}

/// One thing that speaks against a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// Which key it is about; none: the state as a whole.
    pub key: Option<String>,
    /// A word for programs.
    pub reason: Reason,
    /// For people.
    pub why: String,
}

/// What may speak against a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// It is no state, to a device.
    BadFormat,
    /// It is not what everybody would read in the same way. (`hardened`)
    Ambiguous,
    /// It has more of something than is looked at.
    TooLarge,
    /// A signature doesn't hold.
    BadSignature,
    /// No signature covers a key.
    NotCovered,
    /// A key is covered only by being excluded. (`hardened`)
    OnlyExcluded,
    /// A signature stands where none belongs. (`hardened`)
    Misplaced,
    /// Something stands where a signature belongs, or looks like one, and is none. (`hardened`)
    Stripped,
    /// A signature is made with another algorithm than it says, or written in a way that nothing writes. (`hardened`)
    Algorithm,
    /// A certificate is not valid today. (`hardened`)
    Expired,
}

/// A signature of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignatureReport {
    /// Its key.
    pub key: String,
    /// What it says it is made with.
    #[serde(serialize_with = "algorithm_name")]
    pub algorithm: Option<Algorithm>,
    /// The subject of the first certificate, or what kind of key it is verified with.
    pub signer: Option<String>,
    /// The subjects of the certificates from the first to one that is trusted.
    pub chain: Vec<String>,
    /// Why it doesn't hold.
    #[serde(serialize_with = "failure_text")]
    pub failure: Option<Failure>,
}

/// A key of a state, and the signatures that cover it, by their places in [`Verdict::signatures`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// The key.
    pub key: String,
    /// Signatures that sign it.
    pub included: Vec<u16>,
    /// Signatures that exclude it, which to a device is as good.
    pub excluded: Vec<u16>,
}

/// Why a signature doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The daemon goes by the first text of that name, which may or may not be a member.
    #[error("\"{0}\" stands in it before the member of that name")]
    Unclear(&'static str),
    /// The header is no base64.
    #[error("its header is no base64url")]
    Protected,
    /// The header is no JSON.
    #[error("its header is no JSON")]
    Header,
    /// `typ`
    #[error("the type in its header is not PVS")]
    Type,
    /// `alg`
    #[error("the algorithm in its header is none of RS256, ES256, ES384 and ES512")]
    Algorithm,
    /// `pvs`
    #[error("its header does not say what it covers")]
    NoSelection,
    /// `pvs` without its lists.
    #[error("its header has no lists of what it includes and excludes, which makes the daemon of a device crash")]
    Crash,
    /// `include` or `exclude` is something else.
    #[error("what its header includes or excludes is no list of patterns")]
    Selection,
    /// The signature is no base64.
    #[error("it is no base64url")]
    SignatureText,
    /// `x5c` names none.
    #[error("its header has an x5c without certificates")]
    NoCertificates,
    /// One of them, counted from 1, is none.
    #[error("certificate {0} of its header cannot be read")]
    Certificate(usize),
    /// The chain leads nowhere, or over something that doesn't count.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(&'static str),
    /// No `x5c`, and no key to verify with.
    #[error("its header has no certificate, and the device has no key of its own")]
    NoKey,
    /// The key doesn't fit.
    #[error("it does not fit what it covers: something has been changed, or it was made over another selection")]
    Wrong,
    /// Over a limit.
    #[error("its {0} is larger than is looked at")]
    TooLarge(&'static str),
}

impl Verdict {
    /// The most refusals and keys that [`shortened`](Self::shortened) leaves.
    pub const SHORT: usize = 256;

    /// Without keys that nothing is wrong with, and not with all of what is wrong where that is very much: for an answer
    /// on a wire.
    pub fn shortened(mut self) -> Self {
        let at_fault: std::collections::BTreeSet<_> =
            self.refusals.iter().filter_map(|refusal| refusal.key.clone()).collect();
        self.keys.retain(|report| at_fault.contains(&report.key));
        self.keys.truncate(Self::SHORT);
        self.refusals.truncate(Self::SHORT);
        self.signatures.truncate(Self::SHORT);
        self
    }

    /// What speaks against it, a line each, escaped; no more than some.
    pub fn lines(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let line = |refusal: &Refusal| match &refusal.key {
            Some(key) => format!("{}: {}", crate::state::escape(key), refusal.why),
            None => refusal.why.clone(),
        };
        let mut lines: Vec<String> = self.refusals.iter().take(SHOWN).map(line).collect();
        if self.refusals.len() > SHOWN {
            lines.push(format!("and {} more", self.refusals.len() - SHOWN));
        }
        lines
    }
}

fn policy_name<S: Serializer>(policy: &Policy, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(policy.name())
}

fn algorithm_name<S: Serializer>(algorithm: &Option<Algorithm>, to: S) -> Result<S::Ok, S::Error> {
    algorithm.map(Algorithm::name).serialize(to)
}

fn failure_text<S: Serializer>(failure: &Option<Failure>, to: S) -> Result<S::Ok, S::Error> {
    failure.as_ref().map(ToString::to_string).serialize(to)
}
