//! `/cgi-bin/pvtx`: transactions as today's web server has them (`sdk.md`).
//!
//! A package is read by a thread of its own while it comes, because reading it waits for its client; what it has waited for, at
//! most [`AHEAD`] pieces of, is all of it that is in memory. Everything else takes its turn with whoever reads or installs a state.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Endpoint;
use super::audit::Deed;
use super::body::BodyReader;
use super::error::ApiError;
use super::limits::Limit;
use super::query::Query;
use super::reply::{self, Reply, ReplyBody};
use super::server::BLOCKING_STACK;
use crate::device::{Device, DeviceError};
use crate::state::{JsonLimits, Revision};

/// Pieces of a package that wait for being read.
const AHEAD: usize = 2;

/// How long a package waits for others to be done.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may stand behind the end of a package and is passed over before the answer, in bytes.
const BEHIND: usize = 1 << 20;

/// What becomes of a revision.
#[derive(Serialize)]
struct Became<'a> {
    progress: Value,
    rev: &'a str,
}

impl Endpoint {
    fn json_limits(&self) -> JsonLimits {
        JsonLimits { bytes: self.limits().state_bytes, depth: self.limits().json_depth }
    }

    /// Does something to the transaction, alone among those that have a state in their hands.
    async fn transacting<T: Send + 'static>(
        &self,
        deed: Arc<Deed>,
        work: impl FnOnce(&Device, &JsonLimits) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.posting().acquire_owned().await.map_err(ApiError::internal)?;
        let limits = self.json_limits();
        let device = self.shared_device();
        let work = self.disk().work(move || {
            let _turn = turn;
            let done = work(&device, &limits).map_err(ApiError::from);
            deed.came(&done);
            done
        });
        work.await.unwrap_or_else(|error| Err(ApiError::internal(error)))
    }

    /// `POST begin`
    pub(super) async fn begin(&self, head: &Parts, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let empty = Query::of(head)?.flag("empty")?;
        let state = self.transacting(deed, move |device, limits| device.begin(empty, limits)).await?;
        Ok(reply::json_text(StatusCode::OK, state))
    }

    /// `GET show`
    pub(super) async fn show(&self) -> Result<Reply, ApiError> {
        let limits = self.json_limits();
        let state = self.looking(move |device| device.show(&limits)).await?;
        Ok(reply::json_text(StatusCode::OK, state))
    }

    /// `PUT add`, with a package.
    pub(super) async fn add(&self, body: &mut BodyReader, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let busy = "too many packages are being added";
        let busy = || {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", busy).retry_after(5).close().past(Limit::Packages)
        };
        // Of those before, one may have left and not be missed yet.
        let share = timeout(PATIENCE, Arc::clone(self.adding()).acquire_owned()).await.map_err(|_| busy())?;
        let share = share.map_err(ApiError::internal)?;
        let limits = self.json_limits();
        self.blocking(move |device| device.check_add(&limits)).await.map_err(ApiError::close)?;
        let size = body.declared();
        let (pieces, coming) = channel(AHEAD);
        let (tell, told) = oneshot::channel();
        let device = self.shared_device();
        let reading = std::thread::Builder::new().name("pvr-agent-add".to_owned()).stack_size(BLOCKING_STACK);
        let reading = reading.spawn(move || {
            let _share = share;
            let mut package = Package { coming, piece: Bytes::new(), whole: false };
            // If nobody waits, the client has gone; the package was cut off then.
            let added = device.add(&mut package, size, &limits).map_err(ApiError::from);
            deed.came(&added);
            drop(deed);
            let _ = tell.send(added);
        });
        reading.map_err(ApiError::internal)?;
        let handed = hand_over(body, pieces).await;
        // Whoever is told that it came to nothing finds nothing of it; and the process of a CGI ends with its answer.
        let added = told.await.map_err(ApiError::internal)?;
        handed?;
        let state = added.map_err(ApiError::close)?;
        pass_over(body).await;
        Ok(reply::json_text(StatusCode::OK, state))
    }

    /// `PUT remove?part=<part>`
    pub(super) async fn remove(&self, head: &Parts, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let part = Query::of(head)?.text("part")?.unwrap_or_default().to_owned();
        deed.tell(|told| told.what = Some(part.clone()));
        let state = self.transacting(deed, move |device, limits| device.remove(&part, limits)).await?;
        Ok(reply::json_text(StatusCode::OK, state))
    }

    /// `POST abort`
    pub(super) async fn abort(&self, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        self.transacting(deed, |device, limits| device.abort(limits)).await?;
        Ok(ok())
    }

    /// `POST commit`: the name of the new revision, as `pvtx` prints it.
    pub(super) async fn commit(&self, head: &Parts, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let name = Query::of(head)?.text("rev")?.map(str::to_owned);
        deed.tell(|told| told.rev.clone_from(&name));
        let made = Arc::clone(&deed);
        let commit = self.transacting(deed, move |device, limits| {
            let rev: Revision = device.commit(name.as_deref(), limits)?;
            made.tell(|told| told.rev = Some(rev.to_string()));
            Ok(rev)
        });
        let rev = commit.await?;
        let mut reply = Reply::new(ReplyBody::bytes(format!("{rev}\n")));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(reply)
    }

    /// `POST run?rev=<rev>`
    pub(super) async fn run_step(&self, head: &Parts, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let rev = Query::of(head)?.text("rev")?.map(str::to_owned);
        let missing = || ApiError::new(StatusCode::BAD_REQUEST, "no-rev", "no revision is named").hint("run?rev=<rev>");
        let rev = rev.ok_or_else(missing)?;
        deed.tell(|told| told.rev = Some(rev.clone()));
        self.transacting(deed, move |device, _| device.run(&rev)).await?;
        Ok(ok())
    }

    /// `GET status?rev=<rev>`: what has become of a revision, of the running one unless another is named.
    pub(super) async fn became(&self, head: &Parts) -> Result<Reply, ApiError> {
        let asked = Query::of(head)?.text("rev")?.unwrap_or("current").to_owned();
        let (name, progress) = self
            .looking(move |device| {
                let name = device.resolve(&asked).or_else(|error| match error {
                    // It is answered without, so it may be asked for without.
                    DeviceError::NoSuchRevision(_) if !asked.contains('/') => {
                        device.resolve(&format!("locals/{asked}"))
                    }
                    error => Err(error),
                })?;
                let progress = device.progress_text(&name)?;
                Ok((name, progress))
            })
            .await?;
        let mut progress = serde_json::from_slice(&progress).unwrap_or(json!({}));
        if let Value::Object(members) = &mut progress
            && !members.contains_key("data")
        {
            // What older daemons call it, and have it a text.
            let retries = members.get("retries").map_or_else(|| "0".to_owned(), Value::to_string);
            members.insert("data".to_owned(), retries.into());
        }
        let rev = name.strip_prefix("locals/").unwrap_or(&name);
        Ok(reply::json(StatusCode::OK, &Became { progress, rev }))
    }
}

