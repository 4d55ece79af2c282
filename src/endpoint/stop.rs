//! Ending: the first request lets what is in flight finish, the second doesn't.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Asks a server to stop; any number of clones.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<u8>);

/// Sees that a server was asked to stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<u8>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Stop {
    /// Asks once (more).
    pub fn ask(&self) {
        self.0.send_modify(|asked| *asked = asked.saturating_add(1));
    }

    /// For whoever has to see it.
    pub fn stopping(&self) -> Stopping {
        Stopping(self.0.subscribe())
    }

    /// Asks whenever SIGTERM or SIGINT arrives, for ever.
    pub(super) async fn on_signals(self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            poll_fn(|cx| match (terminate.poll_recv(cx), interrupt.poll_recv(cx)) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
            self.ask();
        }
    }
}

impl Stopping {
    /// Waits for the first request.
    pub async fn wait(mut self) {
        self.asked(1).await;
    }

    /// Waits for the second.
    pub async fn wait_twice(mut self) {
        self.asked(2).await;
    }

    async fn asked(&mut self, times: u8) {
        if self.0.wait_for(|asked| *asked >= times).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

/// What one future or the other came to, whichever is first.
pub(super) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Runs two futures until one of them ends. The first has precedence.
pub(super) async fn either<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::as_mut(&mut first).poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        Pin::as_mut(&mut second).poll(cx).map(Either::Second)
    })
    .await
}
