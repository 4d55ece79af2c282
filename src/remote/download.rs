//! Objects from an endpoint into a pool.
//!
//! Every byte goes through a store writer, which hashes it and holds it under no name; only what turned out to be the
//! object gets one. A connection that breaks is taken up where it broke (`Range`, with `If-Range` where the server gave
//! a strong ETag); a server that sends the whole again is read from the beginning. If something went wrong in stitching,
//! the hash says so, and one attempt is made in one piece.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::observer::{self, Observer};
use super::record::ObjectRecord;
use super::rest::{self, Call, Patience, net};
use super::work::{Stop, each};
use super::{Remote, RemoteError};
use crate::net::{HeaderValue, Method, Redirects, Request, Response, Url};
use crate::state::{ObjectId, StatePath, escape};
use crate::store::{ObjectStore, Sealed, StoreError, Writer};

/// Downloads at a time (`hub.md` B3).
const THREADS: usize = 4;
/// Objects that are made durable together. Each holds a file descriptor until then.
const BATCH: usize = 32;
const BUFFER: usize = 64 * 1024;
/// So much must have moved for a broken connection not to count as a failure in a row.
const SUBSTANTIAL: u64 = 64 * 1024;

/// What it takes to get one object.
pub(super) struct Source {
    url: Url,
    pub(super) size: Option<u64>,
}

impl Remote {
    /// Asks for the record of an object.
    pub(super) fn object_record(&self, id: &ObjectId) -> Result<Source, RemoteError> {
        let url = self.objects.url.with_appended(&id.to_string());
        let response = self.session.call(Call::get(&url))?;
        if response.status() != 200 {
            return Err(self.session.refusal(&url, response));
        }
        let record: ObjectRecord = rest::json(&url, response)?;
        if record.signed_geturl.is_empty() {
            return Err(RemoteError::Answer { url: rest::shown(&url), why: "without a signed-geturl".to_owned() });
        }
        let blob = super::resolve(&url, "signed-geturl", &record.signed_geturl)?;
        Ok(Source { url: blob, size: record.size() })
    }

