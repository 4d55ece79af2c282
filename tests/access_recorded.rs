//! The recorded logins of the real client (`f-http` 144–163), replayed against an endpoint with accounts by following its answers.
//!
//! From the recording come methods, paths, bodies and which request had which token; the token itself is one of ours in its place.
//! How the client takes these answers is in `recorded_http`; this shows that what it sends then is answered as it needs.
mod black_box;
#[path = "access/place.rs"]
mod place;
mod recorded_remote;
mod shape;

use black_box::http::{self, Response, Target};
use black_box::seed::Seed;
use black_box::{agent, sha256};
use place::{Forge, PASSWORD, access_at, bearer, challenge, now, refused};
use recorded_remote::{seed, squashfs};
use serde_json::{Value, json};
use shape::Shape;
use std::collections::BTreeMap;

const RECORDED: &str = include_str!("vectors/f-http/http.json");

/// Steps that an endpoint of ours leads nobody into, and why.
const LEFT_OUT: &[(u16, &str)] = &[
    (146, "a challenge of another kind"),
    (147, "a refusal without a challenge"),
    (148, "a challenge that cannot be taken apart"),
    (149, "a challenge that names no endpoint"),
    (150, "a refusal without a challenge"),
    (151, "an anonymous token that is granted, and is not enough"),
    (160, "a remote that is read without a login, and not written"),
    (162, "a challenge with an error in it, to one that had no token"),
];

/// Which token stands in the place of a recorded one.
const TOKENS: &[(&str, &str)] = &[
    ("SAVED", "login"),
    ("TOK1", "login"),
    ("OLD", "expired"),
    ("FLAGTOK", "made"),
    ("ENVTOK", "made"),
    ("BAD", "none"),
];

struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    token: &'a str,
    body: &'a str,
}

fn steps(recording: &Value) -> Vec<(u16, &str, Vec<Asked<'_>>)> {
    let texts = recording["texts"].as_array().expect("texts");
    let steps = recording["steps"].as_object().expect("steps").iter();
    let number = |name: &str| name.split('-').next().and_then(|number| number.parse().ok()).expect("a number");
    let asked = |request: &'_ Value| {
        let line = request[0].as_str().expect("a line");
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        let body = usize::try_from(request[1].as_u64().expect("a number")).expect("a number");
        (method.len(), path.len(), words.nth(1).unwrap_or_default().len(), body)
    };
    let mut all = Vec::new();
    for (name, step) in steps.filter(|(name, _)| (144..=163).contains(&number(name))) {
        let requests = step["requests"].as_array().expect("requests").iter().map(|request| {
            let line = request[0].as_str().expect("a line").trim_end();
            let (method, path, token, body) = asked(request);
            Asked {
                method: &line[..method],
                path: &line[method + 1..method + 1 + path],
                token: &line[line.len() - token..],
                body: texts[body].as_str().expect("a text"),
            }
        });
        all.push((number(name), name.as_str(), requests.collect()));
    }
    all
}

/// What the client knows by following our answers.
struct Following<'a> {
    server: &'a agent::Server,
    tokens: BTreeMap<&'static str, String>,
    step: &'a str,
    /// `WWW-Authenticate`, as the client takes it apart.
    endpoint: String,
    remote: Value,
    urls: BTreeMap<String, String>,
}

