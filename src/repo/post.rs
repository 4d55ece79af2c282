//! `post`: the committed state becomes a revision somewhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::error::RepoError;
use super::get::between;
use super::working::Status;
use super::{Repo, Source};
use crate::remote::{Disk, Observer, Post, PostRev, Posted, Remote, RemoteError, Resend, Uploaded, copied};
use crate::state::parse::parse_strict;
use crate::state::{Entry, JsonLimits, Object, ObjectId, Revision, State, StatePath, Value};
use crate::store::ObjectStore;
use crate::trails::{Restart, Verity};

/// How to post.
#[derive(Debug, Clone)]
pub struct PostOptions {
    /// Further members of the document, as a JSON object.
    pub envelope: Option<String>,
    /// Why.
    pub commit_msg: Option<String>,
    /// A number or `locals/<name>`; -1 leaves it to the endpoint, 0 says nothing.
    pub rev: String,
    /// Whether the endpoint is to check the volumes of dm-verity before it takes the state.
    pub verity: Verity,
    /// What to do about objects that the endpoint has.
    pub resend: Resend,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Objects that the endpoint lacked.
    pub uploaded: Uploaded,
    /// Objects that were not announced, because its own state names them.
    pub known: usize,
    /// What has gone wrong behind it; a line each.
    pub warnings: Vec<String>,
}

/// What would be sent, and what would come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What of the endpoint's state would change; nothing where that is not known. Nothing is untracked.
    pub changes: Option<Status>,
    /// Objects that would travel: the first key that names each, and its size.
    pub sending: BTreeMap<ObjectId, (StatePath, u64)>,
    /// Objects that are there.
    pub there: usize,
    /// Whether the device would have to restart.
    pub restart: Restart,
    /// Its disk, where it tells.
    pub disk: Option<Disk>,
    /// What the revision would take of that.
    pub room: Room,
}

/// What a revision takes on a disk, in bytes of whole blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Objects that would travel.
    pub objects: u64,
    /// Copies of objects, which are mounted for writing.
    pub copies: u64,
    /// JSON and folders.
    pub files: u64,
}

impl Room {
    /// All of it.
    pub fn sum(&self) -> u64 {
        self.objects.saturating_add(self.copies).saturating_add(self.files)
    }
}

/// What is usual; endpoints do not tell theirs.
const BLOCK: u64 = 4096;

impl Plan {
    /// The bytes that would travel.
    pub fn bytes(&self) -> u64 {
        self.sending.values().map(|(_, size)| size).sum()
    }

    /// Whether the disk can hold it; none where the endpoint does not tell.
    pub fn fits(&self) -> Option<bool> {
        let Disk { free, reserved, .. } = self.disk?;
        let available = free.saturating_sub(reserved);
        // The rule of our endpoint: JSON and folders may use a little of what is left to others. See `store::space`.
        let large = self.room.objects.saturating_add(self.room.copies);
        let small = self.room.files <= reserved / 10;
        Some(large <= available && self.room.sum() <= if small { free } else { available })
    }
}

impl Repo {
    /// Sends what the endpoint lacks, then the committed state. `uri` is remembered. `synched` is called once the
    /// endpoint's own state is known.
    pub fn post(
        &self,
        remote: &Remote,
        uri: &str,
        options: &PostOptions,
        observer: &dyn Observer,
        synched: &mut dyn FnMut(bool),
    ) -> Result<(Posted, Sent), RepoError> {
        let state = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let post = prepared(&state, options)?;
        let baseline = baseline(remote.state(&self.limits))?;
        synched(baseline.is_some());
        let baseline = objects_in(baseline.as_ref());
        let store = self.store_to_read()?;
        let unknown = state.objects().filter(|(_, id)| !baseline.contains(id));
        let mut uploaded = remote.upload(store, unknown, options.resend, observer)?;
        let post_it = || {
            observer.waits(true);
            let posted = remote.post(&post);
            observer.waits(false);
            posted
        };
        let posted = match post_it() {
            // The endpoint has lost what its own state names, or a collector was faster: send just that, once.
            Err(RemoteError::Missing { ids, status }) => {
                let missing = objects_of(&state, &ids);
                if missing.is_empty() {
                    return Err(RemoteError::Missing { ids, status }.into());
                }
                let again = remote.upload(store, missing, options.resend, observer)?;
                uploaded.bytes += again.bytes;
                uploaded.sent.extend(again.sent);
                post_it()?
            }
            result => result?,
        };
        let known = objects_in(Some(&state)).intersection(&baseline).filter(|id| !uploaded.sent.contains(id)).count();
        let mut sent = Sent { uploaded, known, warnings: Vec::new() };
        // What is done is done: that it can't be remembered, where the repository may only be read, is no failure of it.
        sent.warnings.extend(
            self.remember_post(uri, &state).err().map(|error| format!("the address is not remembered: {error}")),
        );
        Ok((posted, sent))
    }

    fn remember_post(&self, uri: &str, state: &State) -> Result<(), RepoError> {
        let lock = self.lock()?;
        self.note_known(state, &lock)?;
        let mut config = self.config()?;
        config.default_post_url = uri.to_owned();
        for other in [&mut config.default_get_url, &mut config.default_put_url] {
            if other.is_empty() {
                uri.clone_into(other);
            }
        }
        config.write(&self.pvr, &lock)
    }

    /// What a post would send, and what would come of it. Changes nothing on either side.
    pub fn would_post(&self, remote: &Remote, options: &PostOptions) -> Result<Plan, RepoError> {
        let state = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        prepared(&state, options)?;
        let mut plan = self.plan(remote, &state, options.resend)?;
        plan.disk = remote.disk()?;
        Ok(plan)
    }

