//! The verdict of a device on a state: whether a Pantavisor in one of its modes would take it, and what it overlooks.
//!
//! Pure: bytes, trust, policy and time in, a [`Verdict`] out. The daemon goes by the text of a state and not by what it
//! means as JSON, so this does too. It was built after 497 recorded verdicts, which `tests/device_verdict.rs` replays.
//!
//! | file | what |
//! |---|---|
//! | `raw` | how the daemon reads JSON |
//! | `header`, `select` | what a signature says, which keys it covers, what text it signs |
//! | `chain`, [`trust`] | whom the daemon believes |
//! | `proof` | whether one signature holds |
//! | `hardened` | what the daemon lets through and we needn't |
//! | [`compare`] | where `pvr` selects other keys than the daemon |
//! | [`policy`], [`verdict`] | what is demanded, what came of it |
//!
//! Everything from outside has a limit: tokens (`raw`), headers, patterns and certificates (`header`), signatures, their
//! keys and the comparisons of patterns with keys (here), sizes of RSA keys (`sig::public`).

mod chain;
pub mod compare;
mod hardened;
mod header;
pub mod policy;
mod proof;
mod raw;
mod select;
pub mod trust;
pub mod verdict;

pub use policy::{Clock, Policy};
pub use trust::{Trust, TrustError};
pub use verdict::{Answer, Failure, KeyReport, Reason, Refusal, SignatureReport, Verdict};

use self::proof::Proof;
use self::raw::{Kind, Member, Pair, Raw, Unreadable};
use self::select::Picked;
use crate::sig::fnmatch::Work;

/// Most signatures in a state. A device has one for each part.
pub const MAX_SIGNATURES: usize = 256;
/// Most keys that all signatures together cover.
const MAX_COVERED: usize = 1 << 20;
/// Most comparisons of patterns with keys.
const MAX_WORK: u64 = 100_000_000;

/// What a state may be, to a device.
const SPECS: [&[u8]; 2] = [b"pantavisor-service-system@1", b"pantavisor-multi-platform@1"];
/// Where signatures belong. What is below needs no signature itself.
const FOLDER: &[u8] = b"_sigs/";

/// A signature as it stands in a state.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    /// Its place among the members of the state.
    at: usize,
    parts: Result<Parts<'a>, &'static str>,
}

#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    protected: &'a [u8],
    signature: &'a [u8],
}

/// Looks at a state, as it would be on the device: the text of its `.pvr/json`.
pub fn verify(state: &[u8], trust: &Trust, policy: Policy, clock: Clock) -> Verdict {
    let mut verdict = Verdict {
        policy,
        accepted: false,
        device: Answer::Accepted,
        refusals: Vec::new(),
        signatures: Vec::new(),
        keys: Vec::new(),
    };
    let parsed = Raw::parse(state);
    let raw = match &parsed {
        Ok(raw) => raw,
        Err(Unreadable::TooLarge) => return verdict.too_large("it has too many values"),
        Err(Unreadable::Syntax) => return verdict.bad_format("it is no JSON"),
    };
    let Some(pairs) = raw.pairs() else { return verdict.bad_format("it is no JSON object") };
    if policy.verifies() {
        verdict.judge(state, &pairs, trust, clock);
    } else {
        verdict.keys = pairs.iter().map(|pair| KeyReport::of(pair.key)).collect();
    }
    if !matches!(raw.member(b"#spec"), Member::Found(Kind::String, spec) if SPECS.contains(&spec)) {
        let whole = "the first #spec in it is not that of a state";
        return verdict.bad_format(whole);
    }
    verdict.accepted = verdict.refusals.is_empty();
    verdict
}

impl Verdict {
    fn refuse(&mut self, answer: Answer, key: Option<&[u8]>, reason: Reason, why: impl Into<String>) {
        if self.device == Answer::Accepted {
            self.device = answer;
        }
        self.refusals.push(Refusal { key: key.map(shown), reason, why: why.into() });
    }

    fn bad_format(mut self, why: &str) -> Self {
        self.refuse(
            Answer::BadFormat,
            None,
            Reason::BadFormat,
            format!("a device would not take it for a state: {why}"),
        );
        self
    }

    fn too_large(mut self, why: &str) -> Self {
        self.refuse(Answer::Unknown, None, Reason::TooLarge, why);
        self
    }

