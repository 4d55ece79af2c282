//! `post`: the committed state becomes a revision somewhere else.

use std::collections::BTreeSet;

use super::error::RepoError;
use super::{Repo, Source};
use crate::remote::{Observer, Post, PostRev, Posted, Remote, RemoteError, Resend, copied};
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, ObjectId, Revision, State, StatePath, Value};
use crate::trails::Verity;

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
    ) -> Result<Posted, RepoError> {
        let state = self.pristine()?.ok_or_else(|| RepoError::NotARepo(self.root.clone()))?;
        let mut envelope = options.envelope.as_deref().map(envelope).transpose()?.unwrap_or_default();
        if options.verity == Verity::Trust {
            envelope.insert("verity-check".to_owned(), Value::Bool(false));
        }
        let rev = PostRev::parse(&options.rev);
        if let PostRev::Named(name) = &rev {
            Revision::parse(name)?;
        }
        let post = Post { state: &state, commit_msg: options.commit_msg.as_deref(), rev, envelope };
        let baseline = baseline(remote.state(&self.limits))?;
        synched(baseline.is_some());
        let baseline = baseline.unwrap_or_default();
        let store = self.store()?;
        let unknown = state.objects().filter(|(_, id)| !baseline.contains(id));
        remote.upload(store, unknown, options.resend, observer)?;
        let posted = match remote.post(&post) {
            // The endpoint has lost what its own state names, or a collector was faster: send just that, once.
            Err(RemoteError::Missing { ids, status }) => {
                let missing = objects_of(&state, &ids);
                if missing.is_empty() {
                    return Err(RemoteError::Missing { ids, status }.into());
                }
                remote.upload(store, missing, options.resend, observer)?;
                remote.post(&post)?
            }
            result => result?,
        };
        let lock = self.lock()?;
        let mut config = self.config()?;
        config.default_post_url = uri.to_owned();
        for other in [&mut config.default_get_url, &mut config.default_put_url] {
            if other.is_empty() {
                uri.clone_into(other);
            }
        }
        config.write(&self.pvr, &lock)?;
        Ok(posted)
    }
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
    let envelope = options.envelope.as_deref().map(envelope).transpose()?.unwrap_or_default();
    let rev = PostRev::parse(&options.rev);
    if let PostRev::Named(name) = &rev {
        Revision::parse(name)?;
    }
    let incoming = Source::Remote(source).state(limits)?;
    let state = copied(&incoming, from, &destination.state(limits)?, to, merge)?;
    Ok(destination.post(&Post { state: &state, commit_msg: options.commit_msg.as_deref(), rev, envelope })?)
}

/// What the endpoint has for sure, which need not be announced. Nothing is known of one that cannot answer with its
/// state, or with none that can be read: a post is what mends it.
pub(super) fn baseline(answer: Result<State, RemoteError>) -> Result<Option<BTreeSet<ObjectId>>, RemoteError> {
    match answer {
        Ok(state) => Ok(Some(state.objects().map(|(_, id)| *id).collect())),
        Err(RemoteError::State { .. }) => Ok(None),
        Err(RemoteError::Status(status)) if status.code == 404 || status.code >= 500 => Ok(None),
        Err(error) => Err(error),
    }
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
