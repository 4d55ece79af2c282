//! A control socket like Pantavisor's, for tests: what it answers, what it keeps on disk, how it fails.
//!
//! `tests/control_server.rs` replays every recorded transcript of the real daemon against it. On top of that:
//!
//! - each defect of the daemon can be switched off ([`Defects`]);
//! - an update goes its way at a pace that a test sets, or step by step ([`Pace`]);
//! - it can lose power: what is not known to be on disk is cut back, at random ([`Daemon::lose_power`], `power`).
//!
//! Its store is a folder as `storage.md` §1 has it. Every connection has a thread; what they do is done one at a time, as
//! the daemon does it.
#![allow(dead_code, reason = "every test binary uses its part of this")]

mod answer;
mod commands;
mod disk;
mod meta;
mod objects;
mod parts;
mod power;
mod request;
mod route;
mod steps;
mod update;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meta::Store as MetaStore;
use update::Update;

/// What the daemon does that it should not. All of it, unless a test says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Defects {
    /// What a router refuses is answered twice, once more when the body has come.
    pub double_replies: bool,
    /// An object that has no room is answered with 200 before it is with 507.
    pub ok_on_full_disk: bool,
    /// An upload that breaks off, or has no room, stays under its final name.
    pub keeps_debris: bool,
    /// Without a body where one is expected, there is no answer.
    pub hangs_on_empty: bool,
    /// A state that is refused takes the revision of that name with it.
    pub refusal_deletes: bool,
    /// `MAKE_FACTORY` of a revision that is not there destroys revision 0.
    pub factory_of_nothing: bool,
    /// Around a transition nobody answers.
    pub deaf: bool,
    /// A part of a path that has 3,000 bytes ends it.
    pub crashes: bool,
    /// After a collection, the room that there is is said to be what it was before.
    pub sizes_lag: bool,
}

impl Defects {
    /// As the daemon is.
    pub const ALL: Self = Self {
        double_replies: true,
        ok_on_full_disk: true,
        keeps_debris: true,
        hangs_on_empty: true,
        refusal_deletes: true,
        factory_of_nothing: true,
        deaf: true,
        crashes: true,
        sizes_lag: true,
    };
    /// As it could be.
    pub const NONE: Self = Self {
        double_replies: false,
        ok_on_full_disk: false,
        keeps_debris: false,
        hangs_on_empty: false,
        refusal_deletes: false,
        factory_of_nothing: false,
        deaf: false,
        crashes: false,
        sizes_lag: false,
    };

    /// Each one alone, by name.
    pub fn each() -> Vec<(&'static str, Self)> {
        let none = Self::NONE;
        vec![
            ("double_replies", Self { double_replies: true, ..none }),
            ("ok_on_full_disk", Self { ok_on_full_disk: true, ..none }),
            ("keeps_debris", Self { keeps_debris: true, ..none }),
            ("hangs_on_empty", Self { hangs_on_empty: true, ..none }),
            ("refusal_deletes", Self { refusal_deletes: true, ..none }),
            ("factory_of_nothing", Self { factory_of_nothing: true, ..none }),
            ("deaf", Self { deaf: true, ..none }),
            ("crashes", Self { crashes: true, ..none }),
            ("sizes_lag", Self { sizes_lag: true, ..none }),
        ]
    }
}

/// Who is taken to be at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Pantavisor's own host, or a container with the role `mgmt`.
    Privileged,
    /// A container of the state without that role.
    Container(String),
    /// Nobody that the daemon knows.
    Unknown,
}

/// How an update goes on.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each step takes so long.
    Every(Duration),
    /// Only when the test says so ([`Daemon::advance`]).
    ByHand,
}

