//! What becomes of the files that are in a deployed folder already.
//!
//! | file | deploy | `--clean` |
//! |---|---|---|
//! | of a key of the new state | replaced | replaced |
//! | of a key that only the old state has | goes | goes |
//! | `.pvr`, `.pv`, the pool | kept, but for what a deploy writes | the same |
//! | untracked | kept | goes |
//! | untracked, where the new state has something else | an error | goes |
//!
//! What is kept gets a second name in the new folder; folders are made again with their mode, owner and time.

use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::repo::error::{Context, RepoError, shown};
use crate::repo::working::hash_file;
use crate::state::{Entry, State, clock};
use crate::trails::is_boot_link;

/// What a deploy writes anew in `.pvr`, or what belongs to a command under way.
const OWN: [&str; 5] = ["json", "config", "new", "tmp", "bind"];

/// What is to be done about the files in a folder. Paths are below it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Folders that are made again, each after the one above it.
    folders: Vec<PathBuf>,
    /// Files that are linked over.
    files: Vec<PathBuf>,
    /// Untracked files among them, for people.
    pub(super) kept: Vec<String>,
    /// Files that go, for people: old keys, and with `--clean` what is untracked.
    pub(super) removed: Vec<String>,
    /// Untracked files where the new state has something else, for people.
    in_the_way: Vec<String>,
}

/// The rule.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    /// The state that the folder had.
    pub(super) before: &'a State,
    /// The state that it is to have.
    pub(super) after: &'a State,
    /// The pool, where it lies in the folder; relative.
    pub(super) pool: Option<&'a Path>,
    /// Whether untracked files go.
    pub(super) clean: bool,
}

/// Whether a folder stays.
#[derive(PartialEq, Eq)]
enum Holds {
    /// It has something that stays, or it was empty.
    Something,
    /// All that was in it goes.
    Nothing,
}

impl Rule<'_> {
    /// Looks at `folder`. An untracked file that is in the way is an error.
    pub(super) fn plan(&self, folder: &Path) -> Result<Plan, RepoError> {
        let mut plan = Plan::default();
        self.look(folder, Path::new(""), &mut plan)?;
        for list in [&mut plan.kept, &mut plan.removed, &mut plan.in_the_way] {
            list.sort();
        }
        if plan.in_the_way.is_empty() { Ok(plan) } else { Err(RepoError::InTheWay(plan.in_the_way)) }
    }

    fn look(&self, root: &Path, below: &Path, plan: &mut Plan) -> Result<Holds, RepoError> {
        let folder = root.join(below);
        let (mut entries, mut holds) = (0, Holds::Nothing);
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let path = below.join(entry.file_name());
            entries += 1;
            if self.is_own(&path) {
                continue;
            }
            if entry.file_type().on("look at", &entry.path())?.is_dir() {
                let at = plan.folders.len();
                plan.folders.push(path.clone());
                if self.look(root, &path, plan)? == Holds::Something && !self.takes_place_of_empty(&path) {
                    holds = Holds::Something;
                } else {
                    plan.folders.truncate(at);
                }
            } else if self.file(root, &path, plan)? {
                holds = Holds::Something;
            }
        }
        // With --clean an empty folder of nobody goes; what the state needs is made anyway.
        let empty = entries == 0 && (!self.clean || self.is_spared(below));
        Ok(if empty { Holds::Something } else { holds })
    }

    /// Whether a file stays.
    fn file(&self, root: &Path, path: &Path, plan: &mut Plan) -> Result<bool, RepoError> {
        if self.is_spared(path) {
            plan.files.push(path.to_owned());
            return Ok(true);
        }
        let known = |state: &State| path.to_str().and_then(|key| state.get(key).cloned());
        if known(self.before).is_some() {
            if known(self.after).is_none() {
                plan.removed.push(shown(path));
            }
            return Ok(false);
        }
        if self.clean {
            if known(self.after).is_none() {
                plan.removed.push(shown(path));
            }
            return Ok(false);
        }
        if let Some(entry) = known(self.after) {
            let file = root.join(path);
            let same = fs::symlink_metadata(&file).on("look at", &file)?.is_file()
                && match &entry {
                    Entry::Object(id) => hash_file(&file)? == *id,
                    Entry::Json(value) => {
                        let text = crate::state::canonical::to_canonical(value)?;
                        fs::read(&file).on("read", &file)? == text.as_bytes()
                    }
                };
            if !same {
                plan.in_the_way.push(shown(path));
            }
            return Ok(false);
        }
        if self.collides(path) {
            plan.in_the_way.push(shown(path));
            return Ok(false);
        }
        plan.kept.push(shown(path));
        plan.files.push(path.to_owned());
        Ok(true)
    }

    /// Whether the new state has a file above this path, or files below it.
    fn collides(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).any(|above| self.is_key(above));
        above || self.after.entries().any(|(key, _)| key.folders().any(|folder| Path::new(folder) == path))
    }

    fn is_key(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|key| self.after.get(key).is_some())
    }

    /// An empty folder is no reason against a file.
    fn takes_place_of_empty(&self, path: &Path) -> bool {
        path.ancestors().any(|path| self.is_key(path))
    }

    fn is_own(&self, path: &Path) -> bool {
        let name = |folder: &str| path.strip_prefix(folder).ok().and_then(Path::to_str);
        name(".pvr").is_some_and(|name| OWN.contains(&name)) || name(".pv").is_some_and(is_boot_link)
    }

    /// Whether a path is none of a deploy's business.
    fn is_spared(&self, path: &Path) -> bool {
        path.starts_with(".pvr") || path.starts_with(".pv") || self.pool.is_some_and(|pool| path.starts_with(pool))
    }
}

impl Plan {
    /// Gives what stays its names in `new`. What has one already is left alone.
    pub(super) fn carry(&self, old: &Path, new: &Path) -> Result<(), RepoError> {
        for folder in &self.folders {
            let path = new.join(folder);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.on("create", &path)?,
            }
        }
        for file in &self.files {
            let path = new.join(file);
            match fs::hard_link(old.join(file), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Gone since it was looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !old.join(file).exists() => {}
                result => result.on("link", &path)?,
            }
        }
        // From the inside out: a folder may not let its owner write, and its time changes with what is put in it.
        for folder in self.folders.iter().rev() {
            alike(&old.join(folder), &new.join(folder))?;
        }
        alike(old, new)
    }
}

/// Gives a folder the mode, the owner and the time of another.
fn alike(old: &Path, new: &Path) -> Result<(), RepoError> {
    let like = fs::symlink_metadata(old).on("look at", old)?;
    let is = fs::symlink_metadata(new).on("look at", new)?;
    if (is.uid(), is.gid()) != (like.uid(), like.gid()) {
        chown(new, Some(like.uid()), Some(like.gid())).on("set the owner of", new)?;
    }
    let time = FileTimes::new().set_modified(clock::modified(&like));
    let folder = File::open(new).on("open", new)?;
    folder.set_times(time).on("set the time of", new)?;
    folder.set_permissions(Permissions::from_mode(like.mode() & 0o7777)).on("set the mode of", new)
}