fn ok() -> Reply {
    reply::json_text(StatusCode::OK, r#"{"status": "ok"}"#)
}

/// Gives the body to whoever reads the package, until it wants no more.
async fn hand_over(body: &mut BodyReader, pieces: Sender<Option<Bytes>>) -> Result<(), ApiError> {
    while let Some(piece) = body.next().await? {
        if pieces.send(Some(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Whoever has read enough needs no end.
    let _ = pieces.send(None).await;
    Ok(())
}

/// What fills up a tape, and what a client has sent meanwhile.
async fn pass_over(body: &mut BodyReader) {
    let mut left = BEHIND;
    while let Ok(Some(piece)) = body.next().await {
        left = left.saturating_sub(piece.len());
        if left == 0 {
            return;
        }
    }
}

/// A package as it comes. It ends where its sender says so; that nobody sends any more is an error.
struct Package {
    coming: Receiver<Option<Bytes>>,
    piece: Bytes,
    whole: bool,
}

impl Read for Package {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.whole {
            match self.coming.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.whole = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body ended early")),
            }
        }
        let got = self.piece.len().min(out.len());
        let piece = self.piece.split_to(got);
        if let Some(out) = out.get_mut(..got) {
            out.copy_from_slice(&piece);
        }
        Ok(got)
    }
}
