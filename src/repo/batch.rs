//! Several files of a working copy that are replaced together: all of them, or none.
//!
//! ```text
//! .pvr/batch/      durable before it has this name; from then on it happens, whoever comes next
//!     plan         canonical JSON: [{"path":"app/run.json","was":"<sha256>"},…]; null: there was no file
//!     0, 1, …      the new files, in this order; each is moved into its place
//!     folder0, …   empty, for those that are missing above them: a disk that is full has no room for them later
//! ```
//!
//! Whoever takes the lock of the repository, and every command that starts in its folder, ends what another has begun. A
//! file that somebody has changed since it was planned is not replaced: before a batch has its name, that is an error;
//! after it, what the other wrote stays.
//!
//! In a dry run the new files have no names, and are gone with the process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{Context, RepoError};
use super::files::{Lock, create, read_if_there, rename, sync_parent, unnamed};
use super::working::hash_file;
use super::{Repo, Status};
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, ObjectId, StatePath, Value};
use crate::store;

const NAME: &str = "batch";
const PLAN: &str = "plan";
/// The list of added files, as a plan names it. No key of a state can be that.
const INDEX: &str = ".pvr/new";

/// What is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of the working tree.
    Key(StatePath),
    /// `.pvr/new`.
    Index,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        if text == INDEX { Some(Self::Index) } else { StatePath::parse(text).ok().map(Self::Key) }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Key(key) => key.as_str(),
            Self::Index => INDEX,
        }
    }

    fn path(&self, root: &Path) -> PathBuf {
        root.join(self.as_str())
    }
}

/// A step of the plan: what is replaced, and what it was.
type Entry = (Target, Option<ObjectId>);

/// Files in the making. Dropped, nothing has happened.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    repo: &'a Repo,
    /// None in a dry run.
    lock: Option<&'a Lock>,
    /// Where the files are made; in a dry run, what messages name.
    folder: PathBuf,
    entries: Vec<Entry>,
    /// What each of them becomes, as far as that is known.
    becomes: Vec<Option<ObjectId>>,
}

impl<'a> Batch<'a> {
    /// Without a lock it is a dry run.
    pub(super) fn begin(repo: &'a Repo, lock: Option<&'a Lock>) -> Result<Self, RepoError> {
        let folder = lock.map_or_else(|| repo.pvr.clone(), Lock::temporary);
        if lock.is_some() {
            store::make_folder(&folder, 0o700).on("create", &folder)?;
        }
        Ok(Self { repo, lock, folder, entries: Vec::new(), becomes: Vec::new() })
    }

    /// A new file for `target`. What is there now may not change until the end.
    pub(super) fn file(&mut self, target: Target, mode: u32) -> Result<(File, PathBuf), RepoError> {
        let was = sha_if_there(&target.path(&self.repo.root))?;
        self.open(target, was, mode)
    }

    /// Replaces `target`, which held the bytes `was`.
    pub(super) fn write(
        &mut self,
        target: Target,
        was: Option<&[u8]>,
        bytes: &[u8],
        mode: u32,
    ) -> Result<(), RepoError> {
        let was = was.map(store::hash).transpose().on("read", &self.folder)?;
        let (mut file, path) = self.open(target, was, mode)?;
        self.becomes(store::hash(bytes).on("read", &self.folder)?);
        file.write_all(bytes).on("write", &path)
    }

    /// What the last file has become.
    pub(super) fn becomes(&mut self, sha: ObjectId) {
        if let Some(last) = self.becomes.last_mut() {
            *last = Some(sha);
        }
    }

