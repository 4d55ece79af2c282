//! Signed URLs, in every shape and on both back ends: what one is good for, and what it is not.
mod black_box;
#[path = "access/place.rs"]
mod place;
mod shape;

use black_box::http::{self, Response};
use black_box::seed::{Entry, tree};
use black_box::sha256;
use place::{Forge, Place, access_at, now, refused, with};
use shape::Shape;
use shape::device::{Back, Device, each};
use std::collections::BTreeMap;
use std::path::PathBuf;

const DAY: u64 = 86_400;

struct Guarded<'a> {
    device: &'a Device,
    state: PathBuf,
}

impl Guarded<'_> {
    fn access(&self, args: &[&str]) -> String {
        let output = access_at("--state-dir", &self.state, args, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn tree(&self) -> BTreeMap<String, Entry> {
        let mut all = tree(&self.device.store());
        all.extend(tree(&self.state).into_iter().map(|(name, entry)| (format!("state/{name}"), entry)));
        // What was granted before may be written down only now.
        all.retain(|name, _| !name.ends_with("audit.log"));
        all
    }

    fn ask(&self, method: &str, url: &str, body: &[u8]) -> Response {
        let length = body.len().to_string();
        let framed = [("Content-Length", length.as_str())];
        let headers: &[(&str, &str)] = if method == "PUT" { &framed } else { &[] };
        let asked = self.device.patiently(|| http::ask(url, method, headers, body));
        asked.unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    /// Not let through, and nothing is changed.
    #[track_caller]
    fn no(&self, method: &str, url: &str, body: &[u8], status: u16, reason: &str) {
        let before = self.tree();
        let answer = self.ask(method, url, body);
        match method {
            "HEAD" => assert_eq!(answer.status, status, "{url}: {answer}"),
            _ => refused(&answer, status, reason),
        }
        assert_eq!(self.tree(), before, "{}: {method} {url} left something", self.device.name());
    }
}

#[test]
fn a_url_is_for_one_thing_one_account_and_some_time() {
    each("a_url_is_for_one_thing", |device| {
        let state = match device.back {
            Back::Storage => device.store().join(".pvr-agent"),
            Back::Socket => device.root.path().join("state"),
        };
        let on = Guarded { device, state };
        let ann = on.access(&["token", "ann", "--scope", "deploy"]);
        on.access(&["token", "box", "--scope", "read"]);
        on.access(&["token", "gone", "--scope", "admin", "--expires", "1h"]);
        let body = format!("bytes of {}", device.name()).into_bytes();
        let (sha, other) = (sha256(&body), sha256(b"other"));
        let record = black_box::agent::announcement("x", &sha, body.len() as u64);
        let answer = with(&device.server, &ann, "POST", "objects/", record.as_bytes());
        let put = black_box::agent::member(&answer, 200, "signed-puturl").expect("a URL");
        assert!(matches!(answer.json()["expire-time"].as_str(), Some("1440" | "1439")), "{answer}");
        let forge = Forge::of(&on.state);
        let base = device.url(&format!("objects/{sha}/blob?"));
        assert!(put.starts_with(&base) && !put.contains('%'), "{put}");
        // It is what is written down: the same comes out here.
        let until: u64 =
            put.split("until=").nth(1).and_then(|rest| rest.split('&').next()).expect("until").parse().expect("a time");
        assert!((now() + DAY - 60..=now() + DAY).contains(&until), "{put}");
        assert_eq!(put, format!("{base}{}", forge.query("PUT", &sha, body.len(), "ann", until)));
        let get = format!("{base}{}", forge.query("GET", &sha, body.len(), "ann", until));
        // Without it, and with what is another one's.
        on.no("PUT", &device.url(&format!("objects/{sha}/blob?size={}", body.len())), &body, 401, "login-needed");
        on.no("GET", &device.url(&format!("objects/{sha}/blob")), b"", 401, "login-needed");
        on.no("PUT", &get, &body, 403, "bad-url");
        on.no("GET", &put, b"", 403, "bad-url");
        on.no("HEAD", &put, b"", 403, "bad-url");
        on.no("PUT", &put.replace(&sha, &other), b"other", 403, "bad-url");
        let size = format!("size={}", body.len());
        on.no("PUT", &put.replace(&size, "size=5"), &body[..5], 403, "bad-url");
        on.no("PUT", &put.replace("by=ann", "by=gone"), &body, 403, "bad-url");
        on.no("PUT", &put.replace("by=ann", "by=nobody"), &body, 403, "bad-url");
        on.no("PUT", &put.replace(&until.to_string(), &(until + 1).to_string()), &body, 403, "bad-url");
        let (front, mac) = put.split_once("mac=").expect("a mac");
        let turned = if mac.starts_with('A') { 'B' } else { 'A' };
        on.no("PUT", &format!("{front}mac={turned}{}", &mac[1..]), &body, 403, "bad-url");
        on.no("PUT", &format!("{front}mac="), &body, 403, "bad-url");
        on.no("PUT", &format!("{put}&{size}"), &body, 403, "bad-url");
        // Over, of a clock that was wrong, and beyond what its account may.
        let query = |class, name, until| format!("{base}{}", forge.query(class, &sha, body.len(), name, until));
        on.no("PUT", &query("PUT", "ann", now() - 1), &body, 403, "expired-url");
        on.no("PUT", &query("PUT", "ann", now() + 3 * DAY), &body, 403, "expired-url");
        on.no("PUT", &query("PUT", "box", until), &body, 403, "expired-url");
        // Less or more than was declared.
        on.no("PUT", &put, &body[1..], 400, "wrong-length");
        // What it is good for.
        assert_eq!(on.ask("PUT", &put, &body).status, 200, "{}", device.name());
        if device.back == Back::Storage {
            let record = with(&device.server, &ann, "GET", &format!("objects/{sha}"), b"");
            let signed = black_box::agent::member(&record, 200, "signed-geturl").expect("a URL");
            assert_eq!(on.ask("GET", &signed, b"").body, body);
            assert_eq!(on.ask("GET", &get, b"").body, body);
            assert_eq!(on.ask("HEAD", &get, b"").status, 200);
            let gone = query("GET", "gone", until);
            assert_eq!(on.ask("GET", &gone, b"").status, 200);
            // Its account is gone meanwhile, or is another one of the name.
            on.access(&["rm", "gone"]);
            on.no("GET", &gone, b"", 403, "bad-url");
            on.access(&["token", "gone", "--scope", "admin"]);
            on.no("GET", &gone, b"", 403, "bad-url");
        }
        on.access(&["token", "ann", "--scope", "deploy", "--replace"]);
        on.no("GET", &get, b"", 403, "bad-url");
    });
}

#[test]
fn a_url_that_serve_hands_out_is_good_for_every_other_process() {
    for shape in Shape::cgi("a_url_that_serve_hands_out") {
        let place = Place::new();
        let token = place.token("ann", "deploy");
        let (serve, cgi) = (place.serve(Shape::Serve), place.serve(shape));
        let bytes = format!("by way of {}", shape.name());
        let record = black_box::agent::announcement("x", &sha256(bytes.as_bytes()), bytes.len() as u64);
        for (from, to) in [(&serve, &cgi), (&cgi, &serve)] {
            let answer = with(from, &token, "POST", "objects", record.as_bytes());
            let (status, name, method) =
                if answer.status == 409 { (409, "signed-geturl", "GET") } else { (200, "signed-puturl", "PUT") };
            let url = black_box::agent::member(&answer, status, name).expect("a URL").replace(&from.host(), &to.host());
            let sent = if method == "PUT" { bytes.as_bytes() } else { b"" };
            let length = sent.len().to_string();
            let answer = http::ask(&url, method, &[("Content-Length", &length)], sent).expect("an answer");
            assert_eq!(answer.status, 200, "{}: {method}: {answer}", shape.name());
        }
    }
}

#[test]
fn how_long_urls_last_can_be_said_and_is_an_hour_at_least() {
    let place = Place::new();
    let token = place.token("ann", "deploy");
    let server = black_box::agent::Server::start_with(&place.store(), &["--url-hours", "1"]);
    let record = black_box::agent::announcement("x", &sha256(b"x"), 1);
    let answer = with(&server, &token, "POST", "objects", record.as_bytes());
    assert!(matches!(answer.json()["expire-time"].as_str(), Some("60" | "59")), "{answer}");
    for (flag, variable) in [(Some("0"), None), (Some("8761"), None), (None, Some("0")), (None, Some("x"))] {
        let mut command = black_box::agent::command();
        command.args(["serve", "--port", "0", "--storage"]).arg(place.store());
        flag.map(|hours| command.args(["--url-hours", hours]));
        variable.map(|hours| command.env("PVR_AGENT_URL_HOURS", hours));
        let output = command.output().expect("run pvr-agent");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
