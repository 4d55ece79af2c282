//! The device endpoint: what `pvr clone 1.2.3.4` and `pvr post` talk to on port 12368.
//!
//! Below `/cgi-bin/pvr` (`hub.md` B5):
//!
//! | request | answer |
//! |---|---|
//! | `GET .pvrremote`, `steps/<rev>/.pvrremote` | where everything is: `remote` |
//! | `GET json`, `PUT json`, `GET steps/<rev>/json` | states: `steps` |
//! | `GET events`, `steps/<rev>/events` | what becomes of an update: `events` |
//! | `GET` of the base, `steps`, `steps/<rev>`, `steps/<rev>/progress`; `POST steps` | revisions: `steps` |
//! | `GET`, `POST objects`, `GET objects/<sha>` | objects: `objects` |
//! | `GET`, `HEAD`, `PUT objects/<sha>/blob` | their bytes: `download`, `upload` |
//! | `GET status` | `status` |
//! | `GET`, `POST auth/login`, `GET auth/auth_status` | logins: `access` |
//!
//! Beside it, below `/cgi-bin` (`sdk.md`):
//!
//! | request | answer |
//! |---|---|
//! | `pvtx/…` | transactions: `transact` |
//! | `GET logs` | `logs` |
//! | `GET openapi.json` | all of this, described: `openapi` |
//!
//! And `GET /metrics`: `metrics`.
//!
//! What there is stands in `routes`, which both the router and the description are made of.
//!
//! A request comes from a socket (`server`, `connection`) or from anything else that can make a
//! [`hyper::Request`] and an [`Arrival`] of it, as a web server does that runs this program (`cgi`): [`Endpoint::handle`] knows neither sockets nor processes. It passes
//! the `guard`, is found to be allowed (`access`), becomes a [`route::Route`], and is answered from the [`Device`], whose functions all run on the
//! blocking pool; those that may take long take turns (`disk`). One thread or two wait for all clients; memory is bounded by [`Limits`].

pub mod access;
mod audit;
mod body;
pub mod cgi;
pub mod config;
mod connection;
mod connections;
mod disk;
mod download;
pub mod error;
mod events;
pub mod guard;
mod headers;
pub mod limits;
pub mod log;
mod log_queue;
mod logs;
mod metrics;
mod objects;
mod openapi;
mod outbox;
mod pace;
pub mod public;
mod publish;
mod pulled;
mod query;
mod refusal;
mod remote;
pub mod reply;
pub mod route;
mod routes;
pub mod server;
mod status;
mod steps;
pub mod stop;
mod timed_io;
pub mod tls;
mod transact;
mod transport;
mod upload;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::device::{Audited, Confined, Content, Device, DeviceError};
use crate::state::{ObjectId, clock};
use access::{Access, Caller, Exposure};
use audit::{Audit, Deed};
use body::{BodyReader, BoxError};
use disk::Disk;
use error::ApiError;
use events::Watching;
pub use guard::{Arrival, Base, Hosts};
pub use limits::{Limit, Limits};
use log::{Answered, Log};
use metrics::Metrics;
use publish::Publisher;
use reply::Reply;
use route::Route;
pub use server::{Ended, Listener, run};
pub use stop::Stop;
pub use tls::{Tls, TlsFiles};

/// The router and everything it answers from.
#[derive(Debug)]
pub struct Endpoint {
    device: Arc<Device>,
    limits: Limits,
    hosts: Hosts,
    access: Access,
    exposure: Option<Exposure>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    warnings: Vec<String>,
    confined: Option<Confined>,
    disk: Disk,
    publisher: Arc<Publisher>,
    held: Arc<Semaphore>,
    posting: Arc<Semaphore>,
    /// Whoever adds a package: its client may be slow.
    adding: Arc<Semaphore>,
    /// Whoever reads a state, one at a time: as a tree it takes many times the memory of its text.
    reading: Arc<Semaphore>,
    watching: Arc<Watching>,
    /// How many uploads are being received.
    uploads: AtomicUsize,
    /// Different for every start, so that ids of two runs in one log don't meet.
    run: u32,
    requests: AtomicU32,
}

impl Endpoint {
    /// Answers for `device`. `warnings` is what `status` says besides.
    pub fn new(device: Device, limits: Limits, hosts: Hosts, log: Log, warnings: Vec<String>) -> Self {
        let (device, disk, log) = (Arc::new(device), Disk::new(), Arc::new(log));
        let metrics = Arc::<Metrics>::default();
        Self {
            access: Access::by(device.accounts_folder()),
            publisher: Publisher::new(Arc::clone(&device), disk.clone()),
            disk,
            held: Arc::new(Semaphore::new(limits.held_bytes.min(Semaphore::MAX_PERMITS))),
            posting: Arc::new(Semaphore::new(1)),
            adding: Arc::new(Semaphore::new(limits.packages)),
            reading: Arc::new(Semaphore::new(1)),
            watching: Watching::new(Arc::clone(&device), limits.watchers),
            uploads: AtomicUsize::new(0),
            run: run_number(),
            requests: AtomicU32::new(0),
            audit: Audit::new(Arc::clone(&device), Arc::clone(&log), Arc::clone(&metrics)),
            device,
            limits,
            hosts,
            exposure: None,
            log,
            metrics,
            warnings,
            confined: None,
        }
    }

