//! Bad input in every shape of the endpoint: each answer is a refusal, and nothing has changed.
//!
//! By `serve`, each has the status that `endpoint_hostile` demands. A web server refuses much by itself, or ends the connection without a
//! word; what it lets through is refused by the program.
mod black_box;
mod shape;

use black_box::agent::TEXT;
use black_box::http::Conn;
use black_box::seed::{debris, visible};
use black_box::sha256;
use serde_json::json;
use shape::Shape;
use shape::device::{each, kernel};
use std::time::{Duration, Instant};

#[test]
fn a_body_is_what_was_declared_and_nothing_else() {
    each("a_body", |device| {
        let before = visible(&device.store());
        let host = device.server.host();
        let sha = sha256(b"abcdef");
        let head = |length: &str| {
            format!("PUT /cgi-bin/pvr/objects/{sha}/blob HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n")
        };
        // Whoever leaves in the middle has sent nothing.
        for len in [100, 1_000_000] {
            let mut left = Conn::open(&host).expect("connect");
            left.raw(head(&len.to_string()).as_bytes()).expect("send");
            left.raw(&vec![7; len / 2]).expect("send");
            drop(left);
        }
        // More than was declared is not part of it.
        let wrong = device.raw((head("3") + "abcdef").as_bytes(), "PUT");
        assert_eq!(wrong.status, 422, "{}: {wrong}", device.name());
        let none = format!("PUT /cgi-bin/pvr/objects/{sha}/blob?size=6 HTTP/1.1\r\nHost: {host}\r\n\r\nabcdef");
        let none = device.raw(none.as_bytes(), "PUT");
        assert!([400, 411].contains(&none.status), "{}: the end of input is no length: {none}", device.name());
        for length in ["-1", "x", "99999999999999999999999"] {
            let bad = device.raw((head(length) + "abcdef").as_bytes(), "PUT");
            assert!([400, 413].contains(&bad.status), "{}: {length}: {bad}", device.name());
        }
        let disagree = device.ask("PUT", &format!("objects/{sha}/blob?size=7"), &[], b"abcdef");
        assert_eq!(disagree.status, 400, "{}", device.name());
        // Both leavers are gone by now, or soon.
        let deadline = Instant::now() + Duration::from_secs(20);
        let half = || !debris(&device.store()).is_empty() || visible(&device.store()) != before;
        while half() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(visible(&device.store()), before, "{}", device.name());
        assert!(device.server.upload(b"abcdef").expect("upload"));
    });
}

