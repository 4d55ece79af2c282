//! Every row of the endpoint's table, and the legitimate forms that requests come in.

mod support;

use pvr_agent::endpoint::{Ended, Limits};
use pvr_agent::state::ObjectId;
use pvr_agent::state::clock;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use support::{Server, factory_state, kernel, sha};

/// The state of revision 0 and one more object.
fn state_with(key: &str, id: &ObjectId) -> String {
    factory_state().replacen("\"app/empty\"", &format!("\"{key}\":\"{id}\",\"app/empty\""), 1)
}

#[test]
fn every_answer_has_one_date_and_it_is_now() {
    let server = Server::start();
    for below in ["json", "objects/", "nowhere"] {
        let before = clock::now();
        let answer = server.get(below);
        let after = clock::now();
        let dates: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "date").collect();
        assert_eq!(dates.len(), 1, "{below}: {answer:?}");
        let took = after.duration_since(before).unwrap_or_default().as_secs() + 1;
        let possible: Vec<_> =
            (0..=took).map(|second| clock::http_date(before + Duration::from_secs(second))).collect();
        assert!(possible.contains(&dates[0].1), "{below}: {} is not one of {possible:?}", dates[0].1);
    }
}

#[test]
fn the_remote_document_names_absolute_urls_of_the_host_that_was_asked() {
    let server = Server::start();
    for path in ["/cgi-bin/pvr/.pvrremote", "/cgi-bin/.pvrremote", "http://elsewhere.local/cgi-bin/pvr/.pvrremote?a=b"]
    {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: box.local:99\r\nX-Forwarded-Host: evil\r\n\r\n"));
        let answer = client.response("GET");
        let base = if path.starts_with("http") { "http://elsewhere.local" } else { "http://box.local:99" };
        let remote = answer.json();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        for (field, below) in [
            ("json-get-url", "/json"),
            ("objects-endpoint", "/objects"),
            ("post-url", "/steps"),
            ("step-get-url", ""),
            ("status-url", "/status"),
            ("events-url", "/events"),
        ] {
            assert_eq!(remote[field], format!("{base}/cgi-bin/pvr{below}"), "{field}");
        }
        assert_eq!(remote["pvr-spec"], "pvr-pantahub-1");
        assert_eq!(remote["json-key"], "state");
        assert_eq!(remote["post-fields"], serde_json::json!(["commit-msg"]));
        assert_eq!(remote["post-fields-opt"], serde_json::json!(["rev"]));
        assert!(!answer.text().contains('%'));
    }
    let of_zero = server.get("steps/0/.pvrremote").json();
    assert_eq!(of_zero["json-get-url"], server.url("steps/0/json"));
    assert_eq!(of_zero["step-get-url"], server.url("steps/0"));
    assert_eq!(server.get("steps/7/.pvrremote").status, 404);
}

