//! Programs of a web server, a running `serve` and collectors on one storage, all at once.
mod black_box;

use black_box::agent::{self, Server, announcement};
use black_box::seed::{Seed, debris, tree};
use black_box::{Dice, rounds, sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
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

/// One of the daemon's collections: it knows no locks, keeps the running revision and those that are done, and deletes every
/// object with one link.
fn collect_as_the_daemon_does(storage: &Path) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(storage.join("objects")).expect("list").map_while(Result::ok) {
        if entry.metadata().is_ok_and(|meta| meta.nlink() == 1) {
            removed += usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    removed
}

/// An object of its own and the state that has it, up to the post.
fn post(storage: &Path, server: Option<&Server>, factory: &str, name: &str, bytes: &[u8]) {
    let sha = sha256(bytes);
    let state = factory.replacen("\"app/root", &format!("\"app/data\":\"{sha}\",\"app/root"), 1);
    let envelope = format!(r#"{{"rev":"locals/{name}","state":{state}}}"#);
    if let Some(server) = server {
        server.upload(bytes).expect("upload");
        let answer = server.post(&state, Some(&format!("locals/{name}"))).expect("post");
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

#[test]
fn twenty_programs_a_server_and_two_collectors_lose_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let storage = root.path();
    Seed::factory(storage);
    let factory = fs::read_to_string(storage.join("trails/0/.pvr/json")).expect("the state");
    let server = Server::start(storage);
    let dice = std::sync::Mutex::new(Dice::new("twenty_programs"));
    let bytes = |len| dice.lock().expect("dice").bytes(len);
    let (mut posts, collected) = (0, AtomicUsize::new(0));
    let rounds = rounds(100, 3);
    for round in 0..rounds {
        let working = AtomicUsize::new(PROGRAMS + 1);
        // Something to find: an object that nothing names.
        Seed { root: storage.into() }.object(&bytes(100));
        let objects: Vec<_> = (0..=PROGRAMS).map(|_| bytes(20_000)).collect();
        std::thread::scope(|scope| {
            for (at, bytes) in objects.iter().enumerate() {
                let (factory, working, server) = (&factory, &working, &server);
                scope.spawn(move || {
                    let name = format!("r{round}-{at}");
                    let outcome = std::panic::catch_unwind(|| {
                        post(storage, (at == PROGRAMS).then_some(server), factory, &name, bytes);
                    });
                    working.fetch_sub(1, Ordering::SeqCst);
                    outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
                });
            }
            while working.load(Ordering::SeqCst) > 0 {
                collected.fetch_add(collect_as_the_daemon_does(storage), Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        // Every post of this round is there, with its object; ours then collects those that were not the last.
        for (at, bytes) in objects.iter().enumerate() {
            let path = storage.join(format!("trails/locals/r{round}-{at}/app/data"));
            assert!(fs::read(&path).is_ok_and(|found| found == *bytes), "lost: {}", path.display());
        }
        posts += objects.len();
        let gc = agent::command().arg("gc").arg("--storage").arg(storage).output().expect("run gc");
        assert!(gc.status.success(), "{gc:?}");
        agent::assert_clean(storage, &format!("round {round}"));
        let (status, state) = cgi(storage, "GET", "/json", "", b"");
        assert!(status == 200 && state.contains("app/data"), "what runs is one of the posts: {state}");
    }
    let (status, _) = cgi(storage, "PUT", "/json", "", factory.as_bytes());
    assert_eq!(status, 200);
    assert_eq!(debris(storage), Vec::<String>::new());
    let staged = tree(storage).into_keys().filter(|name| name.starts_with(".pvr-agent/staged/")).count();
    assert_eq!(staged, 0, "every upload was posted");
    let collected = collected.load(Ordering::SeqCst);
    assert_eq!(collected, rounds, "the daemon's collector was at work");
    println!("{rounds} rounds: {posts} posts by {PROGRAMS} programs and a server, {collected} objects that nobody had");
}
