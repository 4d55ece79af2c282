//! Exports: a repository's committed state and its objects in one tar file, gzipped or not (`cli.md` §10).
//!
//! ```text
//! json                the state, canonical; 0600
//! objects/<sha256>    each object once, in the order of their names; 0644
//! ```
//!
//! Written: plain ustar, owner 0, no times, nothing that depends on the machine, so that one state makes one archive, bit
//! for bit. Read: whatever tar writes (v7, ustar, pax, GNU), whether the name says gzip or not, in any order, with or
//! without a `./` in front. Only `json` and `objects/<64 hex digits>` are taken; other files are left out and named, and
//! a name that leads elsewhere, a link, a device or a sparse file condemns the whole.
//!
//! An archive is read twice: once as far as its `json`, which is the first thing in all that today's program has written,
//! and once to its end. Nothing is unpacked to a disk but objects that are wanted, hashed on the way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::error::{Context, RepoError};
use crate::state::{JsonLimits, ObjectId, Spec, State};
use crate::store::archive::{ArchiveError, Behind, Cap, Left, Members, Name, Ratio, unpacked};
use crate::store::{Parked, StoreError, gauge};

/// An archive, open for reading.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    file: File,
    packed: u64,
    ratio: Ratio,
}

/// Where wanted objects go.
pub(super) enum Sink<'a, 'b> {
    /// Into the pool, when all is well.
    Park(&'b mut Parked<'a>),
    /// Nowhere: they are only checked.
    Check,
    /// To somebody who takes them as they come, and finds out what is wrong with them.
    Each(Each<'b>),
}

/// Takes an object, its size and its bytes.
pub(super) type Each<'a> = &'a mut dyn FnMut(ObjectId, u64, &mut dyn Read) -> Result<(), RepoError>;

/// What a reading to the end came to.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Sizes of the wanted objects that were there, whole and right.
    pub(super) sizes: BTreeMap<ObjectId, u64>,
    /// What was left out.
    pub(super) left: Left,
}

/// Tells how far the reading has got.
struct Counted<'a>(&'a File);

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.0.read(buf)?;
        gauge::done(got as u64);
        Ok(got)
    }
}

/// Files of a small archive in memory, by their names, that `wanted` asks for.
pub(super) fn small_files(
    packed: &[u8],
    cap: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut members = Members::new(unpacked(packed, Behind::Refused, Cap::Bytes(cap))?, Behind::Refused);
    let mut found = Vec::new();
    while let Some(member) = members.next()? {
        let Name::Other(name) = member.name else { continue };
        if wanted(&name) {
            let mut bytes = Vec::new();
            members.read_to_end(&mut bytes)?;
            found.push((name, bytes));
        }
    }
    Ok(found)
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, RepoError> {
        let file = File::open(path).on("open", path)?;
        let metadata = file.metadata().on("look at", path)?;
        let archive = Self { path: path.to_owned(), file, packed: metadata.len(), ratio: Ratio::from_env() };
        if !metadata.is_file() {
            return Err(archive.failed(ArchiveError::NoFile));
        }
        Ok(archive)
    }

    fn failed(&self, source: ArchiveError) -> RepoError {
        RepoError::Archive { path: self.path.clone(), source: Box::new(source) }
    }

    /// From the beginning.
    fn members(&self) -> Result<Members<Box<dyn Read + '_>>, ArchiveError> {
        let mut file = &self.file;
        file.rewind()?;
        let reader = BufReader::with_capacity(128 * 1024, Counted(file));
        let cap = Cap::Bytes(self.ratio.cap(self.packed));
        Ok(Members::new(unpacked(reader, Behind::Refused, cap)?, Behind::Refused))
    }

    /// The state: reads as far as that.
    pub(super) fn state(&self, limits: &JsonLimits) -> Result<State, RepoError> {
        let text = self.state_text(limits).map_err(|error| self.failed(error))?;
        State::parse_strict(&text, limits, Spec::Any)
            .map_err(|source| self.failed(ArchiveError::State { source: Box::new(source) }))
    }

    fn state_text(&self, limits: &JsonLimits) -> Result<Vec<u8>, ArchiveError> {
        let mut members = self.members()?;
        while let Some(member) = members.next()? {
            if member.name != Name::State {
                continue;
            }
            if member.size > limits.bytes as u64 {
                return Err(ArchiveError::StateSize { size: member.size, limit: limits.bytes });
            }
            let mut text = Vec::new();
            members.read_to_end(&mut text)?;
            return Ok(text);
        }
        Err(ArchiveError::NoState)
    }

    /// Reads to the end. Objects of `wanted` go into `sink`; each has to be what its name says.
    pub(super) fn contents(
        &self,
        wanted: &dyn Fn(&ObjectId) -> bool,
        sink: &mut Sink<'_, '_>,
    ) -> Result<Contents, RepoError> {
        let failed = |error: ArchiveError| self.failed(error);
        gauge::plan(self.packed);
        let mut members = self.members().map_err(failed)?;
        let mut contents = Contents::default();
        let mut states = 0;
        while let Some(member) = members.next().map_err(failed)? {
            match member.name {
                Name::State => {
                    states += 1;
                    if states > 1 {
                        return Err(failed(ArchiveError::TwoStates));
                    }
                }
                // Today's program writes an object once for each key that names it.
                Name::Object(id) if wanted(&id) && !contents.sizes.contains_key(&id) => {
                    self.object(&mut members, id, member.size, sink)?;
                    contents.sizes.insert(id, member.size);
                }
                Name::Object(_) => {}
                Name::Other(name) => contents.left.note(&name),
            }
        }
        Ok(contents)
    }

    fn object(&self, from: &mut impl Read, id: ObjectId, size: u64, sink: &mut Sink<'_, '_>) -> Result<(), RepoError> {
        let failed = |error: ArchiveError| self.failed(error);
        match sink {
            Sink::Each(take) => take(id, size, from),
            Sink::Check => {
                let got = crate::store::hash(from).map_err(|error| failed(error.into()))?;
                if got == id {
                    return Ok(());
                }
                let source = StoreError::WrongHash { want: id, got };
                Err(failed(ArchiveError::Object { id, source: Box::new(source) }))
            }
            Sink::Park(parked) => {
                let mut writer = parked.begin(id, size)?;
                let mut buf = vec![0; 128 * 1024];
                loop {
                    match from.read(&mut buf) {
                        Ok(0) => break,
                        Ok(got) => writer.write_all(&buf[..got])?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(failed(error.into())),
                    }
                }
                let sealed = writer.finish().map_err(|error| match error {
                    error @ StoreError::WrongHash { .. } => {
                        failed(ArchiveError::Object { id, source: Box::new(error) })
                    }
                    error => error.into(),
                })?;
                Ok(parked.add(sealed)?)
            }
        }
    }
}
