//! Where the objects of a package go.
//!
//! Into a folder, objects are hashed while they are written, wait together until the whole package has been found to be
//! right, and get their names durably before the state names them. To Pantavisor they are sent as they come; it keeps what
//! no revision names until its next collection.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::error::{Context, PvtxError};
use crate::pvctrl::{Control, ControlError};
use crate::state::ObjectId;
use crate::store::pool::{agent_of, is_of_storage};
use crate::store::{ArchiveError, ObjectStore, Parked, Stage, StoreError};

/// The folder of the objects of a local transaction. It has to be there.
pub(super) fn open_store(dir: &Path) -> Result<ObjectStore, PvtxError> {
    let dir = match fs::canonicalize(dir) {
        Ok(dir) if dir.is_dir() => dir,
        Ok(_) => return Err(PvtxError::NoObjects(dir.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(PvtxError::NoObjects(dir.to_owned()));
        }
        Err(error) => return Err(error).on("resolve", dir),
    };
    let store = ObjectStore::open(&dir, &agent_of(&dir))?;
    // What somebody left who died. That it cannot be removed is no reason not to work.
    store.sweep().ok();
    Ok(store)
}

/// On a device, an object that no revision names yet needs a second link.
pub(super) fn stage_of(store: &ObjectStore) -> Stage {
    if is_of_storage(store.objects()) { Stage::Yes } else { Stage::No }
}

/// Takes an object: its name, its size and its bytes.
pub type Taker<'a> = dyn FnMut(ObjectId, u64, &mut dyn Read) -> Result<(), PvtxError> + 'a;

/// Takes objects, one after the other.
pub(super) enum Objects<'a> {
    Local(Local<'a>),
    Remote(&'a Control),
    Through(&'a mut Taker<'a>),
    /// There is no place for them; the first that comes fails with this.
    Nowhere(Option<PvtxError>),
}

/// Objects on their way into a folder.
pub(super) struct Local<'a> {
    store: &'a ObjectStore,
    stage: Stage,
    parked: Parked<'a>,
    piece: usize,
    /// Objects that came with other bytes. An archive may bring the right ones later.
    wrong: BTreeMap<ObjectId, PvtxError>,
}

impl<'a> Objects<'a> {
    pub(super) fn into(store: &'a ObjectStore, piece: usize) -> Result<Self, PvtxError> {
        let parked = store.park()?;
        Ok(Self::Local(Local { store, stage: stage_of(store), parked, piece, wrong: BTreeMap::new() }))
    }

    /// Takes an object of `size` bytes, or passes over what is there already.
    pub(super) fn take(&mut self, id: ObjectId, size: u64, from: &mut dyn Read) -> Result<(), PvtxError> {
        match self {
            Self::Local(local) => local.take(id, size, from),
            Self::Remote(control) => control.put_object(&id, size, from).map_err(|error| match error {
                // The package, not the socket.
                ControlError::Source(source) => ArchiveError::from(source).into(),
                error => error.into(),
            }),
            Self::Through(take) => take(id, size, from),
            Self::Nowhere(why) => why.take().map_or(Ok(()), Err),
        }
    }

    /// Whether all that came was right.
    pub(super) fn check(&mut self) -> Result<(), PvtxError> {
        match self {
            Self::Local(local) => local.wrong.pop_first().map_or(Ok(()), |(_, error)| Err(error)),
            Self::Remote(_) | Self::Through(_) | Self::Nowhere(_) => Ok(()),
        }
    }

    /// Gives them their names, durably.
    pub(super) fn publish(self) -> Result<(), PvtxError> {
        match self {
            Self::Local(local) => {
                local.parked.publish(local.stage)?;
                Ok(())
            }
            Self::Remote(_) | Self::Through(_) | Self::Nowhere(_) => Ok(()),
        }
    }
}

impl Local<'_> {
    fn take(&mut self, id: ObjectId, size: u64, from: &mut dyn Read) -> Result<(), PvtxError> {
        let there = match self.stage {
            Stage::Yes => self.store.stage(&id)?,
            Stage::No => self.store.intact(&id)?,
        };
        if there.is_some() || self.parked.has(&id) {
            return Ok(());
        }
        let mut writer = self.parked.begin(id, size)?;
        let mut buf = vec![0; self.piece];
        loop {
            match from.read(&mut buf) {
                Ok(0) => break,
                Ok(got) => writer.write_all(&buf[..got])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::from(error).into()),
            }
        }
        match writer.finish() {
            Ok(sealed) => {
                self.parked.add(sealed)?;
                self.wrong.remove(&id);
                Ok(())
            }
            Err(error @ StoreError::WrongHash { .. }) => {
                self.wrong.insert(id, PvtxError::Object { id, source: Box::new(error) });
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
