//! How much of a package is in memory at a time: `PVTX_OBJECT_BUF_SIZE`, as today's program reads it.
//!
//! From 512 bytes to 10 MiB, rounded up to 512; what is no number is the least, a negative one the most. Not set, it is
//! what is fastest here. `PVTX_CTRL_BUF_SIZE` is the same for the control socket, where nothing depends on it any more: it
//! is accepted and not looked at.

use crate::pvtx::Transaction;

const LEAST: usize = 512;
const MOST: usize = 10 * 1024 * 1024;

pub(super) fn from_env() -> usize {
    std::env::var("PVTX_OBJECT_BUF_SIZE").map_or(Transaction::PIECE, |text| size(&text))
}

fn size(text: &str) -> usize {
    match text.trim().parse::<i128>() {
        Ok(number) if number < 0 => MOST,
        Ok(number) => usize::try_from(number).unwrap_or(MOST).clamp(LEAST, MOST).next_multiple_of(512),
        Err(_) => LEAST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_kept_within_their_limits() {
        for (text, bytes) in [
            ("0", LEAST),
            ("513", 1024),
            ("65536", 65536),
            ("10485760", MOST),
            ("99999999999", MOST),
            ("-1", MOST),
            ("abc", LEAST),
            ("", LEAST),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
