//! Reading revisions: what is there, what runs, what it consists of.

use super::Storage;
use super::boot::BootLoader;
use super::error::TrailsError;
use super::name::RevisionName;
use crate::state::Progress;
use crate::state::clock;
use crate::state::{Spec, State};
use crate::store::{Absent, Context, StoreError};
use rustix::fs::{Mode, OFlags, open};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

/// No progress or commit message is longer; what is more of it is not read.
const SMALL_FILE: usize = 64 << 10;

/// A revision as listings show it.
#[derive(Debug, Clone)]
pub struct StepInfo {
    /// Its name.
    pub name: RevisionName,
    /// When its folder was last changed.
    pub date: SystemTime,
    /// What its author says of it; empty if nothing.
    pub commit_msg: String,
    /// What became of it.
    pub progress: Option<Progress>,
}

impl Storage {
    /// The running revision: where `trails/current` points. None if it is absent or points nowhere.
    pub fn current(&self) -> Result<Option<RevisionName>, TrailsError> {
        let link = self.trails_dir().join("current");
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput) => {
                return Ok(None);
            }
            Err(e) => return Err(e).on("read", &link)?,
        };
        // Relative as the daemon writes it; an absolute one into these trails means the same.
        let target = target.strip_prefix(self.trails_dir()).unwrap_or(&target);
        let name = RevisionName::of_path(target.as_os_str().as_bytes());
        Ok(name.filter(|name| self.dir(name).is_dir()))
    }

    /// Whether `trails/current` is there and names nothing.
    pub fn current_is_dangling(&self) -> bool {
        let there = fs::symlink_metadata(self.trails_dir().join("current")).is_ok();
        there && !matches!(self.current(), Ok(Some(_)))
    }

    /// What the boot loader has been told.
    pub fn boot_loader(&self) -> Result<BootLoader, TrailsError> {
        Ok(BootLoader::read(&self.root)?)
    }

    /// The revision that an update is under way to, if any: one being tried, or one whose progress says so.
    pub fn update_in_progress(&self) -> Result<Option<RevisionName>, TrailsError> {
        if let Some(trying) = self.boot_loader()?.trying {
            return Ok(Some(trying));
        }
        for name in self.names()? {
            if self.progress(&name)?.is_some_and(|progress| progress.status.is_in_progress()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// What a text from outside names: a revision that exists (a foreign one in its escaped form), or `current`.
    pub fn resolve(&self, text: &str) -> Result<Option<RevisionName>, TrailsError> {
        if text == "current" {
            return self.current();
        }
        Ok(RevisionName::parse(text).filter(|name| self.is_folder(name)))
    }

    /// A symlink under a revision's name is no revision.
    pub(super) fn is_folder(&self, name: &RevisionName) -> bool {
        fs::symlink_metadata(self.dir(name)).is_ok_and(|meta| meta.is_dir())
    }

    /// The names of all revisions: those in `trails/` in order, then those in `trails/locals/`.
    pub fn names(&self) -> Result<Vec<RevisionName>, TrailsError> {
        let mut names = self.names_in(false)?;
        names.extend(self.names_in(true)?);
        Ok(names)
    }

    /// The names of the revisions in `trails/` or, if `local`, in `trails/locals/`, in order.
    pub(super) fn names_in(&self, local: bool) -> Result<Vec<RevisionName>, TrailsError> {
        let folder = if local { self.trails_dir().join("locals") } else { self.trails_dir() };
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).absent_ok().on("list", &folder)?.into_iter().flatten() {
            let entry = entry.on("list", &folder)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(RevisionName::of_folder(local, &entry.file_name()));
            }
        }
        found.sort_by_key(|name| name.path());
        Ok(found)
    }

    /// All revisions, as [`names`](Storage::names) orders them. One that vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Vec<StepInfo>, TrailsError> {
        let mut steps = Vec::new();
        for name in self.names()? {
            steps.extend(self.step(&name)?);
        }
        Ok(steps)
    }

    /// One revision as listings show it. None if there is none.
    pub fn step(&self, name: &RevisionName) -> Result<Option<StepInfo>, TrailsError> {
        let dir = self.dir(name);
        let Some(meta) = fs::symlink_metadata(&dir).absent_ok().on("look at", &dir)? else {
            return Ok(None);
        };
        let date = clock::modified(&meta);
        Ok(Some(StepInfo {
            name: name.clone(),
            date,
            commit_msg: self.commit_msg(name)?,
            progress: self.progress(name)?,
        }))
    }

    /// The bytes of a revision's state, as they are. None if the revision or its state is absent.
    pub fn state_bytes(&self, name: &RevisionName) -> Result<Option<Vec<u8>>, TrailsError> {
        let limit = self.json_limits().bytes;
        let path = self.dir(name).join(".pvr/json");
        match read_small(&path, limit + 1)? {
            Some(bytes) if bytes.len() > limit => Err(TrailsError::TooLarge { path, limit }),
            other => Ok(other),
        }
    }

    /// A revision's state, parsed and checked.
    pub fn state(&self, name: &RevisionName) -> Result<Option<State>, TrailsError> {
        let Some(bytes) = self.state_bytes(name)? else {
            return Ok(None);
        };
        let refuse = |source| TrailsError::State { name: name.clone(), source: Box::new(source) };
        State::parse_strict(&bytes, self.json_limits(), Spec::Any).map(Some).map_err(refuse)
    }

    /// What became of a revision. None if nothing (readable) says so.
    pub fn progress(&self, name: &RevisionName) -> Result<Option<Progress>, TrailsError> {
        let bytes = read_small(&self.dir(name).join(".pv/progress"), SMALL_FILE)?;
        Ok(bytes.and_then(|bytes| Progress::parse(&bytes)))
    }

    /// What the author of a revision says of it.
    pub fn commit_msg(&self, name: &RevisionName) -> Result<String, TrailsError> {
        let bytes = read_small(&self.dir(name).join(".pv/commitmsg"), SMALL_FILE)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }

    /// Whether a revision is a rollback point.
    pub fn is_done(&self, name: &RevisionName) -> bool {
        self.dir(name).join(".pv/done").exists()
    }

    /// The device's id at the hub, from `config/pantahub.config`; None if it was never claimed.
    pub fn device_id(&self) -> Result<Option<String>, TrailsError> {
        let bytes = read_small(&self.root.join("config/pantahub.config"), SMALL_FILE)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let id = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            matches!(key.trim(), "creds.id" | "PH_CREDS_ID").then(|| value.trim())
        });
        // It goes into records and headers.
        let plain = |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        Ok(id.filter(plain).map(str::to_owned))
    }
}

/// The first `limit` bytes of a regular file. None if there is no such file.
pub(super) fn read_small(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match open(path, flags, Mode::empty()) {
        Ok(fd) => fd.into(),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(e).on("open", path),
    };
    if !file.metadata().on("look at", path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes).on("read", path)?;
    Ok(Some(bytes))
}
