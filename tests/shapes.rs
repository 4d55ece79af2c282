//! What is particular to `pvr-agent cgi`, under web servers really started on loopback: programs that are killed, lengths that lie,
//! an environment that is none. What a server cannot pass on is in `docs/cgi.md`, which is held to what is measured here. What
//! every shape of the endpoint has in common is in `wire` and `wire_hostile`.
mod black_box;
#[path = "shape/measured.rs"]
mod measured;
mod shape;

use black_box::agent::{self, JSON, announcement};
use black_box::http::Conn;
use black_box::seed::{Seed, debris, visible};
use black_box::{http, sha256};
use shape::Shape;
use shape::device::{Back, Device, kernel};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// A server ends a program whose client has left, or that took too long: nothing of an upload may stay.
#[test]
fn a_program_that_the_server_kills_leaves_nothing() {
    for shape in Shape::cgi("a_program_that_the_server_kills") {
        let device = Device::start(shape, Back::Storage);
        let before = visible(&device.store());
        let bytes = vec![5; 2_000_000];
        let mut conn = Conn::open(&device.server.host()).expect("connect");
        let path = format!("/cgi-bin/pvr/objects/{}/blob", sha256(&bytes));
        conn.head("PUT", &path, &[], Some(bytes.len() as u64)).expect("send");
        conn.raw(&bytes[..1_500_000]).expect("send");
        // Servers that keep an upload to themselves until it is whole run no program for this one.
        let patience = if shape == Shape::Busybox { 20 } else { 2 };
        let deadline = Instant::now() + Duration::from_secs(patience);
        let mut killed = 0;
        while killed == 0 && Instant::now() < deadline {
            killed = kill_programs(&device.store());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(killed > 0 || shape != Shape::Busybox, "busybox httpd runs it at once");
        drop(conn);
        assert!(device.server.upload(b"the next one").expect("upload"), "{}", shape.name());
        let mut after = visible(&device.store());
        assert!(after.remove(&format!("objects/{}", sha256(b"the next one"))).is_some());
        assert_eq!((after, debris(&device.store())), (before, Vec::new()), "{}", shape.name());
        device.assert_clean("a program was killed");
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

/// The answer had an id that the log did not have, or none.
#[test]
fn what_was_refused_before_it_was_a_request_is_logged_with_the_id_of_the_answer() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let none = root.path().join("none");
    for (storage, variables, status) in [
        (root.path(), &[("CONTENT_LENGTH", "abc")][..], 400),
        (root.path(), &[("QUERY_STRING", "a b")], 400),
        (root.path(), &[("SCRIPT_NAME", "pvr")], 400),
        (root.path(), &[("REQUEST_METHOD", "P T")], 400),
        (&none, &[], 503),
    ] {
        let mut command = agent::command();
        command.arg("cgi").env("PVR_AGENT_STORAGE", storage).env("REQUEST_METHOD", "PUT").env("PATH_INFO", "/json");
        let output = command.env("REMOTE_ADDR", "192.0.2.7").envs(variables.iter().copied()).output().expect("run");
        let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with(&format!("Status: {status} ")), "{variables:?}: {text}");
        let body = text.split_once("\r\n\r\n").expect("a body").1;
        let error: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let id = error["request-id"].as_str().expect("an id");
        let line =
            log.lines().find(|line| line.contains(&format!("id={id}: "))).unwrap_or_else(|| panic!("{id}: {log}"));
        assert!(line.contains(" 192.0.2.7 ") && line.contains(&format!(" {status} ")), "{variables:?}: {line}");
        assert!(line.contains(error["reason"].as_str().expect("a reason")), "{variables:?}: {line}");
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
