//! What goes over the wire, in every shape of the endpoint: by `serve`, and by `cgi` under web servers really started on loopback,
//! each on a storage and on a control socket. `shape/wire.txt` says of every test of the endpoint's suite which of these shows
//! it in all shapes, or why it can't be; a test here holds it to the sources.
mod black_box;
mod shape;

use black_box::agent::announcement;
use black_box::http::Conn;
use black_box::sha256;
use serde_json::json;
use shape::Shape;
use shape::device::{Back, each, each_on, kernel, tests_of, with_member};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

#[test]
fn the_remote_document_names_absolute_urls_of_the_host_that_was_asked() {
    each("the_remote_document", |device| {
        for path in ["/cgi-bin/pvr/.pvrremote", "/cgi-bin/.pvrremote"] {
            let text = format!("GET {path} HTTP/1.1\r\nHost: box.local:99\r\nX-Forwarded-Host: evil\r\n\r\n");
            let answer = device.raw(text.as_bytes(), "GET");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{}", device.name());
            let remote = answer.json();
            for (field, below) in [
                ("json-get-url", "/json"),
                ("objects-endpoint", "/objects"),
                ("post-url", "/steps"),
                ("step-get-url", ""),
                ("status-url", "/status"),
            ] {
                assert_eq!(remote[field], format!("http://box.local:99/cgi-bin/pvr{below}"), "{field}");
            }
            assert_eq!((&remote["pvr-spec"], &remote["json-key"]), (&json!("pvr-pantahub-1"), &json!("state")));
        }
        let of_zero = device.get("steps/0/.pvrremote").json();
        assert_eq!(of_zero["json-get-url"], device.url("steps/0/json"));
        assert_eq!(device.get("steps/7/.pvrremote").status, 404);
        assert!(device.get("json").header("date").is_some_and(|date| date.ends_with("GMT")));
    });
}

#[test]
fn states_and_steps_are_read_as_they_are_stored() {
    each("states_and_steps", |device| {
        for below in ["json", "steps/0/json", "steps/current/json", "json/"] {
            let answer = device.get(below);
            assert_eq!((answer.status, answer.body.as_slice()), (200, device.state.as_bytes()), "{below}");
            assert_eq!(answer.header("phjsonformat"), Some("gibson042-canonicaljson"));
        }
        for below in ["", "steps/0"] {
            let step = device.get(below).json();
            assert_eq!((&step["name"], &step["rev"]), (&json!("0"), &json!(0)), "{below}");
            assert_eq!(step["state-sha"], sha256(device.state.as_bytes()));
            assert_eq!((&step["progress"]["status"], &step["trail-id"]), (&json!("DONE"), &json!("local")));
        }
        let bare = format!("GET /cgi-bin/pvr HTTP/1.1\r\nHost: {}\r\n\r\n", device.server.host());
        assert_eq!(device.raw(bare.as_bytes(), "GET").status, 200, "a health check asks without a slash");
        let steps = device.get("steps").json();
        assert_eq!(steps.as_array().map(Vec::len), Some(1));
        let on_disk = std::fs::read(device.store().join("trails/0/.pv/progress")).expect("progress");
        let progress = device.get("steps/0/progress");
        assert_eq!(progress.json()["status"], "DONE");
        assert!(progress.body == on_disk || !device.is_on_storage(), "{progress}");
        let status = device.get("status").json();
        assert_eq!((&status["running"], &status["update-in-progress"]), (&json!("0"), &json!(null)));
        assert!(status["storage"]["free"].as_u64().is_some_and(|free| free > 0));
        for below in ["steps/1", "steps/locals/x", "steps/1/json", "steps/1/progress", "nothing"] {
            let answer = device.get(below);
            assert_eq!(answer.status, 404, "{below}");
            for member in ["error", "reason", "hint", "request-id"] {
                assert!(answer.json()[member].as_str().is_some_and(|text| !text.is_empty()), "{member} {answer}");
            }
        }
    });
}

