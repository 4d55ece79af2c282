//! The description of the API says what is answered: every method of every path is asked for, on each back end, and what comes is
//! held against it. Another implementation says whether it is OpenAPI, and whether the answers are what its schemas say.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::agent::{self, announcement};
use black_box::http::{Conn, Response};
use black_box::sha256;
use sdk::{Back, Device, package};
use serde_json::{Value, json};
use shape::Shape;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNEL: &[u8] = b"a kernel of the tests\n";

/// One method of a path.
struct Operation<'a> {
    method: String,
    path: &'a str,
    says: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, says) in item.as_object().expect("methods").iter().filter(|(name, _)| *name != "parameters") {
            all.push(Operation { method: method.to_uppercase(), path, says });
        }
    }
    all
}

/// What is asked for: a path with values for its parameters, and a body.
fn request(operation: &Operation<'_>, device: &Device, sha: &str) -> (String, Vec<u8>) {
    let path = operation.path.replace("{rev}", "0").replace("{name}", "x").replace("{sha256}", sha);
    let required = operation.says["parameters"].as_array().into_iter().flatten();
    let query: Vec<_> = required
        .filter(|parameter| parameter["required"] == true)
        .map(|parameter| match parameter["name"].as_str() {
            Some("part") => "part=nothing",
            Some("rev") => "rev=0",
            other => panic!("a value for {other:?}"),
        })
        .collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let running = || String::from_utf8(device.get("pvr/json").body).expect("text");
    let body = match operation.says.pointer("/requestBody/content").and_then(Value::as_object) {
        None => Vec::new(),
        Some(content) => match (content.keys().next().map(String::as_str), operation.path) {
            (Some("application/octet-stream"), "/cgi-bin/pvtx/add") => package(&[("a/b", b"bytes")], &[]),
            (Some("application/octet-stream"), _) => KERNEL.to_vec(),
            (Some("application/json"), path) if path.ends_with("/steps") => {
                format!(r#"{{"state":{},"on-post":"install"}}"#, running()).into_bytes()
            }
            (Some("application/json"), path) if path.ends_with("/objects") => {
                announcement("x", sha, KERNEL.len() as u64).into_bytes()
            }
            (Some("application/json"), _) => running().into_bytes(),
            other => panic!("a body for {other:?}"),
        },
    };
    (path + &query, body)
}

/// Of one path of the description, wherever it is.
fn ask(device: &Device, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let conn = Conn::open(&device.server.host());
    let answer = conn.and_then(|mut conn| conn.ask(method, path, headers, body));
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn send(operation: &Operation<'_>, device: &Device, sha: &str) -> Response {
    let (path, body) = request(operation, device, sha);
    let length = body.len().to_string();
    ask(device, &operation.method, &path, &[("Content-Length", &length)], &body)
}

/// Holds an answer against what is said of it. Returns the schema of its body, if it has one.
fn check(document: &Value, operation: &Operation<'_>, answer: &Response) -> Option<String> {
    let what = format!("{} {}", operation.method, operation.path);
    let said = &operation.says["responses"][answer.status.to_string()];
    assert!(said.is_object(), "{what}: nobody said {answer}");
    let said = match said["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a reference"),
        None => said,
    };
    if operation.method == "HEAD" {
        return None;
    }
    let Some((kind, content)) = said["content"].as_object().and_then(|content| content.iter().next()) else {
        assert!(answer.body.is_empty(), "{what}: nobody said a body: {answer}");
        return None;
    };
    let came = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    assert_eq!(&came, kind, "{what}: {answer}");
    let schema = content["schema"]["$ref"].as_str()?;
    answer.json();
    Some(schema.rsplit('/').next().expect("a name").to_owned())
}

/// Waits until nothing is under way.
fn settled(device: &Device) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let status = device.get("pvr/status");
        if status.status == 200 && status.json()["update-in-progress"].is_null() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn every_route_answers_as_it_is_described() {
    for back in [Back::Storage, Back::Socket] {
        let device = Device::start(back, Shape::Serve);
        let log = device.logs.join("0/pantavisor");
        std::fs::create_dir_all(&log).expect("a folder");
        std::fs::write(log.join("pantavisor.log"), "a line\n").expect("a log");
        let document = device.json("GET", "openapi.json");
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["servers"][0]["url"], format!("http://{}", device.server.host()));
        let all = operations(&document);
        assert!(all.len() > 60, "{}", all.len());
        let mut seen = Vec::new();
        let mut hold = |operation: &Operation<'_>, answer: &Response| {
            if let Some(schema) = check(&document, operation, answer) {
                let what = format!("{} {}: {}", operation.method, operation.path, answer.status);
                seen.push(json!({"schema": schema, "body": answer.json(), "what": what}));
            }
        };
        // Before there is anything to answer with, and of an object that is not there.
        for operation in &all {
            let answer = send(operation, &device, &sha256(b"absent"));
            hold(operation, &answer);
            settled(&device);
        }
        device.server.upload(KERNEL).expect("upload");
        let state = String::from_utf8(device.get("pvr/json").body).expect("text");
        let post = format!(r#"{{"rev":"locals/x","on-post":"install","state":{state}}}"#);
        assert_eq!(device.ask("POST", "pvr/steps", &[], post.as_bytes()).status, 200);
        // Now all of them do what they are there for.
        for operation in &all {
            if operation.path.starts_with("/cgi-bin/pvtx") {
                device.bare("POST", "pvtx/abort");
                if !operation.path.ends_with("begin") {
                    assert_eq!(device.bare("POST", "pvtx/begin").status, 200);
                }
            }
            let answer = send(operation, &device, &sha256(KERNEL));
            hold(operation, &answer);
            let done = answer.status < 300
                || (answer.status == 409 && operation.path.ends_with("objects"))
                // Without accounts there are no logins.
                || (answer.status == 404 && operation.path.contains("/auth/"));
            assert!(done, "{back:?}: {} {}: {answer}", operation.method, operation.path);
            settled(&device);
        }
        // A page of somebody else, where something is changed; and what has too many parameters.
        for operation in all.iter().filter(|operation| !matches!(operation.method.as_str(), "GET" | "HEAD")) {
            let (path, body) = request(operation, &device, &sha256(KERNEL));
            let answer = ask(&device, &operation.method, &path, &[("Origin", "http://evil.example")], &body);
            assert_eq!(answer.status, 403, "{path}");
            hold(operation, &answer);
        }
        // With an account, everything takes a login, and there are logins.
        if back == Back::Storage {
            let password = device.logs.join("password");
            std::fs::write(&password, "correct horse\n").expect("write the password");
            let mut command = agent::command();
            command.args(["access", "add", "ann", "--scope", "admin", "--storage"]).arg(&device.storage);
            let added = command.arg("--password-file").arg(&password).output().expect("run pvr-agent");
            assert!(added.status.success(), "{added:?}");
            for operation in &all {
                let answer = send(operation, &device, &sha256(KERNEL));
                let wants = operation.says["security"].as_array().is_some_and(|ways| !ways.is_empty());
                // Who is on this machine has metrics without.
                let here = operation.path == "/metrics";
                assert!(answer.status == if here { 200 } else { 401 } || !wants, "{}: {answer}", operation.path);
                hold(operation, &answer);
            }
            let login = r#"{"username":"ann","password":"correct horse","scope":""}"#;
            let answer = device.ask("POST", "pvr/auth/login", agent::JSON, login.as_bytes());
            let bearer = format!("Bearer {}", agent::member(&answer, 200, "token").expect("a token"));
            for operation in all.iter().filter(|operation| operation.path.contains("/auth/")) {
                let below = operation.path.strip_prefix("/cgi-bin/").expect("a path of ours");
                let body = if operation.method == "POST" { login.as_bytes() } else { b"" };
                let answer = device.ask(&operation.method, below, &[("Authorization", &bearer)], body);
                assert_eq!(answer.status, 200, "{below}: {answer}");
                hold(operation, &answer);
            }
        }
        independent(&document, &Value::Array(seen));
    }
}

