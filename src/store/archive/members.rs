//! The files of a tar stream, one after the other.
//!
//! | kind | is |
//! |---|---|
//! | `0`, NUL, `7` | a file |
//! | `5`, a name with `/` at its end | a folder: passed over |
//! | `x`, `L` | pax and GNU: the name and size of the next file |
//! | `g`, `K` | pax for all files, GNU's long link: passed over, unless it tells a name or a size |
//! | anything else | condemns the archive |

use std::io::{self, Read};

use super::Behind;
use super::error::ArchiveError;
use super::header::{BLOCK, Header, OBJECTS, OCTAL_MAX, STATE, padding, parse, text};
use crate::state::document::MAX_FILES;
use crate::state::{ObjectId, escape};

/// An extended header holds a name and a few numbers.
const EXTENDED_MAX: u64 = 64 * 1024;

/// Headers of all kinds that an archive may have. What a state may have is half of it: some writers put another header in front of
/// each file, and entries without content cost next to nothing to send, and a file each to take in.
const ENTRIES_MAX: usize = 2 * MAX_FILES;

/// What a file is to an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// The state.
    State,
    /// An object.
    Object(ObjectId),
    /// Nothing of ours; harmless.
    Other(String),
}

/// A file of the archive; its bytes are read from [`Members`].
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Name,
    pub(crate) size: u64,
}

/// Files that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    count: usize,
    names: Vec<String>,
}

impl Left {
    /// So many are named; the rest are counted.
    const NAMED: usize = 10;

    pub(crate) fn note(&mut self, name: &str) {
        self.count += 1;
        if self.names.len() < Self::NAMED {
            self.names.push(name.to_owned());
        }
    }

    /// A line for each, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .names
            .iter()
            .map(|name| format!("{} is not part of an export, and was left out", escape(name)))
            .collect();
        if self.count > Self::NAMED {
            lines.push(format!("and so are {} more", self.count - Self::NAMED));
        }
        lines
    }
}

/// What extended headers say of the next file.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads the files of a tar stream. As [`Read`], it is the bytes of the current one.
#[derive(Debug)]
pub(crate) struct Members<R> {
    inner: R,
    /// Bytes of the current file that have not been read.
    left: u64,
    padding: usize,
    /// Bytes read so far.
    at: u64,
    /// Headers read so far.
    entries: usize,
    behind: Behind,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(inner: R, behind: Behind) -> Self {
        Self { inner, left: 0, padding: 0, at: 0, entries: 0, behind }
    }

