//! Which connections there are, what each is doing, and which has to go when there are too many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::limits::{Limit, Limits};
use super::metrics::Metrics;
use super::pace::Pace;

/// Who has been without a request for less than this is about to ask.
const ABOUT_TO_ASK: Duration = Duration::from_secs(1);

/// Who holds up its own request for less than this keeps up with it.
const KEEPS_UP: Duration = Duration::from_millis(100);

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// It has no complete request head yet: since the given instant, the head begun at the other.
    Waiting { since: Instant, begun: Option<Instant> },
    /// A request is being read, worked on or answered.
    Busy,
}

/// One connection, as the registry, its task and its stream see it.
#[derive(Debug)]
pub struct Connection {
    id: u32,
    peer: IpAddr,
    phase: Mutex<Phase>,
    two_lengths: AtomicBool,
    /// What its client owes the request in progress.
    pace: Mutex<Pace>,
    /// An answer of ours has been handed over, and has not gone out to its last byte.
    answering: AtomicBool,
    /// It follows an update, which is no work.
    following: AtomicBool,
    /// Told when the connection has to make room.
    pub evicted: Notify,
    registry: Arc<Registry>,
}

/// All connections of a server.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    /// Told whenever a connection goes, or may be evicted from now on.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u32,
    all: HashMap<u32, Arc<Connection>>,
}

/// Keeps its connection busy for as long as it lives.
#[derive(Debug)]
pub struct InProgress(Arc<Connection>);

/// What is known when a request head is complete.
#[derive(Debug)]
pub struct Begun {
    /// Keeps the connection busy.
    pub in_progress: InProgress,
    /// Its address has as many requests in progress as it may have, without this one.
    pub over_share: bool,
    /// The head had both a length and a transfer encoding.
    pub two_lengths: bool,
}

/// Removes its connection from the registry when the task that serves it ends.
#[derive(Debug)]
pub struct Admitted(pub Arc<Connection>);

