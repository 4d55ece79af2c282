//! Pantavisor's own collector at work between upload and post.
//!
//! It takes no lock of ours: it deletes every directory in `trails/` and `trails/locals/` that it doesn't know, and
//! then every object whose link count is 1 (`storage.md` §8). What is uploaded and not yet named by a revision has
//! to survive that.
mod black_box;

use black_box::agent::{self, Server};
use black_box::seed::{Seed, collect};
use black_box::{Dice, sha256};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A state of these objects.
fn state(objects: &[Vec<u8>]) -> String {
    let files: Vec<_> =
        objects.iter().enumerate().map(|(at, bytes)| format!(r#""app/f{at:02}":"{}""#, sha256(bytes))).collect();
    format!(
        r##"{{"#spec":"pantavisor-service-system@1",{},"app/run.json":{{"name":"app"}},"bsp/kernel.img":"{}"}}"##,
        files.join(","),
        sha256(b"a kernel of the tests\n"),
    )
}

/// The posted state is what is read back, and every object of it can be downloaded.
fn assert_whole(root: &Path, server: &Server, objects: &[Vec<u8>], when: &str) {
    let url = server.remote()["json-get-url"].as_str().expect("a URL").to_string();
    assert_eq!(String::from_utf8_lossy(&black_box::http::get(&url).body), state(objects), "{when}");
    for object in objects {
        let url = format!("{}/objects/{}", server.base, sha256(object));
        let record = black_box::http::get(&url);
        let url = agent::member(&record, 200, "signed-geturl").unwrap_or_else(|err| panic!("{when}: {err}"));
        assert_eq!(sha256(&black_box::http::get(&url).body), sha256(object), "{when}");
    }
    agent::assert_clean(root, when);
}

#[test]
fn this_collector_collects() {
    let root = tempfile::tempdir().expect("a folder");
    let seed = Seed::factory(root.path());
    let lonely = seed.object(b"nothing names this");
    fs::create_dir_all(root.path().join("trails/locals/unknown/.pvr")).expect("make a revision");
    assert_eq!(collect(root.path(), &[]), 2);
    assert!(!root.path().join("objects").join(lonely).exists());
    assert_eq!(collect(root.path(), &[]), 0, "what a revision names stays");
}

#[test]
fn between_any_two_steps() {
    let mut dice = Dice::new("collector");
    let objects: Vec<_> = (0..4).map(|at| dice.bytes(1000 + at)).collect();
    // The last round posts without any pass before it, and then collects.
    for moment in 0..=objects.len() {
        let root = tempfile::tempdir().expect("a folder");
        Seed::factory(root.path());
        let server = Server::start(root.path());
        for (at, object) in objects.iter().enumerate() {
            if at == moment {
                collect(root.path(), &[]);
            }
            assert!(server.upload(object).expect("an upload"), "object {at} was not sent");
        }
        if moment == 0 {
            collect(root.path(), &[]);
        }
        let name = "locals/collected";
        let answer = server.post(&state(&objects), Some(name)).expect("a post");
        assert_eq!(answer.status, 200, "collected at {moment}: {answer}");
        collect(root.path(), &[name]);
        assert_whole(root.path(), &server, &objects, &format!("collected at {moment}"));
    }
}

/// The server is restarted between upload and post: what it knows is on the disk.
#[test]
fn between_upload_and_post_of_another_server() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let objects = vec![b"one".to_vec(), b"two".to_vec(), Vec::new()];
    let mut server = Server::start(root.path());
    for object in &objects {
        server.upload(object).expect("an upload");
    }
    server.kill();
    collect(root.path(), &[]);
    let server = Server::start(root.path());
    collect(root.path(), &[]);
    let answer = server.post(&state(&objects), Some("locals/x")).expect("a post");
    assert_eq!(answer.status, 200, "{answer}");
    assert_whole(root.path(), &server, &objects, "a restart and two passes");
}

/// The collector runs all the time. The daemon knows the update that is in progress by its name.
#[test]
fn all_the_time() {
    let mut dice = Dice::new("collector");
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let server = Server::start(root.path());
    let mut passes = 0;
    for round in 0..black_box::rounds(100, 5) {
        let objects: Vec<_> = (0..8).map(|at| dice.bytes(500 * at)).collect();
        let name = format!("locals/round{round}");
        let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    collect(root.path(), &[&name]);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Whatever fails in here, the collector has to end.
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let uploads: Vec<_> =
                    objects.iter().map(|object| scope.spawn(|| server.upload(object).expect("an upload"))).collect();
                for upload in uploads {
                    upload.join().expect("an upload");
                }
                let answer = server.post(&state(&objects), Some(&name)).expect("a post");
                assert_eq!(answer.status, 200, "round {round}: {answer}\n{}", server.log());
            }));
            done.store(true, Ordering::Relaxed);
            collector.join().expect("the collector");
            worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        passes += count.into_inner();
        assert_whole(root.path(), &server, &objects, &format!("round {round}"));
    }
    println!("{passes} passes of the collector");
}
