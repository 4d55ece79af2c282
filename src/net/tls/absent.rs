//! A build without TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Trust;
use crate::net::{NetError, Url};

/// Makes nothing.
#[derive(Debug)]
pub(in crate::net) struct Tls;

/// Never comes to be.
#[derive(Debug)]
pub(in crate::net) enum Session {}

/// Never comes to be.
#[derive(Debug)]
pub(in crate::net) enum TlsStream {}

impl Tls {
    pub(in crate::net) fn new(_: Trust) -> Self {
        Self
    }

    pub(in crate::net) fn session(&self, _: &Url) -> Result<Session, NetError> {
        Err(NetError::NoTls)
    }
}

impl Session {
    pub(in crate::net) fn handshake(self, _: TcpStream, _: SocketAddr, _: Duration) -> Result<TlsStream, NetError> {
        match self {}
    }
}

impl TlsStream {
    pub(in crate::net) fn set_patience(&mut self, _: Duration) -> io::Result<()> {
        match *self {}
    }

    pub(in crate::net) fn has_input(&mut self) -> bool {
        match *self {}
    }
}

impl Read for TlsStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

impl Write for TlsStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}
