//! The transport below HTTP: a byte stream with time limits.
//!
//! One variant per transport; nothing above this file knows which it is.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tls::{Tls, TlsStream};
use super::{NetError, Scheme, Url};
use crate::state::escape;

/// An open connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over it.
    Tls(Box<TlsStream>),
    /// A socket of this machine.
    Unix(UnixStream),
}

impl Stream {
    /// Connects to the address' host. `patience` is for finding one of its addresses that answers, and once more for
    /// the TLS handshake with that one. With a proxy, it is the proxy's host that is connected to.
    pub(super) fn connect(url: &Url, tls: &Tls, proxy: Option<&Url>, patience: Duration) -> Result<Self, NetError> {
        // First of all: without TLS, or with a file that cannot be used, nobody has to be asked for anything.
        let session = match url.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(tls.session(url)?),
        };
        let (mut tcp, address) = Self::reach(proxy.unwrap_or(url), patience)?;
        if proxy.is_some() && session.is_some() {
            super::proxy::tunnel(&mut tcp, url, patience)?;
        }
        match session {
            None => Ok(Self::Tcp(tcp)),
            Some(session) => Ok(Self::Tls(Box::new(session.handshake(tcp, address, patience)?))),
        }
    }

    /// Connects to a socket that lies in the file system. A server that doesn't take connections may have room for some
    /// more of them to wait; when that is full, connecting itself waits, and `patience` is for that.
    pub(super) fn connect_to_file(path: &Path, patience: Duration) -> Result<Self, NetError> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
        let connected = || -> rustix::io::Result<UnixStream> {
            let address = SocketAddrUnix::new(path)?;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
            connect(&socket, &address)?;
            Ok(socket.into())
        };
        connected().map(Self::Unix).map_err(|source| NetError::Connect {
            address: escape(&path.to_string_lossy()).into_owned(),
            source: match source {
                rustix::io::Errno::AGAIN => io::Error::new(io::ErrorKind::TimedOut, "it takes no more connections"),
                source => source.into(),
            },
        })
    }

    /// Tries each address in turn.
    fn reach(url: &Url, patience: Duration) -> Result<(TcpStream, SocketAddr), NetError> {
        let resolve = |source| NetError::Resolve { host: url.host().to_owned(), source };
        let addresses: Vec<SocketAddr> = (url.host(), url.port()).to_socket_addrs().map_err(resolve)?.collect();
        let deadline = Instant::now() + patience;
        let mut last = None;
        for (tried, address) in addresses.iter().enumerate() {
            // What is left is shared out, so that one black hole among several addresses does not eat it all.
            let left = deadline.saturating_duration_since(Instant::now());
            let addresses_left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = (left / addresses_left).max(Duration::from_millis(100));
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    // Heads and small bodies are written in one piece each: waiting to fill packets only delays them.
                    stream.set_nodelay(true).ok();
                    return Ok((stream, *address));
                }
                Err(source) => last = Some(NetError::Connect { address: address.to_string(), source }),
            }
        }
        Err(last.unwrap_or_else(|| resolve(io::Error::from(io::ErrorKind::NotFound))))
    }

    /// Limits how long one read or write may make no progress.
    pub(super) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
            Self::Tls(stream) => stream.set_patience(patience),
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
        }
    }

    /// Whether the peer has sent something (or closed) already. On an idle connection either means that it cannot be
    /// used again; while a body is being sent, that the answer is there early.
    pub(super) fn has_input(&mut self) -> bool {
        match self {
            Self::Tcp(stream) => {
                if stream.set_nonblocking(true).is_err() {
                    return true;
                }
                let waiting = matches!(stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
                stream.set_nonblocking(false).is_err() || !waiting
            }
            Self::Tls(stream) => stream.has_input(),
            Self::Unix(stream) => {
                use rustix::net::{RecvFlags, recv};
                let mut byte = [0];
                let peeked = recv(stream.as_fd(), &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
                !matches!(peeked, Err(rustix::io::Errno::AGAIN))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}
