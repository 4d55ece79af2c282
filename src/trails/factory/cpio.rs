//! An initramfs: a cpio archive in the "newc" format, which the kernel unpacks as it is.
//!
//! Each member: `070701`, thirteen numbers of eight hex digits, the name with a NUL, and the bytes, both padded to a
//! multiple of four. The last member is called `TRAILER!!!`.

/// An archive of these members: name, mode with file type, bytes.
pub(super) fn archive(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, (name, mode, bytes)) in members.iter().enumerate() {
        member(&mut out, i + 1, name, *mode, bytes);
    }
    member(&mut out, 0, "TRAILER!!!", 0, b"");
    out
}

fn member(out: &mut Vec<u8>, inode: usize, name: &str, mode: u32, bytes: &[u8]) {
    let mode = mode as usize;
    // inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor), name with NUL, check.
    let fields = [inode, mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_archive_has_the_shape_that_the_kernel_reads() {
        let bytes = super::archive(&[("init", 0o100_755, b"hello")]);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("07070100000001000081ED"), "{text}");
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert!(text.contains("TRAILER!!!"));
    }
}