impl Following<'_> {
    fn ask(&self, method: &str, url: &str, token: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        assert_eq!(Target::parse(url).host, self.server.host(), "{}: {url}", self.step);
        let value = bearer(self.tokens.get(token).map_or(token, String::as_str));
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        if !token.is_empty() {
            all.push(("Authorization", &value));
        }
        if !body.is_empty() || method == "PUT" {
            all.push(("Content-Length", &length));
        }
        http::ask(url, method, &all, body).unwrap_or_else(|error| panic!("{}: {method} {url}: {error}", self.step))
    }

    fn replay(&mut self, asked: &Asked<'_>, guarded: bool) {
        let token = TOKENS.iter().find(|(name, _)| *name == asked.token).map_or("", |(_, ours)| ours);
        assert!(token.is_empty() == asked.token.is_empty(), "{}: what is the token {}?", self.step, asked.token);
        let last = asked.path.rsplit('/').next().expect("a last component");
        let field = |name: &str| self.remote[name].as_str().expect("a URL").to_owned();
        let url = match asked.path {
            "/auth/login" => format!("{}/login", self.endpoint),
            "/cgi-bin/pvr/.pvrremote" => format!("{}/.pvrremote", self.server.base),
            "/cgi-bin/pvr/json" => field("json-get-url"),
            "/cgi-bin/pvr/post" => field("post-url"),
            "/cgi-bin/pvr/objects/" => field("objects-endpoint") + "/",
            path if path.starts_with("/cgi-bin/pvr/objects/") => format!("{}/{last}", field("objects-endpoint")),
            _ => self.urls[last].clone(),
        };
        let body = match asked.body {
            // What was sent as chunks, and of those none.
            body if asked.method == "PUT" && body.trim_end() == "0" => Vec::new(),
            body if body.starts_with("<153600 ") => squashfs(),
            body => body.as_bytes().to_vec(),
        };
        let headers: &[(&str, &str)] = match asked.method {
            "POST" if asked.path.ends_with("/post") => agent::TEXT,
            "POST" => agent::JSON,
            _ => &[],
        };
        let answer = self.ask(asked.method, &url, token, headers, &body);
        if asked.path == "/auth/login" {
            // Every unmodified run tries it, and it is never granted: then somebody is asked.
            assert!(
                asked.body.contains(r#""username":"prn:pantahub.com:auth:/anon""#),
                "{}: {}",
                self.step,
                asked.body
            );
            refused(&answer, 401, "bad-login");
            let typed = json!({"password": PASSWORD, "scope": "", "username": "ann"}).to_string();
            let answer = self.ask("POST", &url, "", agent::JSON, typed.as_bytes());
            assert_eq!(answer.status, 200, "{}: {answer}", self.step);
            self.tokens.insert("login", answer.json()["token"].as_str().expect("a token").to_owned());
            return;
        }
        let signed = matches!(asked.path.split('/').nth(3), Some("up" | "dl"));
        if guarded && !signed && matches!(token, "" | "expired" | "none") {
            assert_eq!(answer.status, 401, "{}: {answer}", self.step);
            self.endpoint = challenge(&answer)["ph-aeps"].clone();
            return;
        }
        assert_eq!(answer.status, 200, "{}: {} {url}: {answer}", self.step, asked.method);
        match (asked.method, asked.path) {
            (_, "/cgi-bin/pvr/.pvrremote") => self.remote = answer.json(),
            ("POST", "/cgi-bin/pvr/objects/") => {
                let record = answer.json();
                let sha = record["sha256sum"].as_str().expect("a name").to_owned();
                self.urls.insert(sha, record["signed-puturl"].as_str().expect("a URL").to_owned());
            }
            ("GET", path) if path.starts_with("/cgi-bin/pvr/objects/") => {
                self.urls.insert(last.to_owned(), answer.json()["signed-geturl"].as_str().expect("a URL").to_owned());
            }
            ("GET", path) if path.starts_with("/cgi-bin/pvr/dl/") => {
                assert_eq!(sha256(&answer.body), last, "{}", self.step);
            }
            _ => {}
        }
    }
}

#[test]
fn the_real_client_is_let_in_as_it_asks_to_be() {
    let recording: Value = serde_json::from_str(RECORDED).expect("the recording");
    let steps = steps(&recording);
    for shape in Shape::all("the_real_client_is_let_in_as_it_asks_to_be") {
        let (mut replayed, mut requests) = (0, 0);
        for (number, name, asked) in &steps {
            if LEFT_OUT.iter().any(|(left, _)| left == number) {
                continue;
            }
            let root = tempfile::tempdir().expect("a folder");
            let full = !asked.iter().any(|asked| asked.path == "/cgi-bin/pvr/post" || asked.path.contains("/up/"));
            seed(&Seed::new(root.path()), full);
            let state = root.path().join(".pvr-agent");
            let guarded = *number != 157;
            let mut tokens = BTreeMap::from([("none", "none".to_owned())]);
            if guarded {
                let add = ["add", "ann", "--scope", "deploy", "--password-file", "-"];
                assert!(access_at("--state-dir", &state, &add, PASSWORD).status.success());
                let made = access_at("--state-dir", &state, &["token", "ci", "--scope", "deploy"], "");
                tokens.insert("made", String::from_utf8(made.stdout).expect("text").trim().to_owned());
                let forge = Forge::of(&state);
                tokens.insert("login", forge.jwt("ann", now() - 60, now() + 1000));
                tokens.insert("expired", forge.jwt("ann", now() - 90_000, now() - 80_000));
            } else {
                tokens.insert("made", "whatever".to_owned());
            }
            let server = shape.start(root.path());
            let urls = BTreeMap::new();
            let mut following =
                Following { server: &server, tokens, step: name, endpoint: String::new(), remote: Value::Null, urls };
            for asked in asked {
                following.replay(asked, guarded);
                requests += 1;
            }
            replayed += 1;
            agent::assert_clean(root.path(), name);
        }
        println!("{}: {replayed} recorded logins, {requests} requests; {} left out", shape.name(), LEFT_OUT.len());
        assert!(replayed >= 12 && requests >= 60, "{replayed} steps, {requests} requests");
    }
    // What is left out is in the recording, and nothing is left out twice.
    assert!(LEFT_OUT.iter().all(|(left, _)| steps.iter().any(|(number, ..)| number == left)));
}
