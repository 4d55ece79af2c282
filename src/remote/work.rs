//! A few threads on many jobs.
//!
//! The jobs are taken from one list under a lock and results go straight to where they belong: there is no queue that
//! could fill up, whatever the number of jobs (`cli.md` §13.24).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Set when the rest of a batch need not be finished.
#[derive(Debug, Default)]
pub(super) struct Stop(AtomicBool);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Does `work` for every job on up to `threads` threads. The first error ends the batch: what runs is asked to stop,
/// what has not begun never does.
pub(super) fn each<T: Send, E: Send>(
    threads: usize,
    jobs: Vec<T>,
    work: impl Fn(T, &Stop) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = threads.min(jobs.len());
    let (jobs, first, stop) = (Mutex::new(jobs.into_iter()), Mutex::new(None), Stop::default());
    let run = || {
        while !stop.is_set() {
            let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            if let Err(error) = work(job, &stop) {
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                stop.0.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        // Where a machine has no threads left, this one does the work of those that could not be had.
        for _ in 1..threads {
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_job_is_done_once_whatever_their_number() {
        for jobs in [0, 1, 3, 5, 205, 206, 5000] {
            let done = Mutex::new(Vec::new());
            each(5, (0..jobs).collect(), |job, _| {
                done.lock().unwrap().push(job);
                Ok::<_, ()>(())
            })
            .unwrap();
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..jobs).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_the_batch() {
        let begun = AtomicUsize::new(0);
        let result = each(4, (0..1000).collect(), |job, stop| {
            begun.fetch_add(1, Ordering::Relaxed);
            while job > 3 && !stop.is_set() {
                thread::yield_now();
            }
            if job == 3 { Err(job) } else { Ok(()) }
        });
        assert_eq!(result, Err(3));
        assert!(begun.into_inner() <= 4 + 3, "what had not begun began");
    }
}