#[test]
fn nothing_hostile_gets_through() {
    each("nothing_hostile", |device| {
        let before = visible(&device.store());
        let host = device.server.host();
        for (path, statuses) in [
            ("/cgi-bin/pvr/steps/%2e%2e/json", &[400, 404, 200][..]),
            ("/cgi-bin/pvr/steps/locals/..%2f..%2fetc/json", &[400, 404]),
            ("/cgi-bin/pvr/steps/%252e%252e/json", &[404]),
            ("/cgi-bin/pvr/steps/locals/%00/json", &[400, 404]),
            ("/cgi-bin/pvr/objects/..%2f..%2ftrails/blob", &[400, 403, 404]),
            ("/cgi-bin/pvr/steps/a%0d%0aX-Evil:%201/json", &[400, 403, 404]),
        ] {
            let answer = device.raw(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), "GET");
            assert!(statuses.contains(&answer.status), "{}: {path}: {answer}", device.name());
            assert_eq!(answer.header("x-evil"), None);
            // A path that the server has resolved leads to the running state, and to nothing else.
            assert!(answer.status != 200 || answer.body == device.state.as_bytes(), "{answer}");
        }
        let proxied = device.ask("GET", "json", &[("Proxy", "http://127.0.0.1:9/")], b"");
        assert_eq!((proxied.status, proxied.body.as_slice()), (200, device.state.as_bytes()));
        let put = format!(r#"{{"rev":-1,"state":{}}}"#, device.state.replace("kernel.img\"}", "other.img\"}"));
        for foreign in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
            let answer = device.ask("POST", "steps", &[foreign, TEXT[0]], put.as_bytes());
            assert_eq!(answer.status, 403, "{}: {foreign:?}", device.name());
            let challenge = format!("JWT realm=\"pantahub services\", ph-aeps=\"{}\"", device.url("auth"));
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        let evil = device.raw(b"GET /cgi-bin/pvr/json HTTP/1.1\r\nHost: evil.example\r\n\r\n", "GET");
        assert_eq!(evil.status, 421, "{}", device.name());
        for (body, status) in [("{", 400), ("[]", 422), (r#"{"state":{"a/../b":{}}}"#, 422)] {
            let answer = device.post(body);
            assert_eq!(answer.status, status, "{}: {body}: {answer}", device.name());
        }
        let large = vec![b'x'; 3_000_000];
        let answer = device.ask("POST", "steps", TEXT, &large);
        assert_eq!(answer.status, 413, "{}", device.name());
        assert_eq!(device.ask("DELETE", "json", &[], b"").status, 405, "{}", device.name());
        assert_eq!(visible(&device.store()), before, "{}", device.name());
    });
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let sha = sha256(b"abc");
    let upper = sha.to_uppercase();
    let put = |rest: &str| format!("PUT /cgi-bin/pvr/objects/{sha}/blob{rest}");
    let host = "HTTP/1.1\r\nHost: HOST\r\n";
    let (long, many) = ("x".repeat(70_000), (0..100).map(|i| format!("X-{i}: y\r\n")).collect::<String>());
    let chunked = |size: &str, chunks: &str| put(&format!("{size} {host}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    let sized = |length: &str| put(&format!(" {host}Content-Length: {length}\r\n\r\nabc"));
    let (huge, most) = ((1_u64 << 60).to_string(), u64::MAX.to_string());
    let rows: Vec<(&str, String, u16)> = vec![
        ("upper-case name", format!("GET /cgi-bin/pvr/objects/{upper} {host}\r\n"), 400),
        ("short name", format!("PUT /cgi-bin/pvr/objects/abc/blob {host}Content-Length: 3\r\n\r\nabc"), 400),
        ("path trick", format!("GET /cgi-bin/pvr/objects/../../../etc/passwd {host}\r\n"), 400),
        ("nothing there", format!("GET /etc/passwd {host}\r\n"), 404),
        ("unknown method", format!("BREW /cgi-bin/pvr/json {host}\r\n"), 501),
        ("method not here", format!("DELETE /cgi-bin/pvr/objects/{sha}/blob {host}\r\n"), 405),
        ("no method", "\u{1} / HTTP/1.1\r\n\r\n".into(), 400),
        ("large head", format!("GET /cgi-bin/pvr {host}A: {long}\r\n\r\n"), 431),
        ("foreign host", "GET /cgi-bin/pvr HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), 421),
        ("foreign origin", put(&format!(" {host}Origin: http://evil.example\r\nContent-Length: 3\r\n\r\nabc")), 403),
        ("cross-site", put(&format!(" {host}Sec-Fetch-Site: cross-site\r\nContent-Length: 3\r\n\r\nabc")), 403),
        ("two lengths", put(&format!(" {host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), 400),
        (
            "two lengths, turned",
            put(&format!(" {host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n")),
            400,
        ),
        ("negative length", sized("-3"), 400),
        ("length with a sign", sized("+3"), 400),
        ("unknown coding", put(&format!(" {host}Transfer-Encoding: gzip\r\n\r\nabc")), 400),
        ("no length at all", chunked("", "3\r\nabc\r\n0\r\n\r\n"), 411),
        ("size is no number", put(&format!("?size=3x {host}Content-Length: 3\r\n\r\nabc")), 400),
        ("two sizes", put(&format!("?size=3&size=3 {host}Content-Length: 3\r\n\r\nabc")), 400),
        ("size against length", put(&format!("?size=4 {host}Content-Length: 3\r\n\r\nabc")), 400),
        ("bad chunk size", chunked("?size=3", "xyz\r\nabc\r\n0\r\n\r\n"), 400),
        ("chunk without end", chunked("?size=3", "3\r\nabcX\r\n0\r\n\r\n"), 400),
        ("huge chunk size", chunked("?size=3", "fffffffffffffffff\r\n"), 400),
        ("chunks above the size", chunked("?size=2", "3\r\nabc\r\n0\r\n\r\n"), 413),
        ("chunks below the size", chunked("?size=4", "3\r\nabc\r\n0\r\n\r\n"), 400),
        ("wrong bytes", put(&format!("?size=3 {host}Content-Length: 3\r\n\r\nabd")), 422),
        ("more than the disk", chunked(&format!("?size={huge}"), ""), 507),
        ("more than any disk", chunked(&format!("?size={most}"), ""), 507),
    ];
    // What a web server makes another request of, which is a good one; docs/cgi.md has what each makes of such things.
    let resolved = ["path trick", "two lengths", "two lengths, turned", "large head"];
    // A web server that keeps a body until it is whole knows the length of any, and waits for the rest of these for ever.
    let whole = ["no length at all", "huge chunk size", "more than the disk", "more than any disk"];
    each("bad_requests", |device| {
        let before = visible(&device.store());
        for (what, request, status) in &rows {
            if whole.contains(what) && !device.shape.passes_on_at_once() {
                continue;
            }
            let request = request.replace("HOST", &device.server.host());
            let answer = device.try_raw(request.as_bytes(), "GET");
            match (device.shape, answer) {
                (Shape::Serve, answer) => {
                    let answer = answer.unwrap_or_else(|error| panic!("{what}, {}: {error}", device.name()));
                    assert_eq!(answer.status, *status, "{what}, {}: {answer}", device.name());
                    let error = answer.json();
                    assert_eq!((&error["code"], error["reason"].is_string()), (&json!(status), true), "{what}");
                }
                (_, Ok(answer)) => {
                    let refused = answer.status >= 400 || resolved.contains(what);
                    assert!(refused, "{what}, {}: {answer}", device.name());
                }
                (_, Err(_)) => {}
            }
            assert_eq!(visible(&device.store()), before, "{what}, {}", device.name());
        }
        let many = format!("GET /cgi-bin/pvr/json {host}{many}\r\n").replace("HOST", &device.server.host());
        let answer = device.raw(many.as_bytes(), "GET");
        assert!([200, 431].contains(&answer.status), "many headers, {}: {answer}", device.name());
    });
}

#[test]
fn bad_states_and_records_have_their_status_and_change_nothing() {
    each("bad_states", |device| {
        let before = visible(&device.store());
        let good = &device.state;
        let sha = sha256(&kernel());
        let with = |member: &str| format!("{{\"state\":{{\"#spec\":\"pantavisor-service-system@1\",{member}}}}}");
        let deep = |depth: usize| format!("{{\"state\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let posts: Vec<(String, u16)> = vec![
            ("{".into(), 400),
            (format!("{{\"state\":{good}}} more"), 400),
            (format!("{{\"state\":{good},\"state\":{good}}}"), 400),
            (deep(2000), 400),
            (deep(500), 422),
            ("\u{feff}{}".into(), 400),
            ("[]".into(), 422),
            ("{\"state\":{}}".into(), 422),
            ("{\"state\":{\"#spec\":\"other@1\"}}".into(), 422),
            (with(&format!("\"../x\":\"{sha}\"")), 422),
            (with(&format!("\"/etc/passwd\":\"{sha}\"")), 422),
            (with(&format!("\"a//b\":\"{sha}\"")), 422),
            (with(&format!("\"a\\u0000b\":\"{sha}\"")), 422),
            (with(&format!("\".pv/done\":\"{sha}\"")), 422),
            (with(&format!("\".pvr/json\":\"{sha}\"")), 422),
            (with(&format!("\"a\":\"{sha}\",\"a/b\":\"{sha}\"")), 422),
            (with("\"a\":\"not-a-sha\""), 422),
            (with("\"a\":1"), 422),
            (with(&format!("\"a\":\"{}\"", sha256(b"absent"))), 422),
            (with("\"a.json\":1e999999999"), 422),
            (format!("{{\"rev\":5,\"state\":{good}}}"), 422),
            (format!("{{\"rev\":\"locals/../0\",\"state\":{good}}}"), 422),
            (format!("{{\"rev\":\"0\",\"state\":{good}}}"), 422),
            (with(&format!("\"a.json\":\"{}\"", "x".repeat(3 << 20))), 413),
        ];
        for (post, status) in posts {
            let shown: String = post.chars().take(80).collect();
            let answer = device.post(&post);
            assert_eq!(answer.status, status, "{}: {shown}: {answer}", device.name());
            assert_eq!(visible(&device.store()), before, "{}: {shown}", device.name());
        }
        for (sha256sum, size, status) in [("..", "1", 400), (&sha[1..], "1", 400), (&sha, "x", 400)] {
            let record = format!("{{\"sha256sum\":\"{sha256sum}\",\"size\":\"{size}\"}}");
            assert_eq!(device.ask("POST", "objects", &[], record.as_bytes()).status, status, "{}", device.name());
        }
        let fits_nowhere = device.server.announce(&sha256(b"x"), 1 << 60).expect("an answer");
        assert_eq!(
            (fits_nowhere.status, &fits_nowhere.json()["reason"]),
            (507, &json!("no-space")),
            "{}",
            device.name()
        );
        let bomb = format!("{{\"sha256sum\":{}", "[".repeat(100_000));
        assert_eq!(device.ask("POST", "objects", &[], bomb.as_bytes()).status, 413, "{}", device.name());
        assert_eq!(visible(&device.store()), before, "{}", device.name());
    });
}

/// Servers that keep a body until it is whole have their program hear of it only then.
#[test]
fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    each("a_client_that_is_still_sending", |device| {
        let size: u64 = if device.shape.passes_on_at_once() { 64 << 20 } else { 4 << 20 };
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        let path = format!("/cgi-bin/pvr/objects/{}/blob?size=1", sha256(b""));
        conn.head("PUT", &path, &[], Some(size)).expect("send");
        for _ in 0..(size >> 16).min(64) {
            // Enough has been heard, it may be.
            let _ = conn.raw(&vec![0; 64 << 10]);
        }
        assert_eq!(conn.receive("PUT").expect("an answer").status, 400, "{}", device.name());
    });
}