    fn open(&mut self, target: Target, was: Option<ObjectId>, mode: u32) -> Result<(File, PathBuf), RepoError> {
        if self.entries.iter().any(|(other, _)| *other == target) {
            let why = "two volumes have it for one of their files".to_owned();
            return Err(RepoError::Container { path: target.path(&self.repo.root), why });
        }
        let path = self.folder.join(self.entries.len().to_string());
        let file = match self.lock {
            Some(_) => {
                fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).on("create", &path)?
            }
            None => unnamed(&self.folder)?,
        };
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode)).on("set the mode of", &path)?;
        self.entries.push((target, was));
        self.becomes.push(None);
        Ok((file, path))
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many folders above them are not there.
    fn missing_folders(&self) -> usize {
        let keys = self.entries.iter().filter_map(|(target, _)| match target {
            Target::Key(key) => Some(key),
            Target::Index => None,
        });
        let folders = keys.flat_map(StatePath::folders).map(|folder| self.repo.root.join(folder));
        folders.filter(|folder| fs::symlink_metadata(folder).is_err()).collect::<BTreeSet<_>>().len()
    }

    /// Forgets all but the first of them.
    pub(super) fn truncate(&mut self, len: usize) -> Result<(), RepoError> {
        for index in (len..self.entries.len()).filter(|_| self.lock.is_some()) {
            let path = self.folder.join(index.to_string());
            fs::remove_file(&path).on("remove", &path)?;
        }
        self.entries.truncate(len);
        self.becomes.truncate(len);
        Ok(())
    }

    /// The files of the working tree that are, or would be, others than before.
    fn changes(&self) -> Status {
        let mut changes = Status::default();
        for ((target, was), becomes) in self.entries.iter().zip(&self.becomes) {
            match (target, was) {
                (Target::Index, _) => {}
                (_, was) if was.is_some() && was == becomes => {}
                (Target::Key(key), None) => changes.added.push(key.to_string()),
                (Target::Key(key), Some(_)) => changes.changed.push(key.to_string()),
            }
        }
        changes.added.sort();
        changes.changed.sort();
        changes
    }

    /// Puts all files into their places, durably; in a dry run, only looks whether that can be. Which files that changes.
    pub(super) fn commit(self) -> Result<Status, RepoError> {
        let Repo { root, pvr, .. } = self.repo;
        let changes = self.changes();
        for (target, was) in &self.entries {
            let path = target.path(root);
            if sha_if_there(&path)? != *was {
                return Err(RepoError::ChangedMeanwhile(path));
            }
            folders(root, target, Missing::IsFine)?;
        }
        let Some(lock) = self.lock else { return Ok(changes) };
        let plan = self.folder.join(PLAN);
        create(&plan, 0o600)?.write_all(write_plan(&self.entries)?.as_bytes()).on("write", &plan)?;
        for index in 0..self.missing_folders() {
            make_folder(&spare(&self.folder, index))?;
        }
        for entry in fs::read_dir(&self.folder).on("list", &self.folder)? {
            let path = entry.on("list", &self.folder)?.path();
            File::open(&path).and_then(|file| file.sync_all()).on("make durable", &path)?;
        }
        sync_parent(&plan)?;
        let batch = pvr.join(NAME);
        rename(&self.folder, &batch)?;
        sync_parent(&batch).inspect_err(|_| {
            let _ = rename(&batch, &self.folder);
        })?;
        // From here on it happens: by whoever comes next, if not now.
        finish(pvr, lock).or_else(|_| finish(pvr, lock))?;
        Ok(changes)
    }
}

