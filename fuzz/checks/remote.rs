//! Addresses, and the document in which an endpoint says where its parts are: whatever is in them, what goes out on the wire
//! is one request line and one host.
//!
//! The first byte of an input says which: a document, or an address and behind a line feed a reference.

use std::sync::{Arc, LazyLock};

use pvr_agent::net::{Client, Patience, Url};
use pvr_agent::remote::{Access, Ask, Auth, AuthError, Credentials, Remote};

#[path = "../support/answering.rs"]
mod answering;

static ENDPOINT: LazyLock<answering::Answering> = LazyLock::new(|| answering::Answering::new("remote"));

struct Nobody;

impl Ask for Nobody {
    fn login(&self, _: &str, _: &str) -> Result<Option<Credentials>, AuthError> {
        Ok(None)
    }
    fn other_server(&self, _: &str, _: &str) -> Result<Option<bool>, AuthError> {
        Ok(None)
    }
    fn tell(&self, _: &str) {}
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    match data.split_first() {
        None => {}
        Some((b'{', _)) => document(data),
        Some((_, text)) => {
            let Ok(text) = std::str::from_utf8(text) else { return };
            let (address, reference) = text.split_once('\n').unwrap_or((text, ""));
            let Ok(url) = Url::parse(address) else { return };
            sound(&url);
            for next in [url.join(reference).ok(), Some(url.parent()), Some(url.with_appended(".pvrremote"))] {
                next.iter().for_each(sound);
            }
        }
    }
}

/// Nothing in it could end a line, a request line or a host; and it is what it says.
fn sound(url: &Url) {
    let target = url.target();
    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()), "{target:?}");
    let host = url.host_header();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    assert!(!host.is_empty() && host.bytes().all(plain), "{host:?}");
    let again = Url::parse(&url.to_string());
    // What is appended makes an address longer, and a long one is not read.
    assert!(again.as_ref() == Ok(url) || url.to_string().len() > pvr_agent::net::MAX_URL, "{url} {again:?}");
}

fn document(data: &[u8]) {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", data.len()).into_bytes();
    answer.extend_from_slice(data);
    let url = Url::parse("http://device/cgi-bin/pvr").expect("an address");
    let auth = Auth::new(std::env::temp_dir(), &url, &url, None, Box::new(Nobody));
    let access = Access { auth: Arc::new(auth), token: None };
    match Remote::discover(&Client::on_socket(ENDPOINT.with(answer), Patience::default()), &url, &access) {
        Ok(remote) => {
            let text = remote.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }
}
