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
    ///
    /// It puts the file of each progress in between as it is. One that a power cut has cut short must not take the whole
    /// list with it: of such a list, each item is read by itself, and of one that cannot be, its name.
    pub fn parse_list(body: &[u8]) -> Result<Vec<Self>, ControlError> {
        match super::call::json(body) {
            Ok(Value::Array(items)) => items.into_iter().map(Self::parse).collect(),
            Ok(_) => Err(ControlError::BadAnswer("the list of revisions is no list".to_owned())),
            Err(error) => Self::one_by_one(body).ok_or(error)?,
        }
    }

    fn parse(item: Value) -> Result<Self, ControlError> {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("name");
        if name.is_empty() {
            return Err(ControlError::BadAnswer("a revision without a name".to_owned()));
        }
        let progress = item.get("progress").and_then(|value| Progress::parse(value.to_string().as_bytes()));
        Ok(Self { name, date: text("date"), commit_message: text("commitmsg"), progress })
    }

    /// `None`: this is no list. Quotes in messages and in logs are escaped, so nothing within an item looks like the beginning
    /// of one.
    fn one_by_one(body: &[u8]) -> Option<Result<Vec<Self>, ControlError>> {
        const BEGIN: &str = "{\"name\":\"";
        let body = String::from_utf8_lossy(body);
        let items = body.trim().strip_prefix('[')?.strip_suffix(']')?.strip_prefix(BEGIN)?.split(BEGIN);
        let item = |rest: &str| {
            let whole = format!("{BEGIN}{}", rest.strip_suffix(',').unwrap_or(rest));
            let cut = rest.split('"').next().unwrap_or_default();
            let item = serde_json::from_str(&whole).unwrap_or_else(|_| serde_json::json!({ "name": cut }));
            Self::parse(item)
        };
        Some(items.map(item).collect())
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

    /// Has a revision `locals/<name>` removed, with all that a power cut may have left in its folder: nothing of it is
    /// looked at again when it is run. There is no call for that; a state that is none takes the revision of its name with it.
    /// The same holds as for [`put_step`](Self::put_step).
    pub fn remove_step(&self, revision: &Revision) -> Result<(), ControlError> {
        match self.put_step(revision, b"{}") {
            Err(ControlError::BadState(_)) => Ok(()),
            other => other,
        }
    }

    /// As [`put_step`](Self::put_step), unless the revision that has the name runs, ran well, or is under way.
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

#[cfg(test)]
mod tests {
    use super::ListedStep;

    /// A list of one such revision was no list any more, and nothing could be posted until somebody removed it by hand.
    #[test]
    fn a_progress_that_was_cut_short_took_the_list_with_it() {
        let item = |name: &str, progress: &str| {
            format!(
                r#"{{"name":"{name}", "date":"2026-01-01T00:00:00Z", "commitmsg":"a \u0022b", "progress":{progress}}}"#
            )
        };
        let whole = r#"{"status":"DONE","status-msg":"{\"name\":\"x","progress":100,"retries":0}"#;
        for cut in [r#"{"status":"NE"#, "{", r#"{"status":"NEW","#, r#""#] {
            for order in [["0", "locals/x", "locals/y"], ["locals/x", "0", "locals/y"], ["0", "locals/y", "locals/x"]] {
                let items = order.map(|name| item(name, if name == "locals/x" { cut } else { whole }));
                let list = ListedStep::parse_list(format!("[{}]", items.join(",")).as_bytes()).unwrap();
                let names: Vec<_> = list.iter().map(|step| step.name.as_str()).collect();
                assert_eq!(names, order, "{cut}");
                for step in list {
                    assert_eq!(step.progress.is_some(), step.name != "locals/x", "{cut}: {step:?}");
                    assert_eq!(step.commit_message == "a \"b", step.name != "locals/x", "{cut}: {step:?}");
                }
            }
        }
        for none in ["", "[", "{}", "[1]", "<html>", r#"[{"name":"", "progress":{]"#] {
            assert!(ListedStep::parse_list(none.as_bytes()).is_err(), "{none}");
        }
        assert_eq!(ListedStep::parse_list(b"[]").unwrap(), []);
    }
}
