//! Taking a new revision in.

use super::{Device, DeviceError, Runner};
use crate::state::clock;
use crate::state::{ObjectId, Revision, State};
use crate::trails::{Install, Progress, RevisionName, install_if};

/// How many names are tried for a revision that may have any.
const TRIES: u32 = 100;

/// A revision to install.
#[derive(Debug)]
pub struct Post {
    /// Its name; `None`: the device makes one.
    pub rev: Option<Revision>,
    /// Checked.
    pub state: State,
    /// Its canonical form.
    pub text: String,
    /// What its author says of it.
    pub commit_msg: Option<String>,
}

/// A revision that was installed, or was there already.
#[derive(Debug)]
pub struct Posted {
    /// Its name.
    pub rev: Revision,
    /// The sha256 of its canonical state.
    pub sha: ObjectId,
    /// Its canonical state.
    pub state_text: String,
    /// What its author says of it.
    pub commit_msg: String,
    /// What became of it, as JSON.
    pub progress: String,
}

impl Device {
    /// Installs a revision: whole, durable, and only if all its objects are here. Stand-alone it is then the
    /// current one. The same state under the same name again is no change and no error.
    pub fn post(&self, post: Post) -> Result<Posted, DeviceError> {
        let Post { rev, state, text, commit_msg } = post;
        let sha = state.sha().map_err(DeviceError::failed)?;
        let rev = match rev {
            Some(rev) => {
                self.install(&rev, &state, commit_msg.as_deref())?;
                rev
            }
            None => self.install_anywhere(&sha, &state, commit_msg.as_deref())?,
        };
        let name = RevisionName::from(rev.clone());
        let progress = self.storage.progress(&name)?.unwrap_or_else(Progress::new).to_bytes();
        Ok(Posted {
            sha,
            state_text: text,
            commit_msg: self.storage.commit_msg(&name)?,
            progress: String::from_utf8_lossy(&progress).into_owned(),
            rev,
        })
    }

    fn install(&self, rev: &Revision, state: &State, commit_msg: Option<&str>) -> Result<(), DeviceError> {
        let make_current = self.runner == Runner::Nobody;
        install_if(&self.storage, Install { rev, state, commit_msg, make_current }, &self.demands)?;
        Ok(())
    }

    /// Under `locals/pvr-<unix time>-<first 8 digits of the state's sha256>`. Should another state have got that
    /// name in the same second, a number follows.
    fn install_anywhere(&self, sha: &ObjectId, state: &State, msg: Option<&str>) -> Result<Revision, DeviceError> {
        let now = clock::seconds(clock::now());
        let base = format!("pvr-{now}-{}", &sha.to_string()[..8]);
        let mut taken = None;
        for number in 1..=TRIES {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            let rev = Revision::local(&name).map_err(DeviceError::failed)?;
            let name = RevisionName::from(rev.clone());
            let other = self.storage.state(&name)?.is_some_and(|there| there != *state);
            if other {
                taken = Some(rev);
                continue;
            }
            match self.install(&rev, state, msg) {
                Err(DeviceError::Exists(_) | DeviceError::Running(_) | DeviceError::Damaged(_)) => taken = Some(rev),
                Err(error) => return Err(error),
                Ok(()) => return Ok(rev),
            }
        }
        Err(taken.map_or_else(|| DeviceError::failed("no name was tried"), DeviceError::Exists))
    }
}
