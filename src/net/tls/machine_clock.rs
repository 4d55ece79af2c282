//! The time for certificates and tickets.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::state::clock;

#[derive(Debug)]
struct MachineClock;

impl TimeProvider for MachineClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(clock::seconds(clock::now()))))
    }
}

/// The machine's clock, in the place of rustls's own way to it, which ends the program on 32-bit machines after 2038.
pub fn machine_clock() -> Arc<dyn TimeProvider> {
    Arc::new(MachineClock)
}
