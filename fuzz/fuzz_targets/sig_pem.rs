//! PEM files of users, and base64: what is decoded has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvr_agent::sig::cert::Certificate;
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::public::PublicKey;
use pvr_agent::sig::{base64, pem};

fuzz_target!(|text: &str| {
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
});
