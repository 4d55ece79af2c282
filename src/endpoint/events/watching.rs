//! Who follows which revision. A device is asked once for all of them, in turn, and then rests: its daemon has one thread, and a
//! stick or card has other things to do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::view::View;
use crate::device::{Device, DeviceError, Outlook};

/// The rest between two rounds.
const REST: Duration = Duration::from_millis(300);
/// In how many rounds once all revisions are listed, to see what has overtaken those that wait.
const AROUND: u32 = 7;

/// All who follow something.
#[derive(Debug)]
pub struct Watching {
    device: Arc<Device>,
    places: Arc<Semaphore>,
    closed: watch::Sender<bool>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    revisions: HashMap<String, watch::Sender<Arc<View>>>,
    /// Somebody goes round.
    goes_round: bool,
}

/// One who follows a revision; the place is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) closed: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Watching {
    /// Nobody follows anything; so many may.
    pub fn new(device: Arc<Device>, places: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { device, places, closed: watch::Sender::new(false), watched: Mutex::default() })
    }

    /// Whoever follows something is told that there is nothing more, and nobody new may begin.
    pub fn close(&self) {
        self.places.close();
        self.closed.send_replace(true);
    }

    /// Follows the revision that looks like this now. None: all places are taken.
    pub(super) fn begin(self: &Arc<Self>, view: View) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut watched = self.lock();
        let sender = watched.revisions.entry(view.rev().to_owned());
        let sender = sender.or_insert_with(|| watch::Sender::new(Arc::new(View::gone(view.rev()))));
        let receiver = sender.subscribe();
        sender.send_replace(Arc::new(view));
        if !std::mem::replace(&mut watched.goes_round, true) {
            tokio::spawn(Arc::clone(self).go_round());
        }
        drop(watched);
        Some(Place { view: receiver, closed: self.closed.subscribe(), _permit: permit })
    }

    async fn go_round(self: Arc<Self>) {
        let mut round = 0_u32;
        loop {
            sleep(REST).await;
            let Some(names) = self.still_followed() else { return };
            round = round.wrapping_add(1);
            let (device, around) = (Arc::clone(&self.device), round.is_multiple_of(AROUND));
            // A round that panicked has told nothing; the next one may.
            let looked = spawn_blocking(move || look(&device, names, around)).await.unwrap_or_default();
            let watched = self.lock();
            for (name, outlook) in looked {
                if let Some(sender) = watched.revisions.get(&name) {
                    tell(sender, &name, outlook, around);
                }
            }
        }
    }

    /// The revisions that somebody follows; none: nobody goes round any more.
    fn still_followed(&self) -> Option<Vec<String>> {
        let mut watched = self.lock();
        watched.revisions.retain(|_, sender| sender.receiver_count() > 0);
        watched.goes_round = !watched.revisions.is_empty();
        watched.goes_round.then(|| watched.revisions.keys().cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of these revisions: of none any more, once the device does not answer. None: it is gone.
fn look(device: &Device, names: Vec<String>, around: bool) -> Vec<(String, Option<Outlook>)> {
    let mut looked = Vec::with_capacity(names.len());
    for name in names {
        match device.outlook(&name, around) {
            Ok(outlook) => looked.push((name, Some(outlook))),
            Err(DeviceError::NoSuchRevision(_)) => looked.push((name, None)),
            Err(DeviceError::Unreachable(_)) => break,
            Err(_) => {}
        }
    }
    looked
}

fn tell(sender: &watch::Sender<Arc<View>>, name: &str, outlook: Option<Outlook>, around: bool) {
    let before = Arc::clone(&sender.borrow());
    let outlook = outlook.map(|mut outlook| {
        // What was not looked for is as it was, as long as the revision is.
        let same = |before: &&Outlook| !around && before.progress == outlook.progress;
        if let Some(before) = before.outlook().filter(same) {
            outlook.overtaken.clone_from(&before.overtaken);
        }
        outlook
    });
    if before.outlook() != outlook.as_ref() {
        let view = outlook.map_or_else(|| View::gone(name), |outlook| View::of(name, outlook));
        sender.send_replace(Arc::new(view));
    }
}
