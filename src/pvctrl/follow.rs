//! Following an update until it has come to its end.

use std::thread;
use std::time::{Duration, Instant};

use super::{Control, ControlError, StepName};
use crate::state::{Progress, Status};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(300);
/// A revision that is run once more may say what became of it the last time, until the daemon gets to it.
const STALE: Duration = Duration::from_secs(10);

/// For how long to follow.
#[derive(Debug, Clone, Copy)]
pub struct Following {
    /// Altogether.
    pub limit: Duration,
    /// While nobody answers, which is so during a reboot.
    pub lost: Duration,
}

impl Default for Following {
    fn default() -> Self {
        Self { limit: Duration::from_secs(600), lost: Duration::from_secs(90) }
    }
}

/// How an update ended, or the following of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It runs: `DONE`, or `UPDATED`.
    Well(Progress),
    /// It was refused.
    WontGo(Progress),
    /// It failed, and the revision before it runs.
    Failed(Progress),
    /// It was still under way.
    Deadline,
    /// Nobody answered any more.
    Lost,
}

impl Control {
    /// What the revision says now, to be given to [`follow`](Self::follow) after it was told to run.
    pub fn before_run(&self, name: &StepName) -> Option<Progress> {
        self.progress(name).ok()
    }

    /// Asks what became of a revision until that is settled. `before` is what it said before it was told to run; `saw` is
    /// shown each change.
    pub fn follow(
        &self,
        name: &StepName,
        before: Option<&Progress>,
        following: Following,
        saw: &mut dyn FnMut(&Progress),
    ) -> Result<Ended, ControlError> {
        let begun = Instant::now();
        let mut heard = begun;
        let mut last: Option<Progress> = None;
        loop {
            match self.progress(name) {
                Ok(progress) => {
                    heard = Instant::now();
                    let stale = last.is_none() && before == Some(&progress) && begun.elapsed() < STALE;
                    if !stale {
                        if last.as_ref() != Some(&progress) {
                            saw(&progress);
                        }
                        if let Some(ended) = ended(&progress) {
                            return Ok(ended);
                        }
                        last = Some(progress);
                    }
                }
                // It begins to exist when the daemon finds that it does not: then it says so.
                Err(ControlError::NotFound { .. } | ControlError::BadAnswer(_)) => heard = Instant::now(),
                Err(error) if error.is_out_of_reach() => {}
                Err(ControlError::Refused(refusal)) if refusal.status == 500 => heard = Instant::now(),
                Err(error) => return Err(error),
            }
            if heard.elapsed() > following.lost {
                return Ok(Ended::Lost);
            }
            if begun.elapsed() > following.limit {
                let silent = heard.elapsed() > EVERY + self.waits().answer;
                return Ok(if silent { Ended::Lost } else { Ended::Deadline });
            }
            thread::sleep(EVERY);
        }
    }
}

fn ended(progress: &Progress) -> Option<Ended> {
    match progress.status {
        Status::Done | Status::Updated => Some(Ended::Well(progress.clone())),
        Status::WontGo => Some(Ended::WontGo(progress.clone())),
        Status::Error => Some(Ended::Failed(progress.clone())),
        _ => None,
    }
}
