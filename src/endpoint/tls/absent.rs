//! A build without TLS.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::{TlsFileError, TlsFiles};
use crate::endpoint::log::Log;
use crate::endpoint::wire::Wire;

/// Never comes to be.
#[derive(Debug)]
pub enum Tls {}

/// Never comes to be.
pub(in crate::endpoint) type TlsIo = Wire;

pub(in crate::endpoint) fn into_wire(io: TlsIo) -> Wire {
    io
}

pub(in crate::endpoint) fn common_name(_: &TlsIo) -> Option<String> {
    None
}

impl Tls {
    /// An error.
    pub fn load(_: TlsFiles) -> Result<Self, TlsFileError> {
        Err(TlsFileError::NotBuiltIn)
    }

    /// An error.
    pub fn self_signed(_: &Path, _: IpAddr, _: &[String]) -> Result<Self, TlsFileError> {
        Err(TlsFileError::NotBuiltIn)
    }

    /// An error.
    pub fn load_later(_: TlsFiles, _: IpAddr) -> Result<Self, TlsFileError> {
        Err(TlsFileError::NotBuiltIn)
    }

    /// Never called.
    pub fn believing(self, _: &Path) -> Result<Self, TlsFileError> {
        match self {}
    }

    /// Never called.
    pub fn files(&self) -> &TlsFiles {
        match *self {}
    }

    /// Never called.
    pub fn fingerprint(&self) -> String {
        match *self {}
    }

    /// Never called.
    pub fn warnings(&self, _: Option<IpAddr>) -> Vec<String> {
        match *self {}
    }

    pub(in crate::endpoint) async fn accept(self: Arc<Self>, _: Wire, _: &Log) -> io::Result<TlsIo> {
        match *self {}
    }
}
