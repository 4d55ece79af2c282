//! One header block of a tar file.
//!
//! | bytes | field |
//! |---|---|
//! | 0–99 | name |
//! | 100–107, 108–115, 116–123 | mode, owner, group: octal |
//! | 124–135 | size: octal, or with the top bit set a big-endian number (GNU) |
//! | 136–147 | time |
//! | 148–155 | sum of all bytes of the block, these eight counted as blanks |
//! | 156 | kind |
//! | 257–264 | `ustar\0` `00`, or `ustar  \0` (GNU) |
//! | 345–499 | ustar only: what stands before the name and a `/` |

use super::error::ArchiveError;

pub(crate) const BLOCK: usize = 512;
/// The end of an archive: two empty blocks.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// Name of the state.
pub(crate) const STATE: &str = "json";
/// Folder of the objects.
pub(crate) const OBJECTS: &str = "objects/";

/// The most that eleven octal digits say.
pub(crate) const OCTAL_MAX: u64 = 0o777_7777_7777;

/// A header, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) size: u64,
}

/// How many bytes fill the last block of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// The header of a file.
pub(crate) fn build(name: &str, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, format!("{mode:07o}").as_bytes());
    put(&mut block, 108, b"0000000");
    put(&mut block, 116, b"0000000");
    if size <= OCTAL_MAX {
        put(&mut block, 124, format!("{size:011o}").as_bytes());
    } else {
        put(&mut block, 124, &[0x80]);
        put(&mut block, 128, &size.to_be_bytes());
    }
    put(&mut block, 136, b"00000000000");
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000");
    put(&mut block, 337, b"0000000");
    let sum = sum(&block);
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Takes a header apart; `None` is the mark of the end. `at` is for the error.
pub(crate) fn parse(block: &[u8; BLOCK], at: u64) -> Result<Option<Header>, ArchiveError> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let bad = || ArchiveError::Header(at);
    let told = number(&block[148..156]).ok_or_else(bad)?;
    if told != u64::from(sum(block)) {
        return Err(bad());
    }
    let mut name = text(&block[..100]).to_vec();
    // GNU's old format has times where ustar has the beginning of the name.
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { &[] };
    if !prefix.is_empty() {
        name = [prefix, b"/", &name].concat();
    }
    let size = number(&block[124..136]).ok_or_else(bad)?;
    Ok(Some(Header { kind: block[156], name, size }))
}

/// Whether a stream that begins so is meant to be tar: it says so, or its sum does. A damaged one is still none else.
pub(crate) fn looks_like_tar(head: &[u8]) -> bool {
    let says = head.get(257..262) == Some(b"ustar");
    let whole: Option<&[u8; BLOCK]> = head.get(..BLOCK).and_then(|block| block.try_into().ok());
    says || whole.is_some_and(|block| parse(block, 0).is_ok())
}

fn sum(block: &[u8; BLOCK]) -> u32 {
    let blanks = 8 * u32::from(b' ');
    let bytes = block.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
    bytes.map(|(_, byte)| u32::from(*byte)).sum::<u32>() + blanks
}

/// Up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits with blanks before and blanks or NULs behind, or GNU's big-endian form; nothing is 0.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let split = rest.len().checked_sub(8)?;
        let (high, low) = rest.split_at(split);
        return high.iter().all(|byte| *byte == 0).then(|| low.try_into().ok().map(u64::from_be_bytes)).flatten();
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    let octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal.then(|| u64::from_str_radix(digits, 8).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read() {
        for size in [0, 1, 511, OCTAL_MAX, OCTAL_MAX + 1, u64::MAX] {
            let name = format!("objects/{}", "a".repeat(64));
            let block = build(&name, 0o644, size);
            let header = parse(&block, 0).unwrap().unwrap();
            assert_eq!(header, Header { kind: b'0', name: name.into_bytes(), size });
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let block = build("json", 0o600, 10);
        for at in 0..BLOCK {
            let mut changed = block;
            changed[at] ^= 1;
            // The byte behind the digits of the sum may be a blank or a NUL.
            let same = parse(&changed, 7).is_ok_and(|header| header == parse(&block, 7).unwrap());
            assert!(!same || (154..156).contains(&at), "byte {at}");
        }
        assert_eq!(parse(&[0; BLOCK], 0).unwrap(), None);
    }

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"0000008\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"+1\0\0\0\0\0\0", None),
            (b"1\x001\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
