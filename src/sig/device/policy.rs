//! How much a device demands of signatures (`storage.md` §5), and what we demand beyond that.

use std::fmt;
use std::str::FromStr;

/// What is demanded of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nothing. No signature is looked at.
    Disabled,
    /// Signatures that are there have to be good; a state may have none. What devices do unless told otherwise.
    #[default]
    Lenient,
    /// The same: all that a device does more is to log which keys no signature covers.
    Audit,
    /// Besides, every key has to be covered by a signature. A key that a signature excludes counts as covered.
    Strict,
    /// Besides, nothing of what a strict device lets through: see `hardened`. No device has this mode.
    Hardened,
}

/// All of them, by name.
const NAMES: [(&str, Policy); 5] = [
    ("disabled", Policy::Disabled),
    ("lenient", Policy::Lenient),
    ("audit", Policy::Audit),
    ("strict", Policy::Strict),
    ("hardened", Policy::Hardened),
];

impl Policy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, policy)| *policy == self).map_or("", |(name, _)| name)
    }

    /// Whether signatures are looked at.
    pub fn verifies(self) -> bool {
        self != Self::Disabled
    }

    /// Whether every key has to be covered.
    pub fn demands_coverage(self) -> bool {
        matches!(self, Self::Strict | Self::Hardened)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is one of disabled, lenient, audit, strict, hardened")]
pub struct NoPolicy;

impl FromStr for Policy {
    type Err = NoPolicy;

    fn from_str(text: &str) -> Result<Self, NoPolicy> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, policy)| *policy).ok_or(NoPolicy)
    }
}

/// What is known about the time. A device's clock is often wrong, and says of good certificates that they have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Nothing: dates are not looked at, as on a device.
    Unknown,
    /// It is that many seconds after 1970. Only [`Policy::Hardened`] asks.
    Right(i64),
}
