//! What the black-box tests share: the real binary as a server, a raw HTTP client, storages made without the
//! program, and how much of everything (`PVR_ROUNDS`).
//!
//! Nothing in here uses the program's own code for what is being tested: storages are laid out with plain file
//! operations, requests are bytes on a socket, and the collector is a few lines after the daemon's rules.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

pub mod agent;
pub mod chance;
pub mod http;
#[path = "../program/mod.rs"]
pub mod program;
pub mod seed;

#[allow(unused_imports, reason = "every test binary uses its part of this")]
pub use chance::{Dice, per_cent, rounds, skip};

/// The sha256 of `bytes` as 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(Sha256::digest(bytes).as_slice())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
