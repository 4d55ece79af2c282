//! `kill -9` of the server at random moments of a running post and of five uploads.
//!
//! The moment is drawn from a cycle that was measured on this machine just before, so that it falls into the work and
//! not after it. After each kill: the next start leaves no temporary file, `fsck` finds nothing, the state is whole,
//! and repeating what was interrupted succeeds.
mod black_box;

use black_box::agent::{self, Server};
use black_box::seed::{self, Seed};
use black_box::{Dice, sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A storage is used for so many kills, then a new one is made: `fsck` reads all of it after each.
const KILLS_PER_STORAGE: usize = 25;
const UPLOADS: usize = 5;

/// What one cycle sends: five new objects, and posts of a state whose objects are there already.
struct Work {
    objects: Vec<Vec<u8>>,
    state: String,
    name: String,
}

impl Work {
    fn new(dice: &mut Dice, round: usize, stored: &[Vec<u8>]) -> Self {
        let objects = (0..UPLOADS)
            .map(|_| {
                let size = 1 + dice.below(256 * 1024) as usize;
                dice.bytes(size)
            })
            .collect();
        Self { objects, state: state(round, stored), name: format!("locals/round{round}") }
    }

    /// Runs until all is done or the server is gone. Counts the posts that were answered with 200.
    fn run(&self, server: &Server, posted: &AtomicUsize) {
        let uploading = AtomicUsize::new(UPLOADS);
        std::thread::scope(|scope| {
            for object in &self.objects {
                let uploading = &uploading;
                scope.spawn(move || {
                    let _ = server.upload(object);
                    uploading.fetch_sub(1, Ordering::Relaxed);
                });
            }
            scope.spawn(|| {
                // Posts go on as long as uploads do: a cycle is full of both.
                for part in 0.. {
                    match server.post(&self.state, Some(&format!("{}.{part}", self.name))) {
                        Ok(response) => assert_eq!(response.status, 200, "post {part}: {response}"),
                        Err(_) => break, // the server was killed
                    }
                    posted.fetch_add(1, Ordering::Relaxed);
                    if uploading.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                }
            });
        });
    }
}

/// A state of the given objects, with inline JSON, different in every round.
fn state(round: usize, objects: &[Vec<u8>]) -> String {
    let mut members = BTreeMap::from([
        ("#spec".to_string(), r#""pantavisor-service-system@1""#.to_string()),
        ("app/run.json".to_string(), format!(r#"{{"name":"app","round":{round}}}"#)),
        ("bsp/run.json".to_string(), r#"{"initrd":"pantavisor","linux":"kernel.img"}"#.to_string()),
        ("bsp/kernel.img".to_string(), format!("{:?}", sha256(b"a kernel of the tests\n"))),
        ("bsp/pantavisor".to_string(), format!("{:?}", sha256(b"an initial ram disk of the tests\n"))),
    ]);
    for (index, object) in objects.iter().enumerate() {
        members.insert(format!("app/file{index}"), format!("{:?}", sha256(object)));
    }
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Everything that has to hold after a kill; repeats what was interrupted.
fn check(root: &Path, work: &Work, when: &str) {
    let server = Server::start(root);
    assert_eq!(seed::debris(root), [""; 0], "{when}");
    agent::assert_clean(root, when);
    let url = server.remote()["json-get-url"].as_str().expect("a URL").to_string();
    let current = black_box::http::get(&url);
    assert_eq!(current.status, 200, "{when}: {current}");
    assert!(current.json()["#spec"].is_string(), "{when}: {current}");
    for object in &work.objects {
        server.upload(object).unwrap_or_else(|err| panic!("{when}: repeating an upload: {err}"));
    }
    for name in [format!("{}.0", work.name), format!("{}.again", work.name)] {
        let again = server.post(&work.state, Some(&name)).unwrap_or_else(|err| panic!("{when}: {err}"));
        assert_eq!(again.status, 200, "{when}: repeating the post as {name}: {again}");
    }
    let now = black_box::http::get(&url_of_state(&server));
    assert_eq!(String::from_utf8_lossy(&now.body), work.state, "{when}");
}

fn url_of_state(server: &Server) -> String {
    server.remote()["json-get-url"].as_str().expect("a URL").to_string()
}

#[test]
fn killed_at_any_moment() {
    let mut dice = Dice::new("power");
    let kills = black_box::rounds(300, 3);
    let mut root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let mut stored: Vec<Vec<u8>> = Vec::new();

    // The cycle: the median of five, undisturbed.
    let mut cycles: Vec<Duration> = (0..5)
        .map(|round| {
            let server = Server::start(root.path());
            let work = Work::new(&mut dice, 9_000 + round, &stored);
            let begun = Instant::now();
            work.run(&server, &AtomicUsize::new(0));
            let took = begun.elapsed();
            stored.clone_from(&work.objects);
            took
        })
        .collect();
    cycles.sort();
    let mut cycle = cycles[2];

    let (mut within, mut late, mut posts) = (0, 0, 0);
    while within < kills {
        let round = within + late;
        if round % KILLS_PER_STORAGE == 0 {
            root = tempfile::tempdir().expect("a folder");
            Seed::factory(root.path());
            stored.clear();
        }
        let mut server = Server::start(root.path());
        let work = Work::new(&mut dice, round, &stored);
        let delay = Duration::from_micros(dice.below(cycle.as_micros() as u64));
        let posted = AtomicUsize::new(0);
        let pid = rustix::process::Pid::from_raw(server.pid() as i32).expect("a process");
        let finished = std::thread::scope(|scope| {
            let running = scope.spawn(|| work.run(&server, &posted));
            std::thread::sleep(delay);
            let finished = running.is_finished();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill the server");
            finished
        });
        server.kill(); // already dead: this only waits for it
        drop(server);
        if finished {
            // The cycle was shorter than measured: a moment after the work counts for nothing.
            late += 1;
            cycle = cycle * 9 / 10;
            assert!(late <= kills + 20, "{late} kills came after the work, {within} within");
        } else {
            within += 1;
        }
        posts += posted.into_inner();
        check(root.path(), &work, &format!("kill {round} after {delay:?} of {cycle:?}"));
        stored.clone_from(&work.objects);
    }
    println!(
        "killed {within} times within the work, {late} times after it (cycle {cycle:?}); {posts} posts had been answered"
    );
}
