//! What one client, and all of them together, may take of the device.

use crate::state::JsonLimits;
use std::time::Duration;

/// No signed URL is good for less.
pub(super) const SHORTEST_URL: Duration = Duration::from_secs(60 * 60);

/// The limits of the endpoint. [`Limits::default`] is meant for a small device: it bounds memory to a few MiB
/// for well-behaved traffic, and to tens of MiB under attack.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections in all. When all are taken, the one that has been without a complete request head for longest makes
    /// room for the new one, if that is for a second or more; else the one whose client holds up its own request most (`pace`),
    /// if it does for 100 ms or more; else the longest without a head after all. Where there is none of these, new ones wait in
    /// the kernel's backlog.
    pub connections: usize,
    /// Connections of one address that have a request in progress. One more is answered 503. Idle
    /// connections don't count: a browser or a proxy keeps several.
    pub per_address: usize,
    /// Bytes of a request head; 431 above.
    pub head_bytes: usize,
    /// Header lines of a request; 431 above.
    pub head_lines: usize,
    /// How many may follow updates at one time; 503 above. Each keeps a connection, which doesn't count among those of its address.
    pub watchers: usize,
    /// The longest silence on a stream of events.
    pub heartbeat: Duration,
    /// From the first byte of a request head to its last; 408 after that. A TLS handshake may take as long, from the
    /// opening of the connection.
    pub head_time: Duration,
    /// From the end of an answer (or the opening of the connection) to the first byte of the next request;
    /// the connection is closed silently after that. Clients that keep connections re-open them.
    pub idle_time: Duration,
    /// Silence in the middle of a body, sent or received; 408 (or, when sending, the end) after that.
    pub stall_time: Duration,
    /// What a body may take at least, whatever its rate. See [`Limits::min_rate`].
    pub grace: Duration,
    /// Bytes per second that a body has to keep up after the grace time, in either direction. Only time
    /// spent waiting for the network counts, never our own disk.
    pub min_rate: u32,
    /// Bytes of a state. The envelope of a post may add [`Limits::envelope_bytes`]; 413 above.
    pub state_bytes: usize,
    /// Bytes of the record that announces an object, and of everything in a post that is not the state.
    pub envelope_bytes: usize,
    /// Depth of nested JSON; 400 above.
    pub json_depth: usize,
    /// Bytes of all bodies that are held whole (states, records) at one time; 503 above.
    pub held_bytes: usize,
    /// Bytes of one object. Space is checked anyway; this is for whoever wants a lower bar.
    pub object_bytes: u64,
    /// Objects that are received at one time, from all addresses together; 503 above. As many as [`Limits::connections`]: a slow
    /// client's connection makes room for others, and its place among the uploads goes with it. Were there fewer places, slow
    /// uploads would take them all, and nobody else could upload.
    pub uploads: usize,
    /// Packages that are added to a transaction at one time; 503 above. Each keeps a thread for as long as its client takes.
    pub packages: usize,
    /// Logs that are followed at one time, over all processes that serve one device; 503 above.
    pub followers: usize,
    /// How long a log is followed at most. A program that a web server runs may not learn that its client has gone.
    pub follow_time: Option<Duration>,
    /// How long a signed URL is good for, and never less than an hour: today's client asks for all records first, and transfers then.
    pub url_time: Duration,
    /// After a refusal, how long a client may go on sending what it had begun to send. Closing at once would
    /// reset the connection, and a client that is still writing never sees why.
    pub linger_time: Duration,
    /// And how many bytes of that are read and thrown away.
    pub linger_bytes: u64,
    /// What is in flight has this long to end after the first signal.
    pub shutdown_time: Duration,
    /// How often the storage is swept: of what was left behind by others, and of uploads that nobody has posted
    /// for a day. Each start does the same, but a device may run for months.
    pub sweep_every: Duration,
}

/// What somebody can run into, as it is counted (`metrics`). Each is the field of [`Limits`] that its name says, or what the comment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Somebody who waited made room for a new connection.
    Connections,
    /// See [`Limits::per_address`].
    PerAddress,
    /// Its bytes, or its lines: [`Limits::head_bytes`], [`Limits::head_lines`].
    Head,
    /// See [`Limits::head_time`]; a TLS handshake that takes as long, too.
    HeadTime,
    /// See [`Limits::idle_time`].
    IdleTime,
    /// A body that came too slowly: [`Limits::stall_time`], [`Limits::grace`], [`Limits::min_rate`].
    BodyPace,
    /// An answer that was taken too slowly, by the same measures.
    AnswerPace,
    /// See [`Limits::state_bytes`]; with its envelope, too.
    StateBytes,
    /// A record of more than [`Limits::envelope_bytes`].
    EnvelopeBytes,
    /// JSON that is nested too deeply, or has too many values.
    JsonDepth,
    /// See [`Limits::held_bytes`].
    HeldBytes,
    /// See [`Limits::object_bytes`].
    ObjectBytes,
    /// See [`Limits::uploads`].
    Uploads,
    /// See [`Limits::packages`].
    Packages,
    /// A package that unpacks to too much, has too many entries, or too large a state.
    PackageSize,
    /// See [`Limits::watchers`].
    Watchers,
    /// See [`Limits::followers`].
    Followers,
    /// Attempts to log in that failed before, of the same name or from the same address, or that wait to be verified; 429.
    Logins,
}

