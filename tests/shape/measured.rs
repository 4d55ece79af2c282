//! The table of `docs/cgi.md`, measured.
use super::*;

/// What is asked, and how the answer is put into a word or two.
type Measure = (&'static str, fn(&Device) -> String);

const MEASURES: &[Measure] = &[
    ("`Range`", |device| {
        let blob = format!("objects/{}/blob", sha256(&kernel()));
        let answer = device.ask("GET", &blob, &[("Range", "bytes=1-2")], b"");
        format!("{}, {} bytes", answer.status, answer.body.len())
    }),
    ("`ETag`, `If-None-Match`", |device| {
        let blob = format!("objects/{}/blob", sha256(&kernel()));
        let etag = format!("\"{}\"", sha256(&kernel()));
        device.ask("GET", &blob, &[("If-None-Match", &etag)], b"").status.to_string()
    }),
    ("`HEAD`", |device| {
        let answer = device.ask("HEAD", &format!("objects/{}/blob", sha256(&kernel())), &[], b"");
        format!("{}, {}", answer.status, answer.header("content-length").unwrap_or("no length"))
    }),
    ("`Host` in the URLs of an answer", |device| {
        let answer = device.raw(b"GET /cgi-bin/pvr/.pvrremote HTTP/1.1\r\nHost: box.local:99\r\n\r\n", "GET");
        let url = answer.json()["json-get-url"].as_str().unwrap_or_default().to_owned();
        if url.starts_with("http://box.local:99/") { "yes" } else { "no" }.to_owned()
    }),
    ("HTTP/1.0 without `Host`: the URLs", |device| {
        let answer = device.raw(b"GET /cgi-bin/pvr/.pvrremote HTTP/1.0\r\n\r\n", "GET");
        let url = answer.json()["json-get-url"].as_str().unwrap_or_default().to_owned();
        match url {
            url if url == device.url("json") => "address and port".to_owned(),
            url => url.trim_end_matches("/cgi-bin/pvr/json").to_owned(),
        }
    }),
    ("`Date`", |device| if device.get("json").header("date").is_some() { "one" } else { "none" }.to_owned()),
    ("the connection stays open", |device| {
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        let first = conn.ask("GET", "/cgi-bin/pvr/json", &[], b"").expect("an answer");
        let closes = first.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closes { "no" } else { "yes" }.to_owned()
    }),
    ("`PUT` of 1 MB", |device| {
        let bytes = vec![9; 1_000_000];
        device.ask("PUT", &format!("objects/{}/blob", sha256(&bytes)), &[], &bytes).status.to_string()
    }),
    ("chunked `PUT`", |device| {
        let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", 50_000, "c".repeat(50_000));
        let below = format!("objects/{}/blob?size=50000", sha256(&vec![b'c'; 50_000]));
        device.ask("PUT", &below, &[("Transfer-Encoding", "chunked")], body.as_bytes()).status.to_string()
    }),
    ("chunked `POST`", |device| {
        let text = announcement(&"n".repeat(5000), &sha256(b"x"), 1);
        let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
        device.ask("POST", "objects", &[("Transfer-Encoding", "chunked")], body.as_bytes()).status.to_string()
    }),
    ("`Content-Length` and `Transfer-Encoding` at once", |device| {
        let text = announcement("x", &sha256(b"x"), 1);
        let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
        let length = body.len().to_string();
        let both = [("Transfer-Encoding", "chunked"), ("Content-Length", length.as_str())];
        device.ask("POST", "objects", &both, body.as_bytes()).status.to_string()
    }),
    ("`Expect: 100-continue`", |device| {
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        let text = announcement("x", &sha256(b"x"), 1);
        let headers = [("Expect", "100-continue"), JSON[0]];
        conn.head("POST", "/cgi-bin/pvr/objects", &headers, Some(text.len() as u64)).expect("send");
        let mut socket = conn.socket().expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(3))).expect("set a timeout");
        let mut first = [0; 12];
        let got = std::io::Read::read(&mut socket, &mut first).unwrap_or(0);
        if first[..got].ends_with(b" 100") { "100" } else { "nothing; the client sends after a while" }.to_owned()
    }),
    ("`Accept: text/event-stream`", |device| {
        let answer = device.ask("GET", "steps/0/events", &[("Accept", "text/event-stream")], b"");
        let stream = answer.header("content-type") == Some("text/event-stream");
        if stream { "a stream" } else { "a document; `?stream` asks for a stream" }.to_owned()
    }),
    ("`Last-Event-ID`", |device| {
        let id = device.get("steps/0/events").json()["id"].as_str().expect("an id").to_owned();
        let last = format!("{id}.end");
        device.ask("GET", "steps/0/events?stream", &[("Last-Event-ID", &last)], b"").status.to_string()
    }),
    ("events of a stream come", |device| {
        let records = device.store().join("trails/locals/waits/.pv");
        std::fs::create_dir_all(&records).expect("make a revision");
        std::fs::write(records.join("progress"), r#"{"status":"TESTING"}"#).expect("write its progress");
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        conn.send("GET", "/cgi-bin/pvr/steps/locals/waits/events?stream", &[], b"").expect("ask");
        let mut socket = conn.socket().expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(6))).expect("set a timeout");
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains("\n\n") || !String::from_utf8_lossy(&seen).contains("TESTING") {
            match std::io::Read::read(&mut socket, &mut piece) {
                Ok(got @ 1..) => seen.extend_from_slice(&piece[..got]),
                _ => return "all at its end".to_owned(),
            }
        }
        "as they happen".to_owned()
    }),
    ("a path that ends with `/`", |device| device.get("steps/").status.to_string()),
    ("`%2F` in a segment", |device| whose(device, "steps/a%2Fb")),
    ("`%00`", |device| whose(device, "steps/a%00b")),
    ("`..` in a path", |device| whose(device, "steps/../json")),
    ("`//` in a path", |device| whose(device, "/json")),
    ("an unknown method", |device| {
        let host = device.server.host();
        device
            .raw(format!("BREW /cgi-bin/pvr/json HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), "BREW")
            .status
            .to_string()
    }),
    ("a header named `Proxy`", |device| device.ask("GET", "json", &[("Proxy", "http://x")], b"").status.to_string()),
    ("`http://<ip>:12368/cgi-bin` as the address of a device", |device| {
        let host = device.server.host();
        http::get(&format!("http://{host}/cgi-bin/.pvrremote")).status.to_string()
    }),
    ("a log that is followed", |device| {
        let log = device.store().join("logs/0/pantavisor/pantavisor.log");
        std::fs::create_dir_all(log.parent().expect("a folder")).expect("make the folder of a log");
        std::fs::write(&log, "first\n").expect("write a log");
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        conn.send("GET", "/cgi-bin/logs?tail=true&follow=true", &[], b"").expect("send");
        let mut socket = conn.socket().expect("a socket");
        socket.set_read_timeout(Some(black_box::program::patience(Duration::from_secs(10)))).expect("set a timeout");
        let mut until = |end: &str| {
            let (mut text, mut piece) = (String::new(), [0; 4096]);
            while !text.contains(end) {
                match std::io::Read::read(&mut socket, &mut piece) {
                    Ok(got) if got > 0 => text.push_str(&String::from_utf8_lossy(&piece[..got])),
                    _ => return false,
                }
            }
            true
        };
        let begun = until("first\n");
        std::fs::write(&log, "first\nsecond\n").expect("write a log");
        if begun && until("second\n") { "as it comes" } else { "never" }.to_owned()
    }),
    ("`Authorization`", |device| {
        guarded(device, |token| {
            let answer = device.ask("GET", "json", &[("Authorization", token)], b"");
            if answer.status == 200 { "passed on" } else { "withheld" }.to_owned()
        })
    }),
    ("a login", |device| {
        guarded(device, |_| {
            let body = br#"{"username":"ann","password":"correct horse","scope":""}"#;
            device.ask("POST", "auth/login", JSON, body).status.to_string()
        })
    }),
    ("`GET` with a body, as a token is renewed", |device| {
        guarded(device, |_| {
            let body = br#"{"username":"ann","password":"correct horse","scope":""}"#;
            let answer = device.ask("POST", "auth/login", JSON, body);
            let token = format!("Bearer {}", agent::member(&answer, 200, "token").expect("a token"));
            let answer = device.ask("GET", "auth/login", &[("Authorization", &token), JSON[0]], b"{\"token\":\"x\"}");
            let ours = answer.header("content-type") == Some("application/json");
            format!("{}{}", answer.status, if ours { "" } else { " by the server" })
        })
    }),
    ("a signed URL", |device| {
        guarded(device, |token| {
            let record = device.ask("GET", &format!("objects/{}", sha256(&kernel())), &[("Authorization", token)], b"");
            let url = agent::member(&record, 200, "signed-geturl").expect("a URL");
            http::get(&url).status.to_string()
        })
    }),
    ("a package for a transaction, in chunks", |device| {
        let host = device.server.host();
        let at = |below: &str| format!("http://{host}/cgi-bin/pvtx/{below}");
        http::ask(&at("begin"), "POST", &[("Content-Length", "0")], b"").expect("begin");
        let body = b"2\r\n{}\r\n0\r\n\r\n";
        let added = http::ask(&at("add"), "PUT", &[("Transfer-Encoding", "chunked")], body).expect("add");
        http::ask(&at("abort"), "POST", &[("Content-Length", "0")], b"").expect("abort");
        added.status.to_string()
    }),
];

/// With an account and a token, and without any afterwards.
fn guarded(device: &Device, ask: impl Fn(&str) -> String) -> String {
    let access = |args: &[&str]| {
        let mut command = agent::command();
        command.arg("access").args(args).arg("--storage").arg(device.store());
        let output = command.output().expect("run pvr-agent");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let password = device.root.path().join("password");
    std::fs::write(&password, "correct horse\n").expect("write a password");
    access(&["add", "ann", "--scope", "deploy", "--password-file", &password.to_string_lossy()]);
    let token = access(&["token", "ci", "--scope", "deploy"]);
    let got = ask(&format!("Bearer {}", token.trim()));
    access(&["rm", "ci"]);
    access(&["rm", "ann", "--open"]);
    got
}

/// The status, and whether the program was asked at all.
fn whose(device: &Device, below: &str) -> String {
    let head = format!("GET /cgi-bin/pvr/{below} HTTP/1.1\r\nHost: {}\r\n\r\n", device.server.host());
    let answer = device.raw(head.as_bytes(), "GET");
    let ours = answer.header("content-type") == Some("application/json");
    format!("{}{}", answer.status, if ours { "" } else { " by the server" })
}

/// Cells of the documented table by row and column.
fn documented() -> Vec<Vec<String>> {
    let lines = include_str!("../../docs/cgi.md").lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let table: Vec<Vec<String>> = lines.map(cells).collect();
    let from = table.iter().position(|row| row.get(1).is_some_and(|cell| cell == "serve")).expect("the table");
    table[from..].to_vec()
}

#[test]
fn the_table_says_what_is_measured() {
    let table = documented();
    let mut wrong = Vec::new();
    for shape in Shape::all("the_table_says_what_is_measured") {
        let device = Device::start(shape, Back::Storage);
        let column = table[0].iter().position(|name| name == shape.name()).expect("a column");
        for (feature, measure) in MEASURES {
            let got = measure(&device);
            let row = table.iter().find(|row| row[0] == *feature);
            let said = row.and_then(|row| row.get(column)).cloned().unwrap_or_default();
            if got != said {
                wrong.push(format!("{feature} | {}: {got:?}, not {said:?}", shape.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/cgi.md is wrong:\n{}", wrong.join("\n"));
    let features: Vec<_> = table[2..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(features, MEASURES.iter().map(|(feature, _)| *feature).collect::<Vec<_>>());
}
