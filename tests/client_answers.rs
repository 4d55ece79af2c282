//! What `pvr` makes of the answers it gets: statuses, lies, silence, hostile states, addresses that lead elsewhere. The
//! real binary against a scripted server.

#[path = "client/device.rs"]
mod device;
#[path = "support/port.rs"]
mod port;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::time::{Duration, Instant};

use device::{BASE, Device, SPEC, answer, blob, sha};
use pvr::{Home, pool_has};
use server::{Reply, Server};

#[test]
fn not_ready_is_said_with_the_time() {
    let device = Device::new(&[], |request, _| {
        request.target.ends_with("/steps").then(|| Reply::json(503, "busy").with("Retry-After", "7"))
    });
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    let ran = home.pvr("r", &["post", &device.reference()]).code(3);
    let text = "Endpoint reported \"Not ready\"; retry in: 7 seconds";
    assert!(ran.err.ends_with(&format!("{text}\n")) && ran.out.ends_with(&format!("ERROR: {text}\n")), "{ran:?}");
}

#[test]
fn answers_to_an_announcement() {
    // status, object type, exit code, what is said; the object is sent in none of these cases
    let table = [
        (409, Some("object"), 0, "a/x [OK]\n"),
        (409, Some("link"), 0, "a/x [LK]\n"),
        (409, None, 0, "a/x [OK]\n"),
        (409, Some("strange"), 3, "Error posting object 409\n\tno\n"),
        (201, None, 3, "Error posting object 201\n"),
        (204, None, 3, "Error posting object 204\n"),
        (400, None, 3, "Error posting object 400\n\tno\n"),
        (403, None, 3, "Error posting object 403\n\tno\n\tit wants a login"),
        (507, None, 3, "Error posting object 507\n\tno\n"),
    ];
    for (status, kind, code, said) in table {
        let device = Device::new(&[], move |request, _| {
            let reply = Reply::json(status, if status < 300 { "" } else { "{\"error\":\"no\"}" });
            let reply = kind.into_iter().fold(reply, |reply, kind| reply.with("Pantahub-Object-Type", kind));
            (request.line() == format!("POST {BASE}/objects/")).then_some(reply)
        });
        let home = Home::new();
        home.repo(&[("a/x", b"x")]);
        let ran = home.pvr("r", &["post", &device.reference()]).code(code).says(said);
        assert!(device.server.asked("PUT").is_empty(), "{ran:?}");
        assert_eq!(device.server.asked(&format!("POST {BASE}/steps")).len(), usize::from(code == 0));
    }
}

#[test]
fn force_sends_what_is_there_but_no_link() {
    for (kind, puts) in [("object", 1), ("link", 0)] {
        let device = Device::new(&[], move |request, _| {
            let host = request.header("host").unwrap().to_owned();
            let record = format!("{{\"signed-puturl\":\"http://{host}{BASE}/objects/{}/blob\"}}", sha(b"x"));
            (request.line() == format!("POST {BASE}/objects/"))
                .then(|| Reply::json(409, record).with("Pantahub-Object-Type", kind))
        });
        let home = Home::new();
        home.repo(&[("a/x", b"x")]);
        home.pvr("r", &["post", "--force", &device.reference()]).code(0);
        assert_eq!(device.server.asked("PUT").len(), puts);
    }
}

#[test]
fn an_upload_needs_exactly_200() {
    for status in [201, 204, 400, 403, 507] {
        let device = Device::new(&[], move |request, _| (request.method == "PUT").then(|| Reply::json(status, "")));
        let home = Home::new();
        home.repo(&[("a/x", b"x")]);
        home.pvr("r", &["post", &device.reference()]).code(3).says(&format!("REST call failed. {status}  {status} "));
        assert!(device.server.asked(&format!("POST {BASE}/steps")).is_empty());
    }
}

#[test]
fn a_post_that_breaks_is_not_made_again() {
    let device = Device::new(&[], |request, _| request.target.ends_with("/steps").then(|| Reply::Raw(Vec::new())));
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    home.pvr("r", &["post", &device.reference()]).code(3).says("look before posting again");
    assert_eq!(device.server.asked(&format!("POST {BASE}/steps")).len(), 1);
}

#[test]
fn addresses_in_answers_may_be_relative() {
    let device = Device::new(&[("x", b"x")], |request, holds| {
        let Reply::Full(status, headers, body) = answer(request, holds) else { panic!() };
        let prefix = format!("http://{}", request.header("host").unwrap());
        Some(Reply::Full(status, headers, String::from_utf8(body).unwrap().replace(&prefix, "").into_bytes()))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "r"]).code(0);
    home.write("r/y", "y");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["post"]).code(0);
}

