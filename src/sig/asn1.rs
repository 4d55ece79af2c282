//! The outer shape of DER (X.690): one value after the other, with its tag. Lengths are read by `der`, which takes only
//! the shortest spelling of each.

use der::{Header, Reader as _, SliceReader};

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const BOOLEAN: u8 = 0x01;

/// What stands in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a>(pub(super) &'a [u8]);

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    /// The first byte: class, whether it is made of others, number below 31.
    pub(super) tag: u8,
    /// What it holds.
    pub(super) content: &'a [u8],
    /// The whole of it.
    pub(super) raw: &'a [u8],
}

impl<'a> Values<'a> {
    /// Takes the next value.
    pub(super) fn next(&mut self) -> Option<Value<'a>> {
        let mut reader = SliceReader::new(self.0).ok()?;
        let header: Header = reader.decode().ok()?;
        let start = self.0.len().checked_sub(usize::try_from(reader.remaining_len()).ok()?)?;
        let end = start.checked_add(usize::try_from(header.length()).ok()?)?;
        let (raw, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(Value { tag: *raw.first()?, content: &raw[start..], raw })
    }

    /// Takes the next value, which has to be of that kind.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.content)
    }

    /// Takes the next value if it is of that kind.
    pub(super) fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    /// Takes the values of a sequence.
    pub(super) fn sequence(&mut self) -> Option<Values<'a>> {
        self.take(SEQUENCE).map(Values)
    }

    /// Takes an integer that is not negative: its bytes without leading zeros.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        unsigned(self.take(INTEGER)?)
    }

    /// Takes a small integer that is not negative.
    pub(super) fn small(&mut self) -> Option<u32> {
        small(self.take(INTEGER)?)
    }

    /// Takes a bit string of whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The one value that these bytes are.
pub(super) fn whole(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut values = Values(bytes);
    values.take(tag).filter(|_| values.is_empty())
}

/// The content of an integer that is not negative, without leading zeros.
pub(super) fn unsigned(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, rest @ ..] if rest.is_empty() || rest[0] >= 0x80 => Some(rest),
        [first, ..] if *first != 0 && *first < 0x80 => Some(content),
        _ => None,
    }
}

/// The same, as a number.
pub(super) fn small(content: &[u8]) -> Option<u32> {
    let bytes = unsigned(content)?;
    if bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_one_after_the_other() {
        let mut values = Values(&[0x02, 1, 5, 0x30, 3, 0x02, 1, 0x7f, 0x04, 0]);
        assert_eq!(values.small(), Some(5));
        let mut inner = values.sequence().unwrap();
        assert_eq!((inner.small(), inner.is_empty()), (Some(0x7f), true));
        assert_eq!(values.take_if(OID), None);
        assert_eq!(values.take_if(OCTET_STRING), Some(&[][..]));
        assert!(values.is_empty() && values.next().is_none());
    }

    #[test]
    fn lengths_that_are_not_the_shortest_or_lead_out() {
        let cases: [&[u8]; 9] = [
            &[],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 5],
            &[0x30, 0x82, 0, 1, 5],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 0, 0],
        ];
        for bytes in cases {
            assert!(Values(bytes).next().is_none(), "{bytes:x?}");
        }
    }

    #[test]
    fn integers_have_one_spelling() {
        for (content, number) in [(&[0][..], Some(0)), (&[0, 0x80], Some(128)), (&[1, 0], Some(256))] {
            assert_eq!(small(content), number);
        }
        for content in [&[][..], &[0, 1], &[0x80], &[0, 0, 0x80]] {
            assert_eq!(unsigned(content), None, "{content:x?}");
        }
        assert_eq!(small(&[1, 0, 0, 0, 0]), None);
    }
}
