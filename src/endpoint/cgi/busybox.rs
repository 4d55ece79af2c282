//! The connection that busybox httpd keeps to itself: the rest of a body, and whether the client is still there.
//!
//! busybox httpd hands on the body of a POST with a length. Of any other request, and of a chunked POST, its program gets
//! on standard input only what came together with the head, then the end; the rest stays in the socket, which the server
//! does not read while its program runs. The client of a device uploads with PUT, so the rest is taken from there: the
//! server of one connection is the parent of this process and has the connection as its standard input (measured with 1.35).
//!
//! The kernel lets the same user do that (`pidfd_getfd`, 5.6), unless it was told to be stricter. The descriptor counts
//! only if it is a connection with exactly the client that the server named.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getppid, pidfd_getfd, pidfd_open};

/// A second descriptor of the connection with `peer`.
pub(super) fn connection(peer: SocketAddr) -> io::Result<TcpStream> {
    let parent = getppid().ok_or_else(|| io::Error::other("the web server is not in sight"))?;
    let server = pidfd_open(parent, PidfdFlags::empty())?;
    let stream = TcpStream::from(pidfd_getfd(&server, 0, PidfdGetfdFlags::empty())?);
    let found = stream.peer_addr()?;
    let same = found.ip().to_canonical() == peer.ip().to_canonical() && found.port() == peer.port();
    if same { Ok(stream) } else { Err(io::Error::other("the web server's connection is with somebody else")) }
}
