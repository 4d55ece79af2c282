//! `pvr` against a scripted server: what it asks, what it believes, and how it ends when the other side fails, lies or
//! falls silent. The real binary, real sockets.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use device::{BASE, Device, SPEC, answer, blob, sha};
use pvr::Home;
use server::{Reply, Server};

/// Bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(step).collect()
}

/// Whether nothing but these objects is in the pool, and nothing unfinished beside it.
fn pool_has(home: &Home, ids: &[String]) {
    let pool = home.object("");
    let mut names: Vec<String> =
        fs::read_dir(&pool).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".pvr-agent");
    names.sort();
    let mut ids = ids.to_vec();
    ids.sort();
    assert_eq!(names, ids);
    let tmp = pool.join(".pvr-agent/tmp");
    assert!(!tmp.exists() || fs::read_dir(&tmp).unwrap().next().is_none(), "unfinished files");
}

#[test]
fn clone_change_and_post() {
    let big = noise(200_000);
    let device = Device::plain(&[
        ("app/run.json", b"{\"big\":9007199254740993,\"nul\":null,\"f\":1.0}"),
        ("app/root", &big),
        ("app/same", &big),
        ("app/empty", b""),
        ("a b/50%s", b"percent"),
        ("line\nfeed", b"lf"),
    ]);
    let home = Home::new();
    let ran = home.pvr("", &["clone", &format!("{}#", device.reference()), "c"]).code(0);
    assert_eq!(ran.out.lines().last(), Some(format!("Successfully cloned: {}", home.at("c").display()).as_str()));
    assert_eq!(fs::read(home.at("c/app/same")).unwrap(), big);
    assert_eq!(home.read("c/a b/50%s"), "percent");
    assert_eq!(home.read("c/line\nfeed"), "lf");
    assert_eq!(home.read("c/app/run.json"), "{\n    \"big\": 9007199254740993,\n    \"f\": 1,\n    \"nul\": null\n}");
    assert!(ran.err.contains("Getting object info for: a b/50%s ... [OK]\n"), "{ran:?}");
    assert!(ran.err.contains("Getting object info for: line\\nfeed ... [OK]\n"), "{ran:?}");
    assert_eq!(device.server.asked("GET /cgi-bin/pvr/objects").len(), 8, "four objects, a record and a blob each");

    home.write("c/app/new%d", "new");
    home.write("c/app/dup", "new");
    home.pvr("c", &["add", "app/*"]).code(0);
    assert_eq!(home.pvr("c", &["status"]).code(0).out, "A app/dup\nA app/new%d\n");
    home.pvr("c", &["commit", "-m", "m"]).code(0);
    let before = device.server.requests().len();
    let ran = home.pvr("c", &["post", "-m", "why"]).code(0);
    assert_eq!(ran.out, "app/dup [OK]\n");
    assert!(ran.err.ends_with("Successfully posted Revision locals/x (01234567) to device id local\n"), "{ran:?}");
    assert!(ran.err.contains("Posting object info for: app/new%d ... app/new%d [OK - Dupe]\n"), "{ran:?}");
    let lines: Vec<String> = device.server.requests()[before..].iter().map(|request| request.line()).collect();
    let id = sha(b"new");
    assert_eq!(
        lines,
        [
            format!("GET {BASE}/.pvrremote"),
            format!("GET {BASE}/json"),
            format!("POST {BASE}/objects/"),
            format!("PUT {BASE}/objects/{id}/blob"),
            format!("POST {BASE}/steps"),
        ]
    );
    let posted = device.holds.lock().unwrap().posted.remove(0);
    assert!(posted.starts_with("{\"commit-msg\":\"why\",\"rev\":-1,\"state\":{\"#spec\":"), "{posted}");
    assert!(posted.contains("\"app/run.json\":{\"big\":9007199254740993,\"f\":1,\"nul\":null}"), "{posted}");
}

