//! Objects that wait for others before any of them gets its name.
//!
//! They lie in a locked folder in `tmp/`, so nothing of them is left if their owner gives up or dies, and any number can
//! wait without a descriptor each. What is parked has been hashed and is durable; [`Parked::publish`] only names it.

use super::durable;
use super::error::{Context, StoreError};
use super::publish::{Stage, Stored};
use super::temp::{TempDir, TempFile};
use super::writer::Sealed;
use super::{ObjectStore, Writer};
use crate::state::ObjectId;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

/// Objects that hold a descriptor each until they are made durable together.
const BATCH: usize = 32;

/// Objects without names. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Parked<'a> {
    store: &'a ObjectStore,
    dir: TempDir,
    open: Vec<Sealed>,
    objects: BTreeMap<ObjectId, u64>,
}

impl ObjectStore {
    /// An empty place to park objects in.
    pub fn park(&self) -> Result<Parked<'_>, StoreError> {
        let dir = TempDir::create(&self.tmp())?;
        Ok(Parked { store: self, dir, open: Vec::new(), objects: BTreeMap::new() })
    }
}

impl Parked<'_> {
    /// Begins an object, as [`ObjectStore::begin`] does.
    pub fn begin(&self, id: ObjectId, size: u64) -> Result<Writer, StoreError> {
        self.store.begin(Some(id), Some(size))
    }

    /// Takes an object in.
    pub fn add(&mut self, sealed: Sealed) -> Result<(), StoreError> {
        self.objects.insert(sealed.id(), sealed.size());
        self.open.push(sealed);
        if self.open.len() >= BATCH { self.settle() } else { Ok(()) }
    }

    /// Whether it is here.
    pub fn has(&self, id: &ObjectId) -> bool {
        self.objects.contains_key(id)
    }

    /// Names all objects; returns when the names are durable. After an error some may have their names.
    pub fn publish(mut self, stage: Stage) -> Result<Vec<(ObjectId, Stored)>, StoreError> {
        let open = std::mem::take(&mut self.open);
        let mut stored = self.store.publish(open, stage)?;
        let done: Vec<ObjectId> = stored.iter().map(|(id, _)| *id).collect();
        let waiting: Vec<(ObjectId, u64)> =
            self.objects.iter().filter(|(id, _)| !done.contains(id)).map(|(id, size)| (*id, *size)).collect();
        for batch in waiting.chunks(BATCH) {
            let sealed = batch.iter().map(|(id, size)| self.take_out(*id, *size)).collect::<Result<_, _>>()?;
            stored.extend(self.store.publish(sealed, stage)?);
        }
        Ok(stored)
    }

    /// Makes what is open durable and closes it. Durable first: a write error is told to those who had the file open.
    fn settle(&mut self) -> Result<(), StoreError> {
        let mut open = std::mem::take(&mut self.open);
        open.sort_by_key(|object| object.opened);
        let files: Vec<_> = open.iter().map(Sealed::file).collect();
        durable::files(self.store.caps(), &files, self.dir.path())?;
        for object in &open {
            let name = self.dir.path().join(object.id().to_string());
            match object.temp.link_to(&name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).on("link", &name),
            }
        }
        Ok(())
    }

    fn take_out(&self, id: ObjectId, size: u64) -> Result<Sealed, StoreError> {
        let path = self.dir.path().join(id.to_string());
        let file = File::open(&path).on("open", &path)?;
        Ok(Sealed::again(TempFile::named(file, path), Instant::now(), id, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Capabilities, Options};

    fn id(bytes: &[u8]) -> ObjectId {
        crate::store::hash(bytes).unwrap()
    }

    #[test]
    fn parked_objects_have_no_names_until_all_have() {
        for unnamed in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (pool, agent) = (dir.path().join("o"), dir.path().join("o/.pvr-agent"));
            let caps = Capabilities { unnamed, ..Capabilities::NONE };
            let options = Options { capabilities: Some(caps), ..Options::default() };
            let store = ObjectStore::open_with(&pool, &agent, options).unwrap();
            let fill = |store: &ObjectStore| {
                let mut parked = store.park().unwrap();
                for n in 0..100_u8 {
                    let mut writer = parked.begin(id(&[n]), 1).unwrap();
                    writer.write_all(&[n]).unwrap();
                    parked.add(writer.finish().unwrap()).unwrap();
                }
                assert!(parked.has(&id(&[99])) && !parked.has(&id(&[100])));
                assert_eq!(store.list().unwrap(), []);
                drop(parked);
                assert_eq!(std::fs::read_dir(agent.join("tmp")).unwrap().count(), 0);
            };
            fill(&store);
            let mut parked = store.park().unwrap();
            for n in 0..100_u8 {
                let mut writer = parked.begin(id(&[n]), 1).unwrap();
                writer.write_all(&[n]).unwrap();
                parked.add(writer.finish().unwrap()).unwrap();
            }
            let stored = parked.publish(Stage::No).unwrap();
            assert_eq!(stored.len(), 100);
            assert!(stored.iter().all(|(_, stored)| *stored == Stored::New));
            for n in 0..100_u8 {
                assert_eq!(store.intact(&id(&[n])).unwrap(), Some(1));
            }
            assert_eq!(std::fs::read_dir(agent.join("tmp")).unwrap().count(), 0);
        }
    }
}
