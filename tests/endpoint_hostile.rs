//! Bad input, each with its status and an untouched store; and clients that take more than their share.

mod support;

use pvr_agent::endpoint::Limits;
use std::time::{Duration, Instant};
use support::{Client, Response, Server, factory_state, sha};

/// Sends `request` as it is (`HOST` stands for the server's address) and returns the answer.
fn raw(server: &Server, request: &str) -> (Response, Client) {
    let mut client = server.connect();
    client.send(request.replace("HOST", &server.address.to_string()));
    let method = if request.starts_with("HEAD") { "HEAD" } else { "GET" };
    (client.response(method), client)
}

/// An error says so in JSON, and the log has its cause under the same id.
fn assert_explained(server: &Server, what: &str, answer: &Response) {
    let error = answer.json();
    assert_eq!(error["code"], answer.status, "{what}");
    assert!(error["error"].as_str().is_some_and(|text| text.len() > 10), "{what}: {error}");
    assert!(error["reason"].is_string(), "{what}: {error}");
    let id = error["request-id"].as_str().unwrap();
    assert!(
        server.log().lines().any(|line| line.contains(&format!(" {} ", answer.status)) && line.contains(id)),
        "{what}"
    );
}

#[test]
fn bad_requests_have_their_status_and_change_nothing() {
    let server = Server::start();
    let before = server.snapshot();
    let id = sha(b"abc");
    let too_big = rustix_total(&server) + (10 << 30);
    let upper = id.to_string().to_uppercase();
    let long_header = "x".repeat(70_000);
    let many_headers: String = (0..100).map(|i| format!("X-{i}: y\r\n")).collect();
    let put = |rest: &str| format!("PUT /cgi-bin/pvr/objects/{id}/blob{rest}");
    let host = "HTTP/1.1\r\nHost: HOST\r\n";
    let rows: Vec<(&str, String, u16)> = vec![
        ("upper-case name", format!("GET /cgi-bin/pvr/objects/{upper} {host}\r\n"), 400),
        ("short name", format!("PUT /cgi-bin/pvr/objects/abc/blob {host}Content-Length: 3\r\n\r\nabc"), 400),
        ("path trick", format!("GET /cgi-bin/pvr/objects/../../../etc/passwd {host}\r\n"), 400),
        ("encoded path trick", format!("GET /cgi-bin/pvr/steps/locals/%2e%2e/json {host}\r\n"), 400),
        ("encoded slash", format!("GET /cgi-bin/pvr/steps/..%2f..%2fetc/json {host}\r\n"), 400),
        ("NUL", format!("GET /cgi-bin/pvr/steps/%00/json {host}\r\n"), 400),
        ("nothing there", format!("GET /etc/passwd {host}\r\n"), 404),
        ("unknown method", format!("BREW /cgi-bin/pvr/json {host}\r\n"), 501),
        ("method not here", format!("DELETE /cgi-bin/pvr/objects/{id}/blob {host}\r\n"), 405),
        ("no method", "\u{1} / HTTP/1.1\r\n\r\n".into(), 400),
        ("no version", "GET /cgi-bin/pvr\r\n\r\n".into(), 400),
        ("space in a header name", format!("GET /cgi-bin/pvr {host}A b: c\r\n\r\n"), 400),
        ("folded header", format!("GET /cgi-bin/pvr {host}A: b\r\n c\r\n\r\n"), 400),
        ("large head", format!("GET /cgi-bin/pvr {host}A: {long_header}\r\n\r\n"), 431),
        ("many headers", format!("GET /cgi-bin/pvr {host}{many_headers}\r\n"), 431),
        ("no host", "GET /cgi-bin/pvr HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", format!("GET /cgi-bin/pvr {host}Host: localhost\r\n\r\n"), 400),
        ("foreign host", "GET /cgi-bin/pvr HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), 421),
        ("foreign target", "GET http://evil.example/cgi-bin/pvr HTTP/1.1\r\nHost: HOST\r\n\r\n".into(), 421),
        ("foreign origin", put(&format!(" {host}Origin: http://evil.example\r\nContent-Length: 3\r\n\r\nabc")), 403),
        ("cross-site", put(&format!(" {host}Sec-Fetch-Site: cross-site\r\nContent-Length: 3\r\n\r\nabc")), 403),
        ("two lengths", put(&format!(" {host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), 400),
        (
            "two lengths, turned",
            put(&format!(" {host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n")),
            400,
        ),
        ("different lengths", put(&format!(" {host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc")), 400),
        ("negative length", put(&format!(" {host}Content-Length: -3\r\n\r\nabc")), 400),
        ("length with a sign", put(&format!(" {host}Content-Length: +3\r\n\r\nabc")), 400),
        ("unknown coding", put(&format!(" {host}Transfer-Encoding: gzip\r\n\r\nabc")), 400),
        // This one was taken for `chunked`, and what was in the chunks for the object.
        (
            "another coding below the chunks",
            put(&format!("?size=3 {host}Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")),
            501,
        ),
        ("chunked 1.0", put(" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("no length at all", put(&format!(" {host}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")), 411),
        ("size is no number", put(&format!("?size=3x {host}Content-Length: 3\r\n\r\nabc")), 400),
        ("two sizes", put(&format!("?size=3&size=3 {host}Content-Length: 3\r\n\r\nabc")), 400),
        ("size against length", put(&format!("?size=4 {host}Content-Length: 3\r\n\r\nabc")), 400),
        (
            "bad chunk size",
            put(&format!("?size=3 {host}Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n")),
            400,
        ),
        (
            "chunk without end",
            put(&format!("?size=3 {host}Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n")),
            400,
        ),
        (
            "huge chunk size",
            put(&format!("?size=3 {host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")),
            400,
        ),
        (
            "chunks above the size",
            put(&format!("?size=2 {host}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")),
            413,
        ),
        (
            "chunks below the size",
            put(&format!("?size=4 {host}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")),
            400,
        ),
        ("wrong bytes", put(&format!("?size=3 {host}Content-Length: 3\r\n\r\nabd")), 422),
        ("more than the disk", put(&format!("?size={too_big} {host}Content-Length: {too_big}\r\n\r\nabc")), 507),
        ("more than any disk", put(&format!("?size={0} {host}Transfer-Encoding: chunked\r\n\r\n", u64::MAX)), 507),
    ];
    for (what, request, status) in rows {
        let (answer, _) = raw(&server, &request);
        assert_eq!(answer.status, status, "{what}");
        if status >= 400 && !request.starts_with("HEAD") {
            assert_explained(&server, what, &answer);
        }
        assert_eq!(server.snapshot(), before, "{what}");
    }
}

/// The HTTP library refuses these by itself, and closed the connection with a status and nothing else.
#[test]
fn a_head_that_cannot_be_read_is_explained_wherever_it_comes() {
    let server = Server::start();
    let good = format!("GET /cgi-bin/pvr/json HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(66_000));
    for (bad, status) in [("G\u{1}T / HTTP/1.1\r\n\r\n", 400), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400), (&long, 431)]
    {
        for answered_before in 0..3 {
            for at_once in [true, false] {
                let mut client = server.connect();
                let mut all = String::new();
                for _ in 0..answered_before {
                    match at_once {
                        true => all.push_str(&good),
                        false => {
                            client.send(&good);
                            assert_eq!(client.response("GET").text(), factory_state());
                        }
                    }
                }
                client.send(all + bad);
                for _ in 0..if at_once { answered_before } else { 0 } {
                    assert_eq!(client.response("GET").text(), factory_state());
                }
                let answer = client.response("GET");
                assert_eq!(answer.status, status, "{answered_before} before");
                assert_explained(&server, bad.get(..9).unwrap(), &answer);
                assert!(client.is_closed());
            }
        }
    }
}

fn rustix_total(server: &Server) -> u64 {
    server.storage().store().space().unwrap().total
}

#[test]
fn bad_states_and_records_have_their_status_and_change_nothing() {
    let server = Server::start();
    let before = server.snapshot();
    let good = factory_state();
    let id = sha(&support::kernel()).to_string();
    let with = |member: &str| format!("{{\"state\":{{\"#spec\":\"pantavisor-service-system@1\",{member}}}}}");
    let deep = |depth: usize| format!("{{\"state\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let posts: Vec<(String, u16)> = vec![
        (String::new(), 400),
        ("{".into(), 400),
        (format!("{{\"state\":{good}}} more"), 400),
        (format!("{{\"state\":{good},\"state\":{good}}}"), 400),
        (deep(2000), 400),
        (deep(500), 422),
        ("\u{feff}{}".into(), 400),
        ("[]".into(), 422),
        ("{\"state\":{}}".into(), 422),
        ("{\"state\":{\"#spec\":\"other@1\"}}".into(), 422),
        (with(&format!("\"../x\":\"{id}\"")), 422),
        (with(&format!("\"/etc/passwd\":\"{id}\"")), 422),
        (with(&format!("\"a//b\":\"{id}\"")), 422),
        (with(&format!("\"a/./b\":\"{id}\"")), 422),
        (with(&format!("\"a\\u0000b\":\"{id}\"")), 422),
        (with(&format!("\".pv/done\":\"{id}\"")), 422),
        (with(&format!("\".pvr/json\":\"{id}\"")), 422),
        (with(&format!("\"a\":\"{id}\",\"a/b\":\"{id}\"")), 422),
        (with("\"a\":\"not-a-sha\""), 422),
        (with("\"a\":1"), 422),
        (with(&format!("\"a\":\"{}\"", sha(b"absent"))), 422),
        (with("\"a.json\":1e999999999"), 422),
        (format!("{{\"rev\":5,\"state\":{good}}}"), 422),
        (format!("{{\"rev\":\"locals/../0\",\"state\":{good}}}"), 422),
        (format!("{{\"rev\":\"0\",\"state\":{good}}}"), 422),
        (with(&format!("\"a.json\":\"{}\"", "x".repeat(3 << 20))), 413),
    ];
    for (post, status) in posts {
        let shown: String = post.chars().take(80).collect();
        let answer = server.connect().post(&post);
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        assert_eq!(server.snapshot(), before, "{shown}");
    }
    let findings = server.connect().post(&with(&format!("\"../x\":\"{id}\",\"a\":1"))).json();
    assert_eq!(findings["findings"].as_array().unwrap().len(), 2, "{findings}");
    for (sha256, size, status) in [("..", "1", 400), (&id[1..], "1", 400), (&id, "x", 400)] {
        let record = format!("{{\"sha256sum\":\"{sha256}\",\"size\":\"{size}\"}}");
        assert_eq!(server.connect().request("POST", "objects", &[], record.as_bytes()).status, status);
    }
    let fits_nowhere = server.connect().announce(&sha(b"x").to_string(), rustix_total(&server));
    assert_eq!((fits_nowhere.status, fits_nowhere.json()["reason"].as_str()), (507, Some("no-space")));
    let bomb = format!("{{\"sha256sum\":{}", "[".repeat(100_000));
    assert_eq!(server.connect().request("POST", "objects", &[], bomb.as_bytes()).status, 413);
    assert_eq!(server.snapshot(), before);
}

#[test]
fn a_put_state_one_level_too_deep_to_be_read_again_was_made_the_running_one() {
    let server = Server::start();
    let depth = Limits::default().json_depth;
    let state = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"#spec\":\"pantavisor-service-system@1\",\"a/deep.json\":{value}}}")
    };
    let before = server.snapshot();
    assert_eq!(server.connect().request("PUT", "json", &[], state(depth + 1).as_bytes()).status, 400);
    assert_eq!(server.connect().post(&format!("{{\"state\":{}}}", state(depth + 1))).status, 400);
    assert_eq!(server.snapshot(), before);
    for put in [true, false] {
        let taken = match put {
            true => server.connect().request("PUT", "json", &[], state(depth).as_bytes()),
            false => server.connect().post(&format!("{{\"state\":{}}}", state(depth))),
        };
        assert_eq!(taken.status, 200, "{}", taken.text());
        assert_eq!((server.get("json").status, server.get("json").text()), (200, state(depth).as_str()));
    }
}

#[test]
fn a_refusal_is_a_challenge_and_never_a_redirect() {
    let server = Server::start();
    let (refused, _) = raw(&server, "POST /cgi-bin/pvr/steps HTTP/1.1\r\nHost: HOST\r\nOrigin: null\r\n\r\n");
    assert_eq!(refused.status, 403);
    let mut client = server.connect();
    let refused = client.request("POST", "steps", &[("Origin", "http://evil.example")], b"{}");
    let challenge = refused.header("www-authenticate").unwrap();
    assert_eq!(challenge, format!("JWT realm=\"pantahub services\", ph-aeps=\"{}\"", server.url("auth")));
    assert_eq!(refused.header("access-control-allow-origin"), None);
    assert_eq!(refused.json()["reason"], "foreign-origin");
}

#[test]
fn a_broken_off_upload_leaves_nothing() {
    let server = Server::start();
    let before = server.snapshot();
    for sent in [0, 1, 70_000] {
        let mut client = server.connect();
        let id = sha(&vec![1; 100_000]);
        client.send(format!("PUT /cgi-bin/pvr/objects/{id}/blob HTTP/1.1\r\nHost: {}\r\n", server.address));
        client.send("Content-Length: 100000\r\n\r\n");
        client.send(vec![1; sent]);
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.snapshot() != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.snapshot(), before);
    assert_eq!(server.get("status").status, 200);
}

#[test]
fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    let server = Server::start();
    let size = 64 << 20;
    let mut client = server.connect();
    client.send(format!(
        "PUT /cgi-bin/pvr/objects/{}/blob?size=1 HTTP/1.1\r\nHost: {}\r\nContent-Length: {size}\r\n\r\n",
        sha(b""),
        server.address
    ));
    for _ in 0..32 {
        client.send(vec![0; 64 << 10]);
    }
    assert_eq!(client.response("PUT").status, 400);
}

#[test]
fn slow_heads_make_room_and_idle_connections_end() {
    let limits = Limits {
        connections: 8,
        head_time: Duration::from_secs(5),
        idle_time: Duration::from_millis(1500),
        ..Limits::default()
    };
    let server = Server::with(limits);
    let mut slow: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.send("GET /cgi-bin/pvr/status HTTP/1.1\r\nHo");
    }
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    assert_eq!(server.get("status").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(4), "it did not wait for a slow one to time out");
    assert!(slow[0].try_response("GET").is_none(), "the one that waited longest went");
    let late = slow[7].response("GET");
    assert_eq!(late.status, 408);
    assert_explained(&server, "a slow head", &late);

    let mut idle = server.connect();
    let since = Instant::now();
    assert_eq!(idle.request("GET", "status", &[], b"").status, 200);
    assert!(idle.is_closed());
    let kept = since.elapsed();
    assert!(kept > Duration::from_millis(1200), "a kept connection has its idle time: {kept:?}");
    assert!(kept < Duration::from_millis(4900), "and not that of a head: {kept:?}");
}

#[test]
fn a_body_that_does_not_come_ends_and_an_address_has_its_share() {
    let limits = Limits {
        per_address: 2,
        stall_time: Duration::from_secs(3),
        grace: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = Server::with(limits);
    let before = server.snapshot();
    let begin = || {
        let mut client = server.connect();
        client.begin_upload(&sha(b"abcdef"), 6);
        client.send("abc");
        client
    };
    let mut stalled = [begin(), begin()];
    let third = server.get("status");
    assert_eq!((third.status, third.header("retry-after")), (503, Some("1")));
    assert_eq!(third.json()["reason"], "busy");
    assert_explained(&server, "its share", &third);
    assert_eq!(third.json()["hint"], "try again later");
    for client in &mut stalled {
        assert_eq!(client.response("PUT").status, 408);
    }
    assert_eq!(server.get("status").status, 200);
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.snapshot() != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.snapshot(), before);
}

/// The bytes are looked through for two lengths only where a head begins a read; behind a body, the parser alone sees it.
#[test]
fn two_lengths_pipelined_behind_a_body_smuggle_nothing() {
    let server = Server::start();
    let id = sha(b"abc");
    assert_eq!(server.upload(b"abc").status, 200);
    let before = server.snapshot();
    let orders = [
        "Content-Length: LENGTH\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: LENGTH",
    ];
    for lengths in orders {
        // What follows is a request of its own to whoever goes by the chunks, and part of the body to whoever doesn't.
        let state = factory_state();
        let smuggled = format!(
            "PUT /cgi-bin/pvr/json HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{state}",
            server.address,
            state.len()
        );
        let chunks = "3\r\nabc\r\n0\r\n\r\n";
        for length in [chunks.len() + smuggled.len(), chunks.len(), 3] {
            let lengths = lengths.replace("LENGTH", &length.to_string());
            let put = |lengths: &str| {
                format!("PUT /cgi-bin/pvr/objects/{id}/blob?size=3 HTTP/1.1\r\nHost: {}\r\n{lengths}", server.address)
            };
            let first = format!("{}\r\n\r\nabc", put("Content-Length: 3"));
            let second = format!("{}\r\n\r\n{chunks}{smuggled}", put(&lengths));
            // In one piece, and with the second head in two.
            for split in [0, first.len() + 10, first.len() + second.find("\r\n").unwrap() + 1] {
                let all = format!("{first}{second}");
                let mut client = server.connect();
                client.send(&all[..split]);
                std::thread::sleep(Duration::from_millis(if split > 0 { 60 } else { 0 }));
                client.send(&all[split..]);
                assert_eq!(client.response("PUT").status, 200);
                let answer = client.response("PUT");
                assert!(matches!(answer.status, 200 | 400), "{lengths} split at {split}: {}", answer.status);
                assert_eq!(answer.header("connection"), Some("close"), "{lengths} split at {split}");
                assert!(
                    client.is_closed(),
                    "{lengths} split at {split}: the connection goes on after {}",
                    answer.status
                );
                assert_eq!(server.snapshot(), before, "{lengths} split at {split}");
            }
        }
    }
}