#[test]
fn a_broken_download_is_taken_up_where_it_broke() {
    let big = noise(500_000);
    let breaks = AtomicUsize::new(0);
    let device = Device::new(&[("big", &big)], move |request, holds| {
        if !request.target.ends_with("/blob") || breaks.fetch_add(1, Ordering::SeqCst) >= 3 {
            return None;
        }
        let Reply::Full(status, headers, body) = answer(request, holds) else { panic!() };
        let mut raw = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| raw.push_str(&format!("{name}: {value}\r\n")));
        Some(Reply::Raw([(raw + "\r\n").as_bytes(), &body[..body.len() / 2]].concat()))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert_eq!(fs::read(home.at("c/big")).unwrap(), big);
    let asked = device.server.asked(&format!("GET {BASE}/objects/{}/blob", sha(&big)));
    let ranges: Vec<_> = asked.iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(
        ranges,
        [None, Some("bytes=250000-".to_owned()), Some("bytes=375000-".to_owned()), Some("bytes=437500-".to_owned())]
    );
    let etag = format!("\"{}\"", sha(&big));
    assert!(asked[1..].iter().all(|request| request.header("if-range") == Some(&etag)));
}

#[test]
fn a_server_without_ranges_is_read_from_the_beginning() {
    let big = noise(300_000);
    let body = big.clone();
    let first = AtomicUsize::new(0);
    let device = Device::new(&[("big", &big)], move |request, _| {
        if !request.target.ends_with("/blob") {
            return None;
        }
        let cut = if first.fetch_add(1, Ordering::SeqCst) == 0 { body.len() / 2 } else { body.len() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Some(Reply::Raw([head.as_bytes(), &body[..cut]].concat()))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert_eq!(fs::read(home.at("c/big")).unwrap(), big);
}

#[test]
fn pieces_of_two_different_files_are_not_taken_for_one() {
    let (good, other) = (noise(300_000), vec![7; 300_000]);
    let count = AtomicUsize::new(0);
    let body = good.clone();
    let device = Device::new(&[("big", &good)], move |request, _| {
        if !request.target.ends_with("/blob") {
            return None;
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                Some(Reply::Raw([head.as_bytes(), &other[..100_000]].concat()))
            }
            1 => Some(blob(request, "new", &body)),
            _ => {
                assert_eq!(request.header("range"), None, "in one piece now");
                Some(blob(request, "new", &body))
            }
        }
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert_eq!(fs::read(home.at("c/big")).unwrap(), good);
    assert_eq!(device.server.asked(&format!("GET {BASE}/objects/{}/blob", sha(&good))).len(), 3);
}

#[test]
fn a_download_that_never_gets_anywhere_ends() {
    let big = noise(100_000);
    let device = Device::new(&[("big", &big)], |request, _| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nxx".to_vec();
        request.target.ends_with("/blob").then_some(Reply::Raw(head))
    });
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "c"]).code(7).says("connection closed while receiving a body");
    assert!(device.server.asked(&format!("GET {BASE}/objects/")).len() < 10);
    assert!(!home.at("c").exists());
}

#[test]
fn wrong_bytes_never_get_a_name() {
    // What is sent instead of the object: other bytes, fewer, more, nothing, chunked garbage.
    let bodies: [&[u8]; 5] = [b"evil!", b"goo", b"good and more", b"", b"good\n"];
    for body in bodies {
        let device = Device::new(&[("app/x", b"good"), ("app/y", b"fine")], move |request, _| {
            let wanted = request.target.ends_with(&format!("{}/blob", sha(b"good")));
            wanted.then(|| Reply::Full(200, Vec::new(), body.to_vec()))
        });
        let home = Home::new();
        home.repo(&[("mine", b"mine")]);
        let before = home.read("r/.pvr/json");
        home.pvr("r", &["get", &device.reference()]).code(3).says("(app/x) cannot be downloaded");
        assert_eq!(home.read("r/.pvr/json"), before);
        assert!(!home.object(&sha(b"good")).exists());
        assert!(!home.object(&sha(body)).exists());
        home.pvr("", &["clone", &device.reference(), "c"]).code(7);
        let left: Vec<_> = fs::read_dir(home.at("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["r"], "nothing of the clone is left");
    }
}

#[test]
fn a_damaged_pool_is_healed() {
    let device = Device::plain(&[("app/x", b"good")]);
    let home = Home::new();
    fs::create_dir_all(home.object("")).unwrap();
    fs::write(home.object(&sha(b"good")), "bad").unwrap();
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert_eq!(home.read("c/app/x"), "good");
    pool_has(&home, &[sha(b"good")]);
}

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
        (409, None, 3, "Error posting object 409\n\tno\n"),
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
fn a_refusal_in_the_middle_of_an_upload_is_heard() {
    let device = Device::new(&[], |request, _| {
        (request.method == "POST" && request.target.ends_with("/objects/")).then(|| {
            // Not the device: a server that answers before it has read the body, and closes.
            let early = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/put", early.local_addr().unwrap());
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, _) = early.accept().unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).unwrap() > 0);
                let body = "{\"error\":\"disk full\",\"hint\":\"pvr-agent gc\"}";
                write!(stream, "HTTP/1.1 507 Full\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                // Drained, so that no reset overtakes the answer.
                std::io::copy(&mut stream, &mut std::io::sink()).ok();
            });
            Reply::json(200, format!("{{\"signed-puturl\":\"{url}\"}}"))
        })
    });
    let home = Home::new();
    home.repo(&[("big", &noise(20_000_000))]);
    home.pvr("r", &["post", &device.reference()]).code(3).says("507 Full\n\tdisk full\n\tpvr-agent gc\n");
}

