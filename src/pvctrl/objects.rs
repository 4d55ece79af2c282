//! Objects: listed, fetched, and uploaded so that what is said to be there is there.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use super::call::{net_error, too_slow};
use super::{Control, ControlError, MAX_LIST, Sent};
use crate::net::{Method, NetError, Response};
use crate::state::ObjectId;
use crate::store::Hasher;

/// An object in the daemon's list. Its size is that of the file; whether it is whole, only its bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub id: ObjectId,
    /// Its size.
    pub size: u64,
}

/// The bytes of an object, hashed as they pass. If they are not those that the name stands for, the end is an error.
pub struct ObjectBody {
    response: Response,
    id: ObjectId,
    hasher: Option<Hasher>,
}

impl ListedObject {
    /// Reads a list as the daemon writes it. Names that are no sha256 are passed over.
    pub fn parse_list(body: &[u8]) -> Result<Vec<Self>, ControlError> {
        #[derive(serde::Deserialize)]
        struct Item {
            sha256: String,
            size: String,
        }
        let items: Vec<Item> = serde_json::from_slice(body).map_err(|e| ControlError::BadAnswer(e.to_string()))?;
        let listed = |item: Item| {
            let id = ObjectId::parse(&item.sha256).ok()?;
            let size = item.size.parse().map_err(|_| ControlError::BadAnswer(format!("the size of object {id}")));
            Some(size.map(|size| Self { id, size }))
        };
        items.into_iter().filter_map(listed).collect()
    }
}

impl Control {
    /// All objects. Files whose name is no sha256 are passed over.
    pub fn objects(&self) -> Result<Vec<ListedObject>, ControlError> {
        ListedObject::parse_list(&self.get("/objects", MAX_LIST)?)
    }

    /// The size of one object, if it is there.
    pub fn object_size(&self, id: &ObjectId) -> Result<Option<u64>, ControlError> {
        Ok(self.objects()?.into_iter().find(|object| object.id == *id).map(|object| object.size))
    }

    /// The bytes of an object.
    pub fn open_object(&self, id: &ObjectId) -> Result<ObjectBody, ControlError> {
        let response =
            self.response(Method::Get, &format!("/objects/{id}"), &mut Sent::Nothing, self.waits().answer)?;
        if response.status() == 200 {
            return Ok(ObjectBody { response, id: *id, hasher: Some(Hasher::new()) });
        }
        let status = response.status();
        let body = response.into_bytes(64 * 1024).map_err(net_error)?;
        let error = super::Reply { status, body, retry_after: None }.expect_ok("the object").err();
        Err(match error {
            // The same words for a name that is none, and ours is one.
            Some(ControlError::Refused(refusal)) if refusal.status == 400 => ControlError::NoObject(*id),
            Some(error) => error,
            None => ControlError::NoObject(*id),
        })
    }

    /// Stores the `size` bytes of `reader` as the object `id`, if that is what they are. They are hashed as they pass, and
    /// are in memory one piece at a time.
    ///
    /// Success means that the daemon lists the object with this size afterwards: it says 200 to what it had no room for.
    ///
    /// Of an upload that fails, the daemon keeps what it got, under the name of the object. So a last request is made
    /// which it finds to be wrong and removes the file for. An object that was there and whole, it leaves alone. Where
    /// even that fails, what stays is found to be too short by its listed size, and the next upload replaces it.
    pub fn put_object(&self, id: &ObjectId, size: u64, reader: &mut dyn Read) -> Result<(), ControlError> {
        if size == 0 {
            return self.put_empty(id);
        }
        let wait = self.upload_wait(size);
        let mut source = Source { reader, hasher: Hasher::new(), left: size, deadline: Instant::now() + wait };
        let result = self.upload(id, size, &mut source);
        let whole = source.left == 0;
        let found = source.hasher.finish();
        match result {
            // An answer before the end: it took no more, and says 200 all the same.
            Ok(true) => Err(ControlError::DiskFull),
            // It had the object, and looked at nothing.
            Ok(false) if found != *id => Err(ControlError::Checksum { expected: *id, found }),
            Ok(false) => match self.object_size(id)? {
                Some(listed) if listed == size => Ok(()),
                Some(0) => Err(ControlError::DiskFull),
                listed => Err(ControlError::NotStored { id: *id, size, listed }),
            },
            Err(ControlError::BadState(_)) if whole && found != *id => {
                Err(ControlError::Checksum { expected: *id, found })
            }
            Err(ControlError::BadState(_)) => Err(ControlError::BadObject(*id)),
            Err(error) => {
                if matches!(error, ControlError::Source(_) | ControlError::NoAnswer(_)) {
                    self.discard(id, size);
                }
                Err(error)
            }
        }
    }

