//! A server that may end at any moment, and what it is asked.

use crate::black_box::agent::{JSON, TEXT, announcement};
use crate::black_box::http::{self, Response};
use crate::black_box::sha256;

pub struct Talk {
    /// `http://127.0.0.1:<port>/cgi-bin/pvr`
    pub base: String,
}

impl Talk {
    /// The answer, if it is a good one.
    fn ask(&self, url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, String> {
        let length = body.len().to_string();
        let headers = [headers, &[("Content-Length", length.as_str())]].concat();
        match http::ask(url, method, &headers, body) {
            Ok(answer) if answer.status == 200 => Ok(answer),
            Ok(answer) => Err(answer.to_string()),
            Err(error) => Err(format!("{method} {url}: {error}")),
        }
    }

    pub fn upload(&self, bytes: &[u8]) -> Result<(), String> {
        let record = announcement("file", &sha256(bytes), bytes.len() as u64);
        let answer = match self.ask(&format!("{}/objects/", self.base), "POST", JSON, record.as_bytes()) {
            // It is there.
            Err(answer) if answer.starts_with("409 ") => return Ok(()),
            other => other?,
        };
        let url = answer.json()["signed-puturl"].as_str().ok_or_else(|| answer.to_string())?.to_owned();
        self.ask(&url, "PUT", &[], bytes).map(drop)
    }

    pub fn post(&self, rev: &str, state: &str) -> Result<(), String> {
        let body = format!(r#"{{"commit-msg":"test","rev":"{rev}","state":{state}}}"#);
        self.ask(&format!("{}/steps", self.base), "POST", TEXT, body.as_bytes()).map(drop)
    }

    /// Puts a state; which revision it became.
    pub fn put(&self, state: &str) -> Result<Response, String> {
        self.ask(&format!("{}/json", self.base), "PUT", JSON, state.as_bytes())
    }

    /// A step of a transaction.
    pub fn pvtx(&self, method: &str, step: &str, body: &[u8]) -> Result<(), String> {
        let base = self.base.strip_suffix("/pvr").expect("an address");
        self.ask(&format!("{base}/pvtx/{step}"), method, &[], body).map(drop)
    }
}