    /// The next file; `None` at the end of the archive, which is then known to be whole.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extended = Extended::default();
        loop {
            self.pass()?;
            let at = self.at;
            let Some(mut header) = self.header()? else {
                self.end()?;
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(ArchiveError::Entries { limit: ENTRIES_MAX });
            }
            match header.kind {
                b'x' => self.pax(&header, at, &mut extended)?,
                b'L' => {
                    let name = self.extended(&header, at)?;
                    extended.name = Some(text(&name).to_vec());
                }
                b'K' => drop(self.extended(&header, at)?),
                b'g' => {
                    let mut all = Extended::default();
                    self.pax(&header, at, &mut all)?;
                    if all.name.is_some() || all.size.is_some() {
                        return Err(ArchiveError::Extended { at, why: "it names all files alike" });
                    }
                }
                _ => {
                    if let Some(size) = extended.size.take() {
                        // Who reads only one of two sizes finds other files than who reads the other.
                        if size != header.size && size <= OCTAL_MAX {
                            return Err(ArchiveError::Extended { at, why: "it tells another size than the header" });
                        }
                        header.size = size;
                    }
                    if let Some(name) = extended.name.take() {
                        header.name = name;
                    }
                    if let Some(member) = self.member(header)? {
                        return Ok(Some(member));
                    }
                }
            }
        }
    }

    /// What a header announces; `None` for a folder.
    fn member(&mut self, header: Header) -> Result<Option<Member>, ArchiveError> {
        let shown = || String::from_utf8_lossy(&header.name).into_owned();
        let what = match header.kind {
            b'0' | b'\0' | b'7' | b'5' => None,
            b'1' => Some("a hardlink"),
            b'2' => Some("a symbolic link"),
            b'3' | b'4' => Some("a device"),
            b'6' => Some("a FIFO"),
            b'S' => Some("a sparse file"),
            _ => Some("of a kind that is not known"),
        };
        if let Some(what) = what {
            return Err(ArchiveError::Kind { name: shown(), what });
        }
        let escapes =
            header.name.starts_with(b"/") || header.name.split(|byte| *byte == b'/').any(|part| part == b"..");
        if escapes {
            return Err(ArchiveError::Escapes(shown()));
        }
        if header.kind == b'5' || header.name.ends_with(b"/") {
            if header.size > 0 {
                return Err(ArchiveError::Kind { name: shown(), what: "a folder with content" });
            }
            return Ok(None);
        }
        self.left = header.size;
        self.padding = padding(header.size);
        let name = std::str::from_utf8(&header.name).ok().map(|mut name| {
            while let Some(rest) = name.strip_prefix("./") {
                name = rest;
            }
            match name.strip_prefix(OBJECTS).map(ObjectId::parse) {
                Some(Ok(id)) => Name::Object(id),
                None if name == STATE => Name::State,
                _ => Name::Other(name.to_owned()),
            }
        });
        Ok(Some(Member { name: name.unwrap_or_else(|| Name::Other(shown())), size: header.size }))
    }

    /// Passes over the rest of the current file.
    fn pass(&mut self) -> Result<(), ArchiveError> {
        io::copy(self, &mut io::sink())?;
        let mut block = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.exactly(&mut block[..padding])
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let at = self.at;
        let mut block = [0; BLOCK];
        self.exactly(&mut block)?;
        parse(&block, at)
    }

    /// The rest of the stream: writers fill it up to the size of a tape's record.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut buf = [0; 16 * 1024];
        loop {
            match self.inner.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(_) if self.behind == Behind::Ignored => {}
                Ok(got) if buf[..got].iter().all(|byte| *byte == 0) => {}
                Ok(_) => return Err(ArchiveError::Trailing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn exactly(&mut self, buf: &mut [u8]) -> Result<(), ArchiveError> {
        match self.inner.read_exact(buf) {
            Ok(()) => {
                self.at += buf.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::CutOff(self.at)),
            Err(error) => Err(error.into()),
        }
    }

    /// The content of an extended header.
    fn extended(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, ArchiveError> {
        if header.size > EXTENDED_MAX {
            return Err(ArchiveError::Extended { at, why: "it is larger than 64 KiB" });
        }
        self.left = header.size;
        self.padding = padding(header.size);
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Records of a pax header: `<length> <key>=<value>\n`, the length counting itself.
    fn pax(&mut self, header: &Header, at: u64, into: &mut Extended) -> Result<(), ArchiveError> {
        let content = self.extended(header, at)?;
        let bad = |why| ArchiveError::Extended { at, why };
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| bad("a record in it is none"))?;
            rest = after;
            if key.starts_with(b"GNU.sparse.") {
                return Err(ArchiveError::Kind {
                    name: String::from_utf8_lossy(&header.name).into_owned(),
                    what: "a sparse file",
                });
            }
            match key {
                b"path" if value.contains(&0) => return Err(bad("its name has a NUL")),
                b"path" => into.name = Some(value.to_vec()),
                b"size" => {
                    let digits =
                        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                    let size = digits.and_then(|digits| digits.parse().ok());
                    into.size = Some(size.ok_or_else(|| bad("its size is no number"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(&bytes[..blank]).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let length: usize = digits.parse().ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], after))
}

impl<R: Read> Read for Members<R> {
    /// The end of the stream within a file is an error, not its end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.inner.read(&mut buf[..most])?;
        if got == 0 {
            return Err(ArchiveError::CutOff(self.at).into());
        }
        self.left -= got as u64;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::build;

    /// One header after the other, for ever.
    struct Endless<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

    impl Read for Endless<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            buf.iter_mut().zip(&mut self.0).for_each(|(to, byte)| *to = *byte);
            Ok(buf.len())
        }
    }

    #[test]
    fn an_archive_of_files_without_content_had_no_end() {
        for name in ["a", "folder/", "objects/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] {
            let header = build(name, 0o644, 0);
            let mut members = Members::new(Endless(header.iter().cycle()), Behind::Refused);
            let mut taken = 0;
            let error = loop {
                match members.next() {
                    Ok(Some(_)) => taken += 1,
                    Ok(None) => panic!("it has an end"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, ArchiveError::Entries { limit: ENTRIES_MAX }), "{name}: {error}");
            assert!(taken <= ENTRIES_MAX, "{name}");
        }
    }
}
