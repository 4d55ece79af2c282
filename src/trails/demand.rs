//! What is demanded of a state before any of it is installed: by a post, a put or a deploy alike.
//!
//! There is one place where that is asked, [`admit`](super::admit()): [`install_if`](super::install_if()) goes through it before
//! it looks at the storage, a deploy and a transaction before they make a folder, a post to the control socket before it sends
//! the state.

use std::sync::Arc;

use crate::sig::device::{Clock, Policy, Trust, Verdict, verify};
use crate::state::canonical::CanonicalError;
use crate::state::{State, clock};

/// What is demanded. By default nothing: the daemon that is to run it looks for itself.
#[derive(Debug, Clone, Default)]
pub struct Demands {
    /// Of its signatures.
    pub signatures: Option<Signatures>,
}

/// What is demanded of signatures.
#[derive(Debug, Clone)]
pub struct Signatures {
    /// How much.
    pub policy: Policy,
    /// Whom they may be by.
    pub trust: Arc<Trust>,
    /// Whether this machine's clock is known to be right, so that certificates can be out of their dates.
    pub clock_is_right: bool,
}

/// A state is not what is demanded. Nothing of it was installed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy {} refuses this state:\n{}", .0.policy, .0.lines().join("\n"))]
pub struct Refused(pub Box<Verdict>);

/// A state was not looked at to the end, or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has no canonical form, which is what is signed.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

impl Demands {
    /// How much is demanded of signatures.
    pub fn policy(&self) -> Policy {
        self.signatures.as_ref().map_or(Policy::Disabled, |signatures| signatures.policy)
    }

    /// Whether somebody vouches for this key of a state, in the form in which it is kept: a good signature covers it, or nothing is demanded
    /// of signatures. That one excludes it, which is as good to a device, is not enough.
    pub fn vouches_for(&self, state: &[u8], key: &str) -> bool {
        let Some(signatures) = self.signatures.as_ref().filter(|demand| demand.policy.verifies()) else {
            return true;
        };
        let verdict = signatures.verdict(state);
        let mut found = verdict.keys.iter().filter(|report| report.key == key).peekable();
        found.peek().is_some() && found.all(|report| !report.included.is_empty())
    }

    /// Looks at a state, in the form in which a device is going to read it.
    pub fn of_state(&self, state: &State) -> Result<(), Unmet> {
        let Some(signatures) = self.signatures.as_ref().filter(|demand| demand.policy.verifies()) else {
            return Ok(());
        };
        let verdict = signatures.verdict(state.to_canonical()?.as_bytes());
        if verdict.accepted { Ok(()) } else { Err(Refused(Box::new(verdict)).into()) }
    }
}

impl Signatures {
    /// The verdict on the text of a state.
    pub fn verdict(&self, state: &[u8]) -> Verdict {
        let now = i64::try_from(clock::seconds(clock::now())).unwrap_or(i64::MAX);
        let clock = if self.clock_is_right { Clock::Right(now) } else { Clock::Unknown };
        verify(state, &self.trust, self.policy, clock)
    }
}