#[test]
fn an_object_goes_in_once_and_comes_out_in_any_part() {
    each("an_object", |device| {
        let bytes = b"one small object".to_vec();
        let sha = sha256(&bytes);
        let announced = device.server.announce(&sha, bytes.len()).expect("announce");
        assert_eq!(announced.status, 200, "{announced}");
        let record = announced.json();
        assert_eq!(record["signed-puturl"], device.url(&format!("objects/{sha}/blob?size=16")));
        assert_eq!((&record["size"], &record["sizeint"]), (&json!("16"), &json!(16)));
        let put = device.ask("PUT", &format!("objects/{sha}/blob?size=16"), &[], &bytes);
        assert_eq!((put.status, put.body.as_slice()), (200, &b""[..]), "{}: {put}", device.name());
        assert_eq!(std::fs::read(device.object(&sha)).expect("the object"), bytes);
        if device.is_on_storage() {
            let meta = device.object(&sha).metadata().expect("the object");
            assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o444, 2), "read-only, and kept from the collector");
        }
        let again = device.server.announce(&sha, 16).expect("announce");
        assert_eq!((again.status, again.header("pantahub-object-type")), (409, Some("object")));
        let record = device.get(&format!("objects/{sha}"));
        assert_eq!(record.json()["signed-geturl"], device.url(&format!("objects/{sha}/blob")));
        let list = device.get("objects").json();
        assert!(list.as_array().is_some_and(|all| all.contains(&json!({"sha256": sha, "size": "16"}))));

        let kernel = kernel();
        let blob = format!("objects/{}/blob", sha256(&kernel));
        let etag = format!("\"{}\"", sha256(&kernel));
        let whole = device.get(&blob);
        assert!(whole.status == 200 && whole.body == kernel, "{}", whole.body.len());
        assert_eq!(whole.header("etag"), Some(etag.as_str()));
        let head = device.ask("HEAD", &blob, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("300000")), "{}", device.name());
        for (headers, status, part) in [
            (vec![("If-None-Match", etag.as_str())], 304, 0..0),
            (vec![("If-None-Match", "\"x\"")], 200, 0..300_000),
            (vec![("Range", "bytes=100-199")], 206, 100..200),
            (vec![("Range", "bytes=-5")], 206, 299_995..300_000),
            (vec![("Range", "bytes=299999-")], 206, 299_999..300_000),
            (vec![("Range", "bytes=150000-"), ("If-Range", etag.as_str())], 206, 150_000..300_000),
        ] {
            let answer = device.ask("GET", &blob, &headers, b"");
            let (status, part) = match status {
                206 if !device.shape.ranges() => (200, 0..300_000),
                304 if !device.shape.validators() => (200, 0..300_000),
                status => (status, part),
            };
            assert_eq!(answer.status, status, "{}: {headers:?}", device.name());
            assert!(answer.body == kernel[part], "{}: {headers:?}", device.name());
        }
        let absent = format!("objects/{}", sha256(b"absent"));
        assert_eq!(device.get(&absent).status, 404);
        assert_eq!(device.get(&format!("{absent}/blob")).status, 404);
        assert_eq!(device.get("objects/x").status, 400);
    });
}

