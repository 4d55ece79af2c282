//! What can be wrong with certificate and key.

use std::io;

/// A certificate and its key cannot be served. Paths are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// The build has no TLS.
    #[error("this program was built without TLS, so it cannot serve https\nuse a build with the tls feature")]
    NotBuiltIn,
    /// A file cannot be read.
    #[error("failed to read '{path}': {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be made.
    #[error("failed to {verb} '{path}': {source}")]
    Make {
        /// What was being done.
        verb: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate that cannot be read.
    #[error("'{path}' is not PEM: {why}")]
    NotPem {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// No certificate.
    #[error("there is no certificate in '{path}'\nit has to be PEM, the server's own certificate first")]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// No authority.
    #[error("the authorities in '{path}' cannot vouch for clients: {why}")]
    NoAuthority {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// No key.
    #[error("there is no private key in '{path}'\nit has to be PEM: PKCS#8, PKCS#1 or SEC1")]
    NoKey {
        /// The file.
        path: String,
    },
    /// A key that takes a password.
    #[error("the private key in '{path}' is encrypted\nopenssl pkey -in FILE -out NEW takes the password off")]
    Encrypted {
        /// The file.
        path: String,
    },
    /// A certificate and the key of another one.
    #[error("the key in '{key}' is not the one of the certificate in '{cert}'")]
    Mismatch {
        /// The certificate.
        cert: String,
        /// The key.
        key: String,
    },
    /// A kind of key or certificate that cannot be used.
    #[error("the certificate in '{cert}' and the key in '{key}' cannot be used: {why}")]
    Unusable {
        /// The certificate.
        cert: String,
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// Half of what was made once.
    #[error("the key of '{cert}' is gone\nremove the certificate to have both made anew")]
    NoKeyForCertificate {
        /// The certificate.
        cert: String,
    },
    /// Something else under the name of a key that would be made.
    #[error(
        "'{key}' is not a key that was made here (ECDSA on P-256, PKCS#8)\nremove it, or give --tls-cert and --tls-key"
    )]
    NotOurKey {
        /// The key.
        key: String,
    },
    /// No randomness from the kernel.
    #[error("the kernel has no random numbers for a key")]
    NoRandom,
}
