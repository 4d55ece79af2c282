//! Going back to a revision that ran well.

use super::{Back, Checks, Device, DeviceError, OnPost, Post, Step, Verity};
use crate::state::{Progress, Revision, Status};

/// Where a device goes back from, and to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rollback {
    /// What ran.
    pub from: Option<String>,
    /// What runs then.
    pub to: String,
}

impl Device {
    /// What [`rollback`](Self::rollback) would do: to `rev`, or to the newest other revision that is a rollback point.
    pub fn plan_rollback(&self, rev: Option<&str>) -> Result<Rollback, DeviceError> {
        let from = match self.resolve("current") {
            Ok(name) => Some(name),
            Err(DeviceError::NoCurrent) => None,
            Err(error) => return Err(error),
        };
        let to = match rev {
            Some(rev) => {
                let name = self.resolve(rev)?;
                let points = self.rollback_points()?;
                if !points.iter().any(|step| step.name == name) {
                    return Err(DeviceError::NoRollback(format!("revision {name} is no rollback point")));
                }
                name
            }
            None => {
                let others = self.rollback_points()?.into_iter().filter(|step| Some(&step.name) != from.as_ref());
                // Dates are written so that the later is the greater text; of two alike, the later name.
                let newest = others.max_by(|a, b| (&a.date, &a.name).cmp(&(&b.date, &b.name)));
                newest.ok_or_else(|| DeviceError::NoRollback("there is no other rollback point".to_owned()))?.name
            }
        };
        Ok(Rollback { from, to })
    }

    /// Goes back. On a storage, only without a Pantavisor: what runs is not ours to say there.
    pub fn rollback(&self, rollback: &Rollback) -> Result<(), DeviceError> {
        if rollback.from.as_ref() == Some(&rollback.to) {
            return Ok(());
        }
        self.switch(&rollback.to, OnPost::RunCommit)
    }

    /// Has a revision run that is there. On a storage, it becomes the current one, only without a Pantavisor.
    pub fn run(&self, rev: &str) -> Result<(), DeviceError> {
        let name = self.resolve(rev)?;
        self.switch(&name, OnPost::Run)
    }

    fn switch(&self, to: &str, how: OnPost) -> Result<(), DeviceError> {
        match &self.back {
            Back::Socket(socket) => socket.run(to, how),
            Back::Stored(stored) if !stored.is_alone() => Err(DeviceError::NotAlone),
            Back::Stored(stored) => {
                let rev = Revision::parse(to).map_err(DeviceError::failed)?;
                let state = stored.state(&rev)?;
                let text = state.to_canonical().map_err(DeviceError::failed)?;
                // The same state under the same name: checked like any other, and made the current one.
                // What its volumes are was checked when it came.
                let checks = Checks { verity: Verity::Trust };
                let on_post = Some(OnPost::Run);
                self.post(Post { rev: Some(rev), state, text, commit_msg: None, on_post, checks })?;
                Ok(())
            }
        }
    }

    fn rollback_points(&self) -> Result<Vec<Step>, DeviceError> {
        if let Back::Stored(stored) = &self.back {
            return stored.rollback_points();
        }
        // The socket shows no `.pv/done`; this is what the daemon says of those that have one.
        let done = |step: &Step| {
            let progress = step.progress.as_deref().and_then(Progress::parse);
            progress.is_some_and(|progress| progress.status == Status::Done)
        };
        Ok(self.steps()?.into_iter().filter(done).collect())
    }
}