#[test]
fn a_post_is_installed_and_runs() {
    each("a_post", |device| {
        let bytes = vec![7; 100_000];
        let sha = sha256(&bytes);
        let state = with_member(&device.state, "app/empty", "app/data", &json!(sha));
        let lacking = device.post(&format!(r#"{{"rev":-1,"state":{state}}}"#));
        assert_eq!(lacking.status, 422, "{lacking}");
        assert_eq!(lacking.json()["missing"], json!([{"key": "app/data", "sha256": sha}]));
        assert!(device.server.upload(&bytes).expect("upload"));
        let posted = device.post(&format!(r#"{{"commit-msg":"mine é","rev":-1,"state":{state},"x":1}}"#));
        assert_eq!(posted.status, 200, "{}: {posted}", device.name());
        let posted = posted.json();
        let name = posted["revlocal"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("locals/pvr-") && name.ends_with(&sha256(state.as_bytes())[..8]), "{name}");
        assert_eq!((&posted["rev"], &posted["state-sha"]), (&json!(-1), &json!(sha256(state.as_bytes()))));
        assert_eq!((&posted["trail-id"], &posted["commit-msg"]), (&json!("local"), &json!("mine é")));
        device.wait_until_it_runs(&state);
        assert_eq!(device.get("status").json()["running"], name);
        let object = device.object(&sha).metadata().expect("the object");
        let linked = device.store().join("trails").join(&name).join("app/data").metadata().expect("the link");
        assert_eq!((linked.ino(), linked.nlink()), (object.ino(), 2));
        assert!(posted["progress"]["status"] == "DONE" || !device.is_on_storage());
        let step = device.get(&format!("steps/{name}")).json();
        assert_eq!(
            (&step["revlocal"], &step["rev"], &step["commit-msg"]),
            (&json!(name), &json!(-1), &json!("mine é"))
        );
    });
}

#[test]
fn names_of_revisions_are_kept_apart() {
    each("names_of_revisions", |device| {
        let state = device.state.as_str();
        let other = state.replace("kernel.img\"}", "other.img\"}");
        let post = |rev: &str, state: &str| device.post(&format!(r#"{{"rev":"{rev}","state":{state}}}"#));
        for _ in 0..2 {
            let answer = post("locals/x", state);
            assert_eq!(
                (answer.status, answer.json()["revlocal"].as_str()),
                (200, Some("locals/x")),
                "{}",
                device.name()
            );
            device.wait_until_it_runs(state);
        }
        let taken = post("locals/x", &other);
        assert_eq!(
            (taken.status, taken.json()["hint"].as_str().is_some_and(|hint| hint.contains("--rev"))),
            (409, true)
        );
        assert_eq!(post("locals/..", &other).status, 422);
        assert_eq!(post("locals/y", &other).status, 200);
        device.wait_until_it_runs(&other);
        assert_eq!(post("locals/x", &other).status, 409, "{}: x has been run", device.name());
        // What today's client calls the state of a remote without json-key.
        assert_eq!(device.post(&format!(r#"{{"post":{state}}}"#)).status, 200);
        device.wait_until_it_runs(state);
        let put = device.ask("PUT", "json", &[("Content-Type", "application/json; charset=utf-8")], other.as_bytes());
        assert_eq!((put.status, put.body.as_slice()), (200, other.as_bytes()));
        device.wait_until_it_runs(&other);
    });
}

#[test]
fn bodies_come_in_every_legitimate_form() {
    each("bodies", |device| {
        let host = device.server.host();
        let put = |sha: &str, size: usize| {
            format!("PUT /cgi-bin/pvr/objects/{sha}/blob?size={size} HTTP/1.1\r\nHost: {host}\r\n")
        };
        // Less than what comes with the head, and more than every buffer on the way.
        for len in [10, 200_000] {
            let bytes: Vec<u8> = (0..len as u32).map(|i| (i * 7) as u8).collect();
            let mut chunked = Conn::open(&host).expect("connect");
            let head = put(&sha256(&bytes), bytes.len()) + "Transfer-Encoding: chunked\r\n\r\n";
            chunked.raw(head.as_bytes()).expect("send");
            for chunk in bytes.chunks(7000) {
                chunked.raw(format!("{:x};ext=1\r\n", chunk.len()).as_bytes()).expect("send");
                chunked.raw(chunk).expect("send");
                chunked.raw(b"\r\n").expect("send");
            }
            chunked.raw(b"0\r\nTrailer: x\r\n\r\n").expect("send");
            let answer = chunked.receive("PUT").expect("an answer");
            assert_eq!(answer.status, 200, "{}: {len} chunked: {answer}", device.name());
            assert_eq!(std::fs::read(device.object(&sha256(&bytes))).expect("the object"), bytes);
        }
        let text = announcement("chunked", &sha256(b"chunked"), 7);
        let head = format!("POST /cgi-bin/pvr/objects/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let answer = device.raw(format!("{head}{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes(), "POST");
        assert_eq!(answer.status, 200, "{}: {answer}", device.name());

        // The body comes a while after the head.
        let mut slow = Conn::open(&host).expect("connect");
        slow.raw((put(&sha256(b"polite"), 6) + "Content-Length: 6\r\n\r\n").as_bytes()).expect("send");
        std::thread::sleep(Duration::from_millis(200));
        slow.raw(b"polite").expect("send");
        assert_eq!(slow.receive("PUT").expect("an answer").status, 200, "{}", device.name());

        assert_eq!(device.raw((put(&sha256(b""), 0) + "Content-Length: 0\r\n\r\n").as_bytes(), "PUT").status, 200);
        let old = format!("GET /cgi-bin/pvr/.pvrremote HTTP/1.0\r\nHost: {host}\r\n\r\n");
        assert_eq!(device.raw(old.as_bytes(), "GET").json()["json-get-url"], device.url("json"));
    });
}

#[test]
fn sixty_four_uploads_at_once_of_which_sixteen_are_the_same() {
    each("sixty_four_uploads", |device| {
        let objects: Vec<Vec<u8>> = (0..64u8).map(|i| vec![i.max(15); 40_000 + usize::from(i.max(15))]).collect();
        let distinct: HashSet<_> = objects.iter().map(|bytes| sha256(bytes)).collect();
        assert_eq!(distinct.len(), 49);
        for some in objects.chunks(device.shape.at_once()) {
            std::thread::scope(|scope| {
                for bytes in some {
                    scope.spawn(move || {
                        let below = format!("objects/{}/blob?size={}", sha256(bytes), bytes.len());
                        let answer = device.ask("PUT", &below, &[], bytes);
                        assert_eq!(answer.status, 200, "{}: {answer}", device.name());
                    });
                }
            });
        }
        let listed = device.get("objects").json();
        assert_eq!(listed.as_array().map(Vec::len), Some(distinct.len() + 2));
        for bytes in &objects {
            assert!(std::fs::read(device.object(&sha256(bytes))).expect("the object") == *bytes);
        }
    });
}

#[test]
fn every_answer_has_one_date() {
    each("every_answer", |device| {
        for below in ["json", "objects/", "nowhere"] {
            // Two would be a failure.
            let answer = device.get(below);
            assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{}: {answer}", device.name());
        }
    });
}

/// Bytes of files go past the HTTP library, and past some servers: none may be lost, swapped, or taken for an answer.
#[test]
fn downloads_come_whole_and_in_order() {
    const LIKE_AN_ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    each("downloads", |device| {
        let tail = [&vec![b'x'; 128 * 1024], LIKE_AN_ANSWER].concat();
        let large: Vec<u8> = (0..3_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
        let kernel = kernel();
        for bytes in [LIKE_AN_ANSWER, &tail, &large] {
            assert!(device.server.upload(bytes).expect("upload"));
        }
        let all = [LIKE_AN_ANSWER, &large, &kernel, &tail, &kernel[..]];
        let request = |bytes: &[u8]| {
            let host = device.server.host();
            format!("GET /cgi-bin/pvr/objects/{}/blob HTTP/1.1\r\nHost: {host}\r\n\r\n", sha256(bytes))
        };
        if device.shape.keeps_open() {
            let mut conn = Conn::open(&device.server.host()).expect("connect");
            conn.raw(all.map(request).concat().as_bytes()).expect("send");
            for bytes in all {
                let answer = conn.receive("GET").unwrap_or_else(|error| panic!("{}: {error}", device.name()));
                assert!(answer.status == 200 && answer.body == bytes, "{}: {}", device.name(), bytes.len());
            }
        }
        for bytes in all {
            let answer = device.raw(request(bytes).as_bytes(), "GET");
            assert!(answer.status == 200 && answer.body == bytes, "{}: {}", device.name(), bytes.len());
        }
    });
}

/// Serving revision 0 in the place of one that is lost would make the next clone and post undo everybody's work.
#[test]
fn a_current_revision_that_is_gone_is_not_answered_with_the_factory_state() {
    each_on(&[Back::Storage], "a_current_revision", |device| {
        let current = device.store().join("trails/current");
        std::fs::remove_file(&current).expect("remove the link");
        assert_eq!(device.get("json").status, 200, "a storage that nothing has touched yet runs what the factory made");
        std::os::unix::fs::symlink("locals/gone", &current).expect("make a link");
        let lost = device.get("json");
        assert_eq!((lost.status, &lost.json()["reason"]), (404, &json!("no-current-revision")), "{}", device.name());
        std::fs::write(device.store().join("boot/uboot.txt"), b"pv_rev=0\0pv_try=\0\0").expect("write");
        assert_eq!(device.get("json").status, 200, "the boot loader knows which one it is");
        std::fs::remove_file(&current).expect("remove the link");
        std::os::unix::fs::symlink("0", &current).expect("make a link");
    });
}

/// Every test of the endpoint's suite, and what shows it in all shapes.
#[test]
fn every_test_of_the_wire_runs_in_every_shape_or_says_why_not() {
    let mut listed: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in include_str!("shape/wire.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (test, how) = line.split_once(char::is_whitespace).expect("a test, and how");
        let (file, test) = test.split_once("::").expect("a file and a test");
        let before = listed.insert((file.to_owned(), test.to_owned()), how.trim().to_owned());
        assert!(before.is_none(), "{line}: listed twice");
    }
    let shown: HashSet<String> = ["wire", "wire_hostile", "shapes", "replay", "round_trip"]
        .into_iter()
        .flat_map(|file| tests_of(file).into_iter().map(move |test| format!("{file}::{test}")))
        .collect();
    let mut wrong = Vec::new();
    for file in ["endpoint", "endpoint_answers", "endpoint_hostile", "replay", "round_trip"] {
        for test in tests_of(file) {
            match listed.remove(&(file.to_owned(), test.clone())).as_deref().map(|how| how.split_once(' ')) {
                None => wrong.push(format!("{file}::{test} is not listed")),
                Some(Some(("by", name))) if shown.contains(name) => {}
                Some(Some(("not", why))) if why.len() > 20 => {}
                Some(_) => wrong.push(format!("{file}::{test}: `by` a test that there is, or `not`, and why")),
            }
        }
    }
    wrong.extend(listed.into_keys().map(|(file, test)| format!("{file}::{test} is no test")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(Shape::all("every_test_of_the_wire").first(), Some(&Shape::Serve));
}
