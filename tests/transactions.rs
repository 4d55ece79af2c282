//! Transactions over the network, on each back end, by `serve` and as a CGI.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::http::Conn;
use black_box::seed::{debris, visible};
use black_box::{Dice, program, rounds, sha256};
use sdk::{Back, Device, each, package};
use serde_json::{Value, json};
use shape::Shape;
use shape::control::{self, Config, Defects, Facts};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const EMPTY: &str = r##"{"#spec":"pantavisor-service-system@1"}"##;

fn data() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect()
}

/// What is stored, and is nobody's note.
fn stored(device: &Device) -> BTreeMap<String, String> {
    let mut all = visible(&device.storage);
    all.retain(|name, _| !name.ends_with("progress"));
    all
}

#[test]
fn a_whole_transaction() {
    each("a_whole_transaction", |device| {
        let none = device.get("pvtx/show");
        device.refused(&none, 400, "no-transaction");
        // What today's clients look for.
        assert_eq!(
            (&none.json()["error"], &none.json()["transaction"]),
            (&json!("No active transaction."), &Value::Null)
        );
        assert_eq!(device.json("POST", "pvtx/abort"), json!({"status": "ok"}));

        let running = device.get("pvr/json").body;
        let begun = device.bare("POST", "pvtx/begin");
        assert_eq!((begun.status, begun.body.as_slice()), (200, running.as_slice()), "{}", device.name());
        device.refused(&device.bare("POST", "pvtx/begin"), 409, "transaction-active");
        device.refused(&device.bare("POST", "pvtx/begin?empty=true"), 409, "transaction-active");

        let (big, small) = (data(), b"small".to_vec());
        let first = package(&[("app/root.squashfs", &big)], &[("app/run.json", r#"{"name":"app"}"#)]);
        let added = device.add(&tar::gzip(&first));
        assert_eq!(added.status, 200, "{}: {added}", device.name());
        assert_eq!(added.json()["app/root.squashfs"], sha256(&big));
        assert_eq!(added.json()["app/run.json"], json!({"name": "app"}));
        // The same by another method, in chunks, without compression.
        let second = package(&[("other/a", &small), ("third/b", &small)], &[]);
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        conn.head("POST", "/cgi-bin/pvtx/add", &[("Transfer-Encoding", "chunked")], None).expect("send");
        for chunk in second.chunks(1000) {
            conn.raw(format!("{:x}\r\n", chunk.len()).as_bytes()).expect("send");
            conn.raw(chunk).expect("send");
            conn.raw(b"\r\n").expect("send");
        }
        conn.raw(b"0\r\n\r\n").expect("send");
        let added = conn.receive("POST").expect("an answer");
        assert_eq!(
            (added.status, &added.json()["third/b"]),
            (200, &json!(sha256(&small))),
            "{}: {added}",
            device.name()
        );
        // The JSON of a state is a package, too.
        assert_eq!(device.add(br##"{"#spec":"x","fourth/x.json":{"a":1}}"##).json()["fourth/x.json"], json!({"a": 1}));

        for (method, part) in [("DELETE", "other"), ("PUT", "third/b"), ("POST", "fourth")] {
            let left = device.json(method, &format!("pvtx/remove?part={part}"));
            let gone = left.as_object().expect("a state").keys().all(|key| !key.starts_with(part));
            assert!(gone, "{}: {part}: {left}", device.name());
        }
        device.refused(&device.bare("PUT", "pvtx/remove"), 400, "no-part");
        let state = device.get("pvtx/show");
        assert_eq!(device.json("PUT", "pvtx/remove?part=nothing"), state.json(), "what is not there can go");

        let committed = device.bare("POST", "pvtx/commit");
        assert_eq!((committed.status, committed.header("content-type")), (200, Some("text/plain")), "{committed}");
        let rev = String::from_utf8(committed.body).expect("text");
        let rev = rev.strip_suffix('\n').expect("a line");
        let parts: Vec<_> = rev.split('-').collect();
        assert_eq!((parts[0], parts[2]), ("locals/pvtx", &sha256(&state.body)[..8]), "{rev}");
        assert!(parts.len() == 4 && parts[3].parse::<u32>().is_ok_and(|number| number < 1000), "{rev}");
        device.refused(&device.get("pvtx/show"), 400, "no-transaction");
        device.refused(&device.bare("POST", "pvtx/commit"), 400, "no-transaction");
        device.refused(&device.add(&first), 400, "no-transaction");
        assert_eq!(device.get("pvr/json").body, running, "a commit runs nothing");

        let steps = device.json("GET", "pvtx/steps");
        assert!(steps.as_array().is_some_and(|all| all.iter().any(|step| step["name"] == rev)), "{steps}");
        let name = rev.strip_prefix("locals/").expect("a local revision");
        for asked in [rev, name] {
            let status = device.json("GET", &format!("pvtx/status?rev={asked}"));
            assert_eq!((&status["rev"], &status["progress"]["status"]), (&json!(name), &json!("NEW")), "{status}");
            assert_eq!(status["progress"]["data"], "0", "{status}");
        }
        assert_eq!(device.json("GET", "pvtx/status")["rev"], "0");
        assert_eq!(device.json("POST", &format!("pvtx/run?rev={rev}")), json!({"status": "ok"}));
        device.wait_for(rev, &["UPDATED", "DONE"]);
        assert_eq!(device.get("pvr/json").body, state.body, "{}", device.name());
        assert_eq!(device.json("GET", "pvtx/status")["rev"], name);
        let object = device.get(&format!("pvr/objects/{}/blob", sha256(&big)));
        assert!(object.body == big, "{}: {}", device.name(), object.status);
        if let Some(daemon) = &device.daemon {
            assert_eq!(daemon.commands().last(), Some(&("LOCAL_RUN".to_owned(), rev.to_owned())));
        }
        for missing in ["pvtx/run?rev=locals/none", "pvtx/run?rev=9"] {
            device.refused(&device.bare("POST", missing), 404, "no-such-revision");
        }
        device.refused(&device.bare("POST", "pvtx/run"), 400, "no-rev");
        device.refused(&device.get("pvtx/status?rev=none"), 404, "no-such-revision");
    });
}

#[test]
fn one_that_begins_with_nothing_and_one_that_is_given_up() {
    each("one_that_begins_with_nothing", |device| {
        let before = stored(device);
        let begun = device.bare("POST", "pvtx/begin?empty=true");
        assert_eq!((begun.status, begun.body.as_slice()), (200, EMPTY.as_bytes()), "{}", device.name());
        let bytes = b"given up".to_vec();
        assert_eq!(device.add(&package(&[("a/b", &bytes)], &[])).status, 200);
        assert_eq!(device.json("POST", "pvtx/abort"), json!({"status": "ok"}));
        device.refused(&device.get("pvtx/show"), 400, "no-transaction");
        let mut after = stored(device);
        // It may be wanted again, and goes when somebody collects.
        assert!(after.remove(&format!("objects/{}", sha256(&bytes))).is_some());
        assert_eq!(after, before, "{}", device.name());
        // A name of one's own, once.
        for (rev, status) in [("locals/mine", 200), ("locals/..", 422), ("7", 422), ("locals/mine", 409)] {
            device.bare("POST", "pvtx/abort");
            assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
            let committed = device.bare("POST", &format!("pvtx/commit?rev={rev}"));
            assert_eq!(committed.status, status, "{}: {rev}: {committed}", device.name());
        }
    });
}

#[test]
fn a_transaction_is_that_of_the_shell() {
    let shell = tempfile::tempdir().expect("a folder");
    let dir = shell.path().join("pvtx");
    let device = Device::with(Back::Storage, Shape::Serve, Config::default(), &[("PVTXDIR", &dir)]);
    let pvtx = |words: &[&str]| {
        let output = program::command().arg("pvtx").args(words).env("PVTXDIR", &dir).output().expect("run pvtx");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    assert_eq!(pvtx(&["show"]).0, Some(11));
    let begun = device.bare("POST", "pvtx/begin").body;
    assert_eq!(pvtx(&["show"]), (Some(0), String::from_utf8(begun).expect("text") + "\n"));
    assert_eq!(pvtx(&["remove", "nb"]).0, Some(0));
    assert_eq!(device.json("GET", "pvtx/show").get("nb/run.json"), None);
    assert_eq!(pvtx(&["abort"]).0, Some(0));
    assert_eq!(device.get("pvtx/show").status, 400);
    // One that was begun for Pantavisor is none of a storage.
    let status = dir.join(".status");
    let mut bytes = vec![0; 4104];
    bytes[..4].copy_from_slice(&2i32.to_ne_bytes());
    if !program::is_big_endian() {
        std::fs::write(&status, bytes).expect("write a status");
        device.refused(&device.add(b"{}"), 409, "transaction-elsewhere");
    }
}

#[test]
fn a_package_that_is_not_right_changes_nothing() {
    each("a_package_that_is_not_right", |device| {
        assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
        let (state, before) = (device.get("pvtx/show").body, stored(device));
        let bytes = b"some bytes of an object".to_vec();
        let sha = sha256(&bytes);
        let json = format!(r##"{{"#spec":"pantavisor-service-system@1","a/b":"{sha}"}}"##);
        let of = |members: &[Vec<u8>]| [members.concat(), tar::end()].concat();
        let good = tar::file("json", json.as_bytes());
        let rows: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("words", b"not a package".to_vec()),
            ("bzip2", b"BZh91AY&SY".to_vec()),
            ("no json", of(&[tar::file(&format!("objects/{sha}"), &bytes)])),
            ("a name that escapes", of(&[tar::file("objects/../../../escaped", &bytes), good.clone()])),
            ("a name with a root", of(&[tar::file("/objects/x", &bytes), good.clone()])),
            ("a name that is none", of(&[tar::file("objects/foo", &bytes), good.clone()])),
            ("a link", of(&[tar::entry(&format!("objects/{sha}"), b'2', b""), good.clone()])),
            ("other bytes", of(&[tar::file(&format!("objects/{sha}"), b"other"), good.clone()])),
            ("json that is none", of(&[tar::file("json", b"{\"#spec\":")])),
            ("a list", of(&[tar::file("json", b"[]")])),
            ("json twice as deep as allowed", of(&[tar::file("json", "[".repeat(1024).as_bytes())])),
            ("no end", good.clone()),
            ("a gzip whose sum is wrong", {
                let mut packed = tar::gzip(&of(std::slice::from_ref(&good)));
                let at = packed.len() - 6;
                packed[at] ^= 1;
                packed
            }),
        ];
        for (what, package) in rows {
            let answer = device.add(&package);
            assert!((400..500).contains(&answer.status), "{}: {what}: {answer}", device.name());
            assert!(answer.json()["reason"].is_string(), "{what}: {answer}");
            assert_eq!(device.get("pvtx/show").body, state, "{}: {what}", device.name());
        }
        let large = of(&[tar::file("json", format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20)).as_bytes())]);
        assert_eq!(device.add(&large).status, 413, "{}", device.name());
        let mut after = stored(device);
        if device.back == Back::Socket {
            // What was right of them is with Pantavisor until it collects.
            after.remove(&format!("objects/{sha}"));
        }
        assert_eq!(after, before, "{}", device.name());
        assert!(!device.storage.join("../escaped").exists() && !device.storage.join("escaped").exists());
    });
}

#[test]
fn a_package_that_breaks_off_anywhere_changes_nothing() {
    let mut dice = Dice::new("a_package_that_breaks_off");
    let bytes = dice.bytes(200_000);
    let packed = tar::gzip(&package(&[("a/b", &bytes)], &[("a/run.json", "{}")]));
    for shape in Shape::all("a_package_that_breaks_off") {
        for back in [Back::Storage, Back::Socket] {
            let device = Device::start(back, shape);
            assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
            let (state, before) = (device.get("pvtx/show").body, stored(&device));
            for _ in 0..rounds(60, 3) {
                let cut = dice.below(packed.len() as u64) as usize;
                // One that says it is whole.
                let answer = device.add(&packed[..cut]);
                assert!((400..500).contains(&answer.status), "{} at {cut}: {answer}", device.name());
                // One whose client leaves in the middle.
                let mut conn = Conn::open(&device.server.host()).expect("connect");
                conn.head("PUT", "/cgi-bin/pvtx/add", &[], Some(packed.len() as u64)).expect("send");
                let _ = conn.raw(&packed[..cut]);
                drop(conn);
                assert_eq!(device.get("pvtx/show").body, state, "{} at {cut}", device.name());
            }
            // What a client has left behind is noticed after a moment.
            let deadline = std::time::Instant::now() + program::patience(Duration::from_secs(20));
            while stored(&device) != before || (back == Back::Storage && !debris(&device.storage).is_empty()) {
                let (now, debris) = (stored(&device), debris(&device.storage));
                let other: Vec<_> = now.iter().filter(|(name, what)| before.get(*name) != Some(what)).collect();
                assert!(std::time::Instant::now() < deadline, "{}: {other:?} {debris:?}", device.name());
                std::thread::sleep(Duration::from_millis(50));
                // What a program leaves that its web server kills goes with the next request that changes something.
                device.bare("PUT", "pvtx/remove?part=nothing");
            }
            let whole = device.add(&packed);
            assert_eq!(whole.status, 200, "{}: {whole}", device.name());
        }
    }
}

#[test]
fn a_package_was_said_to_have_broken_off_while_it_was_still_being_taken_apart() {
    let packed = package(&[("a/b", &Dice::new("a_package_still_being_taken_apart").bytes(300_000))], &[]);
    let device = Device::start(Back::Storage, Shape::Serve);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    let before = stored(&device);
    for _ in 0..rounds(300, 20) {
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        conn.head("PUT", "/cgi-bin/pvtx/add", &[], Some(packed.len() as u64)).expect("send");
        conn.raw(&packed[..packed.len() - 1000]).expect("send");
        conn.socket().expect("a socket").shutdown(std::net::Shutdown::Write).expect("send no more");
        let answer = conn.receive("PUT").expect("an answer");
        assert_eq!(answer.status, 400, "{answer}");
        assert!(debris(&device.storage).is_empty(), "{:?}", debris(&device.storage));
        assert!(stored(&device) == before);
    }
}

#[test]
fn a_package_in_chunks_was_unpacked_to_any_size() {
    let device = Device::start(Back::Storage, Shape::Serve);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    let (state, before) = (device.get("pvtx/show").body, stored(&device));
    // 300 MiB of nothing, before what is a package.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut write = |bytes: &[u8]| std::io::Write::write_all(&mut bomb, bytes).expect("pack");
    let size = 300 << 20;
    write(&package(&[], &[("a/run.json", "{}")])[..1024]);
    write(&tar::header("zeros", b'0', size));
    (0..size >> 20).for_each(|_| write(&[0; 1 << 20]));
    write(&[0; 1024]);
    let bomb = bomb.finish().expect("pack");
    assert!(bomb.len() < 4 << 20, "{}", bomb.len());
    device.refused(&device.add(&bomb), 413, "too-long");
    let mut conn = Conn::open(&device.server.host()).expect("connect");
    conn.head("PUT", "/cgi-bin/pvtx/add", &[("Transfer-Encoding", "chunked")], None).expect("send");
    for chunk in bomb.chunks(10_000) {
        let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        // It may be told before all has been sent.
        if conn.raw(&chunk).is_err() {
            break;
        }
    }
    let _ = conn.raw(b"0\r\n\r\n");
    device.refused(&conn.receive("PUT").expect("an answer"), 413, "too-long");
    assert_eq!(device.get("pvtx/show").body, state);
    assert!(stored(&device) == before);
}

#[test]
fn two_packages_at_once_are_both_there() {
    each("two_packages_at_once", |device| {
        let mut dice = Dice::new("two_packages_at_once");
        assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
        let packages: Vec<_> = (0..2)
            .map(|number| {
                let (key, bytes) = (format!("p{number}/data"), dice.bytes(400_000));
                (key.clone(), package(&[(key.as_str(), &bytes)], &[]))
            })
            .collect();
        std::thread::scope(|scope| {
            for (_, package) in &packages {
                scope.spawn(|| assert_eq!(device.add(package).status, 200, "{}", device.name()));
            }
        });
        let state = device.json("GET", "pvtx/show");
        assert!(packages.iter().all(|(key, _)| state[key].is_string()), "{}: {state}", device.name());
        assert_eq!(device.bare("POST", "pvtx/commit").status, 200);
    });
}

#[test]
fn slow_packages_keep_nobody_but_other_packages() {
    let device = Device::start(Back::Storage, Shape::Serve);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    let whole = package(&[("a/b", &[1; 100_000])], &[]);
    let mut slow: Vec<_> = (0..2)
        .map(|_| {
            let mut conn = Conn::open(&device.server.host()).expect("connect");
            conn.head("PUT", "/cgi-bin/pvtx/add", &[], Some(whole.len() as u64)).expect("send");
            conn.raw(&whole[..1000]).expect("send");
            conn
        })
        .collect();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = device.add(b"{}");
        if answer.status == 503 {
            assert_eq!(answer.json()["reason"], "busy");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{answer}");
    }
    assert_eq!(device.json("GET", "pvtx/show").as_object().map(|state| state.len()), Some(4));
    assert!(device.server.upload(b"an object meanwhile").expect("upload"));
    for conn in &mut slow {
        conn.raw(&whole[1000..]).expect("send");
        assert_eq!(conn.receive("PUT").expect("an answer").status, 200);
    }
}

#[test]
fn pages_of_others_change_no_transaction() {
    each("pages_of_others", |device| {
        assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
        let state = device.get("pvtx/show").body;
        for (method, below) in [
            ("POST", "pvtx/begin"),
            ("PUT", "pvtx/add"),
            ("POST", "pvtx/add"),
            ("PUT", "pvtx/remove?part=nb"),
            ("DELETE", "pvtx/remove?part=nb"),
            ("POST", "pvtx/commit"),
            ("POST", "pvtx/abort"),
            ("POST", "pvtx/run?rev=0"),
        ] {
            for header in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
                let answer = device.ask(method, below, &[header], EMPTY.as_bytes());
                // busybox httpd hands on no header that it doesn't know; it does those of the first row.
                let passed = device.shape != Shape::Busybox || header.0 == "Origin";
                assert!(answer.status == 403 || !passed, "{}: {method} {below} {header:?}: {answer}", device.name());
            }
        }
        assert_eq!(device.get("pvtx/show").body, state, "{}", device.name());
    });
}

#[test]
fn what_a_shell_would_make_of_a_parameter_is_a_parameter() {
    each("what_a_shell_would_make", |device| {
        assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
        let state = device.get("pvtx/show").body;
        let made = device.storage.join("../made");
        let texts = ["$(touch%20made)", "`id`", "a%22%3Bid", "..%2F..%2Fetc", "%00", "%0d%0aX:%20y", "%1b%5b2J"];
        for text in texts.into_iter().filter(|text| device.hands_on(text)) {
            let removed = device.bare("PUT", &format!("pvtx/remove?part={text}"));
            assert!(removed.status == 200 && removed.body == state, "{}: {text}: {removed}", device.name());
            for below in [format!("pvtx/run?rev={text}"), format!("pvtx/commit?rev={text}")] {
                let answer = device.bare("POST", &below);
                assert!((400..500).contains(&answer.status), "{}: {below}: {answer}", device.name());
            }
            let status = device.get(&format!("pvtx/status?rev={text}"));
            assert!((400..500).contains(&status.status), "{}: {text}: {status}", device.name());
            assert!(status.header("x").is_none());
        }
        let texts = ["part=%", "part=%zz", "part=%ff", "part=a&part=b"];
        // lighttpd makes texts of what are none, and nginx doesn't ask.
        for text in texts.into_iter().filter(|text| !text.contains('%') || device.shape == Shape::Serve) {
            device.refused(&device.bare("PUT", &format!("pvtx/remove?{text}")), 400, "bad-query");
        }
        device.refused(&device.bare("POST", "pvtx/begin?empty=perhaps"), 400, "bad-query");
        assert!(!made.exists());
    });
}

#[test]
fn a_full_disk_is_said_and_changes_nothing() {
    // What is free is what the daemon says.
    for defects in [Defects::ALL, Defects::NONE] {
        let facts = Facts { total: 400_000, ..Facts::default() };
        let device = Device::with(Back::Socket, Shape::Serve, Config { defects, facts, ..Config::default() }, &[]);
        assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
        let (state, before) = (device.get("pvtx/show").body, stored(&device));
        let answer = device.add(&package(&[("a/b", &[7; 500_000])], &[]));
        device.refused(&answer, 507, "no-space");
        assert!(answer.json()["need"].as_u64().is_some_and(|need| need >= 500_000), "{answer}");
        assert_eq!((device.get("pvtx/show").body, stored(&device)), (state, before));
    }
    let Some(small) = small("a_full_disk_is_said") else { return };
    let device = Device::with(Back::Storage, Shape::Serve, Config::default(), &[("PVR_AGENT_STORAGE", small.path())]);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    let (state, before) = (device.get("pvtx/show").body, visible(small.path()));
    device.refused(&device.add(&package(&[("a/b", &[7; 6 << 20])], &[])), 507, "no-space");
    assert_eq!((device.get("pvtx/show").body, visible(small.path())), (state, before));
    assert_eq!(debris(small.path()), Vec::<String>::new());
    assert_eq!(device.add(&package(&[("a/b", &[7; 100])], &[])).status, 200);
}

/// A storage on a tmpfs of 4 MiB.
struct Small(tempfile::TempDir);

impl Small {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn small(test: &str) -> Option<Small> {
    let folder = tempfile::tempdir().expect("a folder");
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        black_box::skip(test, "a tmpfs cannot be mounted");
        return None;
    }
    black_box::seed::Seed::factory(folder.path());
    Some(Small(folder))
}

#[test]
fn what_is_kept_without_a_storage_is_where_it_is_said_and_nobody_elses() {
    use std::os::unix::fs::MetadataExt;
    let device = Device::start(Back::Socket, Shape::Serve);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    // Made by the start, since a server that is confined can't make it later.
    assert_eq!(device.state.metadata().expect("the folder").mode() & 0o777, 0o700);
    assert!(device.state.join("pvtx/current.json").exists());
    let unusable = Path::new("/proc/nowhere");
    let device = Device::with(Back::Socket, Shape::Serve, Config::default(), &[("PVR_AGENT_STATE_DIR", unusable)]);
    device.refused(&device.bare("POST", "pvtx/begin"), 500, "internal");
    let deadline = std::time::Instant::now() + program::patience(Duration::from_secs(20));
    // The log has a thread of its own.
    while !device.server.log().contains("--state-dir") {
        assert!(std::time::Instant::now() < deadline, "{}", device.server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_update_that_is_running_is_not_added_to() {
    let config = Config { pace: control::Pace::ByHand, ..Config::default() };
    let device = Device::with(Back::Socket, Shape::Serve, config, &[]);
    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
    assert_eq!(device.bare("POST", "pvtx/commit?rev=locals/a").status, 200);
    assert_eq!(device.bare("POST", "pvtx/run?rev=locals/a").status, 200);
    device.daemon.as_ref().expect("a daemon").advance();
    assert_eq!(device.bare("POST", "pvtx/begin?empty=true").status, 200);
    device.refused(&device.add(EMPTY.as_bytes()), 503, "update-running");
    device.refused(&device.bare("POST", "pvtx/run?rev=0"), 503, "update-running");
}
