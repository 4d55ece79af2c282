//! What the tests with hostile clients share: connections from many addresses of this machine, requests that nobody should send,
//! and answers taken apart without forgiveness.
#![allow(dead_code, reason = "every test binary uses its part of this")]

pub mod answers;
pub mod requests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, getrlimit, setrlimit};

/// A connection to `server` from 127.0.0.`last`: what an address may have is counted by itself.
pub fn connect_from(last: u8, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    connect(&socket, &server)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// As many descriptors as this process may have.
pub fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}
