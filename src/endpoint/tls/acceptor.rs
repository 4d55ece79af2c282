//! The pair that is being served, and handshakes with it.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use rustls::server::danger::ClientCertVerifier;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{self, Loaded, Stamps, fingerprint, stamps};
use super::{TlsFileError, TlsFiles, self_signed};
use crate::endpoint::log::{Level, Log};
use crate::endpoint::wire::Wire;
use crate::sig::cert::Certificate;

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Encrypted bytes that wait for one slow client, at most; two records.
const BUFFER: usize = 32 * 1024;

/// A connection after its handshake.
pub(in crate::endpoint) type TlsIo = TlsStream<Wire>;

/// The connection below.
pub(in crate::endpoint) fn into_wire(io: TlsIo) -> Wire {
    io.into_inner().0
}

/// Whom the client's certificate is for; `None` if it has shown none. It was verified in the handshake.
pub(in crate::endpoint) fn common_name(io: &TlsIo) -> Option<String> {
    let shown = io.get_ref().1.peer_certificates()?.first()?;
    Some(Certificate::parse(shown).ok().and_then(|certificate| certificate.common_name).unwrap_or_default())
}

/// A certificate with its key, kept up to date with its files.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    serving: Mutex<Serving>,
    /// Who vouches for clients.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

#[derive(Debug)]
struct Serving {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    warning: Option<String>,
    /// How the files were when they were last read, whatever came of it.
    read: Option<Stamps>,
    looked: Instant,
}

/// What a look at the files came to.
enum Look {
    Same,
    New { fingerprint: String, warning: Option<String> },
    Bad(TlsFileError),
}

impl Tls {
    /// Reads certificate and key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsFileError> {
        let files = files::absolute(files);
        let read = stamps(&files);
        let Loaded { config, leaf, warning } = files::load(&files)?;
        let serving = Serving { config, leaf, warning, read: Some(read), looked: Instant::now() };
        Ok(Self { files, serving: Mutex::new(serving), clients: None })
    }

    /// With clients that may show a certificate of an authority in this file.
    pub fn believing(self, file: &Path) -> Result<Self, TlsFileError> {
        let clients = files::authorities(file)?;
        {
            let mut serving = self.serving();
            let config = files::believing(&serving.config, &clients);
            serving.config = config.map_err(|error| TlsFileError::NoAuthority {
                path: crate::repo::shown(file),
                why: error.to_string(),
            })?;
        }
        Ok(Self { clients: Some(clients), ..self })
    }

    /// Certificate and key of that folder; what is missing there is made, for this machine, `listen` and `names`.
    pub fn self_signed(folder: &Path, listen: IpAddr, names: &[String]) -> Result<Self, TlsFileError> {
        Self::load(self_signed::files(folder, listen, names)?)
    }

    /// Files that cannot be served yet. Until they can, clients that don't care are served with a certificate of no
    /// name: who asked for https is never served without.
    pub fn load_later(files: TlsFiles, listen: IpAddr) -> Result<Self, TlsFileError> {
        let (certificate, key) = self_signed::in_memory(listen)?;
        let leaf = CertificateDer::from(certificate);
        let config = files::config(vec![leaf.clone()], PrivatePkcs8KeyDer::from(key).into());
        let config = config.map_err(|_| TlsFileError::NoRandom)?;
        let files = files::absolute(files);
        let read = Some(stamps(&files));
        let serving = Serving { config, leaf, warning: None, read, looked: Instant::now() };
        Ok(Self { files, serving: Mutex::new(serving), clients: None })
    }

    /// Where they are.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The sha256 of the certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.serving().leaf)
    }

    /// What an operator may want to change: about the key, and if clients come to `listen`, about the certificate.
    pub fn warnings(&self, listen: Option<IpAddr>) -> Vec<String> {
        let serving = self.serving();
        let named = listen.filter(|ip| !ip.is_unspecified()).and_then(|ip| {
            let parsed = ParsedCertificate::try_from(&serving.leaf).ok()?;
            let fits = verify_server_name(&parsed, &ip.to_canonical().into()).is_ok();
            let cert = crate::repo::shown(&self.files.cert);
            (!fits).then(|| {
                format!("the TLS certificate '{cert}' is not for {ip}: clients have to use a name that it is for")
            })
        });
        serving.warning.iter().cloned().chain(named).collect()
    }

    /// The handshake. No clock: the caller has one.
    pub(in crate::endpoint) async fn accept(self: Arc<Self>, wire: Wire, log: &Log) -> io::Result<TlsIo> {
        let config = self.current(log).await;
        TlsAcceptor::from(config).accept_with(wire, |session| session.set_buffer_limit(Some(BUFFER))).await
    }

    /// The pair as it is in the files, or was when somebody looked a moment ago.
    async fn current(self: Arc<Self>, log: &Log) -> Arc<ServerConfig> {
        {
            let mut serving = self.serving();
            if serving.looked.elapsed() < LOOK_EVERY {
                return Arc::clone(&serving.config);
            }
            serving.looked = Instant::now();
        }
        let this = Arc::clone(&self);
        match spawn_blocking(move || this.look()).await {
            Ok(Look::New { fingerprint, warning }) => {
                log.note(Level::Info, &format!("a new TLS certificate is served: sha256 {fingerprint}"));
                warning.iter().for_each(|warning| log.note(Level::Warn, warning));
            }
            Ok(Look::Bad(error)) => {
                log.note(Level::Warn, &format!("the new TLS certificate is not served, the old one stays: {error}"));
            }
            // A job that cannot be run has other things to complain about.
            Ok(Look::Same) | Err(_) => {}
        }
        Arc::clone(&self.serving().config)
    }

    fn look(&self) -> Look {
        let now = stamps(&self.files);
        if self.serving().read.replace(now) == Some(now) {
            return Look::Same;
        }
        match files::load(&self.files) {
            Ok(Loaded { config, leaf, warning }) => {
                let config = match &self.clients {
                    // What was possible once still is.
                    Some(clients) => files::believing(&config, clients).unwrap_or(config),
                    None => config,
                };
                let fingerprint = fingerprint(&leaf);
                let mut serving = self.serving();
                (serving.config, serving.leaf, serving.warning) = (config, leaf, warning.clone());
                Look::New { fingerprint, warning }
            }
            Err(error) => Look::Bad(error),
        }
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