#[test]
fn an_upload_that_breaks_is_made_again() {
    let count = AtomicUsize::new(0);
    let device = Device::new(&[], move |request, _| {
        (request.method == "PUT" && count.fetch_add(1, Ordering::SeqCst) < 2).then(|| Reply::Raw(Vec::new()))
    });
    let home = Home::new();
    home.repo(&[("a/x", &noise(100_000))]);
    home.pvr("r", &["post", &device.reference()]).code(0);
    assert_eq!(device.server.asked("PUT").len(), 3);
}

#[test]
fn any_number_of_objects_is_uploaded() {
    let files: Vec<(String, Vec<u8>)> =
        (0..350).map(|n| (format!("d{}/f{n}", n % 7), format!("{n}").into_bytes())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let device = Device::plain(&[]);
    let home = Home::new();
    home.repo(&files);
    let begun = Instant::now();
    let ran = home.pvr("r", &["post", &device.reference()]).code(0);
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(ran.out.lines().count(), 350);
    assert_eq!(device.server.asked("PUT").len(), 350);
    assert_eq!(device.holds.lock().unwrap().objects.len(), 350);
    assert!(device.server.connections() <= 20, "connections are used again: {}", device.server.connections());
    // And back.
    let state = home.read("r/.pvr/json");
    device.holds.lock().unwrap().state = state;
    let other = Home::new();
    other.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert!(files.iter().all(|(path, bytes)| fs::read(other.at("c").join(path)).unwrap() == *bytes));
}

#[test]
fn missing_objects_are_sent_and_the_post_repeated_once() {
    for (refusals, code) in [(1, 0), (usize::MAX, 3)] {
        let count = AtomicUsize::new(0);
        // The state on the device names the object, so that it is not announced at first; but it has lost it.
        let device = Device::new(&[("app/x", b"lost"), ("app/y", b"kept")], move |request, holds| {
            let id = sha(b"lost");
            if request.line() != format!("POST {BASE}/steps") || count.fetch_add(1, Ordering::SeqCst) >= refusals {
                return None;
            }
            holds.lock().unwrap().objects.remove(&id);
            let body = format!(
                "{{\"error\":\"objects are missing\",\"code\":422,\"reason\":\"missing-objects\",\"hint\":\"send them\",\
                 \"missing\":[{{\"key\":\"app/x\",\"sha256\":\"{id}\"}}]}}"
            );
            Some(Reply::json(422, body))
        });
        let home = Home::new();
        home.pvr("", &["clone", &device.reference(), "r"]).code(0);
        let ran = home.pvr("r", &["post"]).code(code);
        assert_eq!(device.server.asked(&format!("POST {BASE}/steps")).len(), 2);
        assert_eq!(device.server.asked("PUT").len(), 1);
        if code != 0 {
            ran.says("REST call failed. 422  422 Status 422\n\tobjects are missing\n\tsend them\n");
        }
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
fn what_is_posted() {
    // flags, beginning of the body
    let table: &[(&[&str], &str)] = &[
        (&[], "{\"rev\":-1,\"state\":{"),
        (&["-m", "a\"b"], "{\"commit-msg\":\"a\\\"b\",\"rev\":-1,\"state\":{"),
        (&["--rev", "locals/x"], "{\"rev\":\"locals/x\",\"state\":{"),
        (&["--rev", "5"], "{\"rev\":5,\"state\":{"),
        (&["-rev=0"], "{\"state\":{"),
        (&["--rev", "-1"], "{\"rev\":-1,\"state\":{"),
        (&["-e", "{\"x\":{\"b\":1.0,\"a\":9007199254740993},\"rev\":\"y\"}"], "{\"rev\":-1,\"state\":{"),
    ];
    let device = Device::plain(&[]);
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    for (flags, begins) in table {
        let target = device.reference();
        let args: Vec<&str> = ["post"].into_iter().chain(flags.iter().copied()).chain([target.as_str()]).collect();
        home.pvr("r", &args).code(0);
        let posted = device.holds.lock().unwrap().posted.pop().unwrap();
        assert!(posted.starts_with(begins), "{flags:?} {posted}");
        if flags.first() == Some(&"-e") {
            assert!(posted.ends_with(",\"x\":{\"a\":9007199254740993,\"b\":1}}"), "{posted}");
        }
    }
    let before = device.server.requests().len();
    home.pvr("r", &["post", "-e", "nope"]).code(3).says("the envelope is not a JSON object");
    home.pvr("r", &["post", "--rev", "../x"]).code(3).says("locals/<name>");
    assert!(device.server.requests()[before..].iter().all(|request| request.method == "GET"), "nothing is sent before");
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
    for (location, said) in [("ftp://x/", "unsupported scheme"), ("https://127.0.0.1:1/", "https is not built into")] {
        let device = Device::new(&[("x", b"x")], move |request, _| {
            request.target.ends_with("/blob").then(|| Reply::json(302, "").with("Location", location))
        });
        Home::new().pvr("", &["clone", &device.reference(), "c"]).code(7).says(said);
    }
}

#[test]
fn nobody_there_and_nobody_answering() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    home.pvr("", &["clone", &address, "c"]).code(7).says("cannot connect to");
    home.repo(&[("x", b"x")]);
    home.pvr("r", &["get", &address]).code(3).says("cannot connect to");
    home.pvr("r", &["post", &address]).code(3).says("cannot connect to");

    // Silent from the beginning, and in the middle of a body.
    let silent = Server::start(|_| Reply::Silence(Duration::from_secs(20)));
    let begun = Instant::now();
    let env = [("PVR_HTTP_TIMEOUT", "1")];
    home.run("r", &["get", &silent.address.to_string()], &env).code(3).says("no answer for 1 seconds");
    assert!(begun.elapsed() < Duration::from_secs(10));
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
    ];
    for entry in entries {
        let device = Device::plain(&[("good", b"x")]);
        device.holds.lock().unwrap().state = format!("{{\"#spec\":\"{SPEC}\",\"good\":\"{id}\",{entry}}}");
        let home = Home::new();
        home.repo(&[("mine", b"mine")]);
        let (json, config) = (home.read("r/.pvr/json"), home.read("r/.pvr/config"));
        home.pvr("r", &["get", &device.reference()]).code(3).says("answered with a state that cannot be used");
        home.pvr("", &["clone", &device.reference(), "c"]).code(7);
        assert_eq!((home.read("r/.pvr/json"), home.read("r/.pvr/config")), (json, config), "{entry}");
        assert!(!home.at("x").exists() && !home.at("c").exists());
        pool_has(&home, &[sha(b"mine")]);
    }
}

#[test]
fn a_hostile_committed_state_is_not_checked_out() {
    let home = Home::new();
    home.repo(&[("a/x", b"x")]);
    let id = sha(b"x");
    for key in ["../x", ".pvr/config", "a/../../x"] {
        home.write("r/.pvr/json", format!("{{\"#spec\":\"{SPEC}\",\"{key}\":\"{id}\"}}"));
        home.pvr("r", &["checkout"]).code(3).says("is not a state");
        home.pvr("r", &["checkout", "--hardlink"]).code(3);
        assert!(!home.at("x").exists());
    }
}

#[test]
fn nothing_is_checked_out_through_a_link() {
    let home = Home::new();
    home.repo(&[("a/x", b"x")]);
    fs::remove_dir_all(home.at("r/a")).unwrap();
    fs::create_dir(home.at("outside")).unwrap();
    symlink("../outside", home.at("r/a")).unwrap();
    for flag in ["-c", "--hardlink", "--canonical=false"] {
        home.pvr("r", &["checkout", flag]).code(3).says("symbolic link");
        assert!(!home.at("outside/x").exists());
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
fn commit_keeps_big_integers_and_nulls() {
    let text = "{\"a\":[null,{\"n\":null}],\"big\":10000000000000000001,\"exp\":1e2,\"f\":1.50}";
    let home = Home::new();
    home.repo(&[
        ("x.json", text.as_bytes()),
        ("null.json", b"null"),
        ("id.json", format!("\"{}\"", sha(b"")).as_bytes()),
    ]);
    let file = sha(format!("\"{}\"", sha(b"")).as_bytes());
    assert_eq!(
        home.read("r/.pvr/json"),
        format!(
            "{{\"#spec\":\"{SPEC}\",\"id.json\":\"{file}\",\"null.json\":null,\
             \"x.json\":{{\"a\":[null,{{\"n\":null}}],\"big\":10000000000000000001,\"exp\":100,\"f\":1.5E0}}}}"
        )
    );
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
    assert_eq!(home.pvr("r", &["diff"]).code(0).out, "{}\n");
    home.pvr("r", &["checkout"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
}

#[test]
fn lenient_files_are_warned_about() {
    let home = Home::new();
    home.repo(&[("x.json", b"{\"a\":1,\"a\":2} trailing")]);
    let ran = home.pvr("r", &["status"]).code(0).says("WARNING: x.json: member \"a\" occurs twice");
    assert!(ran.err.contains("WARNING: x.json: text after the first value is ignored"), "{ran:?}");
    assert_eq!(home.read("r/.pvr/json"), format!("{{\"#spec\":\"{SPEC}\",\"x.json\":{{\"a\":2}}}}"));
    home.write("r/x.json", "{bad");
    home.pvr("r", &["status"]).code(3).says("JSON Unmarshal (x.json): ");
    home.pvr("r", &["commit"]).code(1).says("ERROR: JSON Unmarshal (x.json): ");
}

#[test]
fn names_of_any_kind() {
    let home = Home::new();
    let names = ["50%s%d", "esc\u{1b}[2J", "new\nline", "quote\"s", "back\\slash", "ü 文"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    home.repo(&files);
    fs::remove_file(home.at("r/new\nline")).unwrap();
    home.write("r/esc\u{1b}[2J", "changed");
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "D new\\nline\nC esc\\u{1b}[2J\n");
    let ran = home.pvr("r", &["commit"]).code(0);
    assert!(ran.err.contains("Removing new\\nline\n") && !ran.err.contains('\u{1b}'), "{ran:?}");
    // Not UTF-8: shown, never added.
    use std::os::unix::ffi::OsStrExt;
    fs::write(home.at("r").join(std::ffi::OsStr::from_bytes(b"n\xff")), "x").unwrap();
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "? n\u{fffd}\n");
    home.pvr("r", &["add"]).code(3).says("the name is not UTF-8");
    home.pvr("r", &["add", "50*"]).code(0);
}

#[test]
fn links_in_the_tree() {
    let home = Home::new();
    fs::create_dir_all(home.at("r/t")).unwrap();
    fs::create_dir_all(home.at("outside")).unwrap();
    home.write("r/t/a", "a");
    home.write("outside/secret", "s");
    symlink("t/a", home.at("r/file")).unwrap();
    symlink("../outside", home.at("r/folder")).unwrap();
    symlink("nowhere", home.at("r/dangling")).unwrap();
    home.pvr("r", &["init"]).code(0);
    home.pvr("r", &["add"]).code(0);
    assert_eq!(home.pvr("r", &["status"]).code(0).out, "A file\nA t/a\n? dangling\n? folder\n");
}

#[test]
fn parts() {
    let files: &[(&str, &[u8])] = &[("app/x", b"x"), ("app2/y", b"y"), ("bsp/k", b"k"), ("_sigs/app.json", b"{}")];
    // selection, objects downloaded, keys afterwards (the repository has app/old and app2/mine)
    let table: &[(&str, usize, &[&str])] = &[
        ("#app", 1, &["app/x", "app2/mine"]),
        ("#app,_sigs/app.json", 1, &["_sigs/app.json", "app/x", "app2/mine"]),
        ("#-app", 2, &["_sigs/app.json", "app2/y", "bsp/k"]),
        ("#bsp,-app", 1, &["app2/mine", "bsp/k"]),
        ("", 3, &["_sigs/app.json", "app/x", "app2/y", "bsp/k"]),
    ];
    for (selection, downloaded, keys) in table {
        let device = Device::plain(files);
        let home = Home::new();
        home.repo(&[("app/old", b"old"), ("app2/mine", b"mine")]);
        let reference = format!("{}{selection}", device.reference());
        let ran = home.pvr("r", &["get", &reference]).code(0);
        let pool = home.object("");
        let pool = pool.display().to_string();
        let tail = format!(
            "\nImported {downloaded} objects to {}\n\n\nRun pvr checkout to checkout the changed files into the workspace.\n",
            pool.trim_end_matches('/')
        );
        assert!(ran.out.ends_with(&tail), "{ran:?}");
        let state: serde_json::Value = serde_json::from_str(&home.read("r/.pvr/json")).unwrap();
        let got: Vec<&String> = state.as_object().unwrap().keys().filter(|key| *key != "#spec").collect();
        assert_eq!(got, *keys, "{selection}");
        assert_eq!(home.read("r/app/old"), "old", "the working tree stays");
        let config: serde_json::Value = serde_json::from_str(&home.read("r/.pvr/config")).unwrap();
        let url = format!("http://{}{BASE}{selection}", device.reference());
        for name in ["DefaultGetUrl", "DefaultPutUrl", "DefaultPostUrl"] {
            assert_eq!(config[name], url, "{name}");
        }
    }
}

#[test]
fn a_local_repository_is_a_source() {
    let home = Home::new();
    home.repo(&[("app/x", b"x"), ("app/c", b"x"), ("b/y", b"y")]);
    fs::create_dir(home.at("o")).unwrap();
    home.run("o", &["init", "-o", "pool"], &[]).code(0);
    let ran = home.pvr("o", &["get", "../r/.pvr#app"]).code(0);
    assert_eq!(ran.err, "app/c [OK]\napp/x [OK cache]\n");
    home.pvr("o", &["checkout"]).code(0);
    assert_eq!(home.read("o/app/x"), "x");
    assert!(home.at(&format!("o/pool/{}", sha(b"x"))).exists());
    // Damaged in the source: refused. Not there: named.
    fs::remove_file(home.object(&sha(b"y"))).unwrap();
    fs::write(home.object(&sha(b"y")), "not y").unwrap();
    home.pvr("o", &["get", "../r/.pvr"]).code(3).says("(b/y)");
    assert!(!home.at(&format!("o/pool/{}", sha(b"y"))).exists());
    home.pvr("o", &["get", "../r"]).code(3).says("there is one in its .pvr");
    home.pvr("o", &["get", "../nosuch/.pvr"]).code(1).says("there is no file or folder ../nosuch/.pvr");
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

#[test]
fn references_are_expanded_with_the_base_that_is_given() {
    let device = Device::new(&[("x", b"x")], |request, holds| {
        let mut request = request.clone();
        request.target = request.target.replace("/base/user/dev", BASE);
        Some(answer(&request, holds))
    });
    let home = Home::new();
    let base = format!("http://{}/base/", device.reference());
    home.pvr("", &["-r", &base, "clone", "user/dev"]).code(0);
    assert_eq!(home.read("dev/x"), "x");
    assert_eq!(device.server.requests()[0].target, "/base/user/dev/.pvrremote");
    home.write("dev/y", "y");
    home.run("dev", &["add"], &[]).code(0);
    home.pvr("dev", &["commit"]).code(0);
    home.run("dev", &["post", "user/dev"], &[("PVR_REPO_BASEURL", &base)]).code(0);
    home.pvr("dev", &["post", "word"]).code(2).says("Device nick is missing.");
    home.pvr("dev", &["get", "word"]).code(1).says("device nick is missing.");
    home.pvr("dev", &["get", "a", "b"]).code(1).says("ERROR: Get can have at most 1 argument. See --help.\n");
    home.pvr("", &["clone"]).code(2).says("clone needs need repository argument. See --help\n");
    home.pvr("", &["clone", "https://127.0.0.1/x/y"]).code(7).says("https is not built into this program\n");
    home.pvr("", &["frobnicate"]).code(3).says("No help topic for 'frobnicate'\n");
}

#[test]
fn a_clone_never_replaces_anything() {
    let device = Device::plain(&[("x", b"x")]);
    let home = Home::new();
    fs::create_dir(home.at("c")).unwrap();
    home.pvr("", &["clone", &device.reference(), "c"]).code(9).says("file exists");
    assert!(device.server.requests().is_empty(), "nothing is fetched in vain");
    // What a clone that died has left is removed by the next; what only looks like it stays.
    home.write("pvr-clone-0123456789abcdef/.pvr/cloning", "");
    home.write("pvr-clone-fedcba9876543210/mine", "");
    home.pvr("", &["clone", &device.reference(), "d"]).code(0);
    assert!(!home.at("pvr-clone-0123456789abcdef").exists());
    assert!(home.at("pvr-clone-fedcba9876543210/mine").exists());
    assert!(!home.at("d/.pvr/cloning").exists() && !home.at("d/.pvr/tmp").exists());
}

#[test]
fn commands_at_the_same_time_do_not_lose_each_others_work() {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.pvr("r", &["init"]).code(0);
    let count = 12;
    for n in 0..count {
        home.write(&format!("r/f{n}"), format!("{n}"));
    }
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..count {
            let (home, failed) = (&home, &failed);
            scope.spawn(move || {
                let ran = home.pvr("r", &["add", &format!("f{n}")]);
                if ran.code != Some(0) {
                    failed.lock().unwrap().push(ran);
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "{failed:?}");
    assert_eq!(home.pvr("r", &["status"]).code(0).out.lines().filter(|line| line.starts_with("A ")).count(), count);
    home.pvr("r", &["commit", "--checkpoint"]).code(0);
    assert!(home.read("r/.pvr/json").contains("\"checkpoint.json\":{\"major\":\"20"));
    assert!(!home.at("r/.pvr/new").exists());
}

#[test]
fn hardlinks_are_the_objects_of_the_pool() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::new();
    home.repo(&[("a/x", b"x"), ("a/run.json", b"{ \"b\": 1 }")]);
    home.pvr("r", &["checkout", "-hl"]).code(0);
    let (file, object) = (fs::metadata(home.at("r/a/x")).unwrap(), fs::metadata(home.object(&sha(b"x"))).unwrap());
    assert_eq!((file.ino(), file.mode() & 0o777), (object.ino(), 0o444));
    assert_eq!(home.read("r/a/run.json"), "{\"b\":1}");
    // Copies again: the object is left as it is.
    home.pvr("r", &["reset"]).code(0);
    home.write("r/a/x", "changed");
    assert_eq!(fs::read(home.object(&sha(b"x"))).unwrap(), b"x");
    // A damaged object is noticed before anything is touched.
    fs::remove_file(home.object(&sha(b"x"))).unwrap();
    fs::write(home.object(&sha(b"x")), "bad").unwrap();
    for flag in ["--hardlink", "-c"] {
        home.pvr("r", &["checkout", flag]).code(3).says("(a/x)");
        assert_eq!(home.read("r/a/x"), "changed");
    }
}
