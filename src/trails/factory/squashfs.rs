//! A squashfs image: one folder of small files, nothing compressed.
//!
//! Version 4.0, little endian: superblock (96 bytes), the files' bytes, then the tables of inodes, of names and of
//! owners, padded to 4 KiB. A table is a sequence of metadata blocks, two bytes of length (bit 15: not compressed)
//! and at most 8 KiB; what is made here fits one each.

const BLOCK_LOG: u16 = 17;
const ABSENT: u64 = u64::MAX;
/// Bit 24 of a data block's length: not compressed.
const STORED: u32 = 1 << 24;

/// Little-endian bytes in the making.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16s(&mut self, numbers: &[u16]) {
        self.0.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }

    fn u32s(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }

    fn u64s(&mut self, numbers: &[u64]) {
        self.0.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }

    /// Appends a table of one metadata block and returns where it begins.
    fn table(&mut self, block: &Self) -> u64 {
        let at = self.len();
        self.u16s(&[short(block.0.len()) | 0x8000]);
        self.0.extend_from_slice(&block.0);
        at
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Everything here is made by this program and small.
fn short(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// An image with these files in its root: names in byte order, each with at most 128 KiB.
pub(super) fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Bytes(vec![0; 96]);
    let (mut inodes, mut names) = (Bytes::default(), Bytes::default());
    let root = word(files.len()) + 1;
    // Count less one, block of the inodes, number that those of the entries are relative to.
    names.u32s(&[word(files.len()).saturating_sub(1), 0, 1]);
    for (i, (name, bytes)) in files.iter().enumerate() {
        let start = word(out.0.len());
        out.0.extend_from_slice(bytes);
        names.u16s(&[short(inodes.0.len()), short(i), 2, short(name.len()) - 1]);
        names.0.extend_from_slice(name.as_bytes());
        // A file: type, mode, owner, group; time, number, start, no fragment, its offset, size, one block.
        inodes.u16s(&[2, 0o755, 0, 0]);
        inodes.u32s(&[0, word(i) + 1, start, u32::MAX, 0, word(bytes.len())]);
        if !bytes.is_empty() {
            inodes.u32s(&[word(bytes.len()) | STORED]);
        }
    }
    let root_at = inodes.len();
    // A folder: as above; time, number, block of its names, links; their length and three, offset; parent.
    inodes.u16s(&[1, 0o755, 0, 0]);
    inodes.u32s(&[0, root, 0, 2]);
    inodes.u16s(&[short(names.0.len()) + 3, 0]);
    inodes.u32s(&[root + 1]);

    let inode_table = out.table(&inodes);
    let name_table = out.table(&names);
    let mut owners = Bytes::default();
    owners.u32s(&[0]);
    let owner_block = out.table(&owners);
    let owner_table = out.len();
    out.u64s(&[owner_block]);
    let used = out.len();

    let mut head = Bytes::default();
    head.0.extend_from_slice(b"hsqs");
    head.u32s(&[root, 0, 1 << BLOCK_LOG, 0]);
    // gzip, though unused; flags: nothing compressed, no fragments, no attributes; one owner; version.
    head.u16s(&[1, BLOCK_LOG, 0x0A1B, 1, 4, 0]);
    head.u64s(&[root_at, used, owner_table, ABSENT, inode_table, name_table, ABSENT, ABSENT]);
    out.0[..96].copy_from_slice(&head.0);
    out.0.resize(out.0.len().next_multiple_of(4096), 0);
    out.0
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn the_superblock_says_where_everything_is() {
        let bytes = image(&[("a", b"hello"), ("b", b"")]);
        assert_eq!(bytes.len() % 4096, 0);
        assert_eq!((&bytes[..4], &bytes[96..101]), (&b"hsqs"[..], &b"hello"[..]));
        let at = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap());
        let (used, owners, inodes, names) = (at(40), at(48), at(64), at(72));
        assert!(101 == inodes && inodes < names && names < owners && owners + 8 == used, "{inodes} {names} {owners}");
    }
}
