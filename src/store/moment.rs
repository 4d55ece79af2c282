//! Where unit tests look at a disk as it is at one instant of a change, or have the system fail at it.
//!
//! A watcher belongs to its thread. It is called before a folder is made durable, and between two renames that are
//! made durable together: what it sees is what a process that is killed there leaves behind.

use std::cell::RefCell;
use std::io;
use std::path::Path;

type Watch = Box<dyn FnMut(&Path) -> io::Result<()>>;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Calls `watch` at each moment until the guard is dropped.
pub(crate) fn watch(watch: impl FnMut(&Path) -> io::Result<()> + 'static) -> Watching {
    WATCH.with(|slot| *slot.borrow_mut() = Some(Box::new(watch)));
    Watching
}

/// Ends the watch.
pub(crate) struct Watching;

impl Drop for Watching {
    fn drop(&mut self) {
        WATCH.with(|slot| *slot.borrow_mut() = None);
    }
}

/// A name in `folder` has changed.
pub(crate) fn reached(folder: &Path) -> io::Result<()> {
    // Taken out meanwhile: what a watcher does has moments of its own.
    let Some(mut watch) = WATCH.with(|slot| slot.borrow_mut().take()) else { return Ok(()) };
    let result = watch(folder);
    WATCH.with(|slot| *slot.borrow_mut() = Some(watch));
    result
}
