//! Revisions: listed, read, written, followed.

use super::{Control, ControlError, Limited, MAX_COMMIT_MESSAGE, MAX_LIST, Sent, StepName};
use crate::net::Method;
use crate::state::{Progress, Revision};
use serde_json::Value;

/// Largest progress that is read. The daemon puts at most 4 KiB of logs into one.
const MAX_PROGRESS: usize = 64 * 1024;

/// A revision in the daemon's list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedStep {
    /// Its name, as the folder is called.
    pub name: String,
    /// When its folder was last changed: local time, whatever the `Z` at its end says.
    pub date: String,
    /// What its author says of it; empty where it is longer than 512 bytes.
    pub commit_message: String,
    /// What became of it; none where that is longer than 512 bytes, or no progress.
    pub progress: Option<Progress>,
}

impl ListedStep {
    /// Reads a list as the daemon writes it.
    pub fn parse_list(body: &[u8]) -> Result<Vec<Self>, ControlError> {
        let list = super::call::json(body)?;
        let Value::Array(items) = list else {
            return Err(ControlError::BadAnswer("the list of revisions is no list".to_owned()));
        };
        let step = |item: Value| {
            let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let name = text("name");
            if name.is_empty() {
                return Err(ControlError::BadAnswer("a revision without a name".to_owned()));
            }
            let progress = item.get("progress").and_then(|value| Progress::parse(value.to_string().as_bytes()));
            Ok(Self { name, date: text("date"), commit_message: text("commitmsg"), progress })
        };
        items.into_iter().map(step).collect()
    }
}

impl Control {
    /// All revisions.
    pub fn steps(&self) -> Result<Vec<ListedStep>, ControlError> {
        ListedStep::parse_list(&self.get("/steps", MAX_LIST)?)
    }

    /// The state of a revision, byte for byte, of at most `limit` bytes.
    pub fn step(&self, name: &StepName, limit: usize) -> Result<Vec<u8>, ControlError> {
        self.get(&format!("/steps/{name}"), limit)
    }

    /// Whether there is a state of that name.
    pub fn has_step(&self, name: &StepName) -> Result<bool, ControlError> {
        Ok(self.steps()?.iter().any(|step| step.name == name.as_str()))
    }

    /// Writes the state of a revision `locals/<name>`.
    ///
    /// Whatever has that name is replaced, **and the whole revision is gone if the daemon refuses the state**, even the
    /// running one. Callers see to it that the name is free, or theirs.
    pub fn put_step(&self, revision: &Revision, state: &[u8]) -> Result<(), ControlError> {
        if revision.local_name().is_none() {
            return Err(ControlError::NotLocal(revision.to_string()));
        }
        if state.is_empty() {
            return Err(ControlError::Empty(Limited::State));
        }
        let wait = self.upload_wait(state.len() as u64);
        let target = format!("/steps/{revision}");
        self.raw(Method::Put, &target, Sent::Bytes(state), wait, MAX_LIST)?.expect_ok(&revision.to_string())?;
        Ok(())
    }

    /// The same, unless the revision that has the name runs, ran well, or is under way.
    pub fn replace_step(&self, revision: &Revision, state: &[u8]) -> Result<(), ControlError> {
        use crate::state::Status::{Error, New, WontGo};
        let in_use = match self.progress(&StepName::from(revision)) {
            Ok(progress) => !matches!(progress.status, New | WontGo | Error),
            Err(ControlError::NotFound { .. }) => false,
            // What a power cut left of a progress. Of the running revision, the device says so itself.
            Err(ControlError::BadAnswer(_)) => self.running_revision()?.as_deref() == Some(&*revision.to_string()),
            Err(error) => return Err(error),
        };
        if in_use {
            return Err(ControlError::InUse(revision.to_string()));
        }
        self.put_step(revision, state)
    }

    /// The name of the running revision, where the device says it.
    pub fn running_revision(&self) -> Result<Option<String>, ControlError> {
        let meta = self.metadata(super::Meta::Device)?;
        Ok(meta.get("pantavisor.revision").and_then(Value::as_str).map(str::to_owned))
    }

    /// What became of a revision.
    pub fn progress(&self, name: &StepName) -> Result<Progress, ControlError> {
        let body = self.get(&format!("/steps/{name}/progress"), MAX_PROGRESS)?;
        Progress::parse(&body).ok_or_else(|| ControlError::BadAnswer("a progress that is none".to_owned()))
    }

    /// Says something about a revision, in 1 to 256 bytes. The daemon makes a folder for a revision that does not exist.
    pub fn put_commit_message(&self, revision: &Revision, message: &str) -> Result<(), ControlError> {
        super::within(message.len(), MAX_COMMIT_MESSAGE, Limited::CommitMessage)?;
        self.send(Method::Put, &format!("/steps/{revision}/commitmsg"), message.as_bytes())?;
        Ok(())
    }
}
