//! Objects from a pool to an endpoint: announced, and sent where the endpoint lacks them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::observer::{self, Announced, Observer};
use super::record::{Announcement, ObjectRecord};
use super::rest::{self, Call, Patience, Session, net};
use super::work::{Stop, each};
use super::{Access, Remote, RemoteError};
use crate::net::{Client, Method, NetError, Request, Url};
use crate::state::{ObjectId, StatePath};
use crate::store::ObjectStore;

/// Uploads at a time (`hub.md` B3).
const THREADS: usize = 5;
/// How long the answer to an upload may take: the server makes hundreds of megabytes durable on slow flash first.
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(300);

/// What to do about an object that the endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Leave it.
    No,
    /// Send it again (`--force`), unless it is a link.
    Force,
}

/// What came of an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Objects that were sent.
    pub sent: BTreeSet<ObjectId>,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there, and how many of them the endpoint has linked from elsewhere.
    pub there: usize,
    /// See `there`.
    pub linked: usize,
}

/// Where objects go.
#[derive(Debug)]
pub struct Objects {
    pub(super) session: Session,
    pub(super) url: Url,
}

impl Remote {
    /// Announces every object of `objects` once and sends those that are wanted.
    pub fn upload<'a>(
        &self,
        store: &ObjectStore,
        objects: impl IntoIterator<Item = (&'a StatePath, &'a ObjectId)>,
        resend: Resend,
        observer: &dyn Observer,
    ) -> Result<Uploaded, RemoteError> {
        self.objects.upload(store, objects, resend, observer)
    }
}

impl Objects {
    pub(super) fn new(session: Session, url: Url) -> Self {
        Self { session, url }
    }

    /// The objects endpoint itself, without an endpoint that names it.
    pub fn at(client: &Client, url: &Url, access: &Access) -> Self {
        Self::new(Session::new(client.clone(), access, url), url.clone())
    }

    /// Announces every object of `objects` once and sends those that are wanted.
    pub fn upload<'a>(
        &self,
        store: &ObjectStore,
        objects: impl IntoIterator<Item = (&'a StatePath, &'a ObjectId)>,
        resend: Resend,
        observer: &dyn Observer,
    ) -> Result<Uploaded, RemoteError> {
        let uploaded = Mutex::new(Uploaded::default());
        let count =
            |change: &dyn Fn(&mut Uploaded)| change(&mut uploaded.lock().unwrap_or_else(PoisonError::into_inner));
        let mut distinct = BTreeMap::new();
        for (key, id) in objects {
            if distinct.contains_key(id) {
                observer.announced(key, Announced::Duplicate);
            } else {
                distinct.insert(*id, key);
            }
        }
        each(THREADS, distinct.into_iter().collect(), |(id, key), stop| -> Result<(), RemoteError> {
            let not_in_pool = || RemoteError::NotInPool { id, key: key.clone(), pool: store.objects().to_owned() };
            let size = store.intact(&id)?.ok_or_else(not_in_pool)?;
            let put = self.announce(key, &id, size, resend);
            observer.announced(key, put.as_ref().map_or(Announced::Failed, |(what, _)| *what));
            let (what, url) = put?;
            let Some(url) = url else {
                count(&|uploaded| {
                    uploaded.there += 1;
                    uploaded.linked += usize::from(what == Announced::Linked);
                });
                return Ok(());
            };
            observer.started(&id, key, Some(size));
            let sent = self.send(store, key, &id, &url, observer, stop);
            observer::tell(observer, &id, &sent);
            sent?;
            count(&|uploaded| {
                uploaded.sent.insert(id);
                uploaded.bytes += size;
            });
            Ok(())
        })?;
        Ok(uploaded.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces one object: what came of it, and where it is to be sent.
    fn announce(
        &self,
        key: &StatePath,
        id: &ObjectId,
        size: u64,
        resend: Resend,
    ) -> Result<(Announced, Option<Url>), RemoteError> {
        let url = self.url.with_appended("");
        let body = serde_json::to_vec(&Announcement::new(key.as_str(), id.to_string(), size))
            .map_err(|error| RemoteError::Read { id: *id, source: error.into() })?;
        let response = self.session.call(Call::send(Method::Post, &url, &body))?;
        let what = match (response.status(), response.header("pantahub-object-type")) {
            (200, _) => Announced::Wanted,
            // Small servers leave the header out. If they lack the object all the same, they refuse the post.
            (409, Some("object") | None) => Announced::There,
            (409, Some("link")) => return Ok((Announced::Linked, None)),
            (503, _) => return Err(self.session.refusal(&url, response)),
            _ => {
                let (status, _) = self.session.status(&url, response);
                return Err(RemoteError::Announce { key: key.clone(), status });
            }
        };
        if what == Announced::There && resend == Resend::No {
            return Ok((what, None));
        }
        let record: ObjectRecord = rest::json(&url, response)?;
        if record.signed_puturl.is_empty() {
            return Err(RemoteError::Answer { url: rest::shown(&url), why: "without a signed-puturl".to_owned() });
        }
        Ok((Announced::Wanted, Some(super::resolve(&url, "signed-puturl", &record.signed_puturl)?)))
    }

    /// Sends one object, from the beginning each time. Only 200 will do.
    fn send(
        &self,
        store: &ObjectStore,
        key: &StatePath,
        id: &ObjectId,
        url: &Url,
        observer: &dyn Observer,
        stop: &Stop,
    ) -> Result<(), RemoteError> {
        let mut patience = Patience::default();
        loop {
            let not_in_pool = || RemoteError::NotInPool { id: *id, key: key.clone(), pool: store.objects().to_owned() };
            let (file, size) = store.open_object(id)?.ok_or_else(not_in_pool)?;
            let mut reader = Counting { file, sent: 0, tell: &|sent| observer.moved(id, sent), stop };
            let request = Request::new(Method::Put, url).reader(size, &mut reader).patience(WAIT_FOR_ANSWER);
            let error = match self.session.client.send(request) {
                Ok(response) if response.status() == 200 => {
                    // Read so that the connection can be used again; what it says does not matter.
                    response.into_bytes(64 * 1024).ok();
                    return Ok(());
                }
                Ok(response) => return Err(self.session.refusal(url, response)),
                Err(_) if stop.is_set() => return Err(RemoteError::Stopped),
                Err(NetError::Source(source)) => return Err(RemoteError::Read { id: *id, source }),
                Err(source) => net(Method::Put, url, source),
            };
            if !patience.again(&error) {
                return Err(error);
            }
        }
    }
}

/// Tells how much has been read, and ends early when the batch is given up.
struct Counting<'a> {
    file: File,
    sent: u64,
    tell: &'a dyn Fn(u64),
    stop: &'a Stop,
}

impl Read for Counting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("another transfer failed"));
        }
        let got = self.file.read(buf)?;
        self.sent += got as u64;
        (self.tell)(self.sent);
        Ok(got)
    }
}
