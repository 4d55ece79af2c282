//! What `serve` prints when it listens: one thing a line.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::device::{Confined, Runner};
use crate::endpoint::config::PORT;
use crate::endpoint::route;
use crate::repo::shown;

/// What the device is reached by where no control socket is.
pub(super) const STORAGE: &str = "storage";

/// The storage, the URL, and what to type to get a copy.
pub(super) struct Announcement<'a> {
    /// What the device is reached by.
    pub(super) back_end: &'static str,
    pub(super) root: &'a Path,
    /// Where objects are read besides.
    pub(super) storage: Option<&'a Path>,
    pub(super) address: SocketAddr,
    /// https is spoken, with this certificate.
    pub(super) secured: Option<Secured<'a>>,
    pub(super) runner: Runner,
    /// What is demanded of signatures.
    pub(super) signatures: String,
    /// What the server has given up.
    pub(super) confined: &'a Confined,
    pub(super) warnings: &'a [String],
}

/// A certificate, and whether clients have to be told to trust it.
pub(super) struct Secured<'a> {
    pub(super) cert: &'a Path,
    pub(super) fingerprint: String,
    pub(super) self_signed: bool,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Somebody at this machine reaches a listener on all addresses at the loopback one.
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            ip if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if self.secured.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", SocketAddr::new(ip, self.address.port()), route::BASE);
        let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pvr-agent"));
        let own = shown(&own);
        writeln!(f, "{}: {}", self.back_end, shown(self.root))?;
        if let Some(storage) = self.storage {
            writeln!(f, "objects are read in: {}", shown(storage))?;
        }
        writeln!(f, "URL: {url}")?;
        if let Some(secured) = &self.secured {
            writeln!(f, "certificate: {}, sha256 {}", shown(secured.cert), secured.fingerprint)?;
        }
        let (flag, variable) = match &self.secured {
            // Today's pvr has no such flag, but heeds the variable of its TLS library.
            Some(Secured { cert, self_signed: true, .. }) => {
                (format!("--cacert {} ", shown(cert)), format!("SSL_CERT_FILE={} ", shown(cert)))
            }
            _ => Default::default(),
        };
        writeln!(f, "without pvr: {own} pvr {flag}clone {url}")?;
        match (&self.secured, self.address.port(), ip.is_ipv4()) {
            // What pvr makes of an address alone has the usual port.
            (None, PORT, true) => writeln!(f, "with pvr: pvr clone {ip}")?,
            _ => writeln!(f, "with pvr: {variable}pvr clone {url}")?,
        }
        if self.runner == Runner::Nobody {
            writeln!(f, "stand-alone: no Pantavisor here, a posted revision becomes the current one at once")?;
        } else if self.back_end == STORAGE {
            writeln!(
                f,
                "installed only: not through Pantavisor's control socket, a posted revision waits for 'pvcontrol cmd run'"
            )?;
        }
        writeln!(f, "signatures: {}", self.signatures)?;
        writeln!(f, "privileges: {}", self.confined)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_usual_port_an_address_is_enough_for_pvr() {
        let confined = Confined {
            user: 0,
            group: 0,
            capabilities: Vec::new(),
            bounded: true,
            no_new_privileges: true,
            landlock: String::new(),
        };
        for (address, command) in [
            ("127.0.0.1:12368", "pvr clone 127.0.0.1"),
            ("0.0.0.0:12368", "pvr clone 127.0.0.1"),
            ("192.0.2.7:12368", "pvr clone 192.0.2.7"),
            ("127.0.0.1:12369", "pvr clone http://127.0.0.1:12369/cgi-bin/pvr"),
            ("[::1]:12368", "pvr clone http://[::1]:12368/cgi-bin/pvr"),
        ] {
            let text = Announcement {
                back_end: STORAGE,
                root: Path::new("/storage"),
                storage: None,
                address: address.parse().unwrap(),
                secured: None,
                runner: Runner::Nobody,
                signatures: String::new(),
                confined: &confined,
                warnings: &[],
            }
            .to_string();
            assert!(text.contains(&format!("\nwith pvr: {command}\n")), "{address}: {text}");
        }
    }
}
