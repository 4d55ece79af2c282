//! How long a request has been kept waiting by its own client, for when there are more connections than places.
//!
//! What is waited for a client to send or to take is owed, and the bytes that then move pay for it. Who sends a byte a second owes
//! nearly all the time there is; who keeps up owes nothing.

use std::time::{Duration, Instant};

/// Bytes that pay for a second. A client that is slower than that is not refused anything by it; it only goes before others.
const PER_SECOND: u32 = 16 * 1024;

/// What the client of one request owes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    owed: Duration,
}

impl Pace {
    /// From `now` on, nothing goes on without the client.
    pub(super) fn waits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// So many bytes have moved.
    pub(super) fn moved(&mut self, now: Instant, bytes: usize) {
        let waited = self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let paid = Duration::from_secs(u64::from(u32::try_from(bytes).unwrap_or(u32::MAX))) / PER_SECOND;
        self.owed = self.owed.saturating_add(waited).saturating_sub(paid);
    }

    /// What is owed; `None` while it is not the client that is waited for.
    pub(super) fn owed(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| self.owed.saturating_add(now.saturating_duration_since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_owe_and_a_stream_does_not() {
        let begun = Instant::now();
        for (bytes, owes) in [(1, true), (1024, true), (64 * 1024, false)] {
            let mut pace = Pace::default();
            assert_eq!(pace.owed(begun), None, "nobody waits for the client");
            for second in 0..20 {
                pace.waits(begun + Duration::from_secs(second));
                pace.waits(begun + Duration::from_millis(second * 1000 + 500));
                pace.moved(begun + Duration::from_secs(second + 1), bytes);
            }
            assert_eq!(pace.owed(begun + Duration::from_secs(20)), None, "it is our turn");
            pace.waits(begun + Duration::from_secs(20));
            let owed = pace.owed(begun + Duration::from_secs(21)).unwrap();
            assert_eq!(owed > Duration::from_secs(10), owes, "{bytes} bytes a second owe {owed:?}");
            assert!(owed >= Duration::from_secs(1), "what is waited for just now counts");
        }
    }
}