impl Registry {
    /// Nobody is connected.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, metrics, open: Mutex::default(), changed: Notify::new() })
    }

    /// Makes room for a connection from `peer` and registers it. Waits while every connection is busy, and no client holds
    /// up its own request.
    pub async fn admit(self: &Arc<Self>, peer: IpAddr) -> Admitted {
        loop {
            if let Some(connection) = self.try_admit(peer) {
                return Admitted(connection);
            }
            // Nobody tells that a client has been waited for for long enough.
            let _ = timeout(KEEPS_UP, self.changed.notified()).await;
        }
    }

    fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Option<Arc<Connection>> {
        let mut open = self.lock();
        if open.all.len() >= self.limits.connections {
            let now = Instant::now();
            let (_, id) = open.all.values().filter_map(|c| Some((c.gives_way(now)?, c.id))).max()?;
            if let Some(connection) = open.all.remove(&id) {
                connection.evicted.notify_one();
                self.metrics.past(Limit::Connections);
            }
        }
        let id = open.next;
        open.next = open.next.wrapping_add(1);
        let connection = Arc::new(Connection {
            id,
            peer,
            phase: Mutex::new(Phase::Waiting { since: Instant::now(), begun: None }),
            two_lengths: AtomicBool::new(false),
            pace: Mutex::default(),
            answering: AtomicBool::new(false),
            following: AtomicBool::new(false),
            evicted: Notify::new(),
            registry: Arc::clone(self),
        });
        open.all.insert(id, Arc::clone(&connection));
        self.metrics.connections.add(1);
        self.metrics.open.add(1);
        Some(connection)
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until there is none.
    pub async fn emptied(&self) {
        while !self.is_empty() {
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let registry = &self.0.registry;
        registry.lock().all.remove(&self.0.id);
        registry.metrics.open.sub_one();
        registry.changed.notify_one();
    }
}

impl Connection {
    /// Where it comes from.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// What it is doing. Whoever has yet to take the end of an answer is not waiting for us.
    pub fn phase(&self) -> Phase {
        if self.answering.load(Ordering::Relaxed) { Phase::Busy } else { *self.lock() }
    }

    /// Begins a request.
    pub fn begin(self: &Arc<Self>) -> Begun {
        let open = self.registry.lock();
        let busy = open.all.values().filter(|c| c.peer == self.peer && c.id != self.id && c.is_at_work());
        let over_share = busy.count() >= self.registry.limits.per_address;
        drop(open);
        *self.lock() = Phase::Busy;
        *self.pace() = Pace::default();
        let two_lengths = self.two_lengths.swap(false, Ordering::Relaxed);
        Begun { in_progress: InProgress(Arc::clone(self)), over_share, two_lengths }
    }

    /// Bytes came in. Returns whether they may be the beginning of a head.
    pub fn received(&self) -> Option<Head> {
        match &mut *self.lock() {
            Phase::Waiting { begun: begun @ None, .. } => {
                *begun = Some(Instant::now());
                Some(Head::Begins)
            }
            Phase::Waiting { .. } => Some(Head::Continues),
            Phase::Busy => None,
        }
    }

    /// All that was written has gone out. If the last of an answer was among it, the wait for the next request begins.
    pub fn flushed(&self) {
        if let Phase::Waiting { since, begun } = &mut *self.lock()
            && self.answering.swap(false, Ordering::Relaxed)
        {
            if begun.is_none() {
                *since = Instant::now();
            }
            self.registry.changed.notify_one();
        }
    }

    /// Whether what is about to be written answers a request that nobody was asked about: the HTTP library refuses a
    /// head by itself. It does so when the answer before has gone out.
    pub fn is_unasked(&self) -> bool {
        matches!(self.phase(), Phase::Waiting { .. })
    }

    /// The head that is being read has both a length and a transfer encoding.
    pub fn saw_two_lengths(&self) {
        self.two_lengths.store(true, Ordering::Relaxed);
    }

    /// It is the client that the request in progress waits for.
    pub fn waits_for_client(&self) {
        self.pace().waits(Instant::now());
    }

    /// So many bytes of the request in progress, or of its answer, have moved.
    pub fn moved(&self, bytes: usize) {
        self.pace().moved(Instant::now(), bytes);
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much sooner than others it has to make room, if it may have to: who has been without a request for long loses
    /// nothing, who holds up its own request little, and who has come just now may be about to ask.
    fn gives_way(&self, now: Instant) -> Option<(u8, Duration)> {
        match self.phase() {
            Phase::Waiting { since, .. } => {
                let waited = now.saturating_duration_since(since);
                Some((if waited < ABOUT_TO_ASK { 0 } else { 2 }, waited))
            }
            Phase::Busy => self.pace().owed(now).filter(|owed| *owed >= KEEPS_UP).map(|owed| (1, owed)),
        }
    }

    /// Whether it counts among what its address has in progress. An answer that is handed over to its end counts only while its
    /// client does not take it: who has read all of it may ask for the next before we know that it has gone out.
    fn is_at_work(&self) -> bool {
        let owes = || self.answering.load(Ordering::Relaxed) && self.pace().owed(Instant::now()).is_some();
        !self.following.load(Ordering::Relaxed) && (matches!(*self.lock(), Phase::Busy) || owes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in a request head received bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// They are its first.
    Begins,
    /// They are not.
    Continues,
}

impl InProgress {
    /// Its answer waits for news, and is not counted among what its address has in progress.
    pub fn follows(&self) {
        self.0.following.store(true, Ordering::Relaxed);
    }

    /// Its answer is handed over.
    pub fn answers(&self) {
        self.0.answering.store(true, Ordering::Relaxed);
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.following.store(false, Ordering::Relaxed);
        *self.0.lock() = Phase::Waiting { since: Instant::now(), begun: None };
        self.0.registry.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn registry(connections: usize, per_address: usize) -> Arc<Registry> {
        Registry::new(Limits { connections, per_address, ..Limits::default() }, Arc::default())
    }

    #[test]
    fn the_longest_wait_makes_room_and_a_busy_one_never() {
        let registry = registry(3, 10);
        let admit = |n| Admitted(registry.try_admit(peer(n)).unwrap());
        let (first, second, third) = (admit(1), admit(2), admit(3));
        let busy = first.0.begin().in_progress;
        let fourth = admit(4);
        assert_eq!(registry.len(), 3);
        assert_eq!(registry.metrics.connections.get(), 4);
        assert!(!registry.lock().all.contains_key(&second.0.id), "the oldest that waits went");
        let more: Vec<_> = [&third, &fourth].map(|c| c.0.begin().in_progress).into();
        assert!(registry.try_admit(peer(5)).is_none(), "all are busy");
        drop(more);
        drop(busy);
        assert!(registry.try_admit(peer(5)).is_some());
        drop((first, second, third, fourth));
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn one_made_room_between_the_end_of_its_body_and_the_writing_of_it() {
        let registry = registry(1, 10);
        let only = Admitted(registry.try_admit(peer(1)).unwrap());
        let request = only.0.begin().in_progress;
        request.answers();
        only.0.flushed(); // the head
        drop(request);
        assert!(!only.0.is_unasked() && registry.try_admit(peer(2)).is_none(), "the body has yet to be written");
        only.0.flushed();
        assert!(only.0.is_unasked() && registry.try_admit(peer(2)).is_some());
    }

    #[test]
    fn who_had_read_its_answer_was_over_its_share_with_the_next_request() {
        let registry = registry(10, 1);
        let [first, second] = [(); 2].map(|()| Admitted(registry.try_admit(peer(1)).unwrap()));
        let request = first.0.begin().in_progress;
        assert!(second.0.begin().over_share);
        request.answers();
        drop(request);
        // The last of the answer is being written: the client may have it before the write returns.
        assert!(!second.0.begin().over_share);
        first.0.moved(100);
        assert!(!second.0.begin().over_share);
        first.0.waits_for_client();
        assert!(second.0.begin().over_share, "it does not take what is left of its answer");
        first.0.moved(100);
        first.0.flushed();
        assert!(!second.0.begin().over_share);
    }

    #[test]
    fn clients_that_held_up_all_their_requests_kept_everybody_out() {
        let registry = registry(3, 10);
        let all: Vec<_> = (0..3).map(|n| Admitted(registry.try_admit(peer(n)).unwrap())).collect();
        let busy: Vec<_> = all.iter().map(|c| c.0.begin().in_progress).collect();
        let long_ago = Instant::now().checked_sub(9 * KEEPS_UP).unwrap();
        all[1].0.pace().waits(long_ago);
        all[2].0.pace().waits(long_ago + 4 * KEEPS_UP);
        let next = Admitted(registry.try_admit(peer(4)).unwrap());
        assert!(!registry.lock().all.contains_key(&all[1].0.id), "who owes most went");
        // Who has come just now is left to ask; who keeps up is left alone.
        all[0].0.waits_for_client();
        let last = Admitted(registry.try_admit(peer(5)).unwrap());
        assert!(!registry.lock().all.contains_key(&all[2].0.id) && registry.lock().all.contains_key(&next.0.id));
        drop((busy, last));
    }

    #[test]
    fn an_address_has_its_share_of_requests_not_of_connections() {
        let registry = registry(10, 2);
        let all: Vec<_> = (0..4).map(|_| registry.try_admit(peer(1)).unwrap()).collect();
        let first = all[0].begin();
        let second = all[1].begin();
        assert_eq!([&first, &second].map(|b| b.over_share), [false, false]);
        assert!(all[2].begin().over_share);
        let other = registry.try_admit(peer(2)).unwrap();
        assert!(!other.begin().over_share);
        drop(first);
        assert!(!all[2].begin().over_share);
        let third = all[2].begin();
        assert!(all[3].begin().over_share);
        third.in_progress.follows();
        assert!(!all[3].begin().over_share, "who follows an update is not at work");
        drop(third);
    }
}
