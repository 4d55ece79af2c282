//! A device with accounts, and tokens and URLs made by hand: everything that is signed is computed here, not by the program.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use crate::black_box::agent::{self, Server};
use crate::black_box::http::{self, Response};
use crate::black_box::seed::{Entry, Seed, tree};
use crate::black_box::{hex, sha256};
use crate::shape::Shape;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

pub const PASSWORD: &str = "correct horse battery";

/// A storage, and commands about its accounts.
pub struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        Seed::factory(&root.path().join("store"));
        Self { root }
    }

    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    pub fn state(&self) -> PathBuf {
        self.store().join(".pvr-agent")
    }

    pub fn file(&self) -> PathBuf {
        self.state().join("access.json")
    }

    /// `pvr-agent access …` on this storage.
    pub fn access(&self, args: &[&str], input: &str) -> Output {
        access_at("--storage", &self.store(), args, input)
    }

    /// The same, which has to end with 0; what it printed.
    #[track_caller]
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.access(args, "");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    pub fn user(&self, name: &str, scope: &str) {
        let output = self.access(&["add", name, "--scope", scope, "--password-file", "-"], &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    /// Makes it anew.
    #[track_caller]
    pub fn user_again(&self, name: &str, scope: &str) {
        let args = ["add", name, "--scope", scope, "--password-file", "-", "--replace"];
        let output = self.access(&args, &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    #[track_caller]
    pub fn token(&self, name: &str, scope: &str) -> String {
        self.done(&["token", name, "--scope", scope]).trim().to_owned()
    }

    pub fn accounts(&self) -> Value {
        accounts(&self.state())
    }

    pub fn serve(&self, shape: Shape) -> Server {
        shape.start(&self.store())
    }

    /// Every file, of what is kept between requests.
    pub fn tree(&self) -> BTreeMap<String, Entry> {
        tree(self.root.path())
    }
}

pub fn access_at(flag: &str, path: &Path, args: &[&str], input: &str) -> Output {
    let mut command = agent::command();
    let (first, rest) = args.split_first().expect("a command");
    command.arg("access").arg(first).arg(flag).arg(path).args(rest);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run pvr-agent");
    // It may not read it.
    let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
    child.wait_with_output().expect("wait")
}

pub fn accounts(state: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(state.join("access.json")).expect("the accounts")).expect("JSON")
}

/// HMAC-SHA-256 after RFC 2104.
pub fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digit = |six: &[u8]| {
        let six = format!("{:0<6}", std::str::from_utf8(six).expect("bits"));
        char::from(DIGITS[usize::from_str_radix(&six, 2).expect("bits")])
    };
    bits.as_bytes().chunks(6).map(digit).collect()
}

pub fn from_base64url(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = text.chars().map(|c| format!("{:06b}", DIGITS.find(c).expect("a digit"))).collect();
    let whole = bits.len() / 8 * 8;
    bits.as_bytes()[..whole]
        .chunks(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).expect("bits"), 2).expect("bits"))
        .collect()
}

/// What the program would sign, signed with its key.
pub struct Forge {
    key: Vec<u8>,
    accounts: Value,
}

impl Forge {
    pub fn of(state: &Path) -> Self {
        let accounts = accounts(state);
        Self { key: from_base64url(accounts["key"].as_str().expect("a key")), accounts }
    }

    pub fn id(&self, name: &str) -> String {
        let all = self.accounts["accounts"].as_array().expect("accounts");
        let account = all.iter().find(|account| account["name"] == name).expect("the account");
        account["id"].as_str().expect("an id").to_owned()
    }

