//! `deploy`: states of several repositories become the files of one folder, whole or not at all.
//!
//! All objects come into the pool first. Then the folder is built beside the one that it replaces, with hardlinks to the
//! objects and for the boot loader (`trails::layout`), with what stays of the old folder (carry.rs), durably, and put
//! into its place in one step (`store::swap`). Until then nothing has changed but the pool.

mod carry;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use self::carry::Rule;
use super::error::{Context, RepoError};
use super::files::{Lock, create};
use super::source::{Copied, Run, Source};
use super::working::{Changes, Status};
use super::{Config, DEFAULT_SPEC, Repo, pool};
use crate::remote::Observer;
use crate::state::{JsonLimits, ObjectId, PartSelection, Spec, State, part};
use crate::store::swap::{self, Swap};
use crate::store::{ObjectStore, Reservation, Stage, make_folders};
use crate::trails::{Checks, Demands, InstallError, Laid, Layout, Verity, absent_boot_files, admit, reserve_layout};

/// What a deploy makes of the states that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Lays each over what is there.
    Merge,
    /// Puts each (or its parts) in the place of what is there (`--nomerge`).
    Replace,
}

/// What a deploy does with files that no state names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untracked {
    /// They stay.
    Keep,
    /// They go (`--clean`).
    Remove,
}

/// At which step a deploy failed; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployStep {
    /// Opening the folder, and what it is a repository of.
    Target,
    /// Getting a state and its objects.
    Source,
    /// Looking at what lies in the folder.
    Cleanup,
    /// Making the files.
    Files,
    /// Making what the boot loader needs.
    BootLinks,
}

/// A folder that is to be deployed into.
#[derive(Debug)]
pub struct Deploy {
    target: PathBuf,
    pool: String,
    overlay: Overlay,
    untracked: Untracked,
    checks: Checks,
    limits: JsonLimits,
    store: ObjectStore,
    run: Run,
    demands: Demands,
    incoming: Vec<Incoming>,
    /// The objects of all that was taken, those of them that were not in the pool, and the bytes of these.
    wanted: BTreeSet<ObjectId>,
    added: BTreeSet<ObjectId>,
    bytes: Option<u64>,
    warnings: Vec<String>,
}

/// A state that came from somewhere.
#[derive(Debug)]
struct Incoming {
    state: State,
    selection: PartSelection,
    uri: String,
    is_remote: bool,
}

/// What was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployed {
    /// The folder.
    pub target: String,
    /// Where the states came from.
    pub sources: Vec<String>,
    /// Whether nothing of this was done.
    pub dry_run: bool,
    /// Objects that were not in the pool.
    pub added: Vec<ObjectId>,
    /// Objects that were.
    pub reused: usize,
    /// The bytes of those that were not; unknown before they have come.
    pub bytes: Option<u64>,
    /// Keys that are hardlinks to objects.
    pub linked: usize,
    /// Keys that are copies of objects.
    pub copied: usize,
    /// Keys that are files of JSON.
    pub json: usize,
    /// Names in `.pv/` for the boot loader.
    pub boot: Vec<String>,
    /// What changes in the state of the folder; nothing is untracked.
    pub changes: Status,
    /// What was left out of the sources; a line each.
    pub warnings: Vec<String>,
    /// Untracked files that stay.
    pub kept: Vec<String>,
    /// Files that go.
    pub removed: Vec<String>,
}

/// An error and where it happened.
pub type Failed = (DeployStep, RepoError);

fn at<T>(step: DeployStep, result: Result<T, impl Into<RepoError>>) -> Result<T, Failed> {
    result.map_err(|error| (step, error.into()))
}

impl Deploy {
    /// Opens a folder, which need not exist. `pool` is that of a new repository. In a dry run nothing is created.
    pub fn open(
        target: &Path,
        pool: &str,
        overlay: Overlay,
        untracked: Untracked,
        limits: JsonLimits,
        run: Run,
    ) -> Result<Self, RepoError> {
        swap::settle(target)?;
        // A link to a folder means that folder.
        let target = match fs::canonicalize(target) {
            Ok(target) if target.is_dir() => target,
            Ok(target) => return Err(io::Error::from(io::ErrorKind::NotADirectory)).on("deploy into", &target),
            Err(_) if fs::symlink_metadata(target).is_ok() => {
                return Err(io::Error::from(io::ErrorKind::NotFound)).on("follow the link", target);
            }
            Err(_) => above(target),
        };
        swap::settle(&target)?;
        let repo = Repo::at(&target).with_json_limits(limits);
        let pvr = target.join(".pvr");
        let folder = if pvr.is_dir() { repo.config()?.pool(&pvr) } else { PathBuf::from(pool) };
        let store = match run {
            Run::Dry => pool::look_at(&folder)?,
            Run::Really => {
                make_folders(&folder, 0o777).on("create", &folder)?;
                // A path through the folder that is replaced would lead nowhere for an instant.
                pool::open(&fs::canonicalize(&folder).on("resolve", &folder)?)?
            }
        };
        Ok(Self {
            target,
            pool: pool.to_owned(),
            overlay,
            untracked,
            checks: Checks { verity: Verity::Trust },
            limits,
            store,
            run,
            demands: Demands::default(),
            incoming: Vec::new(),
            wanted: BTreeSet::new(),
            added: BTreeSet::new(),
            bytes: Some(0),
            warnings: Vec::new(),
        })
    }