impl Limit {
    /// All of them, in the order of their numbers, and what they are called.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Connections, "connections"),
        (Self::PerAddress, "per_address"),
        (Self::Head, "head_bytes"),
        (Self::HeadTime, "head_time"),
        (Self::IdleTime, "idle_time"),
        (Self::BodyPace, "body_pace"),
        (Self::AnswerPace, "answer_pace"),
        (Self::StateBytes, "state_bytes"),
        (Self::EnvelopeBytes, "envelope_bytes"),
        (Self::JsonDepth, "json_depth"),
        (Self::HeldBytes, "held_bytes"),
        (Self::ObjectBytes, "object_bytes"),
        (Self::Uploads, "uploads"),
        (Self::Packages, "packages"),
        (Self::PackageSize, "package_size"),
        (Self::Watchers, "watchers"),
        (Self::Followers, "followers"),
        (Self::Logins, "logins"),
    ];
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_address: 96,
            head_bytes: 16 * 1024,
            head_lines: 64,
            watchers: 32,
            heartbeat: Duration::from_secs(15),
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            min_rate: 512,
            state_bytes: 2 * 1024 * 1024,
            envelope_bytes: 64 * 1024,
            json_depth: 512,
            held_bytes: 16 * 1024 * 1024,
            object_bytes: u64::MAX,
            uploads: 256,
            packages: 2,
            followers: 8,
            follow_time: None,
            url_time: Duration::from_secs(24 * 60 * 60),
            linger_time: Duration::from_secs(2),
            linger_bytes: 8 * 1024 * 1024,
            shutdown_time: Duration::from_secs(10),
            sweep_every: Duration::from_secs(60 * 60),
        }
    }
}

impl Limits {
    /// The same, with other limits for states; what may be held at one time grows so that two of them fit.
    #[must_use]
    pub fn with_json(mut self, json: &JsonLimits) -> Self {
        self.state_bytes = json.bytes;
        self.json_depth = json.depth;
        self.held_bytes = self.held_bytes.max(2 * (json.bytes + self.envelope_bytes));
        self
    }
}

/// How long a transfer may still wait for its peer: the grace time, less what it has waited, plus what its bytes
/// have earned, and never more than the grace time.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    stall: Duration,
    grace: Duration,
    left: Duration,
    min_rate: u32,
}

impl Allowance {
    /// A new transfer.
    pub fn new(limits: &Limits) -> Self {
        Self { stall: limits.stall_time, grace: limits.grace, left: limits.grace, min_rate: limits.min_rate.max(1) }
    }

    /// How long the next wait may take.
    pub fn next_wait(&self) -> Duration {
        self.stall.min(self.left)
    }

    /// Charges a wait, and credits the bytes that it brought.
    pub fn account(&mut self, waited: Duration, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(u64::from(bytes)) / self.min_rate;
        // What is earned doesn't pile up: whoever was fast at first may not dawdle for hours afterwards.
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_counted_under_their_own_names() {
        for (number, (limit, name)) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, number, "{name}");
        }
        let names: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), Limit::ALL.len());
    }

    #[test]
    fn a_transfer_below_the_minimum_rate_runs_out_of_time() {
        let limits = Limits {
            stall_time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            min_rate: 100,
            ..Limits::default()
        };
        let mut slow = Allowance::new(&limits);
        for _ in 0..20 {
            slow.account(Duration::from_secs(1), 50);
        }
        assert!(slow.next_wait() < Duration::from_secs(1));

        let mut enough = Allowance::new(&limits);
        for _ in 0..1000 {
            enough.account(Duration::from_secs(1), 100);
        }
        assert_eq!(enough.next_wait(), Duration::from_secs(10));

        let mut fast = Allowance::new(&limits);
        fast.account(Duration::from_secs(1), 1 << 20);
        assert_eq!(fast.next_wait(), Duration::from_secs(10), "what is earned doesn't pile up");
    }
}
