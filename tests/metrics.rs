//! `GET /metrics`: who may have it, that it is Prometheus text, and that what happens is in it: requests, bytes, and each limit that
//! somebody runs into, which is answered with its status, closes the connection and is counted under its name.

mod support;

use pvr_agent::endpoint::access::{AccountsFile, Credential, Scope};
use pvr_agent::endpoint::{Limit, Limits};
use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};
use support::{Client, Server, factory_state, kernel, sha};

/// Every sample by its name with its labels. What is no Prometheus text is a failure.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let mut client = server.connect();
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    let answer = client.response("GET");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(answer.text())
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut kinds = BTreeMap::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
            let name = sample.split('{').next().expect("a name");
            assert!(kinds.contains_key(name), "of no kind: {line}");
            assert_eq!(kinds[name] == "counter", name.ends_with("_total"), "{line}");
            if let Some(labels) = sample.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).expect("labels");
                for label in inner.split("\",") {
                    let (key, value) = label.split_once("=\"").expect("a label");
                    assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                    assert!(!value.trim_end_matches('"').contains(['"', '\\', '\n']), "{line}");
                }
            }
            assert!(found.insert(sample.to_owned(), value.parse().expect("a number")).is_none(), "twice: {line}");
        }
    }
    found
}

fn limit(name: &str) -> String {
    format!("pvr_agent_refusals_total{{limit=\"{name}\"}}")
}

