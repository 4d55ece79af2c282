//! Clients that show a certificate: whose account they are. `openssl` makes the certificates, `curl` shows them.
#![cfg(feature = "tls")]

#[path = "pki/mod.rs"]
mod pki;
mod support;

use std::process::Command;

use pki::{EXPIRED, HERE, Pki, VALID};
use pvr_agent::endpoint::access::{AccountsFile, Credential, Scope};
use pvr_agent::endpoint::{Limits, Tls};
use support::Server;

struct Peer<'a> {
    server: &'a Server,
    pki: &'a Pki,
}

impl Peer<'_> {
    /// The status and the reason of an answer; 0 where there is none.
    fn ask(&self, method: &str, below: &str, shows: Option<&str>, token: Option<&str>) -> (u16, String) {
        let url = format!("https://localhost:{}/cgi-bin/pvr/{below}", self.server.address.port());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "-X", method, "-w", "\n%{http_code}", "--cacert"]).arg(self.pki.ca());
        if let Some(name) = shows {
            let files = self.pki.files(name);
            command.arg("--cert").arg(files.cert).arg("--key").arg(files.key);
        }
        if let Some(token) = token {
            command.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        let output = command.arg(url).output().expect("curl is installed");
        let text = String::from_utf8(output.stdout).expect("text");
        let (body, status) = text.rsplit_once('\n').expect("a status");
        let reason = body.split("\"reason\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        (status.parse().expect("a status"), reason.to_owned())
    }
}

#[test]
fn a_client_with_a_certificate_is_the_account_of_its_name() {
    let (pki, other) = (Pki::new(), Pki::new());
    for (name, validity) in [("ann", VALID), ("box", VALID), ("stranger", VALID), ("late", EXPIRED), ("ci", VALID)] {
        pki.leaf_when(name, HERE, validity);
    }
    // One that an authority has vouched for that nobody has named.
    other.leaf_when("ann", HERE, VALID);
    let tls = Tls::load(pki.leaf("server", HERE)).expect("a pair").believing(&pki.at("ca.crt")).expect("an authority");
    let server = Server::https(Limits::default(), tls);
    let peer = Peer { server: &server, pki: &pki };
    let ok = |status| (status, String::new());
    let no = |status, reason: &str| (status, reason.to_owned());
    // Without accounts, everybody is let in, and whatever is shown.
    assert_eq!(peer.ask("GET", "json", None, None), ok(200));
    assert_eq!(peer.ask("GET", "json", Some("stranger"), None), ok(200));
    let file = AccountsFile::within(server.root.path().join("storage/.pvr-agent"));
    let add = |name, scope, credential| file.add(name, scope, credential, false, false).expect("an account");
    add("ann", Scope::Deploy, Credential::Password(b"correct horse".to_vec()));
    add("box", Scope::Read, Credential::Certificate);
    let token = add("ci", Scope::Read, Credential::Token(None)).expect("a token");
    assert_eq!(peer.ask("GET", "json", None, None), no(401, "login-needed"));
    assert_eq!(peer.ask("GET", "json", Some("ann"), None), ok(200));
    assert_eq!(peer.ask("GET", "json", Some("box"), None), ok(200));
    assert_eq!(peer.ask("POST", "steps", Some("ann"), None).0, 400, "let through");
    assert_eq!(peer.ask("POST", "steps", Some("box"), None), no(403, "insufficient-scope"));
    assert_eq!(peer.ask("GET", "json", Some("stranger"), None), no(403, "unknown-certificate"));
    assert_eq!(
        peer.ask("GET", "json", Some("ci"), None),
        no(403, "unknown-certificate"),
        "a token is more than its name"
    );
    // What is said besides comes first.
    assert_eq!(peer.ask("GET", "json", Some("stranger"), Some(&token)), ok(200));
    assert_eq!(peer.ask("GET", "json", Some("ann"), Some("nothing")), no(401, "bad-token"));
    assert_eq!(peer.ask("POST", "steps", Some("ann"), Some(&token)), no(403, "insufficient-scope"));
    // Those are no certificates: there is no connection.
    assert_eq!(peer.ask("GET", "json", Some("late"), None).0, 0);
    let foreign = Peer { server: &server, pki: &other };
    assert_eq!(foreign.ask("GET", "json", Some("ann"), None).0, 0);
    file.remove("box", false, false).expect("an account");
    assert_eq!(peer.ask("GET", "json", Some("box"), None), no(403, "unknown-certificate"));
    // The pair of the server is replaced; clients are believed as before.
    let new = pki.leaf_when("anew", HERE, VALID);
    let (cert, key) = (pki.at("server.crt"), pki.at("server.key"));
    std::fs::copy(new.key, key).expect("a key");
    std::fs::copy(new.cert, cert).expect("a certificate");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(peer.ask("GET", "json", Some("ann"), None), ok(200));
    assert!(server.log().contains("a new TLS certificate is served"), "{}", server.log());
}

#[test]
fn an_authority_that_is_none_is_said_to_be_none() {
    let pki = Pki::new();
    let files = pki.leaf("server", HERE);
    std::fs::write(pki.at("empty"), "").expect("a file");
    for (file, says) in
        [("empty", "no certificate in it"), ("nowhere", "nowhere"), ("server.key", "no certificate in it")]
    {
        let error = Tls::load(files.clone()).expect("a pair").believing(&pki.at(file)).expect_err(file).to_string();
        assert!(error.contains(says), "{error}");
    }
}
