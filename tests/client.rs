//! Transfers of `pvr` against a scripted server: resumed, verified, repeated where that is safe, any number of them.
//! The real binary, real sockets.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use device::{BASE, Device, answer, blob, sha};
use pvr::{Home, pool_has};
use server::Reply;

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
    // What a get replaces from now on, the device has.
    assert_eq!(home.read("c/.pvr/known"), sha(home.read("c/.pvr/json").as_bytes()));
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
    upload_and_back(350);
}

/// 5,000 in a full run.
#[test]
fn thousands_of_objects_are_uploaded() {
    let per_cent = std::env::var("PVR_ROUNDS").ok().and_then(|value| value.parse().ok()).unwrap_or(5);
    upload_and_back((50 * per_cent).clamp(700, 5_000));
}

fn upload_and_back(count: usize) {
    let files: Vec<(String, Vec<u8>)> =
        (0..count).map(|n| (format!("d{}/f{n}", n % 7), format!("{n}").into_bytes())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let device = Device::plain(&[]);
    let home = Home::new();
    home.repo(&files);
    // One that hangs is ended, and has no code.
    let ran = home.pvr("r", &["post", &device.reference()]).code(0);
    assert_eq!(ran.out.lines().count(), count);
    assert_eq!(device.server.asked("PUT").len(), count);
    assert_eq!(device.holds.lock().unwrap().objects.len(), count);
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