/// What is said of the machine; the recordings have it of another one.
#[derive(Debug, Clone)]
pub struct Facts {
    pub config: String,
    pub config2: String,
    pub buildinfo: String,
    pub wakelocks: String,
    /// What `device-meta` holds from the start: keys and values as they are in its JSON.
    pub device_meta: Vec<(String, String)>,
    /// Bytes on the disk, and how many of them are kept back.
    pub total: u64,
    pub reserved: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            config: r#"{"log.level":4,"creds.secret":null}"#.into(),
            config2: r#"[{"key":"PV_LOG_LEVEL","value":"4","modified":"pv conf file"}]"#.into(),
            buildinfo: String::new(),
            wakelocks: r#"{"mode":"locks","count":0,"degraded":true,"autosleep":false,"settling":false,"polling":false,"run_window":false,"held":{"boot":false,"update":false,"update_check":false,"devmeta":false,"usrmeta":false,"shutdown":false,"debug_shell":false,"poll":false}}"#.into(),
            device_meta: vec![("pantavisor.arch".into(), r#""x86_64/64/EL""#.into())],
            total: 1 << 30,
            reserved: 0,
        }
    }
}

/// How the daemon is to be.
#[derive(Debug, Clone)]
pub struct Config {
    pub defects: Defects,
    pub caller: Caller,
    pub pace: Pace,
    pub facts: Facts,
    /// Every state is refused that no signature covers whole (secure boot, strict).
    pub strict: bool,
    /// What secure boot says of states: their sha256, and why they are refused.
    pub verdicts: Vec<(String, &'static str)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            defects: Defects::ALL,
            caller: Caller::Privileged,
            pace: Pace::Every(Duration::from_millis(60)),
            facts: Facts::default(),
            strict: false,
            verdicts: Vec::new(),
        }
    }
}

/// Revision 0 of a device that has been recorded.
pub const FACTORY: &str = "{\"#spec\":\"pantavisor-service-system@1\",\"mg/run.json\":{\"#spec\":\"service-manifest-run@1\",\"config\":\"lxc.container.conf\",\"group\":\"data\",\"name\":\"mg\",\"roles\":[\"mgmt\"],\"storage\":{},\"type\":\"lxc\",\"volumes\":[]},\"nb/run.json\":{\"#spec\":\"service-manifest-run@1\",\"config\":\"lxc.container.conf\",\"group\":\"data\",\"name\":\"nb\",\"roles\":[\"nobody\"],\"restart_policy\":\"container\",\"storage\":{},\"type\":\"lxc\",\"volumes\":[]}}\n";

/// A running one.
pub struct Daemon {
    socket: PathBuf,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
    ticker: Option<JoinHandle<()>>,
}

/// What its threads share.
pub(super) struct Shared {
    stop: AtomicBool,
    /// Until when nobody answers.
    deaf: Mutex<Option<Instant>>,
    state: Mutex<State>,
    /// Each has a thread.
    connections: Mutex<BTreeMap<u64, UnixStream>>,
}

/// What the daemon is at the moment.
pub(super) struct State {
    config: Config,
    disk: disk::Disk,
    user_meta: MetaStore,
    device_meta: MetaStore,
    update: Update,
    /// A container that was stopped by hand.
    stopped: Vec<String>,
    /// What was used before a collection, while that is still what is said.
    lagging: Option<u64>,
    /// Commands that were given, whole: what tests look at.
    commands: Vec<(String, String)>,
}

