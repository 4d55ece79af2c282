//! One request of a web server that runs this program (RFC 3875): the same router as on a socket, fed from the
//! environment and standard input, answered on standard output.
//!
//! - `environment`: the request, out of the variables. Nothing is decoded twice, nothing that the server did not say is
//!   believed.
//! - `input`: the body. As many bytes as were declared, or as many as the chunks say; the end of standard input is never
//!   taken for the end of a body.
//! - `output`: `Status:`, header lines, and the body as it is read.
//! - `busybox`: what one server does not hand over, and where it is.
//!
//! What a web server cannot pass on is listed in `docs/cgi.md`. Nothing here outlives the process: uploads have no name
//! before they are whole, locks are the kernel's, and what a file system without nameless files leaves of a process that is
//! killed is cleared away by the next request that changes something.

mod busybox;
mod environment;
mod input;
mod output;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::ApiError;
use super::limits::Limits;
use super::log::Log;
use super::reply::{self, Reply};
use super::server::{BLOCKING_STACK, BLOCKING_THREADS};
use super::{Endpoint, run_number};
pub use environment::{Environment, Invocation};
use input::{Input, Unread};

/// Answers the request that `invocation` is.
pub fn answer(invocation: Invocation, endpoint: &Endpoint) -> io::Result<()> {
    let runtime = runtime()?;
    let answered = runtime.block_on(async {
        let limits = endpoint.limits();
        let (request, arrival) = (invocation.request, invocation.arrival);
        let method = request.method().clone();
        let unread = Arc::new(Mutex::new(None));
        let input = Input::new(stdin()?, invocation.framing, invocation.rest, Arc::clone(&unread), limits);
        let mut reply = endpoint.handle(request.map(|()| input), arrival).await;
        // Some servers end a program as soon as they have its answer, and it ends with its main thread: what waits then is lost.
        endpoint.audit().flush();
        endpoint.log().flush();
        // Whether a connection stays is for the server to say, where it does.
        reply.headers_mut().remove(CONNECTION);
        if invocation.closes {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let sent = output::send(reply, &method, stdout()?, invocation.client, limits).await;
        drain(&unread, limits).await;
        sent
    });
    // A thread that still waits for bytes which don't come goes with the process.
    runtime.shutdown_background();
    answered
}

/// Answers without looking at what is asked.
pub fn refuse(environment: &Environment, error: ApiError, log: &Log) -> io::Result<()> {
    let runtime = runtime()?;
    let (method, request_id) = (environment.method(), format!("{:08x}-0", run_number()));
    let said = environment.text("REQUEST_METHOD").unwrap_or("-");
    log.refused(environment.address("REMOTE_ADDR"), said, &environment.place().1, &request_id, &error);
    log.flush();
    let mut reply = error.into_reply(&request_id, "");
    reply.headers_mut().remove(CONNECTION);
    let sent = runtime.block_on(async { output::send(reply, &method, stdout()?, None, &Limits::default()).await });
    runtime.shutdown_background();
    sent
}

/// That there is nothing to answer from.
pub fn no_storage(cause: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-storage", "the storage of this device cannot be opened")
        .hint("the error log of the web server has the cause; PVR_AGENT_STORAGE names the storage")
        .cause(cause)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .build()
}

/// Without the standard library's buffers in between.
fn stdin() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

fn stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Takes what a client still sends after a refusal, for a while: a server whose program is gone may close the connection on
/// it, and the client never reads why.
async fn drain(unread: &Unread, limits: &Limits) {
    let Some((mut stream, left)) = input::take(unread) else { return };
    // Behind the body, a client that knows its length sends nothing, and may wait for the connection to end.
    let most = limits.linger_bytes.min(left);
    let drained = spawn_blocking(move || io::copy(&mut io::Read::take(&mut stream, most), &mut io::sink()));
    let _ = timeout(limits.linger_time, drained).await;
}

/// So that the date of an answer is there whether the server adds one or not.
fn dated(mut reply: Reply) -> Reply {
    reply::date(reply.headers_mut());
    reply
}

/// The longest that a piece may wait in a pipe before anybody looks at the clock again.
const PIECE: usize = 16 * 1024;

/// No wait at all is no wait that a timer could be set to.
fn at_least_a_moment(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(1))
}