/// Ends what another process has begun in the repository in `root`.
pub(super) fn settle(root: &Path) -> Result<(), RepoError> {
    let pvr = root.join(".pvr");
    if !pvr.join(NAME).is_dir() {
        return Ok(());
    }
    match Lock::take(&pvr) {
        Ok(_) => Ok(()),
        // Whoever may not write looks at what is there.
        Err(RepoError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Moves what is left of a batch into its place. `lock` is that of the repository whose `.pvr` this is.
pub(super) fn finish(pvr: &Path, lock: &Lock) -> Result<(), RepoError> {
    let batch = pvr.join(NAME);
    if !batch.is_dir() {
        return Ok(());
    }
    let root = pvr.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folders_to_sync = BTreeSet::new();
    for (index, (target, was)) in read_plan(&batch.join(PLAN))?.into_iter().enumerate() {
        let (new, path) = (batch.join(index.to_string()), target.path(root));
        if new.exists() && sha_if_there(&path)? == was {
            folders(root, &target, Missing::IsMade(&batch))?;
            rename(&new, &path)?;
        }
        // Also of what is there already: whoever moved it may not have come to this, or may have failed.
        folders_to_sync.extend(path.parent().map(Path::to_owned));
    }
    for folder in folders_to_sync.iter().filter(|folder| folder.is_dir()) {
        File::open(folder).and_then(|folder| folder.sync_all()).on("make durable", folder)?;
    }
    // In one step: what is half removed must not be taken for a batch.
    let done = lock.temporary();
    rename(&batch, &done)?;
    sync_parent(&batch)?;
    // What stays of it goes with the temporaries.
    fs::remove_dir_all(&done).ok();
    Ok(())
}

/// What becomes of folders that are not there.
#[derive(Clone, Copy)]
enum Missing<'a> {
    IsFine,
    /// They are moved here from this batch.
    IsMade(&'a Path),
}

/// Looks at the folders above a file. A symbolic link among them would lead out of the tree.
fn folders(root: &Path, target: &Target, missing: Missing<'_>) -> Result<(), RepoError> {
    let Target::Key(key) = target else { return Ok(()) };
    for folder in key.folders() {
        let folder = root.join(folder);
        match fs::symlink_metadata(&folder) {
            Ok(metadata) if metadata.is_symlink() => return Err(RepoError::LinkInTheWay(folder)),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)).on("enter", &folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Missing::IsMade(batch) = missing {
                    // One that somebody has removed since has none.
                    match (0..).map(|index| spare(batch, index)).take_while(|spare| spare.exists()).last() {
                        Some(spare) => rename(&spare, &folder)?,
                        None => make_folder(&folder)?,
                    }
                    sync_parent(&folder)?;
                }
            }
            Err(error) => return Err(error).on("look at", &folder),
        }
    }
    Ok(())
}

fn spare(batch: &Path, index: usize) -> PathBuf {
    batch.join(format!("folder{index}"))
}

fn make_folder(path: &Path) -> Result<(), RepoError> {
    store::make_folder(path, 0o755).on("create", path)
}

fn sha_if_there(path: &Path) -> Result<Option<ObjectId>, RepoError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("look at", path),
        Ok(_) => match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => hash_file(path).map(Some),
            _ => Err(RepoError::NotAFile(path.to_owned())),
        },
    }
}

fn write_plan(entries: &[Entry]) -> Result<String, RepoError> {
    let step = |(target, was): &Entry| {
        let was = was.map_or(Value::Null, |was| Value::from(was.to_string()));
        let members = [("path".to_owned(), target.as_str().into()), ("was".to_owned(), was)];
        Value::Object(Object::from(members))
    };
    Ok(to_canonical(&Value::Array(entries.iter().map(step).collect()))?)
}