#[test]
fn states_and_steps_are_read_as_they_are_stored() {
    let server = Server::start();
    for below in ["json", "steps/0/json", "steps/current/json"] {
        let answer = server.get(below);
        assert_eq!((answer.status, answer.text()), (200, factory_state().as_str()), "{below}");
        assert_eq!(answer.header("phjsonformat"), Some("gibson042-canonicaljson"));
    }
    for below in ["", "steps/0"] {
        let step = server.get(below).json();
        assert_eq!((&step["name"], &step["rev"]), (&"0".into(), &0.into()), "{below}");
        assert_eq!(step["state-sha"], sha(factory_state().as_bytes()).to_string());
        assert_eq!(step["progress"]["status"], "DONE");
        assert_eq!(step["trail-id"], "local");
    }
    let mut bare = server.connect();
    bare.send(format!("GET /cgi-bin/pvr HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    assert_eq!(bare.response("GET").status, 200);
    let steps = server.get("steps").json();
    assert_eq!(steps.as_array().unwrap().len(), 1);
    for member in ["name", "date", "commitmsg", "progress"] {
        assert!(steps[0].get(member).is_some(), "{member}");
    }
    let on_disk = std::fs::read(server.root.path().join("storage/trails/0/.pv/progress")).unwrap();
    assert_eq!(server.get("steps/0/progress").body, on_disk);
    let status = server.get("status").json();
    assert_eq!(status["running"], "0");
    assert!(status["storage"]["free"].as_u64().unwrap() > 0);
    assert_eq!(status["storage"]["reclaimable"], 0);
    assert_eq!(status["update-in-progress"], serde_json::Value::Null);
    for below in ["steps/1", "steps/locals/x", "steps/1/json", "steps/1/progress", "steps/1/events"] {
        let answer = server.get(below);
        assert_eq!(answer.status, 404, "{below}");
        let error = answer.json();
        for member in ["error", "reason", "hint", "request-id"] {
            assert!(error[member].as_str().is_some_and(|text| !text.is_empty()), "{member} {error}");
        }
        assert!(server.log().contains(error["request-id"].as_str().unwrap()));
    }
}

#[test]
fn an_object_goes_in_once_and_comes_out_in_any_part() {
    let server = Server::start();
    let mut client = server.connect();
    let bytes = b"one small object".to_vec();
    let id = sha(&bytes);
    let announced = client.announce(&id.to_string(), bytes.len() as u64);
    assert_eq!(announced.status, 200);
    let record = announced.json();
    assert_eq!(record["signed-puturl"], server.url(&format!("objects/{id}/blob?size=16")));
    assert_eq!(
        (&record["size"], &record["sizeint"], &record["id"]),
        (&"16".into(), &16.into(), &id.to_string().into())
    );
    let put = client.request("PUT", &format!("objects/{id}/blob?size=16"), &[], &bytes);
    assert_eq!((put.status, put.body.as_slice()), (200, &b""[..]));
    let meta = server.storage().store().path(&id).metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o444, 2), "read-only, and kept from the collector");

    let again = client.announce(&id.to_string(), 16);
    assert_eq!((again.status, again.header("pantahub-object-type")), (409, Some("object")));
    assert_eq!(again.json()["signed-puturl"], record["signed-puturl"]);

    let record = client.request("GET", &format!("objects/{id}"), &[], b"");
    assert_eq!(record.json()["signed-geturl"], server.url(&format!("objects/{id}/blob")));
    let list = client.request("GET", "objects", &[], b"").json();
    let sizes: Vec<_> = list.as_array().unwrap().iter().filter(|o| o["sha256"] == id.to_string()).collect();
    assert_eq!(sizes[0]["size"], "16");

    let kernel = kernel();
    let blob = format!("objects/{}/blob", sha(&kernel));
    let etag = format!("\"{}\"", sha(&kernel));
    let whole = client.request("GET", &blob, &[], b"");
    assert_eq!((whole.status, &whole.body), (200, &kernel));
    assert_eq!((whole.header("etag"), whole.header("accept-ranges")), (Some(etag.as_str()), Some("bytes")));
    let head = client.request("HEAD", &blob, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")));
    for (headers, status, part) in [
        (vec![("If-None-Match", etag.as_str())], 304, 0..0),
        (vec![("If-None-Match", "\"x\", *")], 304, 0..0),
        (vec![("If-None-Match", "\"x\"")], 200, 0..300_000),
        (vec![("Range", "bytes=100-199")], 206, 100..200),
        (vec![("Range", "bytes=-5")], 206, 299_995..300_000),
        (vec![("Range", "bytes=299999-")], 206, 299_999..300_000),
        (vec![("Range", "bytes=150000-"), ("If-Range", etag.as_str())], 206, 150_000..300_000),
        (vec![("Range", "bytes=1-2"), ("If-Range", "\"other\"")], 200, 0..300_000),
        (vec![("Range", "bytes=1-2,4-5")], 200, 0..300_000),
    ] {
        let answer = client.request("GET", &blob, &headers, b"");
        assert_eq!((answer.status, &answer.body[..]), (status, &kernel[part]), "{headers:?}");
    }
    let beyond = client.request("GET", &blob, &[("Range", "bytes=300000-")], b"");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */300000")));
    let absent = format!("objects/{}", sha(b"absent"));
    assert_eq!(client.request("GET", &absent, &[], b"").status, 404);
    assert_eq!(client.request("GET", &format!("{absent}/blob"), &[], b"").status, 404);
}

/// Bytes of files go to the socket past the HTTP library: none may be lost, swapped, or still the stand-in's zeros.
#[test]
fn pipelined_downloads_come_whole_and_in_order_from_memory_and_from_disk() {
    let server = Server::start();
    let large: Vec<u8> = (0..3_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    assert_eq!(server.upload(&large).status, 200);
    let (large_id, kernel) = (sha(&large), kernel());
    let on_disk = std::fs::File::open(server.storage().store().path(&large_id)).unwrap();
    for cold in [false, true, false] {
        if cold {
            on_disk.sync_all().unwrap();
            rustix::fs::fadvise(&on_disk, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let mut client = server.connect();
        let requests = [
            ("GET", large_id, "", &large[..]),
            ("GET", sha(&kernel), "Range: bytes=7-250006\r\n", &kernel[7..250_007]),
            ("HEAD", large_id, "", &large[..0]),
            ("GET", large_id, "Range: bytes=1000000-\r\n", &large[1_000_000..]),
            ("GET", sha(&kernel), "", &kernel[..]),
        ];
        for (method, id, header, _) in &requests {
            let path = format!("/cgi-bin/pvr/objects/{id}/blob");
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", server.address));
        }
        for (method, id, header, bytes) in &requests {
            let answer = client.response(method);
            assert!(answer.body == *bytes, "{method} {id} {header} cold: {cold}");
        }
    }
}

#[test]
fn a_post_installs_hardlinks_and_is_current_at_once() {
    let server = Server::start();
    let bytes = vec![7; 100_000];
    let id = sha(&bytes);
    let state = state_with("app/data", &id);
    let mut client = server.connect();
    let lacking = client.post(&format!(r#"{{"rev":-1,"state":{state}}}"#));
    assert_eq!(lacking.status, 422);
    assert_eq!(lacking.json()["missing"], serde_json::json!([{"key": "app/data", "sha256": id.to_string()}]));
    assert_eq!(server.upload(&bytes).status, 200);

    let posted = client.post(&format!(r#"{{"commit-msg":"mine é","rev":-1,"state":{state},"x":1}}"#));
    assert_eq!(posted.status, 200, "{}", posted.text());
    let posted = posted.json();
    let name = posted["revlocal"].as_str().unwrap().to_owned();
    let sha8 = &sha(state.as_bytes()).to_string()[..8];
    assert!(name.starts_with("locals/pvr-") && name.ends_with(sha8), "{name}");
    assert_eq!(posted["rev"], -1);
    assert_eq!(posted["state-sha"], sha(state.as_bytes()).to_string());
    assert_eq!((&posted["trail-id"], &posted["commit-msg"]), (&"local".into(), &"mine é".into()));
    assert_eq!(posted["progress"]["status"], "DONE");
    assert_eq!(server.get("json").text(), state);
    assert_eq!(server.get("status").json()["running"], name);
    let object = server.storage().store().path(&id).metadata().unwrap();
    let linked = server.root.path().join("storage/trails").join(&name).join("app/data").metadata().unwrap();
    assert_eq!((linked.ino(), linked.nlink()), (object.ino(), 2));
    let step = server.get(&format!("steps/{name}")).json();
    assert_eq!((&step["revlocal"], &step["rev"], &step["commit-msg"]), (&name.into(), &(-1).into(), &"mine é".into()));
}

#[test]
fn names_of_revisions_are_kept_apart() {
    let server = Server::start();
    let mut client = server.connect();
    let state = factory_state();
    let other = state.replace("kernel.img\"}", "other.img\"}");
    let post = |rev: &str, state: &str| format!(r#"{{"rev":"{rev}","state":{state}}}"#);
    for _ in 0..2 {
        let answer = client.post(&post("locals/x", &state));
        assert_eq!((answer.status, answer.json()["revlocal"].as_str()), (200, Some("locals/x")));
    }
    let taken = client.post(&post("locals/x", &other));
    assert_eq!((taken.status, taken.json()["hint"].as_str().unwrap().contains("--rev")), (409, true));
    assert_eq!(client.post(&post("locals/y", &other)).status, 200);
    let ran = client.post(&post("locals/x", &other));
    assert_eq!(ran.status, 409, "x has been run");
    // What today's client calls the state of a remote without json-key.
    assert_eq!(client.post(&format!(r#"{{"post":{state}}}"#)).status, 200);
    let put = client.request("PUT", "json", &[("Content-Type", "application/json; charset=utf-8")], other.as_bytes());
    assert_eq!((put.status, put.text()), (200, other.as_str()));
    assert_eq!(server.get("json").text(), other);
}

#[test]
fn bodies_come_in_every_legitimate_form() {
    let server = Server::start();
    let host = server.address;
    let put = |id: &ObjectId, size: usize| {
        format!("PUT /cgi-bin/pvr/objects/{id}/blob?size={size} HTTP/1.1\r\nHost: {host}\r\n")
    };

    let bytes: Vec<u8> = (0..50_000u32).map(|i| (i * 7) as u8).collect();
    let mut chunked = server.connect();
    chunked.send(put(&sha(&bytes), bytes.len()) + "Transfer-Encoding: chunked\r\n\r\n");
    for chunk in bytes.chunks(7000) {
        chunked.send(format!("{:x};ext=1\r\n", chunk.len()));
        chunked.send(chunk);
        chunked.send("\r\n");
    }
    chunked.send("0\r\nTrailer: x\r\n\r\n");
    assert_eq!(chunked.response("PUT").status, 200);
    assert_eq!(server.get(&format!("objects/{}/blob", sha(&bytes))).body, bytes);

    let mut polite = server.connect();
    polite.send(put(&sha(b"polite"), 6) + "Content-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(polite.response("PUT").status, 100);
    polite.send("polite");
    assert_eq!(polite.response("PUT").status, 200);

    let mut refused = server.connect();
    refused.send(put(&sha(b"polite"), 7) + "Content-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    let answer = refused.response("PUT");
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "and never a 100");

    let mut empty = server.connect();
    empty.send(
        put(&sha(b""), 0)
            + "Content-Length: 0\r\n\r\n"
            + &put(&sha(b""), 0)
            + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert_eq!([empty.response("PUT").status, empty.response("PUT").status], [200, 200]);

    let mut old = server.connect();
    old.send("GET /cgi-bin/pvr/.pvrremote HTTP/1.0\r\n\r\n");
    let answer = old.response("GET");
    assert_eq!((answer.status, answer.json()["json-get-url"].as_str().unwrap()), (200, server.url("json").as_str()));
    assert!(old.is_closed());

    let mut pipelined = server.connect();
    let body = "pipelined";
    let mut all = put(&sha(body.as_bytes()), body.len()) + "Content-Length: 9\r\n\r\n" + body;
    for below in ["json", "nothing", "status", "steps"] {
        all.push_str(&format!("GET /cgi-bin/pvr/{below} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    pipelined.send(all);
    let statuses: Vec<_> = (0..5).map(|_| pipelined.response("GET").status).collect();
    assert_eq!(statuses, [200, 200, 404, 200, 200]);
}

#[test]
fn sixty_four_uploads_at_once_of_which_sixteen_are_the_same() {
    let server = Server::start();
    let objects: Vec<Vec<u8>> = (0..64u8).map(|i| vec![i.max(15); 40_000 + usize::from(i.max(15))]).collect();
    let distinct: HashSet<_> = objects.iter().map(|bytes| sha(bytes)).collect();
    assert_eq!(distinct.len(), 49);
    let barrier = std::sync::Barrier::new(objects.len());
    std::thread::scope(|scope| {
        for bytes in &objects {
            let (server, barrier) = (&server, &barrier);
            scope.spawn(move || {
                let below = format!("objects/{}/blob?size={}", sha(bytes), bytes.len());
                let mut client = server.connect();
                barrier.wait();
                assert_eq!(client.request("PUT", &below, &[], bytes).status, 200);
            });
        }
    });
    let listed: HashSet<_> = server.storage().store().list().unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(listed.len(), distinct.len() + 2);
    for bytes in &objects {
        assert_eq!(server.get(&format!("objects/{}/blob", sha(bytes))).body, *bytes);
    }
    assert!(!server.snapshot().keys().any(|name| name.starts_with(".pvr-agent/tmp")));
}

#[test]
fn a_server_that_stops_finishes_what_is_in_flight() {
    let server = Server::with(Limits { shutdown_time: Duration::from_secs(10), ..Limits::default() });
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "status", &[], b"").status, 200);
    let mut uploading = server.connect();
    uploading.begin_upload(&sha(b"abcdef"), 6);
    uploading.send("abc");
    server.stop.ask();
    assert!(idle.is_closed());
    std::thread::sleep(Duration::from_millis(100));
    uploading.send("def");
    assert_eq!(uploading.response("PUT").status, 200);
    drop(uploading);
    assert_eq!(server.wait(), Ended::Drained);

    let server = Server::start();
    let mut stuck = server.connect();
    stuck.begin_upload(&sha(b""), 6);
    let asked = Instant::now();
    server.stop.ask();
    server.stop.ask();
    assert_eq!(server.wait(), Ended::Cut);
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_is_told_once_waits_for_who_is_stuck_until_its_time_is_up() {
    let server = Server::with(Limits { shutdown_time: Duration::from_secs(1), ..Limits::default() });
    let mut stuck = server.connect();
    stuck.begin_upload(&sha(b"abcdef"), 6);
    let asked = Instant::now();
    server.stop.ask();
    assert_eq!(server.wait(), Ended::Cut);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
    drop(stuck);
}

/// Serving revision 0 in the place of one that is lost would make the next clone and post undo everybody's work.
#[test]
fn a_current_revision_that_is_gone_is_not_answered_with_the_factory_state() {
    let server = Server::start();
    let storage = server.root.path().join("storage");
    let current = storage.join("trails/current");
    std::fs::remove_file(&current).unwrap();
    assert_eq!(server.get("json").status, 200, "a storage that nothing has touched yet runs what the factory made");
    std::os::unix::fs::symlink("locals/gone", &current).unwrap();
    let lost = server.get("json");
    assert_eq!((lost.status, &lost.json()["reason"]), (404, &"no-current-revision".into()));
    std::fs::create_dir(storage.join("boot")).unwrap();
    std::fs::write(storage.join("boot/uboot.txt"), b"pv_rev=0\0pv_try=\0\0").unwrap();
    assert_eq!(server.get("json").status, 200, "the boot loader knows which one it is");
}
