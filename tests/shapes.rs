//! The wire part of the endpoint's suite, in every shape: by `serve`, and by `cgi` under web servers really started on
//! loopback. What a server cannot pass on is in `docs/cgi.md`, which is held to what is measured here.
mod black_box;
#[path = "shape/measured.rs"]
mod measured;
mod shape;

use black_box::agent::{self, JSON, Server, TEXT, announcement};
use black_box::http::{Conn, Response};
use black_box::seed::{File, Seed, debris, visible};
use black_box::{http, sha256};
use serde_json::json;
use shape::{Shape, assert_clean};
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A storage with one revision, and the endpoint on it.
struct Device {
    server: Server,
    shape: Shape,
    root: tempfile::TempDir,
    state: String,
}

fn kernel() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}

impl Device {
    fn start(shape: Shape) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let seed = Seed::new(root.path());
        let files = [
            ("app/empty", File::Object(b"")),
            ("bsp/kernel.img", File::Object(&kernel())),
            ("bsp/run.json", File::Json(r#"{"linux":"kernel.img"}"#)),
        ];
        let state = seed.revision("0", &files);
        Self { server: shape.start(root.path()), shape, root, state }
    }

    fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let url = format!("{}/{below}", self.server.base);
        let answer = http::ask(&url, method, headers, body);
        answer.unwrap_or_else(|err| panic!("{}: {method} {below}: {err}", self.shape.name()))
    }

    fn get(&self, below: &str) -> Response {
        self.ask("GET", below, &[], b"")
    }

    fn post(&self, envelope: &str) -> Response {
        self.ask("POST", "steps", TEXT, envelope.as_bytes())
    }

    fn url(&self, below: &str) -> String {
        format!("{}/{below}", self.server.base)
    }

    fn object(&self, sha: &str) -> std::path::PathBuf {
        self.root.path().join("objects").join(sha)
    }

    /// Head and body as they are given, in one write.
    fn raw(&self, bytes: &[u8], method: &str) -> Response {
        let mut conn = Conn::open(&self.server.host()).expect("connect");
        conn.raw(bytes).expect("send");
        conn.receive(method).unwrap_or_else(|err| panic!("{}: {err}", self.shape.name()))
    }
}

/// Runs a test in every shape.
fn each(test: &str, run: impl Fn(&Device)) {
    for shape in Shape::all(test) {
        let device = Device::start(shape);
        run(&device);
        assert_clean(device.root.path(), shape);
        assert_eq!(debris(device.root.path()), Vec::<String>::new(), "{test}: {}", shape.name());
    }
}

#[test]
fn the_remote_document_names_absolute_urls_of_the_host_that_was_asked() {
    each("the_remote_document", |device| {
        for path in ["/cgi-bin/pvr/.pvrremote", "/cgi-bin/.pvrremote"] {
            let text = format!("GET {path} HTTP/1.1\r\nHost: box.local:99\r\nX-Forwarded-Host: evil\r\n\r\n");
            let answer = device.raw(text.as_bytes(), "GET");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{}", device.shape.name());
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
        let on_disk = std::fs::read(device.root.path().join("trails/0/.pv/progress")).expect("progress");
        assert_eq!(device.get("steps/0/progress").body, on_disk);
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
        assert_eq!((put.status, put.body.as_slice()), (200, &b""[..]), "{}: {put}", device.shape.name());
        let meta = device.object(&sha).metadata().expect("the object");
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o444, 2), "read-only, and kept from the collector");
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
        assert_eq!((head.status, head.header("content-length")), (200, Some("300000")), "{}", device.shape.name());
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
            assert_eq!(answer.status, status, "{}: {headers:?}", device.shape.name());
            assert!(answer.body == kernel[part], "{}: {headers:?}", device.shape.name());
        }
        let absent = format!("objects/{}", sha256(b"absent"));
        assert_eq!(device.get(&absent).status, 404);
        assert_eq!(device.get(&format!("{absent}/blob")).status, 404);
        assert_eq!(device.get("objects/x").status, 400);
    });
}

