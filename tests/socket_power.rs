//! `kill -9` of the agent at random moments while it talks to the control socket, whose store then loses power.
//!
//! The moment is drawn from a cycle that was measured on this machine just before. The daemon of the tests syncs what it is
//! known to sync and nothing else (`support/control/power.rs`): objects and states that it has said 200 to may be gone, cut
//! short or full of zeros afterwards. Then daemon and agent start again, and what was interrupted is done again, as its author
//! would: it has to succeed, and what runs then has to be what was posted, byte for byte.
mod black_box;
#[path = "support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
mod control;

use black_box::agent::{self, Server, TEXT};
use black_box::http::{self, Response};
use black_box::{Dice, sha256};
use control::{Config, Daemon, Defects, Facts, Pace};
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::{JsonLimits, parse_strict};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A store is used for so many kills, then a new one is made.
const KILLS_PER_STORE: usize = 25;
const UPLOADS: usize = 3;
/// Without a mounted storage, each post syncs all disks of the machine, whatever else is being written there.
const PATIENCE: Duration = Duration::from_secs(90);

/// A daemon and an agent at one store.
struct Device {
    daemon: Daemon,
    server: Server,
    store: PathBuf,
}

impl Device {
    fn start(root: &Path) -> Self {
        let (store, socket) = (root.join("store"), root.join("pv-ctrl"));
        // Deafness is a matter of time only, and most moments would fall into it.
        let defects = Defects { deaf: false, ..Defects::ALL };
        // A test takes no time, so one that is said to go on for seconds is one whose end a cut has taken.
        let waits = ["PV_UPDATER_GOALS_TIMEOUT", "PV_UPDATER_COMMIT_DELAY"];
        let waits = waits.map(|key| format!(r#"{{"key":"{key}","value":"0","modified":"pv conf file"}}"#));
        let facts = Facts { total: 1 << 34, config2: format!("[{}]", waits.join(",")), ..Facts::default() };
        let config = Config { defects, facts, pace: Pace::Every(Duration::from_millis(4)), ..Config::default() };
        let daemon = Daemon::start(&store, &socket, config);
        let mut command = agent::command();
        command.args(["serve", "--port", "0", "--socket"]).arg(&socket).arg("--state-dir").arg(root.join("state"));
        Self { daemon, server: Server::spawn(command), store }
    }

    fn get(&self, below: &str) -> std::io::Result<Response> {
        http::ask(&format!("{}/{below}", self.server.base), "GET", &[], b"")
    }

    /// Posts until it is not told to come again: an update may be running.
    fn post(&self, work: &Work, rev: &str) -> std::io::Result<Response> {
        let deadline = Instant::now() + PATIENCE;
        let rev = if rev.is_empty() { "-1".to_owned() } else { format!("{rev:?}") };
        let body =
            format!(r#"{{"commit-msg":"a message","on-post":"{}","rev":{rev},"state":{}}}"#, work.on_post, work.state);
        loop {
            let answer = http::ask(&format!("{}/steps", self.server.base), "POST", TEXT, body.as_bytes())?;
            let again = answer.status == 503 && answer.json()["reason"] != "pantavisor-unreachable";
            if !again || Instant::now() > deadline {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What becomes of a revision in the end.
    fn outcome(&self, rev: &str) -> std::io::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(&format!("steps/{rev}/progress"))?;
            let progress = if answer.status == 200 { answer.json() } else { Value::Null };
            let status = progress["status"].as_str().unwrap_or_default().to_owned();
            if ["UPDATED", "DONE", "WONTGO", "ERROR"].contains(&status.as_str()) || Instant::now() > deadline {
                return Ok(status);
            }
            if self.is_committed(rev) {
                return Ok("DONE".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a revision is what starts from now on, and no test of it goes on: then it has ended well, and all that the cut has taken is
    /// the daemon's word for it, which it never says again.
    fn is_committed(&self, rev: &str) -> bool {
        let loader = std::fs::read_to_string(self.store.join("boot/uboot.txt")).unwrap_or_default();
        !self.daemon.is_updating() && loader.split('\0').any(|line| line.strip_prefix("pv_rev=") == Some(rev))
    }

    /// Every object of what runs is what its name says, in the revision as in the store.
    fn assert_runs(&self, work: &Work, rev: &str, when: &str) {
        assert_eq!(self.daemon.current(), rev, "{when}");
        let state = self.get("json").expect("the state").body;
        assert_eq!(String::from_utf8_lossy(&state), work.state, "{when}");
        for (at, object) in work.objects.iter().enumerate() {
            let names = [format!("objects/{}", sha256(object)), format!("trails/{rev}/nb/file{at}")];
            for name in names {
                assert!(std::fs::read(self.store.join(&name)).is_ok_and(|found| found == *object), "{when}: {name}");
            }
        }
    }
}

/// What one cycle sends.
struct Work {
    objects: Vec<Vec<u8>>,
    state: String,
    rev: String,
    on_post: &'static str,
}

impl Work {
    fn new(dice: &mut Dice, round: usize) -> Self {
        let object = |_| {
            let size = 1 + dice.below(256 * 1024) as usize;
            dice.bytes(size)
        };
        let objects: Vec<_> = (0..UPLOADS).map(object).collect();
        let files: Vec<_> =
            objects.iter().enumerate().map(|(at, bytes)| format!(r#""nb/file{at}":"{}","#, sha256(bytes))).collect();
        let factory = control::FACTORY.trim_end();
        let state = factory.replacen(r#""nb/run.json""#, &format!(r#"{}"nb/run.json""#, files.concat()), 1);
        let parsed = parse_strict(state.as_bytes(), &JsonLimits::default()).expect("a state");
        let state = to_canonical(&parsed).expect("canonical form");
        let on_post = ["run", "run", "run-commit", "install"][round % 4];
        Self { objects, state, rev: format!("locals/round{round}"), on_post }
    }

    fn upload(&self, server: &Server) -> std::io::Result<()> {
        std::thread::scope(|scope| {
            let all: Vec<_> = self.objects.iter().map(|object| scope.spawn(|| server.upload(object))).collect();
            all.into_iter().try_for_each(|one| one.join().expect("an upload").map(drop))
        })
    }

    /// Runs until all is done, or the agent is gone.
    fn run(&self, device: &Device) -> std::io::Result<()> {
        self.upload(&device.server)?;
        let answer = device.post(self, &self.rev)?;
        assert_eq!(answer.status, 200, "{answer}");
        if self.on_post != "install" {
            device.outcome(&self.rev)?;
        }
        Ok(())
    }

    /// The same again, as its author would do it. Returns the name that the revision has.
    fn again(&self, device: &Device, rev: &str, when: &str) -> String {
        // What the start has to finish may still be running.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.upload(&device.server) {
            assert!(
                error.to_string().contains("update-running") && Instant::now() < deadline,
                "{when}: repeating an upload: {error}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let answer = device.post(self, rev).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(answer.status, 200, "{when}: repeating the post: {answer}");
        answer.json()["revlocal"].as_str().unwrap_or_else(|| panic!("{when}: no name: {answer}")).to_owned()
    }
}

/// Everything that has to hold after a cut. Counts the revisions that were cut after they had run.
fn check(root: &Path, work: Work, when: &str, ran: &mut usize) {
    let device = Device::start(root);
    assert_eq!(device.get("json").expect("an answer").status, 200, "{when}");
    let work = Work { on_post: "run", ..work };
    let rev = work.again(&device, &work.rev, when);
    if device.outcome(&rev).expect("an answer") == "ERROR" {
        // The daemon has linked its files before they were on disk, and doesn't look at them again when it runs it. That
        // comes out when it has run, and the next post replaces what has failed.
        *ran += 1;
        work.again(&device, &work.rev, when);
    }
    let outcome = device.outcome(&rev).expect("an answer");
    assert!(["UPDATED", "DONE"].contains(&outcome.as_str()), "{when}: {rev} is {outcome}");
    device.assert_runs(&work, &rev, when);
}

/// The same, by a name that has never been used: what `pvr post` does.
fn check_anew(root: &Path, work: Work, when: &str) {
    let device = Device::start(root);
    let work = Work { on_post: "run", ..work };
    let rev = work.again(&device, "", when);
    let outcome = device.outcome(&rev).expect("an answer");
    assert!(["UPDATED", "DONE"].contains(&outcome.as_str()), "{when}: {rev} is {outcome}");
    device.assert_runs(&work, &rev, when);
}

#[test]
fn killed_at_any_moment_before_the_power_goes() {
    let mut dice = Dice::new("socket_power");
    let kills = black_box::rounds(300, 8);
    let mut root = tempfile::tempdir().expect("a folder");
    let mut cycles: Vec<Duration> = (0..5)
        .map(|round| {
            let device = Device::start(root.path());
            let work = Work::new(&mut dice, 9_000 + round);
            let begun = Instant::now();
            work.run(&device).expect("undisturbed");
            begun.elapsed()
        })
        .collect();
    cycles.sort();
    let mut cycle = cycles[2];
    let (mut within, mut late, mut ran) = (0, 0, 0);
    let mut left = [0; 3];
    while within < kills {
        let round = within + late;
        if round % KILLS_PER_STORE == 0 {
            root = tempfile::tempdir().expect("a folder");
        }
        let mut device = Device::start(root.path());
        let work = Work::new(&mut dice, round);
        let delay = Duration::from_micros(dice.below(cycle.as_micros() as u64));
        let pid = rustix::process::Pid::from_raw(device.server.pid() as i32).expect("a process");
        let finished = AtomicBool::new(false);
        let late_one = std::thread::scope(|scope| {
            scope.spawn(|| {
                let done = work.run(&device).is_ok();
                finished.store(done, Ordering::SeqCst);
            });
            std::thread::sleep(delay);
            let late_one = finished.load(Ordering::SeqCst);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill the agent");
            late_one
        });
        device.server.kill(); // already dead: this only waits for it
        // The daemon notices, or not yet, and goes on with what it was told.
        std::thread::sleep(Duration::from_micros(dice.below(10_000)));
        device.daemon.lose_power(&mut |below| dice.below(below));
        drop(device.server);
        for object in &work.objects {
            let found = std::fs::read(device.store.join("objects").join(sha256(object)));
            left[found.map_or(0, |found| 1 + usize::from(found == *object))] += 1;
        }
        if late_one {
            late += 1;
            cycle = cycle * 9 / 10;
            assert!(late <= kills + 20, "{late} kills came after the work, {within} within");
        } else {
            within += 1;
        }
        let when = format!("kill {round} after {delay:?} of {cycle:?}");
        match round % 3 {
            0 => check_anew(root.path(), work, &when),
            _ => check(root.path(), work, &when, &mut ran),
        }
    }
    println!(
        "killed {within} times within the work, {late} times after it (cycle {cycle:?}), each followed by a power cut; \
         {ran} revisions had run and were cut afterwards; of the objects, {} were gone then, {} damaged, {} whole",
        left[0], left[1], left[2]
    );
    // A few kills, or those of a slow processor, may all come before anything is whole.
    assert!(kills < 100 || left.iter().all(|count| *count > 0), "the cuts were of one kind: {left:?}");
}
