//! One connection from its first byte to its last: requests one after the other, the clocks between them, and
//! an end that lets the client read why.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use super::Endpoint;
use super::connections::{Admitted, Connection, Phase};
use super::error::ApiError;
use super::guard::Arrival;
use super::limits::{Limit, Limits};
use super::log::Level;
use super::outbox::Outbox;
use super::refusal;
use super::reply::{self, Reply};
use super::stop::{Stopping, either};
use super::timed_io::TimedIo;
use super::tls::Tls;
use super::transport::{Opened, Transport, open};
use super::wire::Wire;

/// A future of an answer; boxed, so that the connection can be moved while it runs.
type Answering = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

/// Bytes that one read of the socket brings at most. Above what an allocator maps on its own (128 KiB in musl) uploads are a
/// quarter slower, and every connection costs more.
const BUFFER: usize = 64 * 1024;

/// Why a connection ends.
enum End {
    /// The protocol is at its end, or broken.
    Finished(Option<hyper::Error>),
    /// A head took too long.
    HeadTooSlow,
    /// It was idle for too long.
    Idle,
    /// It had to make room, or the server stops.
    Unwanted,
}

/// The body of a request, whose connection learns when it is waited for.
struct Awaited {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.connection.waits_for_client(),
            Poll::Ready(Some(Ok(frame))) => self.connection.moved(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(_) => self.connection.moved(0),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.connection.moved(0);
    }
}

/// Serves `stream` until it ends; with `tls`, https.
pub async fn serve(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    admitted: Admitted,
    endpoint: Arc<Endpoint>,
    stopping: Stopping,
) {
    let connection = Arc::clone(&admitted.0);
    let limits = endpoint.limits().clone();
    let local = stream.local_addr().ok();
    let outbox = Arc::new(Outbox::default());
    let wire = Wire::new(stream, Arc::clone(&outbox), &limits, Arc::clone(endpoint.metrics()));
    let transport = match open(wire, tls, &connection, &endpoint, stopping.clone()).await {
        Opened::Ready(transport) => transport,
        Opened::Refused(transport) => return linger(transport, None, &connection, &endpoint).await,
        Opened::Over => return,
    };
    let scheme = transport.scheme();
    let certificate = transport.certificate();
    let outbox = transport.takes_files().then_some(outbox);
    let io = TokioIo::new(TimedIo::new(transport, Arc::clone(&connection)));
    let service = {
        let (connection, endpoint) = (Arc::clone(&connection), Arc::clone(&endpoint));
        let asked = stopping.clone();
        service_fn(move |request: Request<Incoming>| -> Answering {
            let begun = connection.begin();
            let (connection, endpoint) = (Arc::clone(&connection), Arc::clone(&endpoint));
            let arrival = Arrival {
                scheme,
                local,
                peer: Some(connection.peer()),
                two_lengths: begun.two_lengths,
                outbox: outbox.clone(),
                mount: None,
                certificate: certificate.clone(),
                stopping: Some(asked.clone()),
            };
            Box::pin(async move {
                let reply = match begun.over_share {
                    true => endpoint.refuse_share(&request, connection.peer()),
                    false => endpoint.handle(request.map(|body| Awaited { body, connection }), arrival).await,
                };
                begun.in_progress.answers();
                if reply.body().waits() {
                    begun.in_progress.follows();
                }
                let (mut head, body) = reply.into_parts();
                reply::date(&mut head.headers);
                Ok(Reply::from_parts(head, body.with_guard(Box::new(begun.in_progress))))
            })
        })
    };
    let mut protocol = http1::Builder::new()
        // Ours are better informed: theirs doesn't tell an idle connection from a slow head.
        .header_read_timeout(None)
        .max_headers(limits.head_lines)
        .max_header_size(limits.head_bytes)
        .max_buf_size(BUFFER)
        // Gathered, never copied: the outbox knows what it sends by its address.
        .writev(true)
        // Theirs asks the standard library for the time (see the clock).
        .auto_date_header(false)
        .serve_connection(io, service);

    let end = {
        let mut evicted = pin!(connection.evicted.notified());
        let mut stopping = pin!(stopping.wait());
        let mut graceful = false;
        let mut clock = pin!(sleep_until(Instant::now().into()));
        poll_fn(|cx| {
            if let Poll::Ready(done) = protocol.poll_without_shutdown(cx) {
                return Poll::Ready(End::Finished(done.err()));
            }
            if evicted.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Unwanted);
            }
            if !graceful && stopping.as_mut().poll(cx).is_ready() {
                graceful = true;
                Pin::new(&mut protocol).graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            let Some((deadline, end)) = deadline(&connection, &limits) else { return Poll::Pending };
            if graceful {
                return Poll::Ready(End::Unwanted);
            }
            if clock.deadline() != deadline.into() {
                clock.as_mut().reset(deadline.into());
            }
            clock.as_mut().poll(cx).map(|()| end)
        })
        .await
    };

    if matches!((&end, connection.phase()), (End::Unwanted, Phase::Busy)) {
        let message = "a client that held up its own request made room for another";
        endpoint.log().note(Level::Warn, &format!("{}: {message}", connection.peer()));
    }
    let (stream, refused) = protocol.into_parts().io.into_inner().into_parts();
    let refusal = match &end {
        End::HeadTooSlow => Some(refusal::too_slow(&limits)),
        End::Finished(Some(error)) if refused.is_some() || error.is_parse() => {
            Some(refusal::unreadable(refused, error, &limits))
        }
        End::Finished(_) | End::Idle | End::Unwanted => None,
    };
    if matches!(end, End::Idle) {
        endpoint.metrics().past(Limit::IdleTime);
    }
    if !matches!(end, End::Idle | End::Unwanted) {
        linger(stream, refusal, &connection, &endpoint).await;
    }
    drop(admitted);
}

/// When the wait for a request head is over, and what then.
fn deadline(connection: &Connection, limits: &Limits) -> Option<(Instant, End)> {
    match connection.phase() {
        Phase::Busy => None,
        Phase::Waiting { begun: Some(begun), .. } => Some((begun + limits.head_time, End::HeadTooSlow)),
        Phase::Waiting { since, begun: None } => Some((since + limits.idle_time, End::Idle)),
    }
}

/// Says why, if there is something to say, ends our side and reads what the client still sends, for a while. Closing
/// with unread bytes resets the connection, and with it the answer that the client hasn't read yet.
async fn linger(mut stream: Transport, refusal: Option<ApiError>, connection: &Connection, endpoint: &Endpoint) {
    let limits = endpoint.limits();
    let drain = async {
        if let Some(error) = refusal {
            endpoint.refuse(&mut stream, connection.peer(), error).await;
        }
        // With TLS, this takes a client that reads.
        if poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.is_err() {
            return;
        }
        let stream = stream.into_tcp();
        let mut scrap = [0; 4096];
        let mut left = limits.linger_bytes;
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut scrap) {
                Ok(0) => break,
                Ok(n) => left = left.saturating_sub(n as u64),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    let _ = timeout(limits.linger_time, either(connection.evicted.notified(), drain)).await;
}
