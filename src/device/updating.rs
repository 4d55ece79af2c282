//! Whether an update is running, on a device that is reached by its control socket.
//!
//! The progress of each revision says so, and lies after a power cut: the daemon doesn't sync it, and what had come of an
//! update may be taken back to `TESTING`, for good. Nothing could ever be posted again. So `TESTING` counts only for the revision
//! that runs, and only for as long as a test may take by the daemon's own configuration. Whoever is wrong about that is
//! told by the daemon, which takes no command while it updates.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{DeviceError, Socketed};
use crate::state::Status::Testing;

/// How long an answer is good for: it is asked before each of many objects.
const UPDATING_FOR: Duration = Duration::from_secs(2);

/// What the daemon waits for in a test, in seconds, and how long where it doesn't say so.
const TEST: [(&str, u64); 2] = [("PV_UPDATER_GOALS_TIMEOUT", 300), ("PV_UPDATER_COMMIT_DELAY", 300)];

/// A test takes a while longer than what the daemon waits for.
const SLACK: Duration = Duration::from_secs(5);

impl Socketed {
    /// The revision on its way, as of a moment ago.
    pub(super) fn updating(&self) -> Result<Option<String>, DeviceError> {
        let mut known = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, rev)) = known.as_ref()
            && when.elapsed() < UPDATING_FOR
        {
            return Ok(rev.clone());
        }
        let rev = self.on_its_way()?;
        *known = Some((Instant::now(), rev.clone()));
        Ok(rev)
    }

    /// Something has been begun that may be an update.
    pub(super) fn look_again(&self) {
        *self.updating.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.turns.end_test();
    }

    pub(super) fn on_its_way(&self) -> Result<Option<String>, DeviceError> {
        let mut tested = false;
        for step in self.listed()? {
            let Some(progress) = step.progress.filter(|progress| progress.status.is_in_progress()) else { continue };
            if progress.status == Testing {
                if self.current()? != step.name {
                    continue;
                }
                tested = true;
                if self.turns.tested_for(&step.name)? > self.longest_test()? {
                    continue;
                }
            }
            return Ok(Some(crate::state::escape(&step.name).into_owned()));
        }
        if !tested {
            self.turns.end_test();
        }
        Ok(None)
    }

    fn longest_test(&self) -> Result<Duration, DeviceError> {
        let settings = self.control.config2()?;
        let seconds = TEST.iter().map(|(key, usual)| {
            let set = settings.iter().find(|setting| setting.key == *key);
            set.and_then(|setting| setting.value.parse().ok()).unwrap_or(*usual)
        });
        Ok(seconds.fold(SLACK, |sum, seconds: u64| sum.saturating_add(Duration::from_secs(seconds))))
    }
}
