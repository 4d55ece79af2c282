//! What becomes of a revision, for those who follow it.

use super::{Back, Device, DeviceError};
use crate::state::{Progress, Revision, Status};

/// What a revision says of itself, and what is in its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// What became of it; none: nothing that could be read says so.
    pub progress: Option<Progress>,
    /// A revision that came later and has been begun, while nothing has been done about this one. If it was told to run a moment
    /// ago, it may go all the same; whoever cares looks again after a while.
    pub overtaken: Option<String>,
}

impl Device {
    /// What becomes of a revision, by the name that a client gave it; with the name that it has.
    pub fn first_outlook(&self, text: &str) -> Result<(String, Outlook), DeviceError> {
        let plain = matches!(self.back, Back::Socket(_)) && Revision::parse(text).is_ok();
        // The daemon lists all revisions to say whether there is one, and says so of its progress as well.
        let name = if plain { text.to_owned() } else { self.resolve(text)? };
        let outlook = self.outlook(&name, true)?;
        Ok((name, outlook))
    }

    /// What becomes of a revision, by its name as [`resolve`](Self::resolve) has it. `around`: looks for what overtakes it, too, which
    /// lists all revisions.
    pub fn outlook(&self, rev: &str, around: bool) -> Result<Outlook, DeviceError> {
        let progress = match &self.back {
            Back::Stored(stored) => stored.progress(rev)?,
            Back::Socket(socket) => socket.progress_in_short(rev)?,
        };
        let waits = progress.as_ref().is_some_and(|progress| progress.status.is_waiting());
        let overtaken = if around && waits { self.overtaking(rev)? } else { None };
        Ok(Outlook { progress, overtaken })
    }

    /// The newest revision that was made after this one and has been begun.
    fn overtaking(&self, rev: &str) -> Result<Option<String>, DeviceError> {
        let steps = self.steps()?;
        let Some(own) = steps.iter().find(|step| step.name == rev) else { return Ok(None) };
        let begun = |progress: Progress| {
            progress.status.is_in_progress() && progress.status != Status::Queued
                || matches!(progress.status, Status::Updated | Status::Done)
        };
        // Dates are written so that the later is the greater text.
        let newer = steps.iter().filter(|step| step.date > own.date);
        let newer = newer.filter(|step| step.progress.as_deref().and_then(Progress::parse).is_some_and(begun));
        Ok(newer.max_by(|a, b| (&a.date, &a.name).cmp(&(&b.date, &b.name))).map(|step| step.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Runner;
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    /// A revision that says this, made at that second.
    fn revision(root: &Path, name: &str, status: &str, second: u64) {
        let folder = root.join("trails").join(name);
        fs::create_dir_all(folder.join(".pv")).unwrap();
        fs::write(folder.join(".pv/progress"), format!(r#"{{"status":"{status}"}}"#)).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(second);
        fs::File::open(folder).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_waits_is_overtaken_by_what_came_later_and_has_begun() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let storage = crate::trails::factory::make(root).unwrap();
        revision(root, "0", "DONE", 50);
        let device = Device::open(storage, Runner::Pantavisor).unwrap();
        let overtaken = |around| device.outlook("locals/a", around).unwrap().overtaken;
        revision(root, "locals/a", "NEW", 100);
        assert_eq!(overtaken(true), None, "what is older does not");
        for (status, by) in [
            ("NEW", None),
            ("QUEUED", None),
            ("WONTGO", None),
            ("ERROR", None),
            ("TESTING", Some("locals/b")),
            ("UPDATED", Some("locals/b")),
            ("DONE", Some("locals/b")),
        ] {
            revision(root, "locals/b", status, 101);
            assert_eq!(overtaken(true).as_deref(), by, "{status}");
            assert_eq!(overtaken(false), None);
        }
        revision(root, "locals/a", "TESTING", 100);
        assert_eq!(overtaken(true), None, "it has begun");
        revision(root, "locals/a", "QUEUED", 101);
        assert_eq!(overtaken(true), None, "of the same second nobody knows");
        assert_eq!(device.outlook("locals/a", true).unwrap().progress.unwrap().status, Status::Queued);
        fs::write(root.join("trails/locals/a/.pv/progress"), "").unwrap();
        assert_eq!(device.outlook("locals/a", true).unwrap(), Outlook::default());
        assert!(matches!(device.outlook("locals/c", true), Err(DeviceError::NoSuchRevision(_))));
    }
}
