//! Certificate and key as files: read, checked to belong together, and looked at again when they change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ConfigBuilder, Error, InconsistentKeys, RootCertStore, ServerConfig, WantsVerifier};
use sha2::{Digest, Sha256};

use super::{TlsFileError, TlsFiles};
use crate::net::machine_clock;
use crate::repo::shown;

/// A chain and a key are a few KiB; what is much longer is something else.
const MAX_BYTES: u64 = 1024 * 1024;

/// What has to change when a file is replaced or written into: device, inode, size, and both times.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The stamps of certificate and key; `None` for a file that cannot be looked at.
pub type Stamps = [Option<Stamp>; 2];

/// A pair that can be served.
pub struct Loaded {
    pub config: Arc<ServerConfig>,
    /// The server's own certificate.
    pub leaf: CertificateDer<'static>,
    /// What an operator may want to change.
    pub warning: Option<String>,
}

pub fn stamps(files: &TlsFiles) -> Stamps {
    [&files.cert, &files.key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        let times = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Some((meta.dev(), meta.ino(), meta.size(), times.0, times.1))
    })
}

/// Reads both.
pub fn load(files: &TlsFiles) -> Result<Loaded, TlsFileError> {
    let (text, _) = read(&files.cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| TlsFileError::NotPem { path: shown(&files.cert), why: error.to_string() })?;
    let (text, mode) = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = text.windows(9).any(|window| window == b"ENCRYPTED");
        let path = shown(&files.key);
        if encrypted { TlsFileError::Encrypted { path } } else { TlsFileError::NoKey { path } }
    })?;
    let leaf = chain.first().ok_or_else(|| TlsFileError::NoCertificate { path: shown(&files.cert) })?.clone();
    let config = config(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsFileError::Mismatch { cert: shown(&files.cert), key: shown(&files.key) }
        }
        error => TlsFileError::Unusable {
            cert: shown(&files.cert),
            key: shown(&files.key),
            why: crate::state::escape(&error.to_string()).into_owned(),
        },
    })?;
    let key = shown(&files.key);
    let warning = (mode & 0o077 != 0)
        .then(|| format!("others than its owner may use the TLS key '{key}' (mode {:03o}): chmod 600", mode & 0o777));
    Ok(Loaded { config, leaf, warning })
}

/// How connections are made with that pair.
pub fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = builder()?.with_no_client_auth().with_single_cert(chain, key)?;
    // Whoever offers neither, because it speaks HTTP/2 alone, is told so by the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // Each is a session to be kept for a client that may want to come back; one such wish is enough.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Who vouches for clients: the certificates of a file.
pub fn authorities(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsFileError> {
    let cannot = |why: String| TlsFileError::NoAuthority { path: shown(path), why };
    let (text, _) = read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| cannot(error.to_string()))?;
        roots.add(certificate).map_err(|error| cannot(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(cannot("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
    verifier.build().map_err(|error| cannot(error.to_string()))
}

/// The same pair for clients that may show a certificate.
pub fn believing(config: &ServerConfig, clients: &Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, Error> {
    let mut more =
        builder()?.with_client_cert_verifier(Arc::clone(clients)).with_cert_resolver(Arc::clone(&config.cert_resolver));
    more.alpn_protocols.clone_from(&config.alpn_protocols);
    more.send_tls13_tickets = config.send_tls13_tickets;
    Ok(Arc::new(more))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_details(provider, machine_clock()).with_safe_default_protocol_versions()
}

/// The sha256 of a certificate as `openssl x509 -fingerprint -sha256` shows it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsFileError> {
    let read = || -> io::Result<_> {
        let file = File::open(path)?;
        let mode = file.metadata()?.mode();
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok((text, mode))
    };
    read().map_err(|source| TlsFileError::Read { path: shown(path), source })
}

/// Both paths, absolute: a later change of the working folder must not lead elsewhere.
pub fn absolute(files: TlsFiles) -> TlsFiles {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    TlsFiles { cert: absolute(files.cert), key: absolute(files.key) }
}
