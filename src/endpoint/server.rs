//! The socket: accepting, and stopping without cutting anybody off.

use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::Endpoint;
use super::connection;
use super::connections::Registry;
use super::log::Level;
use super::stop::{Either, Stop, either};
use super::tls::Tls;
use crate::device::Device;

/// How long what was sent may stay without an answer of the other machine: twice the silence that a body may have.
const UNHEARD_MS: u32 = 60_000;

/// Connections that may wait to be taken: some hundred come at once where clients are many, or hostile.
const BACKLOG: i32 = 1024;

/// Threads for what blocks: hashing, writing, syncing. They come and go; one job is short or rare.
pub(super) const BLOCKING_THREADS: usize = 8;

/// Stack of each: a state may be nested as deep as its limit allows, and the parser follows.
pub(super) const BLOCKING_STACK: usize = 2 * 1024 * 1024;

/// What clients connect to.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// https, with this certificate.
    pub fn https(socket: std::net::TcpListener, tls: Tls) -> Self {
        Self { socket, tls: Some(Arc::new(tls)) }
    }
}

impl From<std::net::TcpListener> for Listener {
    /// http.
    fn from(socket: std::net::TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// Something was cut off: asked twice, or out of time.
    Cut,
}

/// One thread for the network, and a second one where there is a core for it: what a download costs is copying, and
/// one core copies less than two. More would only cost memory.
fn runtime() -> Builder {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return Builder::new_current_thread();
    }
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(2);
    threads
}

/// Serves on `listener` until asked to stop. With `signals`, SIGTERM and SIGINT ask.
pub fn run(listener: impl Into<Listener>, endpoint: Arc<Endpoint>, stop: Stop, signals: bool) -> io::Result<Ended> {
    let Listener { socket, tls } = listener.into();
    let runtime = runtime()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .thread_name("pvr-agent-disk")
        .build()?;
    let ended = runtime.block_on(async {
        socket.set_nonblocking(true)?;
        // The standard library asks for 128. A client for which there is none tries again after a second, and then after two.
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = TcpListener::from_std(socket)?;
        if signals {
            tokio::spawn(stop.clone().on_signals());
        }
        tokio::spawn(sweep(Arc::clone(&endpoint)));
        Ok(serve(listener, tls, endpoint, stop).await)
    });
    // Jobs that still run hold nothing that the next start doesn't clean up.
    runtime.shutdown_background();
    ended
}

/// Keeps the storage tidy, for ever.
async fn sweep(endpoint: Arc<Endpoint>) {
    loop {
        sleep(endpoint.limits().sweep_every).await;
        if let Err(error) = endpoint.blocking(Device::sweep).await {
            endpoint.log().note(Level::Warn, &format!("failed to sweep the storage: {}", error.log_text()));
        }
    }
}

async fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, endpoint: Arc<Endpoint>, stop: Stop) -> Ended {
    let registry = Registry::new(endpoint.limits().clone(), Arc::clone(endpoint.metrics()));
    let stopping = stop.stopping();
    let accepting = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors or memory, or the client has gone already. Waiting frees some.
                    endpoint.log().note(Level::Warn, &format!("failed to accept a connection: {error}"));
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admitted = registry.admit(peer.ip().to_canonical()).await;
            // Answers go out in one write or are large: waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            // A peer that is gone without a word is given up after that, and not after a quarter of an hour: what waits for news
            // writes too little to notice it otherwise.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNHEARD_MS);
            let (tls, endpoint) = (tls.clone(), Arc::clone(&endpoint));
            tokio::spawn(connection::serve(stream, tls, admitted, endpoint, stopping.clone()));
        }
    };
    if let Either::First(never) = either(accepting, stopping.clone().wait()).await {
        return never;
    }
    drop(listener);
    endpoint.watching().close();
    let draining = either(timeout(endpoint.limits().shutdown_time, registry.emptied()), stopping.clone().wait_twice());
    match draining.await {
        Either::First(Ok(())) => Ended::Drained,
        Either::First(Err(_)) | Either::Second(()) => Ended::Cut,
    }
}