#[test]
fn a_post_installs_hardlinks_and_is_current_at_once() {
    each("a_post", |device| {
        let bytes = vec![7; 100_000];
        let sha = sha256(&bytes);
        let state = device.state.replacen("\"app/empty\"", &format!("\"app/data\":\"{sha}\",\"app/empty\""), 1);
        let lacking = device.post(&format!(r#"{{"rev":-1,"state":{state}}}"#));
        assert_eq!(lacking.status, 422, "{lacking}");
        assert_eq!(lacking.json()["missing"], json!([{"key": "app/data", "sha256": sha}]));
        assert!(device.server.upload(&bytes).expect("upload"));
        let posted = device.post(&format!(r#"{{"commit-msg":"mine é","rev":-1,"state":{state},"x":1}}"#));
        assert_eq!(posted.status, 200, "{posted}");
        let posted = posted.json();
        let name = posted["revlocal"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("locals/pvr-") && name.ends_with(&sha256(state.as_bytes())[..8]), "{name}");
        assert_eq!((&posted["rev"], &posted["progress"]["status"]), (&json!(-1), &json!("DONE")));
        assert_eq!((&posted["trail-id"], &posted["commit-msg"]), (&json!("local"), &json!("mine é")));
        assert_eq!(device.get("json").body, state.as_bytes());
        assert_eq!(device.get("status").json()["running"], name);
        let object = device.object(&sha).metadata().expect("the object");
        let linked = device.root.path().join("trails").join(&name).join("app/data").metadata().expect("the link");
        assert_eq!((linked.ino(), linked.nlink()), (object.ino(), 2));

        let other = state.replace("kernel.img\"}", "other.img\"}");
        let post = |rev: &str, state: &str| device.post(&format!(r#"{{"rev":"{rev}","state":{state}}}"#));
        for _ in 0..2 {
            assert_eq!(post("locals/x", &state).status, 200);
        }
        assert_eq!(post("locals/x", &other).status, 409);
        assert_eq!(post("locals/..", &other).status, 422);
        let put = device.ask("PUT", "json", JSON, other.as_bytes());
        assert_eq!((put.status, put.body.as_slice()), (200, other.as_bytes()));
        assert_eq!(device.get("json").body, other.as_bytes());
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
            assert_eq!(answer.status, 200, "{}: {len} chunked: {answer}", device.shape.name());
            assert_eq!(std::fs::read(device.object(&sha256(&bytes))).expect("the object"), bytes);
        }
        let text = announcement("chunked", &sha256(b"chunked"), 7);
        let head = format!("POST /cgi-bin/pvr/objects/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let answer = device.raw(format!("{head}{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes(), "POST");
        assert_eq!(answer.status, 200, "{}: {answer}", device.shape.name());

        // The body comes a while after the head.
        let mut slow = Conn::open(&host).expect("connect");
        slow.raw((put(&sha256(b"polite"), 6) + "Content-Length: 6\r\n\r\n").as_bytes()).expect("send");
        std::thread::sleep(Duration::from_millis(200));
        slow.raw(b"polite").expect("send");
        assert_eq!(slow.receive("PUT").expect("an answer").status, 200, "{}", device.shape.name());

        assert_eq!(device.raw((put(&sha256(b""), 0) + "Content-Length: 0\r\n\r\n").as_bytes(), "PUT").status, 200);
        let old = format!("GET /cgi-bin/pvr/.pvrremote HTTP/1.0\r\nHost: {host}\r\n\r\n");
        assert_eq!(device.raw(old.as_bytes(), "GET").json()["json-get-url"], device.url("json"));
    });
}

#[test]
fn a_body_is_what_was_declared_and_nothing_else() {
    each("a_body", |device| {
        let before = visible(device.root.path());
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
        assert_eq!(wrong.status, 422, "{}: {wrong}", device.shape.name());
        let none = format!("PUT /cgi-bin/pvr/objects/{sha}/blob?size=6 HTTP/1.1\r\nHost: {host}\r\n\r\nabcdef");
        let none = device.raw(none.as_bytes(), "PUT");
        assert!([400, 411].contains(&none.status), "{}: the end of input is no length: {none}", device.shape.name());
        for length in ["-1", "x", "99999999999999999999999"] {
            let bad = device.raw((head(length) + "abcdef").as_bytes(), "PUT");
            assert!([400, 413].contains(&bad.status), "{}: {length}: {bad}", device.shape.name());
        }
        let disagree = device.ask("PUT", &format!("objects/{sha}/blob?size=7"), &[], b"abcdef");
        assert_eq!(disagree.status, 400, "{}", device.shape.name());
        // Both leavers are gone by now, or soon.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !debris(device.root.path()).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(visible(device.root.path()), before, "{}", device.shape.name());
        assert!(device.server.upload(b"abcdef").expect("upload"));
    });
}

#[test]
fn nothing_hostile_gets_through_a_web_server() {
    each("nothing_hostile", |device| {
        let before = visible(device.root.path());
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
            assert!(statuses.contains(&answer.status), "{}: {path}: {answer}", device.shape.name());
            assert_eq!(answer.header("x-evil"), None);
            // A path that the server has resolved leads to the running state, and to nothing else.
            assert!(answer.status != 200 || answer.body == device.state.as_bytes(), "{answer}");
        }
        let proxied = device.ask("GET", "json", &[("Proxy", "http://127.0.0.1:9/")], b"");
        assert_eq!((proxied.status, proxied.body.as_slice()), (200, device.state.as_bytes()));
        let put = format!(r#"{{"rev":-1,"state":{}}}"#, device.state.replace("kernel.img\"}", "other.img\"}"));
        for foreign in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
            let answer = device.ask("POST", "steps", &[foreign, TEXT[0]], put.as_bytes());
            assert_eq!(answer.status, 403, "{}: {foreign:?}", device.shape.name());
            assert!(answer.header("www-authenticate").is_some());
        }
        let evil = device.raw(b"GET /cgi-bin/pvr/json HTTP/1.1\r\nHost: evil.example\r\n\r\n", "GET");
        assert_eq!(evil.status, 421, "{}", device.shape.name());
        for (body, status) in [("{", 400), ("[]", 422), (r#"{"state":{"a/../b":{}}}"#, 422)] {
            let answer = device.post(body);
            assert_eq!(answer.status, status, "{}: {body}: {answer}", device.shape.name());
        }
        let large = vec![b'x'; 3_000_000];
        let answer = device.ask("POST", "steps", TEXT, &large);
        assert_eq!(answer.status, 413, "{}", device.shape.name());
        assert_eq!(device.ask("DELETE", "json", &[], b"").status, 405, "{}", device.shape.name());
        assert_eq!(visible(device.root.path()), before, "{}", device.shape.name());
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
                        assert_eq!(answer.status, 200, "{}: {answer}", device.shape.name());
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

/// A server ends a program whose client has left, or that took too long: nothing of an upload may stay.
#[test]
fn a_program_that_the_server_kills_leaves_nothing() {
    for shape in Shape::cgi("a_program_that_the_server_kills") {
        let device = Device::start(shape);
        let before = visible(device.root.path());
        let bytes = vec![5; 2_000_000];
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        let path = format!("/cgi-bin/pvr/objects/{}/blob", sha256(&bytes));
        conn.head("PUT", &path, &[], Some(bytes.len() as u64)).expect("send");
        conn.raw(&bytes[..1_500_000]).expect("send");
        // Servers that keep an upload to themselves until it is whole run no program for this one.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut killed = 0;
        while killed == 0 && Instant::now() < deadline {
            killed = kill_programs(device.root.path());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(killed > 0 || shape != Shape::Busybox, "busybox httpd runs it at once");
        drop(conn);
        assert!(device.server.upload(b"the next one").expect("upload"), "{}", shape.name());
        let mut after = visible(device.root.path());
        assert!(after.remove(&format!("objects/{}", sha256(b"the next one"))).is_some());
        assert_eq!((after, debris(device.root.path())), (before, Vec::new()), "{}", shape.name());
        assert_clean(device.root.path(), shape);
    }
}

/// Kills those of our programs that work on a storage; returns how many.
fn kill_programs(storage: &Path) -> usize {
    let wanted = format!("PVR_AGENT_STORAGE={}", storage.display());
    let mut killed = 0;
    for process in std::fs::read_dir("/proc").expect("list /proc").map_while(Result::ok) {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let ours = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        if ours && arguments.split(|byte| *byte == 0).any(|word| word == b"cgi") {
            let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            killed += usize::from(status.is_ok_and(|status| status.success()));
        }
    }
    killed
}

/// What it is, its name and its first argument say: a script that calls `pvr` in the environment of a web server gets `pvr`.
#[test]
fn the_environment_never_makes_a_cgi_of_it() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let cgi = |args: &[&str], method: Option<&str>| {
        let mut command = agent::command();
        command.args(args).env("PVR_AGENT_STORAGE", root.path()).env("PATH_INFO", "/status");
        command.env_remove("REQUEST_METHOD").envs(method.map(|method| ("REQUEST_METHOD", method)));
        command.output().expect("run pvr-agent")
    };
    let pvr = cgi(&["pvr", "version"], Some("GET"));
    assert!(pvr.status.success() && !pvr.stdout.starts_with(b"Status:"), "{pvr:?}");
    let by_hand = cgi(&["cgi"], None);
    assert_eq!(by_hand.status.code(), Some(2), "{by_hand:?}");
    assert!(String::from_utf8_lossy(&by_hand.stderr).contains("web server"), "{by_hand:?}");
    for more in [&["cgi"][..], &["cgi", "/www/cgi-bin/pvr"], &["cgi", "/www/pvr", "--help", "-x", "status"]] {
        let answer = cgi(more, Some("GET"));
        assert!(answer.status.success() && answer.stdout.starts_with(b"Status: 200 OK\r\n"), "{more:?}: {answer:?}");
    }
}

#[test]
fn a_storage_that_is_not_there_is_an_answer() {
    let root = tempfile::tempdir().expect("a folder");
    for method in ["GET", "HEAD", "PUT"] {
        let mut command = agent::command();
        command.arg("cgi").env("PVR_AGENT_STORAGE", root.path().join("none")).env("REQUEST_METHOD", method);
        let output = command.output().expect("run pvr-agent");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.starts_with("Status: 503 "), "{method}: {text}");
        assert_eq!(text.contains("\"reason\":\"no-storage\""), method != "HEAD", "{text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("none"), "the log says which");
    }
}

/// RFC 3875 §4.2: what stands on standard input behind the body is not part of it, and its end is not one.
#[test]
fn standard_input_is_read_as_far_as_the_length_says() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let sha = sha256(b"abcdef");
    let put = |variables: &[(&str, &str)], input: &[u8], close: bool| {
        let mut command = agent::command();
        command.arg("cgi").env("PVR_AGENT_STORAGE", root.path()).env("REQUEST_METHOD", "PUT");
        command.env("PATH_INFO", format!("/objects/{sha}/blob")).envs(variables.iter().copied());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("run pvr-agent");
        let mut stdin = child.stdin.take().expect("stdin");
        let _ = stdin.write_all(input);
        // Held open: who reads to the end would wait for ever.
        let held = (!close).then_some(stdin);
        let output = child.wait_with_output().expect("wait");
        drop(held);
        String::from_utf8_lossy(&output.stdout).split("\r\n").next().expect("a line").to_owned()
    };
    let chunks = b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    for (variables, input, close, want) in [
        (&[("CONTENT_LENGTH", "7")][..], &b"abcdef"[..], true, "400"),
        (&[("CONTENT_LENGTH", "5")], b"abcdef", false, "422"),
        (&[("CONTENT_LENGTH", "abc")], b"abcdef", false, "400"),
        (&[("HTTP_TRANSFER_ENCODING", "chunked")], chunks, true, "411"),
        (&[("HTTP_TRANSFER_ENCODING", "chunked"), ("QUERY_STRING", "size=6")], &chunks[..12], true, "400"),
        (&[], b"abcdef", false, "422"),
        (&[("HTTP_TRANSFER_ENCODING", "chunked"), ("QUERY_STRING", "size=6")], chunks, false, "200"),
        (&[("CONTENT_LENGTH", "6")], b"abcdefghi", false, "200"),
    ] {
        let got = put(variables, input, close);
        assert!(
            got.starts_with(&format!("Status: {want} ")),
            "{variables:?} {}: {got}",
            String::from_utf8_lossy(input)
        );
    }
    assert_eq!(std::fs::read(root.path().join("objects").join(&sha)).expect("the object"), b"abcdef");
    assert_eq!(debris(root.path()), Vec::<String>::new());
}
