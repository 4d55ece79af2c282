//! What `add` is given: a package (tar, gzipped or not) or the JSON of a state, told apart by how it begins.
//!
//! It is read once, so that it may come through a pipe. Of a package, `json` is the state (the last one, if there are
//! several) and `objects/<sha256>` are objects; names with `./` in front are the same, folders and other files are passed
//! over. A package has to be whole: it ends with an empty block, and a gzip stream with its sum. What follows the end is
//! not read as part of it.

use std::io::{BufReader, Cursor, Read};

use super::document::{self, Document};
use super::error::PvtxError;
use super::objects::Objects;
use crate::state::JsonLimits;
use crate::store::ArchiveError;
use crate::store::archive::{BLOCK, Behind, Cap, Counting, Members, Name, OBJECTS, Ratio, looks_like_tar, unpacked};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a package to its end. Its objects have gone into `to`, and the state is returned.
pub(super) fn receive(
    from: &mut dyn Read,
    size: Option<u64>,
    limits: &JsonLimits,
    to: &mut Objects<'_>,
    piece: usize,
) -> Result<Document, PvtxError> {
    let mut head = Vec::with_capacity(BLOCK);
    from.take(BLOCK as u64).read_to_end(&mut head).map_err(ArchiveError::from)?;
    let is_package = head.starts_with(&GZIP) || looks_like_tar(&head);
    let is_text = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let whole = Cursor::new(head).chain(from);
    if is_package {
        let (whole, read) = Counting::new(whole);
        let ratio = Ratio::from_env();
        let cap = size.map_or(Cap::Growing(ratio, read), |size| Cap::Bytes(ratio.cap(size)));
        return members(BufReader::with_capacity(piece, whole), cap, limits, to);
    }
    let mut text = Vec::new();
    whole.take(limits.bytes as u64 + 1).read_to_end(&mut text).map_err(ArchiveError::from)?;
    if text.len() > limits.bytes {
        return Err(PvtxError::TooLarge { what: "it".to_owned(), limit: limits.bytes });
    }
    match document::parse(&text, limits) {
        Ok(object) => Document::of(object, limits),
        Err(source) if is_text => Err(PvtxError::State { what: "it".to_owned(), source: Box::new(source) }),
        Err(source) => Err(PvtxError::Unknown(Box::new(source))),
    }
}

fn members<R: Read>(
    from: BufReader<R>,
    cap: Cap,
    limits: &JsonLimits,
    to: &mut Objects<'_>,
) -> Result<Document, PvtxError> {
    let mut members = Members::new(unpacked(from, Behind::Ignored, cap).map_err(ArchiveError::from)?, Behind::Ignored);
    let mut state = None;
    while let Some(member) = members.next()? {
        match member.name {
            Name::State => {
                if member.size > limits.bytes as u64 {
                    return Err(ArchiveError::StateSize { size: member.size, limit: limits.bytes }.into());
                }
                let mut text = Vec::new();
                members.read_to_end(&mut text).map_err(ArchiveError::from)?;
                state = Some(text);
            }
            Name::Object(id) => to.take(id, member.size, &mut members)?,
            Name::Other(name) if name.starts_with(OBJECTS) => return Err(PvtxError::ObjectName(name)),
            Name::Other(_) => {}
        }
    }
    to.check()?;
    let text = state.ok_or(ArchiveError::NoState)?;
    Document::parse(&text, limits, "its json")
}