    fn judge(&mut self, state: &[u8], pairs: &[Pair<'_>], trust: &Trust, clock: Clock) {
        let found: Vec<Found<'_>> = pairs.iter().enumerate().filter_map(|(at, pair)| find(at, pair)).collect();
        self.keys = pairs.iter().map(|pair| KeyReport::of(pair.key)).collect();
        if found.len() > MAX_SIGNATURES {
            let why = format!("it has more than {MAX_SIGNATURES} signatures");
            return self.refuse(Answer::Unknown, None, Reason::TooLarge, why);
        }
        let mut work = Work(MAX_WORK);
        let mut covered = 0;
        let mut proofs = Vec::with_capacity(found.len());
        for (index, found) in found.iter().enumerate() {
            let mut proof = Proof::of(found, pairs, trust, &mut work);
            let failure = proof.failure.clone();
            self.signatures.push(proof.report(pairs[found.at].key));
            if let Some(failure) = &failure {
                let (answer, reason) = match failure {
                    Failure::Crash => (Answer::Crash, Reason::BadSignature),
                    Failure::TooLarge(_) => (Answer::Unknown, Reason::TooLarge),
                    _ => (Answer::BadSignature, Reason::BadSignature),
                };
                self.refuse(answer, Some(pairs[found.at].key), reason, failure.to_string());
            } else {
                covered += self.cover(index, &proof.picked);
                if covered > MAX_COVERED {
                    let why = format!("its signatures cover more than {MAX_COVERED} keys, each counted once for each");
                    return self.refuse(Answer::Unknown, None, Reason::TooLarge, why);
                }
            }
            // As many as keys, for each signature.
            proof.picked = Vec::new();
            proofs.push(proof);
        }
        if self.policy.demands_coverage() {
            for (at, pair) in pairs.iter().enumerate().filter(|(_, pair)| !pair.key.starts_with(FOLDER)) {
                if self.keys[at].included.is_empty() && self.keys[at].excluded.is_empty() {
                    self.refuse(Answer::NotCovered, Some(pair.key), Reason::NotCovered, "no good signature covers it");
                }
            }
        }
        if self.policy == Policy::Hardened {
            let device = self.device;
            hardened::judge(self, state, pairs, &found, &proofs, clock);
            self.device = device;
        }
    }

    fn cover(&mut self, signature: usize, picked: &[Picked]) -> usize {
        let mut covered = 0;
        // There are no more than MAX_SIGNATURES.
        let signature = signature as u16;
        for (key, picked) in self.keys.iter_mut().zip(picked) {
            match picked {
                Picked::No => continue,
                Picked::Included => key.included.push(signature),
                Picked::Excluded => key.excluded.push(signature),
            }
            covered += 1;
        }
        covered
    }
}

impl KeyReport {
    fn of(key: &[u8]) -> Self {
        Self { key: shown(key), included: Vec::new(), excluded: Vec::new() }
    }
}

/// Whether the daemon takes a member for a signature: wherever it stands, and whatever is around its parts.
fn find<'a>(at: usize, pair: &Pair<'a>) -> Option<Found<'a>> {
    // Strings can't hold one, and most values don't say that they are one.
    if !matches!(pair.kind, Kind::Object | Kind::Array) || !holds(pair.value, b"pvs@2") {
        return None;
    }
    let raw = Raw::parse(pair.value).ok()?;
    let unclear = |name| Some(Found { at, parts: Err(name) });
    match raw.member(b"#spec") {
        Member::Found(_, b"pvs@2") => {}
        Member::Unclear if raw.all(b"#spec").any(|spec| spec == b"pvs@2") => return unclear("#spec"),
        _ => return None,
    }
    let part = |name| match raw.member(name) {
        Member::Absent => None,
        Member::Found(_, text) => Some(Some(text)),
        Member::Unclear => Some(None),
    };
    match (part(b"protected")?, part(b"signature")?) {
        (Some(protected), Some(signature)) => Some(Found { at, parts: Ok(Parts { protected, signature }) }),
        (None, _) => unclear("protected"),
        (_, None) => unclear("signature"),
    }
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

/// A key as people have it; as it is written where it is no JSON string.
fn shown(raw: &[u8]) -> String {
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}