fn read_plan(path: &Path) -> Result<Vec<Entry>, RepoError> {
    let damaged = |why: &str| RepoError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let bytes = read_if_there(path)?.ok_or_else(|| damaged("it is not there"))?;
    let value = parse_strict(&bytes, &JsonLimits::default()).map_err(|error| damaged(&error.to_string()))?;
    let Value::Array(steps) = value else { return Err(damaged("it is not a list")) };
    let step = |step: &Value| {
        let target = Target::parse(step.get("path")?.as_str()?)?;
        match step.get("was")? {
            Value::Null => Some((target, None)),
            was => Some((target, Some(ObjectId::parse(was.as_str()?).ok()?))),
        }
    };
    steps.iter().map(|value| step(value).ok_or_else(|| damaged("it has a step that is none"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(root: &Path) -> Repo {
        let repo = Repo::init(root, "x", "objects").unwrap();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/old"), "old").unwrap();
        repo
    }

    fn key(text: &str) -> Target {
        Target::Key(StatePath::parse(text).unwrap())
    }

    fn batch<'a>(repo: &'a Repo, lock: &'a Lock) -> Batch<'a> {
        filled(Batch::begin(repo, Some(lock)).unwrap())
    }

    fn filled(mut batch: Batch<'_>) -> Batch<'_> {
        batch.write(key("a/old"), Some(b"old"), b"new", 0o644).unwrap();
        batch.write(key("b/c/d"), None, b"made", 0o600).unwrap();
        batch.write(Target::Index, None, b"{}", 0o644).unwrap();
        batch
    }

    fn found(root: &Path) -> [Option<String>; 3] {
        ["a/old", "b/c/d", ".pvr/new"].map(|path| fs::read_to_string(root.join(path)).ok())
    }

    #[test]
    fn all_files_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let repo = repo(root);
        let lock = repo.lock().unwrap();
        drop(batch(&repo, &lock));
        let before = [Some("old".to_owned()), None, None];
        assert_eq!(found(root), before);

        let late = batch(&repo, &lock);
        fs::write(root.join("b"), "in the way").unwrap();
        assert!(late.commit().is_err());
        fs::remove_file(root.join("b")).unwrap();
        let late = batch(&repo, &lock);
        fs::write(root.join("a/old"), "somebody else's").unwrap();
        assert!(matches!(late.commit(), Err(RepoError::ChangedMeanwhile(_))));
        fs::write(root.join("a/old"), "old").unwrap();
        std::os::unix::fs::symlink("a", root.join("b")).unwrap();
        assert!(matches!(batch(&repo, &lock).commit(), Err(RepoError::LinkInTheWay(_))));
        fs::remove_file(root.join("b")).unwrap();
        assert_eq!(found(root), before);

        let would = filled(Batch::begin(&repo, None).unwrap()).commit().unwrap();
        assert_eq!(found(root), before);
        assert_eq!((would.added.as_slice(), would.changed.as_slice()), (&["b/c/d".into()][..], &["a/old".into()][..]));

        assert_eq!(batch(&repo, &lock).commit().unwrap(), would);
        assert_eq!(found(root), ["new", "made", "{}"].map(|text| Some(text.to_owned())));
        assert!(!root.join(".pvr/batch").exists());
        let mut again = Batch::begin(&repo, None).unwrap();
        again.write(key("a/old"), Some(b"new"), b"new", 0o644).unwrap();
        assert_eq!(again.commit().unwrap(), Status::default());
    }

    #[test]
    fn what_was_begun_is_ended_by_the_next_who_comes() {
        for moved in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            let repo = repo(root);
            let lock = repo.lock().unwrap();
            let made = batch(&repo, &lock);
            fs::write(made.folder.join(PLAN), write_plan(&made.entries).unwrap()).unwrap();
            fs::rename(&made.folder, root.join(".pvr/batch")).unwrap();
            for index in 0..moved {
                let path = made.entries[index].0.path(root);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::rename(root.join(".pvr/batch").join(index.to_string()), path).unwrap();
            }
            drop(lock);
            settle(root).unwrap();
            assert_eq!(found(root), ["new", "made", "{}"].map(|text| Some(text.to_owned())), "{moved}");
            assert!(!root.join(".pvr/batch").exists());
        }
    }

    #[test]
    fn what_somebody_wrote_since_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let repo = repo(root);
        let lock = repo.lock().unwrap();
        let made = batch(&repo, &lock);
        fs::write(made.folder.join(PLAN), write_plan(&made.entries).unwrap()).unwrap();
        fs::rename(&made.folder, root.join(".pvr/batch")).unwrap();
        fs::write(root.join("a/old"), "mine").unwrap();
        drop(lock);
        drop(repo.lock().unwrap());
        assert_eq!(found(root), ["mine", "made", "{}"].map(|text| Some(text.to_owned())));
    }
}
