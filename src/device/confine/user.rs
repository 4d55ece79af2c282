//! Another user to run as, who has fewer rights than the one that starts a server.

use std::fs;

use rustix::fs::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::state::escape;

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

/// Somebody who cannot be run as.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// Not in the list.
    #[error("there is no user {}\ngive a name of /etc/passwd, or numbers: UID:GID", escape(.0))]
    Unknown(String),
    /// The kernel says no.
    #[error("failed to become user {uid}: {source}\nthat takes root")]
    Become {
        /// The user.
        uid: u32,
        /// Why not.
        source: std::io::Error,
    },
}

impl User {
    /// By a name in `/etc/passwd`, or by numbers.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let numbers = name.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        if let Some((uid, gid)) = numbers {
            return Ok(Self { uid, gid });
        }
        let list = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::among(&list, name).ok_or_else(|| UserError::Unknown(name.to_owned()))
    }

    /// `name:password:uid:gid:…`
    fn among(list: &str, name: &str) -> Option<Self> {
        let fields = list.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.into_iter().find(|fields| fields.first() == Some(&name) && fields.len() > 3)?;
        Some(Self { uid: found[2].parse().ok()?, gid: found[3].parse().ok()? })
    }

    /// Runs as this user from here on. This is the thread's, and of those that it starts. What can be had of capabilities stays
    /// until [`confine`](super::confine) drops it: ports below 1024, and the key of a certificate, are somebody else's.
    pub fn become_it(self) -> Result<(), UserError> {
        let failed = |error: rustix::io::Errno| UserError::Become { uid: self.uid, source: error.into() };
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let _ = set_keep_capabilities(true);
        set_thread_groups(&[]).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)?;
        let _ = set_keep_capabilities(false);
        if let Ok(had) = capabilities(None) {
            // Nothing is written with rights that the user will not have.
            let for_a_start = CapabilitySet::NET_BIND_SERVICE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SETPCAP;
            let _ = set_capabilities(None, CapabilitySets { effective: had.permitted & for_a_start, ..had });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn users_by_name_and_by_number() {
        let list = "root:x:0:0:root:/root:/bin/sh\n\nbroken\npvr:x:990:991::/:/bin/false\nodd:x:-1:x\n";
        assert_eq!(User::among(list, "pvr"), Some(User { uid: 990, gid: 991 }));
        assert_eq!(User::among(list, "root"), Some(User { uid: 0, gid: 0 }));
        for none in ["broken", "odd", "pv", "", "x"] {
            assert_eq!(User::among(list, none), None, "{none}");
        }
        assert_eq!(User::find("12:34").ok(), Some(User { uid: 12, gid: 34 }));
        assert!(User::find("no such user").is_err() && User::find("12:").is_err());
    }
}