    /// The same, with these checks of what comes of it.
    #[must_use]
    pub fn with_checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Deploys only what is demanded.
    #[must_use]
    pub fn demanding(self, demands: Demands) -> Self {
        Self { demands, ..self }
    }

    /// Whether there is no repository yet.
    pub fn is_new(&self) -> bool {
        !self.target.join(".pvr/json").exists()
    }

    /// Gets a state, and its objects into the pool. `uri` is what is remembered as the place they came from. Says what was
    /// left out of it.
    pub fn take(
        &mut self,
        source: &Source<'_>,
        uri: &str,
        selection: &PartSelection,
        observer: &dyn Observer,
        copied: Copied<'_>,
    ) -> Result<Vec<String>, RepoError> {
        let opened = source.open(&self.limits)?;
        let is_wanted = |key: &str| match self.overlay {
            Overlay::Merge => selection.includes(key),
            Overlay::Replace => selection.selects(key),
        };
        let mut wanted = Vec::new();
        for (key, id) in opened.state.objects().filter(|(key, _)| is_wanted(key.as_str())) {
            // In a dry run, what an earlier source would have brought is not there.
            if self.run == Run::Dry && self.added.contains(id) {
                copied(key, true);
            } else {
                wanted.push((key, id));
            }
        }
        let fetched = opened.fetch(&self.store, &wanted, self.run, observer, copied)?;
        self.wanted.extend(wanted.iter().map(|(_, id)| **id));
        self.added.extend(fetched.added);
        self.bytes = self.bytes.zip(fetched.bytes).map(|(sum, bytes)| sum + bytes);
        self.incoming.push(Incoming {
            state: opened.state,
            selection: selection.clone(),
            uri: uri.to_owned(),
            is_remote: matches!(source, Source::Remote(_)),
        });
        self.warnings.extend_from_slice(&fetched.warnings);
        Ok(fetched.warnings)
    }

    /// The state that comes of what is there and what was taken.
    fn state(&self, before: Option<&State>) -> Result<State, RepoError> {
        let spec = self.incoming.iter().find_map(|incoming| incoming.state.spec()).unwrap_or(DEFAULT_SPEC);
        let mut state = before.cloned().unwrap_or_else(|| State::empty(spec));
        for Incoming { state: incoming, selection, .. } in &self.incoming {
            state = match self.overlay {
                Overlay::Merge => part::merge(&state, incoming, selection)?,
                Overlay::Replace => part::replace(&state, incoming, selection)?,
            };
        }
        // What cannot be read again would lock its owner out of the repository.
        let state = State::parse_strict(state.to_canonical()?.as_bytes(), &self.limits, Spec::Any);
        state.map_err(|source| RepoError::Unreadable { source })
    }

    /// What a deploy comes to, as far as the states say.
    fn report(&self, before: &State, after: &State) -> Deployed {
        let changes = Changes::between(before, after);
        let keys = |list: &[crate::state::StatePath]| list.iter().map(|key| key.as_str().to_owned()).collect();
        Deployed {
            target: self.target.to_string_lossy().into_owned(),
            sources: self.incoming.iter().map(|incoming| incoming.uri.clone()).collect(),
            dry_run: self.run == Run::Dry,
            added: self.added.iter().copied().collect(),
            reused: self.wanted.len() - self.added.len(),
            bytes: self.bytes,
            changes: Status {
                added: keys(&changes.added),
                removed: keys(&changes.removed),
                changed: keys(&changes.changed),
                untracked: Vec::new(),
            },
            warnings: self.warnings.clone(),
            ..Deployed::default()
        }
    }

    /// Puts the files into their place, or says what that would do. `say` is told before each step.
    pub fn finish(&self, say: &mut dyn FnMut(DeployStep)) -> Result<Deployed, Failed> {
        let mut made = Vec::new();
        let result = match self.run {
            Run::Really => self.replace(say, &mut made),
            Run::Dry => self.pretend(say),
        };
        if result.is_err() {
            // Folders above one that never came; those that hold something stay.
            made.iter().rev().take_while(|folder| fs::remove_dir(folder).is_ok()).for_each(drop);
        }
        result
    }