impl Daemon {
    /// One with revision 0 in a new store at `root`, listening at `socket`. A store that is there already is used.
    pub fn start(root: &Path, socket: &Path, config: Config) -> Self {
        let disk = disk::Disk::open(root).expect("make the store");
        let device_meta = MetaStore::with(&config.facts.device_meta);
        let mut state = State {
            config,
            disk,
            user_meta: MetaStore::default(),
            device_meta,
            update: Update::default(),
            stopped: Vec::new(),
            lagging: None,
            commands: Vec::new(),
        };
        update::boot(&mut state);
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            deaf: Mutex::new(None),
            state: Mutex::new(state),
            connections: Mutex::default(),
        });
        std::fs::remove_file(socket).ok();
        let listener = UnixListener::bind(socket).expect("listen");
        listener.set_nonblocking(true).expect("listen without waiting");
        let (accepting, ticking) = (Arc::clone(&shared), Arc::clone(&shared));
        Self {
            socket: socket.to_owned(),
            shared,
            listener: Some(thread::spawn(move || accept(&listener, &accepting))),
            ticker: Some(thread::spawn(move || tick(&ticking))),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it is at the moment. Nothing is answered while this is held.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Changes how it is.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.state().config);
    }

    /// The commands that were given so far.
    pub fn commands(&self) -> Vec<(String, String)> {
        self.state().commands.clone()
    }

    /// The running revision.
    pub fn current(&self) -> String {
        self.state().disk.current()
    }

    /// Nothing has been said of the device.
    pub fn forget_metadata(&self) {
        let mut state = self.state();
        state.user_meta = MetaStore::default();
        state.device_meta = MetaStore::default();
    }

    /// Takes an update one step further.
    pub fn advance(&self) {
        self.shared.advance();
    }

    /// Says something of a revision, as an update would.
    pub fn say(&self, name: &str, status: &str, message: &str, progress: u8) {
        update::say(&mut self.state(), name, status, message, progress);
    }

    /// Whether it has a connection that it has not seen the end of.
    pub fn is_connected(&self) -> bool {
        !self.shared.connections.lock().unwrap().is_empty()
    }

    /// Whether an update is under way.
    pub fn is_updating(&self) -> bool {
        let state = self.state();
        state.update.is_running() || state.update.is_pending()
    }

    /// Nobody answers for so long.
    pub fn deafen(&self, time: Duration) {
        *self.shared.deaf.lock().unwrap() = Some(Instant::now() + time);
    }

    /// All that has been written is on disk now.
    pub fn sync(&self) {
        self.state().disk.sync();
    }

    /// The power is gone: the daemon ends at once, and of what it wrote since the last [`sync`](Self::sync) there is as
    /// much as `random` says: a number below the one that it is given. Start another one at the same store.
    pub fn lose_power(mut self, random: &mut dyn FnMut(u64) -> u64) {
        self.end();
        self.state().disk.lose_power(random);
    }

    /// Nothing of it is at work any more.
    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in [self.listener.take(), self.ticker.take()].into_iter().flatten() {
            thread.join().ok();
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.shared.hang_up() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        std::fs::remove_file(&self.socket).ok();
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends all connections; returns how many threads have not noticed yet.
    fn hang_up(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        for stream in connections.values() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        connections.len()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Waits while nobody answers.
    pub(super) fn listen(&self) {
        while !self.stopping() {
            let until = *self.deaf.lock().unwrap();
            match until {
                Some(until) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
    }

    fn advance(&self) {
        let deaf = {
            let mut state = self.state();
            let by_hand = matches!(state.config.pace, Pace::ByHand);
            let deaf = update::advance(&mut state);
            if by_hand || !state.config.defects.deaf { None } else { deaf }
        };
        if let Some(time) = deaf {
            *self.deaf.lock().unwrap() = Some(Instant::now() + time);
        }
    }
}

fn tick(shared: &Shared) {
    let mut last = Instant::now();
    while !shared.stopping() {
        thread::sleep(Duration::from_millis(2));
        let pace = shared.state().config.pace;
        if let Pace::Every(time) = pace
            && last.elapsed() >= time
        {
            shared.advance();
            last = Instant::now();
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.stopping() {
        shared.listen();
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).ok();
                let Ok(copy) = stream.try_clone() else { continue };
                number += 1;
                shared.connections.lock().unwrap().insert(number, copy);
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    // A client that is gone is nobody's business.
                    let _ = request::serve(&stream, &shared);
                    stream.shutdown(std::net::Shutdown::Both).ok();
                    shared.connections.lock().unwrap().remove(&number);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}
