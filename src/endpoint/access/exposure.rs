//! What an operator has to know about who can reach a device.

use std::net::SocketAddr;

use super::AccessError;

/// Where an endpoint listens, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The address.
    pub address: SocketAddr,
    /// https is spoken.
    pub encrypted: bool,
}

impl Exposure {
    /// What is worth a warning. `guarded`: whether there are accounts.
    pub fn warning(&self, guarded: Result<bool, AccessError>) -> Option<String> {
        let address = self.address;
        let local = address.ip().to_canonical().is_loopback();
        match guarded {
            Err(error) => Some(error.to_string().replace('\n', "; ")),
            Ok(false) if !local => {
                Some(format!("whoever reaches {address} can read and change this device: nobody has to log in"))
            }
            Ok(true) if !local && !self.encrypted => {
                Some(format!("passwords and tokens for {address} cross the network in the clear: serve https"))
            }
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_a_warning() {
        for (address, encrypted, guarded, want) in [
            ("127.0.0.1:1", false, false, ""),
            ("[::1]:1", false, true, ""),
            ("0.0.0.0:1", false, false, "nobody has to log in"),
            ("0.0.0.0:1", true, false, "nobody has to log in"),
            ("10.0.0.1:1", false, true, "in the clear"),
            ("10.0.0.1:1", true, true, ""),
        ] {
            let exposure = Exposure { address: address.parse().unwrap(), encrypted };
            let got = exposure.warning(Ok(guarded)).unwrap_or_default();
            assert!(got.contains(want) && got.is_empty() == want.is_empty(), "{address}: {got}");
        }
        let damaged = Exposure { address: ([127, 0, 0, 1], 1).into(), encrypted: true }.warning(Err(AccessError::Full));
        assert!(damaged.is_some());
    }
}