    /// Gets what `wanted` names and the pool lacks; says how many objects that were. What arrived whole before an error
    /// stays in the pool.
    pub fn download<'a>(
        &self,
        store: &ObjectStore,
        wanted: impl IntoIterator<Item = (&'a StatePath, &'a ObjectId)>,
        observer: &dyn Observer,
    ) -> Result<usize, RemoteError> {
        let mut distinct = BTreeMap::new();
        for (key, id) in wanted {
            distinct.entry(*id).or_insert(key);
        }
        let (done, count) = (Mutex::new(Vec::new()), Mutex::new(0));
        let lock_done = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let result: Result<(), RemoteError> = each(THREADS, distinct.into_iter().collect(), |(id, key), stop| {
            if store.keep(&id)?.is_some() {
                return Ok(());
            }
            let source = self.object_record(&id);
            observer.record(key, source.is_ok());
            let source = source?;
            observer.started(&id, key, source.size);
            let sealed = self.fetch(store, key, &id, source, observer, stop);
            observer::tell(observer, &id, &sealed);
            *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let mut done = lock_done();
            done.push(sealed?);
            let batch = if done.len() >= BATCH { std::mem::take(&mut *done) } else { Vec::new() };
            drop(done);
            if !batch.is_empty() {
                store.publish(batch, store.staging())?;
            }
            Ok(())
        });
        let rest = std::mem::take(&mut *lock_done());
        let published = store.publish(rest, store.staging());
        result?;
        published?;
        Ok(count.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gets one object, in as many pieces as it takes.
    fn fetch(
        &self,
        store: &ObjectStore,
        key: &StatePath,
        id: &ObjectId,
        source: Source,
        observer: &dyn Observer,
        stop: &Stop,
    ) -> Result<Sealed, RemoteError> {
        let begin = || Ok::<_, RemoteError>(Transfer { writer: store.begin(Some(*id), source.size)?, got: 0 });
        let wrong = |source| RemoteError::WrongBytes { id: *id, key: key.clone(), source: Box::new(source) };
        let mut transfer = begin()?;
        let (mut patience, mut validator, mut stitched) = (Patience::default(), None, false);
        loop {
            let before = transfer.got;
            match self.piece(
                &source.url,
                &mut transfer,
                &mut validator,
                &begin,
                &mut |got| observer.moved(id, got),
                stop,
            ) {
                Ok(()) => match transfer.writer.finish() {
                    Ok(sealed) => return Ok(sealed),
                    Err(StoreError::WrongHash { .. } | StoreError::WrongSize { .. }) if stitched => {
                        stitched = false;
                        validator = None;
                        transfer = begin()?;
                    }
                    Err(error) if is_wrong(&error) => return Err(wrong(error)),
                    Err(error) => return Err(error.into()),
                },
                Err(RemoteError::Store(error)) if is_wrong(&error) => return Err(wrong(error)),
                Err(error) => {
                    if transfer.got.saturating_sub(before) >= SUBSTANTIAL {
                        patience.renew();
                    }
                    if !patience.again(&error) {
                        return Err(error);
                    }
                    stitched |= transfer.got > 0;
                }
            }
        }
    }

    /// One request: everything from where the transfer stands, or everything anew if the server will have it so.
    fn piece(
        &self,
        url: &Url,
        transfer: &mut Transfer,
        validator: &mut Option<HeaderValue>,
        begin: &dyn Fn() -> Result<Transfer, RemoteError>,
        moved: &mut dyn FnMut(u64),
        stop: &Stop,
    ) -> Result<(), RemoteError> {
        let mut request = Request::new(Method::Get, url).redirects(Redirects::Follow(5));
        if transfer.got > 0 {
            if let Some(range) = HeaderValue::parse(&format!("bytes={}-", transfer.got)) {
                request = request.header("Range", range);
            }
            if let Some(validator) = validator.clone() {
                request = request.header("If-Range", validator);
            }
        }
        let mut response = self.session.client.send(request).map_err(|e| net(Method::Get, url, e))?;
        match response.status() {
            200 => {
                if transfer.got > 0 {
                    *transfer = begin()?;
                }
            }
            206 if transfer.got > 0 => {
                let start = response.header("content-range").and_then(range_start);
                if start != Some(transfer.got) {
                    return Err(answer(url, "with another range than the one asked for"));
                }
            }
            // What we have is longer than what there is: not the same object any more.
            416 if transfer.got > 0 => {
                *transfer = begin()?;
                *validator = None;
                return self.piece(url, transfer, validator, begin, moved, stop);
            }
            _ => return Err(self.session.refusal(url, response)),
        }
        *validator = strong_etag(&response);
        let mut buf = vec![0; BUFFER];
        loop {
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
            let got = response.read(&mut buf).map_err(|e| net(Method::Get, url, e))?;
            if got == 0 {
                return Ok(());
            }
            transfer.writer.write_all(&buf[..got])?;
            transfer.got += got as u64;
            moved(transfer.got);
        }
    }
}

/// An object that is on its way.
struct Transfer {
    writer: Writer,
    /// Bytes that have been written.
    got: u64,
}

/// Whether the bytes are to blame, and not the disk.
fn is_wrong(error: &StoreError) -> bool {
    matches!(error, StoreError::WrongHash { .. } | StoreError::WrongSize { .. } | StoreError::TooLong { .. })
}

fn answer(url: &Url, why: &str) -> RemoteError {
    RemoteError::Answer { url: rest::shown(url), why: escape(why).into_owned() }
}

/// First byte of `bytes <first>-<last>/<total>`.
fn range_start(value: &str) -> Option<u64> {
    let (first, _) = value.trim().strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

/// A validator that vouches for every byte; weak ones do not (RFC 9110 §13.1.5).
fn strong_etag(response: &Response) -> Option<HeaderValue> {
    let etag = response.header("etag")?.trim();
    if !etag.starts_with('"') {
        return None;
    }
    HeaderValue::parse(etag)
}

#[cfg(test)]
mod tests {
    use super::range_start;

    #[test]
    fn content_ranges() {
        for (value, start) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 0-0/*", Some(0)),
            ("bytes */10", None),
            ("bytes -5/10", None),
            ("octets 5-9/10", None),
            ("5-9/10", None),
        ] {
            assert_eq!(range_start(value), start, "{value}");
        }
    }
}
