//! What can be wrong with a TLS peer, in words that say what to do.

/// Why there is no TLS connection. Nothing of the request has been sent. Whatever the peer said is escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Nobody that we trust vouches for the certificate.
    #[error(
        "the server's certificate is not from an authority that is trusted here\n--cacert FILE trusts the authorities in FILE, --insecure trusts whoever answers"
    )]
    UnknownAuthority,
    /// The certificate is somebody else's.
    #[error("the server's certificate is not for {host}, but for {names}\nuse one of these names in the address")]
    WrongName {
        /// Whom we wanted.
        host: String,
        /// Whom it is for.
        names: String,
    },
    /// The certificate was good once, or this machine's clock is ahead.
    #[error("the server's certificate expired on {at}, and by this machine's clock it is {now}\n{CLOCK}")]
    Expired {
        /// Its last instant.
        at: String,
        /// This machine's time.
        now: String,
    },
    /// The certificate will be good later, or this machine's clock is behind.
    #[error("the server's certificate is valid from {from} on, and by this machine's clock it is {now}\n{CLOCK}")]
    NotYetValid {
        /// Its first instant.
        from: String,
        /// This machine's time.
        now: String,
    },
    /// Something else is wrong with the certificate.
    #[error("the server's certificate cannot be used: {0}")]
    Certificate(String),
    /// What came first is no TLS.
    #[error("what answers there does not speak TLS\nif it speaks plain HTTP, the address begins with http://")]
    NotTls,
    /// The peer doesn't want us.
    #[error("the server refused the TLS connection: {0}")]
    Refused(String),
    /// Versions or ciphers don't meet.
    #[error("the server has no version of TLS or no cipher in common with this program (TLS 1.2 and 1.3): {0}")]
    Incompatible(String),
    /// The host of the address cannot stand in a certificate.
    #[error("{0} is no name that a certificate can be for")]
    Host(String),
    /// The file with the authorities cannot be used.
    #[error("cannot take authorities from '{path}': {why}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

const CLOCK: &str =
    "if the clock is wrong, as on a device without a battery, set it; --insecure does without certificates";

#[cfg(feature = "tls")]
mod from_rustls {
    use std::time::{Duration, UNIX_EPOCH};

    use rustls::pki_types::UnixTime;
    use rustls::{AlertDescription, CertificateError, Error, OtherError};

    use super::TlsError;
    use crate::state::{clock::rfc3339, escape};

    impl TlsError {
        /// In a handshake with `host`. `first` says that nothing of the peer has been understood yet.
        pub(in crate::net) fn of(error: Error, host: &str, first: bool) -> Self {
            match error {
                Error::InvalidCertificate(error) => Self::certificate(error, host),
                Error::InvalidMessage(_) if first => Self::NotTls,
                Error::PeerIncompatible(why) => Self::Incompatible(words(&format!("{why:?}"))),
                Error::AlertReceived(alert) => Self::alert(alert),
                error => Self::Other(shown(&error.to_string())),
            }
        }

        fn alert(alert: AlertDescription) -> Self {
            let said = words(&format!("{alert:?}"));
            match alert {
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity => Self::Incompatible(said),
                _ => Self::Refused(said),
            }
        }

        fn certificate(error: CertificateError, host: &str) -> Self {
            let at = |time: UnixTime| rfc3339(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
            match error {
                // The second is one by the name of an authority that we trust, such as an older one of that name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::NotValidForNameContext { presented, .. } => {
                    let names: Vec<_> = presented.iter().map(|name| shown(bare(name))).collect();
                    let names = if names.is_empty() { "nobody by name".to_owned() } else { names.join(", ") };
                    Self::WrongName { host: shown(host), names }
                }
                CertificateError::ExpiredContext { time, not_after } => {
                    Self::Expired { at: at(not_after), now: at(time) }
                }
                CertificateError::NotValidYetContext { time, not_before } => {
                    Self::NotYetValid { from: at(not_before), now: at(time) }
                }
                CertificateError::Revoked => Self::Certificate("it has been revoked".to_owned()),
                CertificateError::Other(OtherError(why)) => match why.downcast_ref() {
                    // What people make for themselves often is one; see `verify::Given`.
                    Some(webpki::Error::CaUsedAsEndEntity) => Self::UnknownAuthority,
                    _ => Self::Certificate(shown(&words(&why.to_string()))),
                },
                error => Self::Certificate(shown(&words(&error.to_string()))),
            }
        }
    }

    /// `DnsName("localhost")` and `IpAddress(127.0.0.1)` without what is around.
    fn bare(name: &str) -> &str {
        name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name).trim_matches('"')
    }

    fn shown(text: &str) -> String {
        escape(text.get(..300).unwrap_or(text)).into_owned()
    }

    /// `HandshakeFailure` as `handshake failure`; what is no such word stays.
    fn words(name: &str) -> String {
        if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return name.to_owned();
        }
        let mut out = String::new();
        let mut small = false;
        for c in name.chars() {
            if c.is_ascii_uppercase() && small {
                out.push(' ');
            }
            small = !c.is_ascii_uppercase();
            out.push(c.to_ascii_lowercase());
        }
        out
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_of_errors_are_words() {
            for (name, text) in [
                ("HandshakeFailure", "handshake failure"),
                ("UnknownCA", "unknown ca"),
                ("ServerDoesNotSupportTls12Or13", "server does not support tls12 or13"),
                ("a word (1)", "a word (1)"),
            ] {
                assert_eq!(words(name), text);
            }
            assert_eq!(bare("DnsName(\"a.example\")"), "a.example");
            assert_eq!(bare("IpAddress(::1)"), "::1");
        }
    }
}
