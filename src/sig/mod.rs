//! Signatures of states, pvs@2 (`sig-dm.md` part 1, `storage.md` §6): made, read and verified. Knows bytes, no working copy.
//!
//! A signature is a key of the state itself, `_sigs/<part>.json`: a flattened JWS (RFC 7515 §7.2.2) without its payload.
//!
//! ```text
//! {"#spec":"pvs@2","protected":"<base64url>","signature":"<base64url>"}        canonical, no newline
//! protected = {"alg":…,"jwk":{…},"pvs":{"include":[…],"exclude":[…]},"typ":"PVS","x5c":[…]}
//! signed    = <protected> "." base64url(payload)
//! payload   = canonical JSON of the members of the state that the patterns select
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`base64`], [`pem`], `asn1` | spellings of bytes, read strictly |
//! | [`key`] | private keys: read, and sign |
//! | [`public`], `curve` | public keys: read, and verify |
//! | [`cert`] | certificates as they are written |
//! | [`jws`] | the document and its header |
//! | [`fnmatch`] | patterns as a device selects keys |
//! | [`device`] | the verdict of a device on a state |
//! | [`glob`], [`payload`] | what pvr selects with the patterns of a header |
//! | [`sign`] | from the words of `sig add` to a header |
//! | [`chain_pvr`] | whose certificates pvr believes |
//! | [`verify`] | whether a signature holds, as pvr asks |

mod asn1;
pub mod base64;
pub mod cert;
pub mod chain_pvr;
mod curve;
pub mod device;
pub mod fnmatch;
pub mod glob;
pub mod jws;
pub mod key;
pub mod payload;
pub mod pem;
pub mod public;
pub mod sign;
pub mod verify;

#[cfg(test)]
mod tests;
