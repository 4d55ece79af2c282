//! rustls on a blocking socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::{TlsError, Trust, machine_clock, verify};
use crate::net::{NetError, Url};

/// What all connections of a client share.
#[derive(Debug)]
pub(in crate::net) struct Tls {
    trust: Trust,
    /// Made when the first https address is met: most commands meet none.
    config: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
}

/// A connection to be.
#[derive(Debug)]
pub(in crate::net) struct Session {
    connection: ClientConnection,
    host: String,
}

/// An open connection.
#[derive(Debug)]
pub(in crate::net) struct TlsStream {
    connection: ClientConnection,
    tcp: TcpStream,
    patience: Duration,
}

impl Tls {
    pub(in crate::net) fn new(trust: Trust) -> Self {
        Self { trust, config: OnceLock::new() }
    }

    /// Prepares a connection to that host; nothing is sent yet.
    pub(in crate::net) fn session(&self, url: &Url) -> Result<Session, NetError> {
        let config = self.config.get_or_init(|| config(&self.trust)).clone()?;
        let host = url.host().to_owned();
        let name = server_name(&host).ok_or_else(|| TlsError::Host(host.clone()))?;
        let connection = ClientConnection::new(config, name).map_err(|error| TlsError::of(error, &host, false))?;
        Ok(Session { connection, host })
    }
}

fn config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verify::verifier(trust, &provider)?;
    let mut config = ClientConfig::builder_with_details(provider, machine_clock())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Other(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name that the certificate has to be for. An address has no zone there, and a name no dot at its end.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    let address = host.split_once('%').map_or(host, |(address, _zone)| address);
    match address.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_owned().try_into().ok(),
    }
}

impl Session {
    /// Agrees with the peer and looks at its certificate, within `patience` altogether.
    pub(in crate::net) fn handshake(
        self,
        tcp: TcpStream,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<TlsStream, NetError> {
        let Self { mut connection, host } = self;
        let deadline = Instant::now() + patience;
        let failed = |source: io::Error| {
            let why = match source.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    format!("no TLS handshake within {} seconds", patience.as_secs().max(1))
                }
                _ => format!("the TLS handshake broke off: {source}"),
            };
            NetError::Connect { address: address.to_string(), source: io::Error::new(source.kind(), why) }
        };
        while connection.is_handshaking() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(ErrorKind::TimedOut.into()));
            }
            tcp.set_read_timeout(Some(left)).and_then(|()| tcp.set_write_timeout(Some(left))).map_err(failed)?;
            send(&mut connection, &tcp).map_err(failed)?;
            if !connection.is_handshaking() {
                break;
            }
            match connection.read_tls(&mut &tcp) {
                Ok(0) => {
                    return Err(failed(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            let first = connection.protocol_version().is_none();
            if let Err(error) = connection.process_new_packets() {
                // An alert, so that the peer knows. If it doesn't get through, it doesn't.
                let _ = send(&mut connection, &tcp);
                return Err(TlsError::of(error, &host, first).into());
            }
        }
        send(&mut connection, &tcp).map_err(failed)?;
        Ok(TlsStream { connection, tcp, patience })
    }
}

/// Sends the records that wait for it.
fn send(connection: &mut ClientConnection, tcp: &TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(&mut &*tcp) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl TlsStream {
    pub(in crate::net) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.patience = patience;
        self.tcp.set_read_timeout(Some(patience))?;
        self.tcp.set_write_timeout(Some(patience))
    }

    /// Whether the peer has sent something for us to read, or has closed. Session tickets, which servers send when
    /// they like, are nothing to read.
    pub(in crate::net) fn has_input(&mut self) -> bool {
        if self.tcp.set_nonblocking(true).is_err() {
            return true;
        }
        let input = loop {
            match self.connection.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => break true,
            }
            match self.connection.read_tls(&mut &self.tcp) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        self.tcp.set_nonblocking(false).is_err() || input
    }
}

impl Read for TlsStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            match self.connection.reader().read(buf) {
                // Nothing that has been received is left to be read.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            // A record that drips in would pass every limit on the wait for its next byte.
            if begun.elapsed() > self.patience {
                return Err(ErrorKind::WouldBlock.into());
            }
            send(&mut self.connection, &self.tcp)?;
            self.connection.read_tls(&mut &self.tcp)?;
            if let Err(error) = self.connection.process_new_packets() {
                let _ = send(&mut self.connection, &self.tcp);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }
}

impl Write for TlsStream {
    /// What is taken has been handed to the system when this returns: an error is not kept for the next call.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = self.connection.writer().write(buf)?;
        send(&mut self.connection, &self.tcp)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        send(&mut self.connection, &self.tcp)
    }
}

impl Drop for TlsStream {
    /// Says that this is the end, if there is room for saying it.
    fn drop(&mut self) {
        if self.tcp.set_nonblocking(true).is_ok() {
            self.connection.send_close_notify();
            let _ = send(&mut self.connection, &self.tcp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_certificates_are_for() {
        for (host, name) in [
            ("a.example", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("my_host.local", Some("my_host.local")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("-", None),
        ] {
            assert_eq!(server_name(host).map(|name| name.to_str().into_owned()).as_deref(), name, "{host}");
        }
    }
}