#[test]
fn redirects() {
    // A record that redirects: refused, not followed, and not for ever.
    let device = Device::new(&[], |request, _| {
        request.target.ends_with(".pvrremote").then(|| Reply::json(302, "").with("Location", "/elsewhere"))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(7).says("302 Status 302\n\tredirects to /elsewhere\n");
    assert_eq!(device.server.requests().len(), 1);

    // A blob that redirects: followed, within bounds.
    for (hops, code) in [(1, 0), (5, 0), (6, 7)] {
        let device = Device::new(&[("x", b"x")], move |request, holds| {
            let redirect = |hop: usize| Reply::json(302, "").with("Location", format!("/hop/{hop}"));
            if request.target.ends_with("/blob") {
                return Some(redirect(1));
            }
            let hop: usize = request.target.strip_prefix("/hop/")?.parse().unwrap();
            let bytes = holds.lock().unwrap().objects.get(&sha(b"x")).unwrap().clone();
            Some(if hop < hops { redirect(hop + 1) } else { blob(request, "e", &bytes) })
        });
        let home = Home::new();
        let ran = home.pvr("", &["clone", &device.reference(), "c"]).code(code);
        if code != 0 {
            ran.says("more than 5 redirects");
        }
    }
    // Followed to https, where nobody is, unless the program has no TLS.
    let https = ["cannot connect to 127.0.0.1:1", "built without TLS"];
    for (location, said) in [("ftp://x/", &["unsupported scheme"][..]), ("https://127.0.0.1:1/", &https)] {
        let device = Device::new(&[("x", b"x")], move |request, _| {
            request.target.ends_with("/blob").then(|| Reply::json(302, "").with("Location", location))
        });
        let ran = Home::new().pvr("", &["clone", &device.reference(), "c"]).code(7);
        assert!(said.iter().any(|said| ran.err.contains(said)), "{ran:#?}");
    }
}

#[test]
fn nobody_there_and_nobody_answering() {
    let home = Home::new();
    let (_held, address) = port::bound();
    let address = address.to_string();
    home.pvr("", &["clone", &address, "c"]).code(7).says("cannot connect to");
    home.repo(&[("x", b"x")]);
    home.pvr("r", &["get", &address]).code(3).says("cannot connect to");
    home.pvr("r", &["post", &address]).code(3).says("cannot connect to");

    // Silent from the beginning, and in the middle of a body.
    let silent = Server::start(|_| Reply::Silence(Duration::from_secs(20)));
    let begun = Instant::now();
    let env = [("PVR_HTTP_TIMEOUT", "1")];
    home.run("r", &["get", &silent.address.to_string()], &env).code(3).says("no answer for 1 seconds");
    assert!(begun.elapsed() < Duration::from_secs(18));
    assert_eq!(silent.requests().len(), 2, "asked again once");
}

#[test]
fn bad_http_is_an_error() {
    let answers: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
    ];
    for raw in answers {
        let server = Server::start(move |_| Reply::Raw(raw.to_vec()));
        let home = Home::new();
        home.pvr("", &["clone", &server.address.to_string(), "c"]).code(7).says("bad HTTP answer: ");
        assert_eq!(server.requests().len(), 1, "lies are not asked for again");
    }
}

#[test]
fn interim_answers_and_chunks_are_understood() {
    let device = Device::new(&[("x", b"hello")], |request, holds| {
        let Reply::Full(status, _, body) = answer(request, holds) else { panic!() };
        let mut raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
        raw.extend_from_slice(format!("HTTP/1.1 {status} OK\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
        for chunk in body.chunks(7) {
            raw.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
            raw.extend_from_slice(chunk);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        Some(Reply::Raw(raw))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert_eq!(home.read("c/x"), "hello");
}

#[test]
fn hostile_states_are_refused_whole() {
    let id = sha(b"x");
    let entries = [
        format!("\"../x\":\"{id}\""),
        format!("\"a/../../x\":\"{id}\""),
        format!("\"/x\":\"{id}\""),
        format!("\".pvr/config\":\"{id}\""),
        "\".pvr/x.json\":{}".to_owned(),
        format!("\".pv/x\":\"{id}\""),
        format!("\"a//b\":\"{id}\""),
        format!("\"a\":\"{id}\",\"a/b\":\"{id}\""),
        "\"a\":\"../../victim\"".to_owned(),
        format!("\"a\":\"{}\"", id.to_uppercase()),
        "\"a\":7".to_owned(),
        format!("\"a\":\"{id}\",\"a\":\"{id}\""),
        format!("\"a/./b\":\"{id}\""),
        format!("\"./x\":\"{id}\""),
        format!("\"a/\":\"{id}\""),
        format!("\"..\":\"{id}\""),
        format!("\"\":\"{id}\""),
        format!("\"a\\u0000b\":\"{id}\""),
        format!("\".pvr\":\"{id}\""),
        format!("\"../../../home/.pvr/victim\":\"{id}\""),
        format!("\"{}\":\"{id}\"", "x".repeat(300)),
        "\"../x.json\":{}".to_owned(),
        "\"a\":\"../victim\"".to_owned(),
        "\"a\":\"/etc/passwd\"".to_owned(),
        format!("\"a\":\"{id}/../../victim\""),
        format!("\"a\":\"{id}\\u0000\""),
        "\"a\":null".to_owned(),
        "\"a\":[]".to_owned(),
        "\"a\":{}".to_owned(),
        "\"#spec\":7".to_owned(),
    ];
    for entry in entries {
        let device = Device::plain(&[("good", b"x")]);
        device.holds.lock().unwrap().state = format!("{{\"#spec\":\"{SPEC}\",\"good\":\"{id}\",{entry}}}");
        let home = Home::new();
        home.repo(&[("mine", b"mine")]);
        // What an id that leads out of the pool would delete, and then write.
        let victims = ["../victim", "../../victim"].map(|path| home.object(path));
        victims.iter().for_each(|victim| fs::write(victim, "mine").unwrap());
        let (json, config) = (home.read("r/.pvr/json"), home.read("r/.pvr/config"));
        home.pvr("r", &["get", &device.reference()]).code(3).says("answered with a state that cannot be used");
        home.pvr("r", &["get", &format!("{}#good", device.reference())]).code(3);
        home.pvr("r", &["merge", &device.reference()]).code(3).says("answered with a state that cannot be used");
        home.pvr("", &["clone", &device.reference(), "c"]).code(7);
        home.pvr("", &["deploy", "d", &device.reference()]).code(6);
        home.pvr("", &["inspect", &device.reference()]).code(1);
        assert!(!home.at("d").exists(), "{entry}");
        victims.iter().for_each(|victim| assert_eq!(fs::read(victim).unwrap(), b"mine", "{entry}"));
        // The same state in a folder, and in an archive.
        let state = device.holds.lock().unwrap().state.clone();
        home.write("evil/json", &state);
        home.pvr("r", &["get", "../evil"]).code(3);
        home.pvr("", &["deploy", "d", "evil"]).code(6);
        assert!(!home.at("d").exists(), "{entry}");
        assert_eq!((home.read("r/.pvr/json"), home.read("r/.pvr/config")), (json, config), "{entry}");
        assert!(!home.at("x").exists() && !home.at("c").exists());
        pool_has(&home, &[sha(b"mine")]);
    }
}

#[test]
fn what_is_no_state_is_not_taken_for_one() {
    let table = [
        (404, "{\"error\":\"no such revision\"}", "REST call failed. 404  404 Status 404\n\tno such revision\n"),
        (401, "{\"Error\":\"Not Authorized\"}", "Not Authorized\n\tit wants a login"),
        (500, "boom", "REST call failed. 500  500 Status 500\n\tboom\n"),
        (201, "{}", "REST call failed. 201"),
        (200, "{\"error\":\"x\"}", "state that cannot be used"),
        (200, "{}", "has no such revision: its state is empty"),
        (200, "[]", "state that cannot be used"),
        (200, "", "state that cannot be used"),
        (200, "<html>", "state that cannot be used"),
        (200, "{\"#spec\":\"x\"} {}", "state that cannot be used"),
    ];
    for (status, body, said) in table {
        let device =
            Device::new(&[], move |request, _| request.target.ends_with("/json").then(|| Reply::json(status, body)));
        let home = Home::new();
        home.repo(&[("mine", b"mine")]);
        let before = home.read("r/.pvr/json");
        home.pvr("r", &["get", &device.reference()]).code(3).says(said);
        assert_eq!(home.read("r/.pvr/json"), before, "{body}");
        home.pvr("", &["clone", &device.reference(), "c"]).code(7);
    }
}

#[test]
fn what_an_endpoint_says_reaches_the_terminal_escaped() {
    let device = Device::new(&[], |request, _| {
        let body = "{\"error\":\"\\u001b]0;owned\\u0007\",\"hint\":\"a\\r\\nb\"}";
        request.target.ends_with("/json").then(|| Reply::json(500, body))
    });
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    let ran = home.pvr("r", &["get", &device.reference()]).code(3).says("\\u{1b}]0;owned\\u{7}\n\ta\\r\\nb\n");
    assert!(!ran.err.contains(['\u{1b}', '\u{7}', '\r']));
}

#[test]
fn tokens_go_to_the_named_server_and_to_no_blob() {
    let elsewhere = Device::plain(&[("x", b"x")]);
    let foreign = elsewhere.reference();
    let device = Device::new(&[("x", b"x")], |_, _| None);
    let home = Home::new();
    home.pvr("", &["-a", "secret", "clone", &device.reference(), "c"]).code(0);
    for request in device.server.requests() {
        let expected = (!request.target.ends_with("/blob")).then_some("Bearer secret");
        assert_eq!(request.header("authorization"), expected, "{}", request.line());
    }
    let luring = Device::new(&[], move |request, _| {
        let record = format!(
            "{{\"json-get-url\":\"http://{foreign}{BASE}/json\",\"objects-endpoint\":\"http://{foreign}{BASE}/objects\",\
             \"post-url\":\"http://{foreign}{BASE}/steps\"}}"
        );
        request.target.ends_with(".pvrremote").then(|| Reply::json(200, record))
    });
    home.run("", &["clone", &luring.reference(), "d"], &[("PVR_ACCESSTOKEN", "secret")]).code(0);
    assert!(luring.server.requests()[0].header("authorization").is_some());
    assert!(elsewhere.server.requests().iter().all(|request| request.header("authorization").is_none()));
}
