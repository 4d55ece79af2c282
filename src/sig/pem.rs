//! PEM (RFC 7468, RFC 1421) as today's tools take it: what stands around blocks is passed over, and so are blocks that are
//! none.

use super::base64;

/// One `-----BEGIN …-----` to its `-----END …-----`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What the marks say: `CERTIFICATE`.
    pub label: String,
    /// Lines `Name: value` before the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Block {
    /// Whether it says of itself that it is encrypted, in the old way or the new.
    pub fn is_encrypted(&self) -> bool {
        let old = |(name, value): &(String, String)| name == "Proc-Type" && value.contains("ENCRYPTED");
        self.label.contains("ENCRYPTED") || self.headers.iter().any(old)
    }
}

/// All blocks of a text, in their order.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(|line| line.trim_end());
    let mut line = lines.next();
    while let Some(begin) = line {
        let Some(label) = mark(begin, "-----BEGIN ") else {
            line = lines.next();
            continue;
        };
        let mut headers = Vec::new();
        let mut body = String::new();
        line = lines.next();
        while let Some(text) = line.filter(|text| !text.starts_with("-----")) {
            match text.split_once(':') {
                Some((name, value)) if body.is_empty() => {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => body.extend(text.chars().filter(|c| !c.is_ascii_whitespace())),
            }
            line = lines.next();
        }
        // Another beginning in place of the end is looked at again.
        if line.and_then(|end| mark(end, "-----END ")) != Some(label) {
            continue;
        }
        line = lines.next();
        if let Some(bytes) = base64::from_standard(&body) {
            found.push(Block { label: label.to_owned(), headers, bytes });
        }
    }
    found
}

fn mark<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_what_is_none() {
        let text = "junk\n-----BEGIN A-----\nZm9v\nYmFy\n-----END A-----\r\n\
             -----BEGIN B-----\nX: y\nProc-Type: 4,ENCRYPTED\n\nZg==\n-----END B-----\n\
             -----BEGIN C-----\nZm9v\n-----END D-----\n-----BEGIN E-----\n-----BEGIN F-----\r\nZm8=\r\n-----END F-----\n\
             -----BEGIN G-----\nZ!\n-----END G-----\n-----BEGIN H-----\nZm9v\n";
        let found = blocks(text);
        let labels: Vec<_> = found.iter().map(|block| block.label.as_str()).collect();
        assert_eq!(labels, ["A", "B", "F"]);
        assert_eq!((found[0].bytes.as_slice(), found[2].bytes.as_slice()), (&b"foobar"[..], &b"fo"[..]));
        assert_eq!(found[1].headers, [("X".into(), "y".into()), ("Proc-Type".into(), "4,ENCRYPTED".into())]);
        assert!(found[1].is_encrypted() && !found[0].is_encrypted());
    }
}
