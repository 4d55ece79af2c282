//! What requests come on: a socket as it is, or TLS on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Endpoint;
use super::connections::Connection;
use super::error::ApiError;
use super::limits::Limit;
use super::log::Level;
use super::stop::{Either, Stopping, either};
use super::tls::{Tls, TlsIo, common_name, into_wire};
use super::wire::Wire;

/// A connection that requests can come on.
pub enum Transport {
    /// http.
    Plain(Wire),
    /// https.
    Tls(Box<TlsIo>),
}

/// What a connection has come to before its first request.
pub enum Opened {
    /// Requests may come.
    Ready(Transport),
    /// The client has been told why none may.
    Refused(Transport),
    /// It is over.
    Over,
}

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 0x16;

/// Makes a connection ready for requests. With `tls`, the handshake is its first head: it has as much time as one, and
/// as long as it lasts the connection may have to make room.
pub async fn open(
    wire: Wire,
    tls: Option<Arc<Tls>>,
    connection: &Connection,
    endpoint: &Endpoint,
    stopping: Stopping,
) -> Opened {
    let Some(tls) = tls else { return Opened::Ready(Transport::Plain(wire)) };
    let peer = connection.peer();
    let time = endpoint.limits().head_time;
    let unwanted = either(connection.evicted.notified(), stopping.wait());
    let failed = |why: &str| {
        endpoint.log().note(Level::Info, &format!("{peer}: {why}"));
        Opened::Over
    };
    match either(unwanted, timeout(time, handshake(wire, tls, endpoint))).await {
        Either::First(_) => Opened::Over,
        Either::Second(Err(_late)) => {
            endpoint.metrics().past(Limit::HeadTime);
            failed(&format!("no TLS handshake within {} s", time.as_secs()))
        }
        Either::Second(Ok(Shaken::Failed(error))) => failed(&format!("the TLS handshake failed: {error}")),
        Either::Second(Ok(Shaken::Gone)) => Opened::Over,
        Either::Second(Ok(Shaken::Tls(io))) => Opened::Ready(Transport::Tls(io)),
        Either::Second(Ok(Shaken::Plain(wire))) => {
            let mut transport = Transport::Plain(wire);
            let error = ApiError::new(StatusCode::BAD_REQUEST, "https-only", "plain HTTP on a port that speaks https")
                .hint("begin the address with https://");
            endpoint.refuse(&mut transport, peer, error).await;
            Opened::Refused(transport)
        }
    }
}

enum Shaken {
    Tls(Box<TlsIo>),
    /// It speaks HTTP, not TLS.
    Plain(Wire),
    Failed(io::Error),
    /// It left without a byte.
    Gone,
}

async fn handshake(wire: Wire, tls: Arc<Tls>, endpoint: &Endpoint) -> Shaken {
    let mut first = [0];
    match wire.tcp().peek(&mut first).await {
        Ok(0) | Err(_) => return Shaken::Gone,
        // Methods are upper case.
        Ok(_) if first[0] != HANDSHAKE && first[0].is_ascii_uppercase() => return Shaken::Plain(wire),
        Ok(_) => {}
    }
    match tls.accept(wire, endpoint.log()).await {
        Ok(io) => Shaken::Tls(Box::new(io)),
        Err(error) => Shaken::Failed(error),
    }
}

impl Transport {
    /// What URLs of answers begin with.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Plain(_) => "http",
            Self::Tls(_) => "https",
        }
    }

    /// The common name of the client's certificate, if it has one of an authority that we were told to believe; empty if it has none.
    pub fn certificate(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(io) => common_name(io),
        }
    }

    /// Whether the kernel can send files on it by itself.
    pub fn takes_files(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// The socket alone.
    pub fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(wire) => wire.into_tcp(),
            Self::Tls(io) => into_wire(*io).into_tcp(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(wire) => Pin::new(wire).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(wire) => Pin::new(wire).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(wire) => Pin::new(wire).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(wire) => wire.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(wire) => Pin::new(wire).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
