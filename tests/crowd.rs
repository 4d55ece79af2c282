//! Programs of a web server, a running `serve` and collectors on one storage, all at once.
mod black_box;

use black_box::agent::{self, Server, announcement};
use black_box::seed::{Seed, collect, debris, tree};
use black_box::{Dice, rounds, sha256};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAMS: usize = 20;

/// One request by a process of its own, as a web server runs it. Status and body.
fn cgi(storage: &Path, method: &str, info: &str, query: &str, body: &[u8]) -> (u16, String) {
    let mut command = agent::command();
    command.arg("cgi").env("PVR_AGENT_STORAGE", storage).env("REQUEST_METHOD", method).env("HTTP_HOST", "localhost");
    command.env("SCRIPT_NAME", "/cgi-bin/pvr").env("PATH_INFO", info).env("QUERY_STRING", query);
    command.env("CONTENT_LENGTH", body.len().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("run pvr-agent cgi");
    let mut stdin = child.stdin.take().expect("stdin");
    let _ = stdin.write_all(body);
    drop(stdin);
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = text.strip_prefix("Status: ").and_then(|text| text.get(..3)).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (status, text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

/// An object of its own and the state that has it, up to the post.
fn post(storage: &Path, server: Option<&Server>, factory: &str, name: &str, bytes: &[u8]) {
    let sha = sha256(bytes);
    let state = factory.replacen("\"app/root", &format!("\"app/data\":\"{sha}\",\"app/root"), 1);
    let envelope = format!(r#"{{"rev":"{name}","state":{state}}}"#);
    if let Some(server) = server {
        server.upload(bytes).expect("upload");
        let answer = server.post(&state, Some(name)).expect("post");
        assert_eq!(answer.status, 200, "{name}: {answer}");
        return;
    }
    let (status, text) =
        cgi(storage, "POST", "/objects/", "", announcement("data", &sha, bytes.len() as u64).as_bytes());
    assert!([200, 409].contains(&status), "{name}: {status} {text}");
    if status == 200 {
        let query = format!("size={}", bytes.len());
        let (status, text) = cgi(storage, "PUT", &format!("/objects/{sha}/blob"), &query, bytes);
        assert_eq!(status, 200, "{name}: {text}");
    }
    let (status, text) = cgi(storage, "POST", "/steps", "", envelope.as_bytes());
    assert_eq!(status, 200, "{name}: {text}");
}

/// A revision that never ran.
fn unknown(storage: &Path, name: &str, bytes: &[u8]) {
    let folder = storage.join("trails/locals").join(name);
    let sha = Seed { root: storage.into() }.object(bytes);
    fs::create_dir_all(folder.join(".pvr")).expect("make a revision");
    fs::create_dir_all(folder.join("app")).expect("make a revision");
    fs::hard_link(storage.join("objects").join(&sha), folder.join("app/data")).expect("link an object");
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1","app/data":"{sha}"}}"##);
    fs::write(folder.join(".pvr/json"), state).expect("write a state");
}

#[test]
fn twenty_programs_a_server_and_two_collectors_lose_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let storage = root.path();
    Seed::factory(storage);
    let factory = fs::read_to_string(storage.join("trails/0/.pvr/json")).expect("the state");
    let server = Server::start(storage);
    let dice = std::sync::Mutex::new(Dice::new("twenty_programs"));
    let bytes = |len| dice.lock().expect("dice").bytes(len);
    let gc = || agent::command().arg("gc").arg("--storage").arg(storage).output().expect("run gc");
    let (mut posts, mut collected, mut passes) = (0, 0, 0);
    let rounds = rounds(100, 3);
    for round in 0..rounds {
        let working = AtomicUsize::new(PROGRAMS + 1);
        // Something to find: an object that nothing names, and revisions that the daemon doesn't know, with objects of their own.
        let seed = Seed { root: storage.into() };
        let mut garbage = vec![seed.object(&bytes(100))];
        for at in 0..5 {
            let object = bytes(100);
            unknown(storage, &format!("u{round}-{at}"), &object);
            garbage.push(sha256(&object));
        }
        let objects: Vec<_> = (0..=PROGRAMS).map(|_| bytes(20_000)).collect();
        let names: Vec<_> = (0..=PROGRAMS).map(|at| format!("locals/r{round}-{at}")).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        std::thread::scope(|scope| {
            for (bytes, name) in objects.iter().zip(&known) {
                let (factory, working) = (&factory, &working);
                let server = (*name == known[PROGRAMS]).then_some(&server);
                scope.spawn(move || {
                    let outcome = std::panic::catch_unwind(|| {
                        post(storage, server, factory, name, bytes);
                    });
                    working.fetch_sub(1, Ordering::SeqCst);
                    outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
                });
            }
            let ours = scope.spawn(|| {
                let mut passes = 0;
                while working.load(Ordering::SeqCst) > 0 {
                    let gc = gc();
                    assert!(gc.status.success(), "{gc:?}");
                    passes += 1;
                }
                passes
            });
            while working.load(Ordering::SeqCst) > 0 {
                collected += collect(storage, &known);
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            passes += ours.join().expect("our collector");
        });
        // Every post of this round is there, with its object.
        for (name, bytes) in known.iter().zip(&objects) {
            let path = storage.join(format!("trails/{name}/app/data"));
            assert!(fs::read(&path).is_ok_and(|found| found == *bytes), "lost: {}", path.display());
        }
        posts += objects.len();
        let last = gc();
        assert!(last.status.success(), "{last:?}");
        collected += collect(storage, &known);
        for sha in garbage {
            assert!(!storage.join("objects").join(&sha).exists(), "{sha} is not collected");
        }
        agent::assert_clean(storage, &format!("round {round}"));
        let (status, state) = cgi(storage, "GET", "/json", "", b"");
        assert!(status == 200 && state.contains("app/data"), "what runs is one of the posts: {state}");
    }
    let (status, _) = cgi(storage, "PUT", "/json", "", factory.as_bytes());
    assert_eq!(status, 200);
    assert_eq!(debris(storage), Vec::<String>::new());
    let staged = tree(storage).into_keys().filter(|name| name.starts_with(".pvr-agent/staged/")).count();
    assert_eq!(staged, 0, "every upload was posted");
    assert!(collected > 0 && passes >= rounds, "both collectors were at work: {collected}, {passes}");
    println!(
        "{rounds} rounds: {posts} posts by {PROGRAMS} programs and a server, {passes} passes of our collector beside them, {collected} \
         objects and folders that the daemon's took away"
    );
}