    /// Where it listens, so that it can warn of that.
    #[must_use]
    pub fn at(self, exposure: Exposure) -> Self {
        Self { exposure: Some(exposure), ..self }
    }

    /// Of a process that has given this up.
    #[must_use]
    pub fn confined(self, confined: Confined) -> Self {
        Self { confined: Some(confined), ..self }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>, arrival: Arrival) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let body = BodyReader::new(body.map_err(Into::into).boxed_unsync(), &self.limits);
        self.answer(head, body, arrival).await
    }

    async fn answer(&self, head: Parts, mut body: BodyReader, arrival: Arrival) -> Reply {
        let started = Instant::now();
        let caller = Caller::nobody(arrival.peer);
        let mut seen = Seen { request_id: self.request_id(), caller, route: "none", deed: None };
        let (challenge, answered) = match self.hosts.base(&head, &arrival) {
            Err(error) => (String::new(), Err(error)),
            Ok(base) => (base.challenge(), self.route(&head, &mut body, &base, &arrival, &mut seen).await),
        };
        let error = answered.as_ref().err();
        let (cause, reason) = (error.map(ApiError::log_text), error.map(ApiError::reason));
        if let Some(limit) = error.and_then(ApiError::limit) {
            self.metrics.past(limit);
        }
        let mut reply = match answered {
            Ok(mut reply) => {
                headers::secure(reply.headers_mut());
                reply
            }
            Err(error) => error.into_reply(&seen.request_id, &challenge),
        };
        if !body.is_finished() {
            // What is left of the body is not the next request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let status = reply.status().as_u16();
        self.metrics.answered(seen.route, status);
        if let Some(deed) = &seen.deed {
            deed.ended(status, reason);
        }
        self.log.answered(&Answered {
            peer: arrival.peer,
            method: head.method.as_str(),
            path: head.uri.path(),
            status,
            took: started.elapsed(),
            request_id: &seen.request_id,
            cause: cause.as_deref(),
        });
        reply
    }

    /// What is found out is left in `seen`, whatever comes of it.
    async fn route(
        &self,
        head: &Parts,
        body: &mut BodyReader,
        base: &Base,
        arrival: &Arrival,
        seen: &mut Seen,
    ) -> Result<Reply, ApiError> {
        self.hosts.check_origin(head, base)?;
        let (entry, route) = Route::find(&head.method, head.uri.path())?;
        seen.route = entry.id;
        let accounts = self.access.accounts().await?;
        let last = self.limits.url_time.max(limits::SHORTEST_URL).as_secs();
        // Whoever is on this machine may have metrics without being anybody.
        let here = route == Route::Metrics && metrics::is_here(head, arrival);
        seen.caller = match &accounts {
            None => Caller::anybody(arrival.peer),
            Some(_) if entry.needs.is_none() || here => Caller::nobody(arrival.peer),
            Some(accounts) => access::decide(accounts, head, arrival, &route, last)?,
        };
        access::check(&seen.caller, entry.needs.filter(|_| !here))?;
        if arrival.mount.is_some() && entry.needs.is_some() && !matches!(head.method, Method::GET | Method::HEAD) {
            self.settle().await;
        }
        let mut begin = |did| self.deed(did, seen);
        match route {
            Route::Remote(rev) => self.remote(rev, base).await,
            Route::State(rev) => self.state(rev).await,
            Route::PutState => self.put_state(body, begin("put")).await,
            Route::Objects => self.objects().await,
            Route::Announce => self.announce(body, base, &access::links(accounts, &seen.caller, last)).await,
            Route::Object(id) => self.object(id, base, &access::links(accounts, &seen.caller, last)).await,
            Route::PutBlob(id) => {
                begin("upload").tell(|told| told.what = Some(id.to_string()));
                self.put_blob(id, size_of(head)?, body).await
            }
            Route::Blob(id) => {
                let (content, size) = self.open_object(id).await?;
                download::answer(head, &id, content, size, arrival.outbox.clone())
            }
            Route::Steps => self.steps().await,
            Route::PostStep => self.post_step(body, base, begin("post")).await,
            Route::Step(rev) => self.step(rev).await,
            Route::Progress(rev) => self.progress(rev).await,
            Route::Events(rev) => self.events(head, rev, arrival).await,
            Route::Status => self.status(accounts.is_some()).await,
            Route::Begin => self.begin(head, begin("pvtx-begin")).await,
            Route::Add => self.add(body, begin("pvtx-add")).await,
            Route::Remove => self.remove(head, begin("pvtx-remove")).await,
            Route::Show => self.show().await,
            Route::Commit => self.commit(head, begin("pvtx-commit")).await,
            Route::Abort => self.abort(begin("pvtx-abort")).await,
            Route::Run => self.run_step(head, begin("run")).await,
            Route::Became => self.became(head).await,
            Route::Logs => self.logs(head, arrival).await,
            Route::OpenApi => Ok(openapi::answer(base)),
            Route::Login => self.login(accounts, body, begin("login"), &mut seen.caller).await,
            Route::Renew => self.renew(accounts, head, &mut seen.caller),
            Route::AuthStatus => self.auth_status(&seen.caller),
            Route::Metrics => self.metrics_text(head, arrival, &seen.caller),
        }
    }

    /// What a start would clear away, if nobody starts here: each request of a web server is a process of its own.
    async fn settle(&self) {
        if let Err(error) = self.blocking(Device::settle).await {
            self.log.note(log::Level::Warn, &format!("failed to sweep the storage: {}", error.log_text()));
        }
    }

    /// Begins something that the audit log is to have, whatever comes of it.
    fn deed(&self, did: &'static str, seen: &mut Seen) -> Arc<Deed> {
        let deed = self.audit.begin(Audited {
            did,
            who: seen.caller.name().to_owned(),
            from: seen.caller.address.map_or_else(|| "-".to_owned(), |peer| peer.to_canonical().to_string()),
            request_id: Some(seen.request_id.clone()),
            ..Audited::default()
        });
        seen.deed = Some(Arc::clone(&deed));
        deed
    }

    /// Answers a request of an address that has too many in progress.
    fn refuse_share<B>(&self, request: &Request<B>, peer: IpAddr) -> Reply {
        let request_id = self.request_id();
        let message = "this address has too many requests in progress";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1);
        let error = error.past(Limit::PerAddress);
        self.metrics.past(Limit::PerAddress);
        self.metrics.answered("none", error.status().as_u16());
        let (method, path) = (request.method().as_str(), request.uri().path());
        self.log.refused(Some(peer), method, path, &request_id, &error);
        error.into_reply(&request_id, "")
    }

    /// Runs something that writes, syncs or hashes where blocking is fine.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Device) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let device = Arc::clone(&self.device);
        match self.disk.work(move || work(&device)).await {
            Ok(outcome) => outcome.map_err(ApiError::from),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Runs something that only reads what is there. It has threads even while a disk keeps all those that write.
    async fn looking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Device) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let device = Arc::clone(&self.device);
        match spawn_blocking(move || work(&device)).await {
            Ok(outcome) => outcome.map_err(ApiError::from),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Runs something that reads a state, which waits for nobody's lock.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Device) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(ApiError::internal)?;
        self.looking(move |device| {
            let _turn = turn;
            work(device)
        })
        .await
    }

    /// The bytes and the size of an intact object. One that was never hashed waits for its turn.
    async fn open_object(&self, id: ObjectId) -> Result<(Content, u64), ApiError> {
        match self.looking(move |device| device.open_known_object(&id)).await? {
            Some(known) => Ok(known),
            None => self.blocking(move |device| device.open_object(&id)).await,
        }
    }

    fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number}", self.run)
    }

    /// What it answers from.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn shared_device(&self) -> Arc<Device> {
        Arc::clone(&self.device)
    }

    /// What clients may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where it logs.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What it counts.
    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where it says who did what.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// How many objects are being received.
    fn uploading(&self) -> u64 {
        self.uploads.load(Ordering::Relaxed) as u64
    }

    fn access(&self) -> &Access {
        &self.access
    }

    /// As things are now. `guarded`: whether there are accounts.
    fn warnings(&self, guarded: bool) -> Vec<String> {
        let exposed = self.exposure.and_then(|exposure| exposure.warning(Ok(guarded)));
        exposed.into_iter().chain(self.warnings.iter().cloned()).collect()
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }

    fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    fn held(&self) -> &Arc<Semaphore> {
        &self.held
    }

    fn adding(&self) -> &Arc<Semaphore> {
        &self.adding
    }

    /// Who follows updates.
    fn watching(&self) -> &Arc<Watching> {
        &self.watching
    }

    fn posting(&self) -> Arc<Semaphore> {
        Arc::clone(&self.posting)
    }
}

/// Different for every start, mostly.
fn run_number() -> u32 {
    let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = now.as_secs().wrapping_mul(1_000_003) ^ u64::from(now.subsec_nanos()) ^ u64::from(std::process::id());
    mixed as u32
}

/// What is known of a request when it is answered.
struct Seen {
    request_id: String,
    /// Who asks.
    caller: Caller,
    /// The name of its route.
    route: &'static str,
    deed: Option<Arc<Deed>>,
}

/// The `size` of an upload's URL.
fn size_of(head: &Parts) -> Result<Option<u64>, ApiError> {
    let query = head.uri.query().unwrap_or_default();
    let mut sizes = query.split('&').filter_map(|pair| pair.strip_prefix("size="));
    match (sizes.next(), sizes.next()) {
        (None, _) => Ok(None),
        (Some(size), None) if objects::decimal(size).is_some() => Ok(objects::decimal(size)),
        _ => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-size", "the size in the URL is no number of bytes").close())
        }
    }
}
