//! A tar file taken apart without the program's own reader, and put together with whatever is to be wrong in it.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::io::{Read, Write};

use sha2::{Digest, Sha256};

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub kind: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub time: u64,
    pub owner: String,
    pub content: Vec<u8>,
}

pub fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tar stream in a file, compressed or not.
pub fn unpacked(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    // One member: what every reader of gzip reads.
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The files of an archive, which has to end as POSIX wants it.
pub fn members(bytes: &[u8]) -> Vec<Member> {
    let tar = unpacked(bytes);
    let mut rest = tar.as_slice();
    let mut found = Vec::new();
    while rest[..512].iter().any(|byte| *byte != 0) {
        let (header, after) = rest.split_at(512);
        assert_eq!(&header[257..265], b"ustar\x0000");
        let text = |from: usize, to: usize| {
            String::from_utf8(header[from..to].iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
        };
        let number = |from: usize, to: usize| u64::from_str_radix(text(from, to).trim(), 8).unwrap();
        let sum: u64 =
            header.iter().enumerate().map(|(at, b)| u64::from(if (148..156).contains(&at) { b' ' } else { *b })).sum();
        assert_eq!(number(148, 156), sum);
        let size = usize::try_from(number(124, 136)).unwrap();
        found.push(Member {
            name: text(0, 100),
            kind: header[156],
            mode: number(100, 108) as u32,
            uid: number(108, 116),
            gid: number(116, 124),
            time: number(136, 148),
            owner: text(265, 297) + &text(297, 329),
            content: after[..size].to_vec(),
        });
        rest = &after[size.div_ceil(512) * 512..];
    }
    assert_eq!(rest, [0; 1024], "two empty blocks and nothing else");
    found
}

/// The files of an archive as the recorded steps have them.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let line = |member: Member| {
        let Member { name, kind, mode, uid, gid, owner, content, .. } = member;
        format!("{} {mode:o} {uid} {gid} {owner} {} {} {name}", char::from(kind), content.len(), sha(&content))
    };
    members(bytes).into_iter().map(line).collect()
}

/// A header block, and its sum.
pub fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    summed(block)
}

/// The same block with the right sum.
pub fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// A file with its header and padding.
pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name, b'0', content)
}

/// The same, of another kind.
pub fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(name, kind, content.len() as u64);
    out.extend_from_slice(content);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

/// Two empty blocks.
pub fn end() -> Vec<u8> {
    vec![0; 1024]
}

/// One record of a pax header.
pub fn pax(key: &str, value: &str) -> Vec<u8> {
    let body = format!(" {key}={value}\n");
    let mut length = body.len() + 1;
    while length.to_string().len() + body.len() != length {
        length += 1;
    }
    format!("{length}{body}").into_bytes()
}
