//! Who asks, and what they may do.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What somebody may do. Each holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at everything but logs.
    Read,
    /// Change what runs: objects, states, transactions. Logs, too, because whoever changes something has to see what came of it.
    Deploy,
    /// What is the owner's alone.
    Admin,
}

/// All of them, by name.
const NAMES: [(&str, Scope); 3] = [("read", Scope::Read), ("deploy", Scope::Deploy), ("admin", Scope::Admin)];

impl Scope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, scope)| *scope == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is one of read, deploy, admin")]
pub struct NoScope;

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, scope)| *scope).ok_or(NoScope)
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever it is: the device has no accounts, and is open.
    Anybody,
    /// Somebody who has not said who.
    Nobody,
    /// The account of this name: a user or a token. It has no characters that a log, a header or a URL could not hold.
    Account(String),
}

/// A request's caller: who, what they may do, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub who: Who,
    /// What they may do; `None`: nothing that needs a scope.
    pub scope: Option<Scope>,
    /// Where they are, as far as that is known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Of a device without accounts: everybody may do everything.
    pub(crate) fn anybody(address: Option<IpAddr>) -> Self {
        Self { who: Who::Anybody, scope: Some(Scope::Admin), address }
    }

    /// Somebody who has not said who.
    pub(crate) fn nobody(address: Option<IpAddr>) -> Self {
        Self { who: Who::Nobody, scope: None, address }
    }

    /// The account; `anybody` where there are none, `nobody` where none was named.
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Anybody => "anybody",
            Who::Nobody => "nobody",
            Who::Account(name) => name,
        }
    }

    /// Whether they may do what needs this scope.
    pub fn may(&self, needs: Scope) -> bool {
        self.scope.is_some_and(|scope| scope >= needs)
    }

    /// Whether the request comes from this machine.
    pub fn is_local(&self) -> bool {
        self.address.is_some_and(|address| address.to_canonical().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_holds_those_before_it() {
        let scopes = [Scope::Read, Scope::Deploy, Scope::Admin];
        for (held, scope) in scopes.into_iter().enumerate() {
            assert_eq!(scope.name().parse(), Ok(scope));
            let caller = Caller { who: Who::Account("a".to_owned()), scope: Some(scope), address: None };
            for (needed, needs) in scopes.into_iter().enumerate() {
                assert_eq!(caller.may(needs), held >= needed, "{scope} {needs}");
            }
            assert!(!Caller::nobody(None).may(scope) && Caller::anybody(None).may(scope));
        }
        assert_eq!(Scope::from_str("Admin"), Err(NoScope));
        let at = |address: &str| Caller::nobody(address.parse().ok()).is_local();
        assert!(at("127.0.0.1") && at("::1") && at("::ffff:127.0.0.1") && !at("10.0.0.1") && !at(""));
    }
}
