//! Following an update until it has come to its end ([`crate::state::update`]).

use std::thread;
use std::time::Duration;

use super::{Control, ControlError, StepName};
use crate::state::{Course, Ended, Following, Heard, Progress, Seen};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(300);

/// While nobody answers. Whoever asks at the socket is on the device, so a restart ends that as well.
pub const LOST: Duration = Duration::from_secs(90);

impl Control {
    /// What the revision says now, to be given to [`follow`](Self::follow) after it was told to run.
    pub fn before_run(&self, name: &StepName) -> Option<Progress> {
        self.progress(name).ok()
    }

    /// Asks what became of a revision until that is settled. `before` is what it said before it was told to run; `saw` is
    /// shown what is new.
    pub fn follow(
        &self,
        name: &StepName,
        before: Option<&Progress>,
        following: Following,
        saw: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Ended, ControlError> {
        let mut course = Course::new(before, following);
        loop {
            let heard = match self.progress(name) {
                Ok(progress) => Heard::Progress(progress, None),
                // It begins to exist when the daemon finds that it does not: then it says so.
                Err(ControlError::NotFound { .. }) => Heard::Missing,
                Err(ControlError::BadAnswer(_)) => Heard::Unclear,
                Err(error) if error.is_out_of_reach() => Heard::Silence,
                Err(ControlError::Refused(refusal)) if refusal.status == 500 => Heard::Unclear,
                Err(error) => return Err(error),
            };
            if let Some(ended) = course.hear(heard, saw) {
                return Ok(ended);
            }
            thread::sleep(EVERY.min(course.patience()));
        }
    }
}
