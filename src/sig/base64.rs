//! base64 (RFC 4648) both ways. Bytes have one spelling here: no blanks, no bits left over, padding where it belongs.

const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With `-` and `_`, without padding: what a JWS is made of.
pub fn url(bytes: &[u8]) -> String {
    encode(URL, bytes)
}

/// With `+`, `/` and padding: the certificates of a header.
pub fn standard(bytes: &[u8]) -> String {
    let mut out = encode(STANDARD, bytes);
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// With `+` and `/`, without padding.
pub fn standard_bare(bytes: &[u8]) -> String {
    encode(STANDARD, bytes)
}

fn encode(digits: &[u8; 64], bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(char::from(digits[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    out
}

/// Reads what [`url`] writes, and nothing else.
pub fn from_url(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes(), |byte| match byte {
        b'-' => Some(62),
        b'_' => Some(63),
        _ => alphanumeric(byte),
    })
}

/// Reads what [`standard`] writes, and nothing else.
pub fn from_standard(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bare = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    // Not more padding than the digits before it ask for.
    if bare.len().div_ceil(4) * 4 != text.len() {
        return None;
    }
    decode(bare.as_bytes(), |byte| match byte {
        b'+' => Some(62),
        b'/' => Some(63),
        _ => alphanumeric(byte),
    })
}

fn alphanumeric(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        _ => return None,
    })
}

fn decode(text: &[u8], digit: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for byte in group {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        // The digits' bits that make no whole byte: all of a lone digit's, two or four otherwise.
        let (bytes, spare) = match group.len() {
            4 => (3, 0),
            3 => (2, 2),
            2 => (1, 4),
            _ => return None,
        };
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let bits = bits >> spare;
        out.extend((0..bytes).rev().map(|at| (bits >> (8 * at)) as u8));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let bare = text.trim_end_matches('=');
            assert_eq!((standard(bytes.as_bytes()).as_str(), url(bytes.as_bytes()).as_str()), (text, bare));
            assert_eq!(standard_bare(bytes.as_bytes()), bare);
            assert_eq!(from_standard(text).as_deref(), Some(bytes.as_bytes()));
            assert_eq!(from_url(bare).as_deref(), Some(bytes.as_bytes()));
        }
        let bytes = [0xfb, 0xff, 0xbe];
        assert_eq!((standard(&bytes).as_str(), url(&bytes).as_str()), ("+/++", "-_--"));
    }

    #[test]
    fn bytes_have_one_spelling() {
        for text in ["Zh", "Zm9", "Zg==", "Z", "Zm9vY", "Zm 9v", "Zm9v\n", "+/++", "Zm9v=", "é", "Zg=", "="] {
            assert_eq!(from_url(text), None, "{text}");
        }
        for text in ["Zg", "Zg=", "Zh==", "Zm9=", "Zg===", "Zm9v====", "Zg==Zg==", "-_--", "Z===", "====", "Zm9v\n"] {
            assert_eq!(from_standard(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_is_read_is_written_alike() {
        let digits = [b'A', b'B', b'Q', b'g', b'w', b'=', b'-', b'+'];
        let (mut read, mut refused) = (0, 0);
        for code in 0..8_u32.pow(5) {
            let text: String = (0..5).map(|at| char::from(digits[(code >> (3 * at)) as usize & 7])).collect();
            for text in [&text[..], &text[..4], &text[..3], &text[..2]] {
                for (bytes, again) in [
                    (from_url(text), from_url(text).map(|bytes| url(&bytes))),
                    (from_standard(text), from_standard(text).map(|bytes| standard(&bytes))),
                ] {
                    match bytes {
                        Some(_) => {
                            assert_eq!(again.as_deref(), Some(text));
                            read += 1;
                        }
                        None => refused += 1,
                    }
                }
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} {refused}");
    }
}