    /// The same of any way of sending a state, but for the disk.
    pub(super) fn plan(&self, remote: &Remote, state: &State, resend: Resend) -> Result<Plan, RepoError> {
        let store = super::pool::look_at(&self.config()?.pool(&self.pvr))?;
        let there = baseline(remote.state(&self.limits))?;
        let known = objects_in(there.as_ref());
        let ids = objects_in(Some(state));
        let asked: BTreeSet<ObjectId> = ids.difference(&known).copied().collect();
        let lacked = match resend {
            Resend::No => remote.lacks(asked)?,
            Resend::Force => asked,
        };
        let sending = sizes(&store, state, &lacked)?;
        Ok(Plan {
            changes: there.as_ref().map(|there| between(there, state)).transpose()?,
            there: ids.len() - sending.len(),
            restart: match &there {
                Some(there) => Restart::between(there, state),
                None => Restart::unknown("the endpoint does not say what runs there"),
            },
            disk: None,
            room: room(&store, state, &sending)?,
            sending,
        })
    }
}

fn room(store: &ObjectStore, state: &State, sending: &BTreeMap<ObjectId, (StatePath, u64)>) -> Result<Room, RepoError> {
    let blocks = |bytes: u64| bytes.div_ceil(BLOCK).saturating_mul(BLOCK);
    let folders: BTreeSet<&str> = state.entries().flat_map(|(key, _)| key.folders()).collect();
    let mut room = Room {
        objects: sending.values().map(|(_, size)| blocks(*size)).fold(0, u64::saturating_add),
        copies: 0,
        files: blocks(state.to_canonical()?.len() as u64).saturating_add(folders.len() as u64 * BLOCK),
    };
    for (key, entry) in state.entries() {
        match entry {
            Entry::Json(value) => {
                let size = crate::state::canonical::to_canonical(value)?.len() as u64;
                room.files = room.files.saturating_add(blocks(size));
            }
            Entry::Object(id) if crate::trails::is_bind(key) => {
                // One that is neither here nor sent has a size that nobody tells.
                let size = std::fs::metadata(store.path(id)).map_or(0, |metadata| metadata.len());
                room.copies = room.copies.saturating_add(blocks(size));
            }
            Entry::Object(_) => {}
        }
    }
    Ok(room)
}

/// The objects that have to be sent, out of the pool.
fn sizes(
    store: &ObjectStore,
    state: &State,
    ids: &BTreeSet<ObjectId>,
) -> Result<BTreeMap<ObjectId, (StatePath, u64)>, RepoError> {
    let mut found = BTreeMap::new();
    for (key, id) in state.objects().filter(|(_, id)| ids.contains(id)) {
        if !found.contains_key(id) {
            let not_in_pool = || RemoteError::NotInPool { id: *id, key: key.clone(), pool: store.objects().to_owned() };
            found.insert(*id, (key.clone(), store.intact(id)?.ok_or_else(not_in_pool)?));
        }
    }
    Ok(found)
}

/// What is posted; an error where the options make none.
fn prepared<'a>(state: &'a State, options: &'a PostOptions) -> Result<Post<'a>, RepoError> {
    let mut envelope = options.envelope.as_deref().map(envelope).transpose()?.unwrap_or_default();
    if options.verity == Verity::Trust {
        envelope.insert("verity-check".to_owned(), Value::Bool(false));
    }
    let rev = PostRev::parse(&options.rev);
    if let PostRev::Named(name) = &rev {
        Revision::parse(name)?;
    }
    Ok(Post { state, commit_msg: options.commit_msg.as_deref(), rev, envelope })
}

/// Posts a state made of two endpoints' states. Objects are not moved: the destination has them already, or lists them as
/// missing.
pub fn fast_copy(
    (source, from): (&Remote, &[String]),
    (destination, to): (&Remote, &[String]),
    merge: bool,
    options: &PostOptions,
    limits: &JsonLimits,
) -> Result<Posted, RepoError> {
    // What the options make no post of is said before anybody is asked.
    prepared(&State::empty(super::DEFAULT_SPEC), options)?;
    let incoming = Source::Remote(source).state(limits)?;
    let state = copied(&incoming, from, &destination.state(limits)?, to, merge)?;
    Ok(destination.post(&prepared(&state, options)?)?)
}

/// What the endpoint has for sure, which need not be announced. Nothing is known of one that cannot answer with its
/// state, or with none that can be read: a post is what mends it.
pub(super) fn baseline(answer: Result<State, RemoteError>) -> Result<Option<State>, RemoteError> {
    match answer {
        Ok(state) => Ok(Some(state)),
        Err(RemoteError::State { .. }) => Ok(None),
        Err(RemoteError::Status(status)) if status.code == 404 || status.code >= 500 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The objects that a state names.
pub(super) fn objects_in(state: Option<&State>) -> BTreeSet<ObjectId> {
    state.into_iter().flat_map(|state| state.objects()).map(|(_, id)| *id).collect()
}

/// The keys of `state` that name one of `ids`.
fn objects_of<'a>(state: &'a State, ids: &[ObjectId]) -> Vec<(&'a StatePath, &'a ObjectId)> {
    let ids: BTreeSet<&ObjectId> = ids.iter().collect();
    state.objects().filter(|(_, id)| ids.contains(id)).collect()
}

pub(super) fn envelope(text: &str) -> Result<Object, RepoError> {
    match parse_strict(text.as_bytes(), &JsonLimits::default()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(RepoError::Envelope(format!("it is {}", other.kind()))),
        Err(error) => Err(RepoError::Envelope(error.to_string())),
    }
}