    /// Sends the bytes. True: the answer came before their end.
    fn upload(&self, id: &ObjectId, size: u64, source: &mut Source<'_>) -> Result<bool, ControlError> {
        let wait = self.waits().work;
        let mut sent = Sent::Stream(size, source);
        let response = self.response(Method::Put, &format!("/objects/{id}"), &mut sent, wait);
        let response = match response {
            Err(ControlError::Source(error)) if error.get_ref().is_some_and(|inner| inner.is::<TooSlow>()) => {
                return Err(ControlError::NoAnswer(too_slow("sending", self.upload_wait(size))));
            }
            response => response?,
        };
        let (status, early) = (response.status(), response.is_early());
        if status == 200 {
            return Ok(early);
        }
        let retry_after = response.header("retry-after").and_then(|value| value.trim().parse().ok());
        let body = response.into_bytes(64 * 1024).map_err(net_error)?;
        super::Reply { status, body, retry_after }.expect_ok("the object").map(|_| early)
    }

    /// The empty object. A second upload of it would never be answered.
    fn put_empty(&self, id: &ObjectId) -> Result<(), ControlError> {
        let found = Hasher::new().finish();
        if found != *id {
            return Err(ControlError::Checksum { expected: *id, found });
        }
        if self.object_size(id)? == Some(0) {
            return Ok(());
        }
        self.send(Method::Put, &format!("/objects/{id}"), b"")?;
        match self.object_size(id)? {
            Some(0) => Ok(()),
            listed => Err(ControlError::NotStored { id: *id, size: 0, listed }),
        }
    }

    /// Has what an upload left behind removed: one byte is not the object, so the daemon removes the file. An object that
    /// is whole is left alone. If this fails, the failure that is being reported says more.
    fn discard(&self, id: &ObjectId, size: u64) {
        let other = |byte: &[u8]| {
            let mut hasher = Hasher::new();
            hasher.update(byte);
            hasher.finish() != *id
        };
        let byte: &[u8] = if other(b"x") { b"x" } else { b"y" };
        // The daemon may find out only now that the upload has ended, and make the file then.
        for pause in [Duration::from_millis(30), Duration::from_millis(200), Duration::from_millis(600)] {
            thread::sleep(pause);
            let asked = self.send(Method::Put, &format!("/objects/{id}"), byte);
            let unreachable = asked.is_err_and(|error| error.is_out_of_reach());
            let left = if unreachable { None } else { self.object_size(id).unwrap_or(None) };
            if left.is_none_or(|left| left == size) {
                return;
            }
        }
    }
}

impl Read for ObjectBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        match self.response.read(buf) {
            Ok(0) => {
                let found = self.hasher.take().map(Hasher::finish);
                match found {
                    Some(found) if found != self.id => {
                        Err(io::Error::new(io::ErrorKind::InvalidData, ControlError::BadObject(self.id)))
                    }
                    _ => Ok(0),
                }
            }
            Ok(got) => {
                hasher.update(&buf[..got]);
                Ok(got)
            }
            Err(NetError::Source(error)) => Err(error),
            Err(error) => Err(io::Error::other(net_error(error))),
        }
    }
}

/// Reads what is uploaded: hashes it, counts it, and ends it when it takes too long.
struct Source<'a> {
    reader: &'a mut dyn Read,
    hasher: Hasher,
    left: u64,
    deadline: Instant,
}

#[derive(Debug, thiserror::Error)]
#[error("too slow")]
struct TooSlow;

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.deadline.saturating_duration_since(Instant::now()) == Duration::ZERO {
            return Err(io::Error::other(TooSlow));
        }
        let got = self.reader.read(buf)?;
        self.hasher.update(&buf[..got]);
        self.left = self.left.saturating_sub(got as u64);
        Ok(got)
    }
}