#[test]
fn what_is_not_described_is_not_there() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let document = device.json("GET", "openapi.json");
    for (path, item) in document["paths"].as_object().expect("paths") {
        let below = path.replace("{rev}", "0").replace("{name}", "x").replace("{sha256}", &sha256(KERNEL));
        let there: BTreeSet<String> = item
            .as_object()
            .expect("methods")
            .keys()
            .filter(|name| *name != "parameters")
            .map(|n| n.to_uppercase())
            .collect();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if there.contains(method) {
                continue;
            }
            let answer = ask(&device, method, &below, &[("Content-Length", "0")], b"");
            assert_eq!(answer.status, 405, "{method} {path}: {answer}");
            let allowed: BTreeSet<String> =
                answer.header("allow").expect("Allow").split(", ").map(str::to_owned).collect();
            assert_eq!(allowed, there, "{path}");
        }
    }
    for below in ["pvtx", "pvtx/nothing", "pvtx/begin/more", "logs/0", "openapi", "pvt", "pvr/pvtx", "", "pvtx//show"] {
        let answer = device.get(below);
        assert!(answer.status == 404 || answer.status == 400, "{below}: {answer}");
    }
}

#[test]
fn the_description_is_there_in_every_shape() {
    let mut documents = Vec::new();
    sdk::each("the_description_is_there", |device| {
        let mut document = device.json("GET", "openapi.json");
        assert_eq!(document["servers"][0]["url"], format!("http://{}", device.server.host()), "{}", device.name());
        document["servers"] = Value::Null;
        documents_push(document);
    });
    fn documents_push(document: Value) {
        DOCUMENTS.lock().expect("documents").push(document);
    }
    static DOCUMENTS: std::sync::Mutex<Vec<Value>> = std::sync::Mutex::new(Vec::new());
    documents.append(&mut DOCUMENTS.lock().expect("documents"));
    assert!(documents.windows(2).all(|two| two[0] == two[1]));
}

/// Another implementation's word; `.ci/run` installs it.
fn independent(document: &Value, answers: &Value) {
    let told = std::env::var_os("PVR_JOSE_PYTHON").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = told.unwrap_or_else(|| top.join(target).join("jose-venv/bin/python"));
    let has_it = Command::new(&python).args(["-c", "import openapi_spec_validator"]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        black_box::skip("every_route_answers_as_it_is_described", "openapi-spec-validator is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let files = [("document", document), ("answers", answers)].map(|(name, value)| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).expect("write a file");
        path
    });
    let script = top.join("tests/openapi_peer/validate.py");
    let output = Command::new(python).arg(script).args(files).output().expect("run the validator");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = answers.as_array().map_or(0, Vec::len);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), count.to_string());
}