    fn pretend(&self, say: &mut dyn FnMut(DeployStep)) -> Result<Deployed, Failed> {
        let repo = Repo::at(&self.target).with_json_limits(self.limits);
        let before = at(DeployStep::Target, repo.pristine())?;
        let after = at(DeployStep::Source, self.state(before.as_ref()))?;
        at(DeployStep::Source, admit(&after, &self.store, &self.demands, self.checks))?;
        let before = before.unwrap_or_else(|| State::empty(DEFAULT_SPEC));
        let mut deployed = self.report(&before, &after);
        say(DeployStep::Cleanup);
        if self.target.is_dir() {
            let plan = at(DeployStep::Cleanup, self.rule(&before, &after).plan(&self.target))?;
            (deployed.kept, deployed.removed) = (plan.kept, plan.removed);
        }
        say(DeployStep::Files);
        at(DeployStep::Files, one_file_system(&self.store, &self.target))?;
        deployed.json = after.json().count();
        deployed.copied = after.objects().filter(|(key, _)| crate::trails::is_bind(key)).count();
        deployed.linked = after.objects().count() - deployed.copied;
        say(DeployStep::BootLinks);
        deployed.boot = at(DeployStep::BootLinks, boot_links(&after))?;
        Ok(deployed)
    }

    fn rule<'a>(&'a self, before: &'a State, after: &'a State) -> Rule<'a> {
        let pool = self.store.objects().strip_prefix(&self.target).ok();
        Rule { before, after, pool, clean: self.untracked == Untracked::Remove }
    }

    fn replace(&self, say: &mut dyn FnMut(DeployStep), made: &mut Vec<PathBuf>) -> Result<Deployed, Failed> {
        let store = &self.store;
        at(DeployStep::Target, make_above(&self.target, made))?;
        let swap = at(DeployStep::Target, Swap::begin(&self.target))?;
        let repo = Repo::at(&self.target).with_json_limits(self.limits);
        let pvr = self.target.join(".pvr");
        let lock = if pvr.is_dir() { Some(at(DeployStep::Target, Lock::take(&pvr))?) } else { None };
        let before = at(DeployStep::Target, repo.pristine())?;
        let config = at(DeployStep::Target, self.config(&repo))?;
        let after = at(DeployStep::Source, self.state(before.as_ref()))?;
        at(DeployStep::Source, admit(&after, store, &self.demands, self.checks))?;
        let before = before.unwrap_or_else(|| State::empty(DEFAULT_SPEC));
        let mut deployed = self.report(&before, &after);
        let rule = self.rule(&before, &after);

        say(DeployStep::Cleanup);
        if self.target.is_dir() {
            let plan = at(DeployStep::Cleanup, rule.plan(&self.target))?;
            (deployed.kept, deployed.removed) = (plan.kept, plan.removed);
        }

        say(DeployStep::Files);
        let ids: Vec<ObjectId> = after.objects().map(|(_, id)| *id).collect();
        let keep = Keep { store, ids: &ids, staged: store.staging() == Stage::Yes };
        let laid = {
            let files = |result| at(DeployStep::Files, result);
            let _alone = at(DeployStep::Files, store.lock_install())?;
            let _using = at(DeployStep::Files, store.lock_shared())?;
            files(keep.verify(&after))?;
            let known = store.known(&ids);
            let new = swap.new_folder();
            files(one_file_system(store, &self.target))?;
            let room = at(DeployStep::Files, self.room(store, &after, &config))?;
            let built = self.build(store, &after, &new, &config, say);
            store.refresh(&known);
            // What is built is on the disk, which counts it itself.
            drop(room);
            built?
        };
        (deployed.linked, deployed.json, deployed.copied, deployed.boot) =
            (laid.linked, laid.json, laid.copied, laid.boot);
        at(DeployStep::Files, self.place(store, &swap, &rule))?;
        keep.release();
        drop(swap);
        drop(lock);
        Ok(deployed)
    }

    /// Sets aside what the new folder takes, before the first byte of it is written.
    fn room(&self, store: &ObjectStore, after: &State, config: &Config) -> Result<Reservation, RepoError> {
        Ok(reserve_layout(store, after, &[config.to_bytes().len() as u64])?)
    }

    fn config(&self, repo: &Repo) -> Result<Config, RepoError> {
        let mut config = repo.config()?;
        if !repo.pvr.is_dir() {
            self.pool.clone_into(&mut config.objects_dir);
        }
        for Incoming { uri, is_remote, .. } in &self.incoming {
            uri.clone_into(&mut config.default_get_url);
            for other in [&mut config.default_put_url, &mut config.default_post_url] {
                if *is_remote && other.is_empty() {
                    uri.clone_into(other);
                }
            }
        }
        Ok(config)
    }

    fn build(
        &self,
        store: &ObjectStore,
        after: &State,
        new: &Path,
        config: &Config,
        say: &mut dyn FnMut(DeployStep),
    ) -> Result<Laid, Failed> {
        let mut layout = at(DeployStep::Files, Layout::new(store, after, new))?;
        at(DeployStep::Files, layout.keys())?;
        let path = new.join(".pvr/config");
        let written = create(&path, 0o644)
            .and_then(|mut file| io::Write::write_all(&mut file, &config.to_bytes()).on("write", &path));
        at(DeployStep::Files, written)?;
        say(DeployStep::BootLinks);
        at(DeployStep::BootLinks, boot_links(after))?;
        at(DeployStep::BootLinks, layout.boot_links())?;
        at(DeployStep::Files, layout.finish())
    }

    /// Takes over what stays, makes it all durable, and exchanges.
    fn place(&self, store: &ObjectStore, swap: &Swap, rule: &Rule<'_>) -> Result<(), RepoError> {
        let new = swap.new_folder();
        // Nobody may put an object into a pool that is just being replaced.
        let _alone = if rule.pool.is_some() { Some(store.lock_exclusive()?) } else { None };
        if self.target.is_dir() {
            rule.plan(&self.target)?.carry(&self.target, &new)?;
        } else {
            // As today's program makes one.
            rustix::fs::chmod(&new, rustix::fs::Mode::from_raw_mode(0o700)).on("set the mode of", &new)?;
        }
        swap.make_durable(store.caps())?;
        let replaced = swap.commit(store.caps())?;
        if let Some(old) = replaced.old() {
            // What has come since it was looked at.
            let late = rule.plan(old).and_then(|plan| plan.carry(old, &self.target));
            if let Err(error) = late {
                // Should this fail as well, both are there and whole.
                swap.undo(&replaced).ok();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Keeps objects from Pantavisor's collector until the folder names them.
struct Keep<'a> {
    store: &'a ObjectStore,
    ids: &'a [ObjectId],
    staged: bool,
}

impl Keep<'_> {
    /// Whether every object is in the pool and intact; the error names all that are not.
    fn verify(&self, state: &State) -> Result<(), RepoError> {
        let mut missing = Vec::new();
        for (key, id) in state.objects() {
            let there = if self.staged { self.store.stage(id)? } else { self.store.intact(id)? };
            if there.is_none() {
                missing.push((key.clone(), *id));
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(RepoError::Objects { pool: self.store.objects().to_owned(), objects: missing }),
        }
    }

    fn release(&self) {
        if self.staged {
            // Those that stay go with the next sweep.
            self.store.unstage(self.ids).ok();
        }
    }
}

/// The names that the boot loader gets; an error where a file for one is missing.
fn boot_links(state: &State) -> Result<Vec<String>, RepoError> {
    let absent = absent_boot_files(state);
    if absent.is_empty() { Ok(crate::trails::boot_link_names(state)) } else { Err(RepoError::BootFiles(absent)) }
}

fn one_file_system(store: &ObjectStore, target: &Path) -> Result<(), RepoError> {
    let parent = target.parent().unwrap_or(target);
    // In a dry run neither need be there yet.
    let device = |path: &Path| {
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
        fs::metadata(there).map(|meta| meta.dev()).on("look at", there)
    };
    if device(store.objects())? == device(parent)? {
        return Ok(());
    }
    Err(RepoError::OtherFileSystem { pool: store.objects().to_owned(), target: target.to_owned() })
}

/// A path that does not exist, with what exists of it resolved.
fn above(target: &Path) -> PathBuf {
    let resolved = target.ancestors().skip(1).find_map(|parent| {
        let rest = target.strip_prefix(parent).ok()?;
        Some(fs::canonicalize(parent).ok()?.join(rest))
    });
    resolved.unwrap_or_else(|| target.to_owned())
}

/// Makes the folders above a path, and says which.
fn make_above(target: &Path, made: &mut Vec<PathBuf>) -> Result<(), RepoError> {
    let above: Vec<&Path> = target.ancestors().skip(1).collect();
    for folder in above.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(folder) {
            Ok(()) => made.push(folder.to_owned()),
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(error).on("create", folder),
        }
    }
    Ok(())
}

impl From<InstallError> for RepoError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Refused(refused) => refused.into(),
            error => Self::Install(Box::new(error)),
        }
    }
}