#[test]
fn what_happens_is_counted() {
    let server = Server::start();
    let before = metrics(&server);
    let bytes = vec![7; 100_000];
    assert_eq!(server.upload(&bytes).status, 200);
    assert_eq!(server.get("status").status, 200);
    assert_eq!(server.get("status").status, 200);
    assert_eq!(server.get("nowhere").status, 404);
    assert_eq!(server.get(&format!("objects/{}/blob", sha(&kernel()))).body.len(), kernel().len());
    let posted = server.connect().post(&format!(r#"{{"rev":"locals/x","state":{}}}"#, factory_state()));
    assert_eq!(posted.status, 200, "{posted:?}");
    let mut raw = server.connect();
    raw.send("nonsense\r\n\r\n");
    assert_eq!(raw.response("GET").status, 400);
    let after = metrics(&server);
    let grown = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    for (sample, by) in [
        ("pvr_agent_requests_total{route=\"status\",status=\"200\"}", 2.0),
        ("pvr_agent_requests_total{route=\"none\",status=\"404\"}", 1.0),
        ("pvr_agent_requests_total{route=\"head\",status=\"400\"}", 1.0),
        ("pvr_agent_requests_total{route=\"announce\",status=\"200\"}", 1.0),
        ("pvr_agent_requests_total{route=\"putBlob\",status=\"200\"}", 1.0),
        ("pvr_agent_requests_total{route=\"post\",status=\"200\"}", 1.0),
        ("pvr_agent_requests_total{route=\"metrics\",status=\"200\"}", 1.0),
        ("pvr_agent_objects_total", 1.0),
        ("pvr_agent_object_bytes_total", 100_000.0),
        ("pvr_agent_revisions_total", 1.0),
        ("pvr_agent_uploads", 0.0),
    ] {
        assert_eq!(grown(sample), by, "{sample}: {after:?}");
    }
    let received = grown("pvr_agent_received_bytes_total");
    assert!((100_000.0..110_000.0).contains(&received), "{received}");
    // By sendfile as well.
    let sent = grown("pvr_agent_sent_bytes_total");
    let least = kernel().len() as f64;
    assert!((least..least + 30_000.0).contains(&sent), "{sent}");
    assert!(after["pvr_agent_connections"] >= 1.0 && grown("pvr_agent_connections_total") >= 7.0);
    for (_, name) in Limit::ALL {
        assert_eq!(after[&limit(name)], 0.0, "{name}");
    }
    let build = after.keys().find(|sample| sample.starts_with("pvr_agent_build_info{version=\"")).expect("what it is");
    assert!(build.contains(env!("CARGO_PKG_VERSION")) && build.contains("device"), "{build}");
}

#[test]
fn an_upload_counts_while_it_lasts() {
    let server = Server::start();
    let mut slow = begun_upload(&server);
    wait_until(|| metrics(&server)["pvr_agent_uploads"] == 1.0);
    slow.send("x");
    drop(slow);
    wait_until(|| metrics(&server)["pvr_agent_uploads"] == 0.0);
}

#[test]
fn what_was_forwarded_is_not_of_this_machine() {
    let server = Server::start();
    for header in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 proxy", "X-Real-IP: 127.0.0.1"] {
        let mut client = server.connect();
        client.send(format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n{header}\r\n\r\n", server.address));
        let answer = client.response("GET");
        assert!(matches!(answer.status, 401 | 403), "{header}: {answer:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
    }
    // Nor can a page get at it by a name of its own.
    let mut client = server.connect();
    client.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(client.response("GET").status, 421);
}

#[test]
fn from_elsewhere_metrics_take_the_scope_of_an_administrator() {
    let server = Server::start();
    let accounts = AccountsFile::within(server.root.path().join("storage/.pvr-agent"));
    let mut tokens = vec![(None, 401), (Some("none of ours".to_owned()), 401)];
    for (name, scope, status) in [("r", Scope::Read, 403), ("d", Scope::Deploy, 403), ("a", Scope::Admin, 200)] {
        let token = accounts.add(name, scope, Credential::Token(None), false, false).expect("a token");
        tokens.push((token, status));
    }
    for (token, status) in tokens {
        let bearer = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        for method in ["GET", "HEAD"] {
            let mut client = server.connect();
            let host = server.address;
            client.send(format!(
                "{method} /metrics HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.0.0.1\r\n{bearer}\r\n"
            ));
            assert_eq!(client.response(method).status, status, "{method} {bearer}");
        }
    }
    // On this machine, nobody in particular has them.
    assert!(metrics(&server)["pvr_agent_requests_total{route=\"metrics\",status=\"403\"}"] >= 4.0);
}

fn begun_upload(server: &Server) -> Client {
    let mut client = server.connect();
    client.begin_upload(&sha(b"never sent"), 999_999);
    client.send("begun");
    client
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it never came to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A member of a tar file that claims to have so many bytes.
fn claims(name: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// What runs into a limit: the status of its answer, if it gets one, and whether its connection was closed after it.
type Run = fn(&Server) -> (Option<u16>, bool);

fn answered(mut client: Client, method: &str) -> (Option<u16>, bool) {
    let status = client.try_response(method).map(|answer| answer.status);
    // That nothing comes for a while is no end.
    let ended = client.stream.read(&mut [0]);
    let closed = match &ended {
        Ok(got) => *got == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    (status, closed)
}

fn asked(server: &Server, method: &str, below: &str, body: &[u8]) -> (Option<u16>, bool) {
    let mut client = server.connect();
    client.send(format!(
        "{method} /cgi-bin/{below} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        server.address,
        body.len()
    ));
    client.send(body);
    answered(client, method)
}

#[test]
fn whoever_runs_into_a_limit_is_answered_closed_and_counted() {
    let usual = Limits::default;
    let (short, second) = (Duration::from_millis(150), Duration::from_secs(1));
    let rows: Vec<(Limit, Limits, Option<u16>, Run)> = vec![
        (Limit::Connections, Limits { connections: 2, ..usual() }, None, |server| {
            let oldest = server.connect();
            std::thread::sleep(Duration::from_millis(50));
            let _others = [server.connect(), server.connect()];
            answered(oldest, "GET")
        }),
        (Limit::PerAddress, Limits { per_address: 1, ..usual() }, Some(503), |server| {
            let _busy = begun_upload(server);
            asked(server, "GET", "pvr/status", b"")
        }),
        (Limit::Head, usual(), Some(431), |server| {
            let mut client = server.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000)));
            answered(client, "GET")
        }),
        (Limit::HeadTime, Limits { head_time: short, ..usual() }, Some(408), |server| {
            let mut client = server.connect();
            client.send("GET / HT");
            answered(client, "GET")
        }),
        (Limit::IdleTime, Limits { idle_time: second, ..usual() }, None, |server| answered(server.connect(), "GET")),
        (Limit::BodyPace, Limits { stall_time: short, ..usual() }, Some(408), |server| {
            answered(begun_upload(server), "PUT")
        }),
        (Limit::AnswerPace, Limits { stall_time: second, ..usual() }, None, |server| {
            let bytes = vec![1; 24 << 20];
            assert_eq!(server.upload(&bytes).status, 200);
            let mut client = server.connect();
            let id = sha(&bytes);
            client.send(format!("GET /cgi-bin/pvr/objects/{id}/blob HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
            std::thread::sleep(Duration::from_secs(4));
            // What was on its way comes, and no more.
            let mut all = Vec::new();
            let _ = client.stream.read_to_end(&mut all);
            (None, all.len() < bytes.len())
        }),
        (Limit::StateBytes, Limits { state_bytes: 1000, envelope_bytes: 10, ..usual() }, Some(413), |server| {
            asked(server, "POST", "pvr/steps", &[b' '; 2000])
        }),
        (Limit::EnvelopeBytes, usual(), Some(413), |server| asked(server, "POST", "pvr/objects", &[b' '; 70_000])),
        (Limit::JsonDepth, usual(), Some(400), |server| asked(server, "POST", "pvr/steps", "[".repeat(600).as_bytes())),
        (Limit::HeldBytes, Limits { held_bytes: 10, ..usual() }, Some(503), |server| {
            asked(server, "POST", "pvr/objects", &[b' '; 1000])
        }),
        (Limit::ObjectBytes, Limits { object_bytes: 3, ..usual() }, Some(413), |server| {
            asked(server, "PUT", &format!("pvr/objects/{}/blob", sha(b"four")), b"four")
        }),
        (Limit::Uploads, Limits { uploads: 1, ..usual() }, Some(503), |server| {
            let _busy = begun_upload(server);
            wait_until(|| metrics(server)["pvr_agent_uploads"] == 1.0);
            asked(server, "PUT", &format!("pvr/objects/{}/blob", sha(b"four")), b"four")
        }),
        (Limit::Packages, Limits { packages: 0, ..usual() }, Some(503), |server| {
            asked(server, "PUT", "pvtx/add", b"a package")
        }),
        (Limit::PackageSize, usual(), Some(413), |server| {
            let mut client = server.connect();
            client.send(format!(
                "POST /cgi-bin/pvtx/begin HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
                server.address
            ));
            assert_eq!(client.response("POST").status, 200);
            asked(server, "PUT", "pvtx/add", &claims("json", 1 << 30))
        }),
        (Limit::Watchers, Limits { watchers: 0, ..usual() }, Some(503), |server| {
            let known = server.get("events").json()["id"].as_str().expect("an id").to_owned();
            // Ended: only a stream would wait; of what has ended, nothing does. So something that has not.
            let posted = server
                .connect()
                .post(&format!(r#"{{"rev":"locals/x","on-post":"install","state":{}}}"#, factory_state()));
            assert_eq!(posted.status, 200, "{known}");
            asked(server, "GET", "pvr/steps/locals/x/events?stream", b"")
        }),
        (Limit::Followers, Limits { followers: 0, ..usual() }, Some(503), |server| {
            let log = server.root.path().join("storage/logs/0/pantavisor");
            std::fs::create_dir_all(&log).expect("a folder");
            std::fs::write(log.join("pantavisor.log"), "a line\n").expect("a log");
            asked(server, "GET", "logs?tail=true&follow=true", b"")
        }),
        (Limit::Logins, usual(), Some(429), |server| {
            let accounts = AccountsFile::within(server.root.path().join("storage/.pvr-agent"));
            let password = Credential::Password(b"a good password".to_vec());
            accounts.add("ann", Scope::Read, password, false, false).expect("an account");
            let wrong = br#"{"username":"ann","password":"a bad one"}"#;
            // Nor is one of a name that nobody has lost.
            let invented = br#"{"username":"nobody","password":"a bad one"}"#;
            assert_eq!(server.connect().request("POST", "auth/login", &[], invented).status, 401);
            for failed in 2..=6 {
                let status = server.connect().request("POST", "auth/login", &[], wrong).status;
                assert_eq!(status, 401);
                // Whoever is on this machine has metrics without a login.
                let counted = metrics(server);
                assert_eq!(counted["pvr_agent_logins_total{result=\"failed\"}"], f64::from(failed));
            }
            asked(server, "POST", "pvr/auth/login", wrong)
        }),
    ];
    let names: Vec<Limit> = rows.iter().map(|(limit, ..)| *limit).collect();
    let all: Vec<Limit> = Limit::ALL.iter().map(|(limit, _)| *limit).collect();
    assert_eq!(names, all, "each limit is run into");
    for ((which, limits, status, run), (_, name)) in rows.into_iter().zip(Limit::ALL) {
        let server = Server::with(limits);
        let (answer, closed) = run(&server);
        assert_eq!(answer, status, "{name}");
        assert!(closed, "{name}: the connection can still be used");
        if matches!(which, Limit::PerAddress) {
            // Whoever was busy has gone now; else metrics would be refused, too.
            std::thread::sleep(Duration::from_secs(1));
        }
        let counted = metrics(&server);
        // Who asks for this may find those of before still connected.
        let again = which == Limit::Connections && counted[&limit(name)] == 2.0;
        assert!(counted[&limit(name)] == 1.0 || again, "{name}: {counted:?}");
        for (other, name) in Limit::ALL.iter().filter(|(other, _)| *other != which) {
            assert_eq!(counted[&limit(name)], 0.0, "{which:?}, and {other:?} was counted");
        }
    }
}

#[test]
fn the_checker_knows_what_is_no_prometheus_text() {
    for bad in [
        "no_type 1\n",
        "# TYPE a counter\na 1\n",
        "# TYPE a_total counter\na_total x\n",
        "# TYPE a gauge\na 1\na 2\n",
        "# TYPE a gauge\na{b=c} 1\n",
        "# TYPE a gauge\na 1",
    ] {
        assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad:?}");
    }
}
