//! The kernel's protocol as far as one file needs it: structures of `linux/fuse.h` as bytes, in the order of the machine.

pub const ENOENT: i32 = 2;
pub const EINTR: i32 = 4;
pub const EAGAIN: i32 = 11;
pub const ENOSPC: i32 = 28;
pub const ENOSYS: i32 = 38;

/// The most that is written by one request.
const MAX_WRITE: u32 = 128 << 10;
/// What has to fit into one read of the device.
pub const BUFFER: usize = (MAX_WRITE as usize) + 4096;
/// Size of `fuse_write_in`, behind which the bytes are.
pub const WRITE_HEAD: usize = 40;
const HEAD: usize = 40;
const ROOT: u64 = 1;
const FILE: u64 = 2;
/// Nothing changes but by the kernel itself: an hour.
const VALID: u64 = 3600;

pub mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const RELEASEDIR: u32 = 29;
    pub const ACCESS: u32 = 34;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
}

/// A request of the kernel.
pub struct Request<'a> {
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// `fuse_in_header`, and what follows.
    pub fn parse(bytes: &'a [u8]) -> Self {
        Self { opcode: u32_at(bytes, 4), unique: u64_at(bytes, 8), node: u64_at(bytes, 16), body: &bytes[HEAD..] }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Where a read or a write begins, and how long it is.
pub fn span(body: &[u8]) -> (usize, usize) {
    (usize::try_from(u64_at(body, 8)).expect("a small file"), u32_at(body, 16) as usize)
}

/// Numbers one after the other.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(mut self, values: &[u16]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn u32(mut self, values: &[u32]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn u64(mut self, values: &[u64]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }
}

/// `fuse_out_header`, and what follows.
pub fn answer(unique: u64, error: i32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("a short answer");
    let mut bytes = Bytes::default().u32(&[length, (-error).cast_unsigned()]).u64(&[unique]).0;
    bytes.extend_from_slice(body);
    bytes
}

/// `fuse_init_out`, to `fuse_init_in`.
pub fn init(body: &[u8]) -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    let read_ahead = u32_at(body, 8);
    let bytes = Bytes::default().u32(&[7, 31, read_ahead, BIG_WRITES]).u16(&[16, 12]).u32(&[MAX_WRITE, 1]);
    bytes.u32(&[0; 9]).0
}

/// `fuse_attr`, of the folder or of the file.
pub fn attr(node: u64, size: usize) -> Vec<u8> {
    let (mode, links, size) = if node == ROOT { (0o040_755, 2, 0) } else { (0o100_600, 1, size as u64) };
    Bytes::default().u64(&[node, size, size / 512, 0, 0, 0]).u32(&[0, 0, 0, mode, links, 0, 0, 0, 4096, 0]).0
}

/// `fuse_attr_out`.
pub fn attributes(attr: Vec<u8>) -> Vec<u8> {
    let mut bytes = Bytes::default().u64(&[VALID]).u32(&[0, 0]).0;
    bytes.extend(attr);
    bytes
}

/// `fuse_entry_out` of the file.
pub fn entry(size: usize) -> Vec<u8> {
    let mut bytes = Bytes::default().u64(&[FILE, 0, VALID, VALID]).u32(&[0, 0]).0;
    bytes.extend(attr(FILE, size));
    bytes
}

/// `fuse_open_out`.
pub fn opened() -> Vec<u8> {
    const DIRECT_IO: u32 = 1;
    Bytes::default().u64(&[0]).u32(&[DIRECT_IO, 0]).0
}

/// `fuse_write_out`.
pub fn written(size: usize) -> Vec<u8> {
    Bytes::default().u32(&[u32::try_from(size).expect("a short write"), 0]).0
}

/// `fuse_statfs_out`: nothing that anybody would go by.
pub fn statfs() -> Vec<u8> {
    Bytes::default().u64(&[0; 5]).u32(&[4096, 255, 4096, 0]).u32(&[0; 6]).0
}