    /// A token of a login of this account.
    pub fn jwt(&self, name: &str, first: u64, until: u64) -> String {
        let claims = json!({"acc": self.id(name), "exp": until, "iat": first, "id": name, "nick": name, "orig_iat": first,
            "prn": format!("prn:pvr-agent:accounts:/{name}"), "scopes": "admin", "type": "USER"});
        self.sealed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims)
    }

    pub fn sealed(&self, header: &str, claims: &Value) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        format!("{signed}.{}", base64url(&hmac(&self.key, signed.as_bytes())))
    }

    /// The query of a signed URL.
    pub fn query(&self, class: &str, sha: &str, size: usize, name: &str, until: u64) -> String {
        let id = self.id(name);
        let signed = format!("pvr-agent url 1\n{class}\n{sha}\n{size}\n{until}\n{name}\n{id}");
        format!("size={size}&until={until}&by={name}&mac={}", base64url(&hmac(&self.key, signed.as_bytes())))
    }
}

pub fn now() -> u64 {
    pvr_agent::state::clock::seconds(pvr_agent::state::clock::now())
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A request with a token below `/cgi-bin/pvr`.
#[track_caller]
pub fn with(server: &Server, token: &str, method: &str, below: &str, body: &[u8]) -> Response {
    let bearer = bearer(token);
    let length = body.len().to_string();
    let mut headers = vec![("Content-Length", length.as_str())];
    if !token.is_empty() {
        headers.push(("Authorization", &bearer));
    }
    http::ask(&format!("{}/{below}", server.base), method, &headers, body).expect("an answer")
}

/// The same without a body, below `/cgi-bin`.
#[track_caller]
pub fn with_at(server: &Server, token: &str, method: &str, below: &str) -> Response {
    let bearer = bearer(token);
    let headers = [("Content-Length", "0"), ("Authorization", bearer.as_str())];
    http::ask(&format!("http://{}/cgi-bin/{below}", server.host()), method, &headers, b"").expect("an answer")
}

/// A login, as the client makes it.
#[track_caller]
pub fn login(server: &Server, name: &str, password: &str) -> Response {
    let body = json!({"password": password, "scope": "", "username": name}).to_string();
    http::ask(&format!("{}/auth/login", server.base), "POST", agent::JSON, body.as_bytes()).expect("an answer")
}

/// The token of a login that has to come about.
#[track_caller]
pub fn logged_in(server: &Server, name: &str) -> String {
    let answer = login(server, name, PASSWORD);
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["token"].as_str().expect("a token").to_owned()
}

/// A user, and the token of a login.
pub fn logged_in_anew(place: &Place, server: &Server) -> String {
    place.user("anew", "read");
    logged_in(server, "anew")
}

/// An error, by its status and its word; a refusal says where to log in.
#[track_caller]
pub fn refused(answer: &Response, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (status, Some(reason)), "{answer}");
    if matches!(status, 401 | 403) {
        challenge(answer);
    }
}

/// What `WWW-Authenticate` says, taken apart as today's client does: at ", ", names in lower case, quotes and commas off. What it lacks
/// makes that client crash.
#[track_caller]
pub fn challenge(answer: &Response) -> BTreeMap<String, String> {
    let header = answer.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {answer}"));
    let (scheme, rest) = header.split_once(' ').unwrap_or_else(|| panic!("{header}"));
    assert_eq!(scheme, "JWT");
    let parts = rest.split(", ").map(|part| part.split_once('=').unwrap_or_else(|| panic!("{header}")));
    let found: BTreeMap<_, _> =
        parts.map(|(name, value)| (name.to_lowercase(), value.replace(['"', ','], ""))).collect();
    assert_eq!(found["realm"], "pantahub services");
    assert!(found["ph-aeps"].ends_with("/cgi-bin/pvr/auth"), "{header}");
    // With one, that client would not use the token that it has kept.
    assert!(answer.status != 401 || !found.contains_key("error"), "{header}");
    found
}

/// Bytes with their name.
pub fn object(text: &str) -> (Vec<u8>, String) {
    (text.as_bytes().to_vec(), sha256(text.as_bytes()))
}

/// The first digits of something, in hex, for names.
pub fn short(bytes: &[u8]) -> String {
    hex(bytes).chars().take(8).collect()
}
