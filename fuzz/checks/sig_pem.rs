//! PEM files of users, and base64: what is decoded has one spelling.

use pvr_agent::sig::cert::Certificate;
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::public::PublicKey;
use pvr_agent::sig::{base64, pem};

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    pem::blocks(text);
    PrivateKey::from_pem(text).ok();
    PublicKey::from_pem(text);
    Certificate::from_pem(text);
    if let Some(bytes) = base64::from_url(text) {
        assert_eq!(base64::url(&bytes), text);
    }
    if let Some(bytes) = base64::from_standard(text) {
        assert_eq!(base64::standard(&bytes), text);
    }
}
