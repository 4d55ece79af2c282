//! Taking a new revision in.

use super::{Back, Device, DeviceError};
use crate::state::clock;
use crate::state::{ObjectId, Progress, Revision, State};
use crate::trails::Checks;

/// How many names are tried for a revision that may have any.
const TRIES: u32 = 100;

/// What becomes of a revision that has been installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPost {
    /// It is run at once. Without a Pantavisor, it is the current one.
    #[default]
    Run,
    /// It is run by way of a reboot, and becomes a rollback point if it is stable.
    RunCommit,
    /// Nothing, until somebody says so.
    Install,
}

impl OnPost {
    /// The words for it, on command lines and in posts.
    pub const WORDS: [(&'static str, Self); 3] =
        [("run", Self::Run), ("run-commit", Self::RunCommit), ("install", Self::Install)];

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, on_post)| *on_post)
    }
}

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
    /// What becomes of it; `None`: what the device does with all.
    pub on_post: Option<OnPost>,
    /// What it has to pass.
    pub checks: Checks,
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
    /// Checks a revision and installs it: whole, durable, and only if all its objects are here. This is the one way in, for
    /// both back ends. The same state under the same name again is no change and no error.
    pub fn post(&self, post: Post) -> Result<Posted, DeviceError> {
        let sha = post.state.sha().map_err(DeviceError::failed)?;
        let rev = match post.rev.clone() {
            Some(rev) => {
                self.install(&rev, &post)?;
                rev
            }
            None => self.install_anywhere(&sha, &post)?,
        };
        let (commit_msg, progress) = match &self.back {
            // It is there: that this cannot be read now is no failure of the post.
            Back::Stored(stored) => stored
                .told(&rev)
                .unwrap_or_else(|_| (post.commit_msg.clone().unwrap_or_default(), Progress::new().to_bytes())),
            Back::Socket(socket) => socket.told(&rev)?,
        };
        let progress = String::from_utf8_lossy(&progress).into_owned();
        Ok(Posted { sha, state_text: post.text, commit_msg, progress, rev })
    }

    fn install(&self, rev: &Revision, post: &Post) -> Result<(), DeviceError> {
        let asked = (&self.demands, post.checks);
        let on_post = post.on_post.unwrap_or(self.on_post);
        let message = post.commit_msg.as_deref();
        match &self.back {
            Back::Stored(stored) => stored.install(rev, &post.state, message, on_post != OnPost::Install, asked),
            Back::Socket(socket) => socket.install(rev, &post.state, &post.text, message, on_post, asked),
        }
    }

    /// Under `locals/pvr-<unix time>-<first 8 digits of the state's sha256>`. Should another state have got that
    /// name in the same second, a number follows.
    fn install_anywhere(&self, sha: &ObjectId, post: &Post) -> Result<Revision, DeviceError> {
        let now = clock::seconds(clock::now());
        let base = format!("pvr-{now}-{}", &sha.to_string()[..8]);
        let mut taken = None;
        for number in 1..=TRIES {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            let rev = Revision::local(&name).map_err(DeviceError::failed)?;
            let other = match &self.back {
                Back::Stored(stored) => stored.has_another_state(&rev, &post.state)?,
                Back::Socket(socket) => socket.has_another_state(&rev, &post.state)?,
            };
            if other {
                taken = Some(rev);
                continue;
            }
            match self.install(&rev, post) {
                Err(DeviceError::Exists(_) | DeviceError::Running(_) | DeviceError::Damaged(_)) => taken = Some(rev),
                Err(error) => return Err(error),
                Ok(()) => return Ok(rev),
            }
        }
        Err(taken.map_or_else(|| DeviceError::failed("no name was tried"), DeviceError::Exists))
    }
}
