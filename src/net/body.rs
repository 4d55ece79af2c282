//! Bodies, decoded as they come.
//!
//! The chunked form is read strictly: sizes are hexadecimal digits and nothing else, every line ends with CR LF, and
//! what a chunk is short of, or has too much, is an error rather than the beginning of something else.

use std::io::BufRead;
use std::time::Duration;

use super::NetError;
use super::head::Framing;

/// Longest line with a chunk's size (and its extensions, which are skipped), and longest trailer line.
const MAX_LINE: usize = 4 * 1024;
/// Most lines behind the last chunk.
const MAX_TRAILERS: usize = 64;
const DOING: &str = "receiving a body";

/// Where we are in a body.
#[derive(Debug)]
enum Place {
    /// So many bytes are left of a body of known length.
    Length(u64),
    /// A chunk-size line comes next.
    ChunkSize,
    /// So many bytes are left of this chunk.
    Chunk(u64),
    /// The body ends with the connection.
    UntilClose,
    /// Nothing more comes.
    End,
}

/// Takes a body out of a stream.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
    patience: Duration,
}

impl Decoder {
    /// A body that is framed like this; `patience` is what an error says when the stream has run out of it.
    pub fn new(framing: Framing, patience: Duration) -> Self {
        let place = match framing {
            Framing::Length(0) => Place::End,
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::ChunkSize,
            Framing::UntilClose => Place::UntilClose,
        };
        Self { place, patience }
    }

    /// Whether the whole body has been read.
    pub fn is_at_end(&self) -> bool {
        matches!(self.place, Place::End)
    }

    /// Reads some of the body into `out`; 0 is its end.
    pub fn read(&mut self, from: &mut impl BufRead, out: &mut [u8]) -> Result<usize, NetError> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.place {
                Place::End => return Ok(0),
                Place::UntilClose => {
                    let got = self.fill(from, out)?;
                    if got == 0 {
                        self.place = Place::End;
                    }
                    return Ok(got);
                }
                Place::Length(left) => {
                    let got = self.fill_at_most(from, out, left)?;
                    let left = left - got as u64;
                    self.place = if left == 0 { Place::End } else { Place::Length(left) };
                    return Ok(got);
                }
                Place::Chunk(left) => {
                    let got = self.fill_at_most(from, out, left)?;
                    let left = left - got as u64;
                    if left == 0 {
                        let line = self.line(from, 0)?;
                        if !line.is_empty() {
                            return Err(NetError::Protocol("chunk is longer than its size"));
                        }
                        self.place = Place::ChunkSize;
                    } else {
                        self.place = Place::Chunk(left);
                    }
                    return Ok(got);
                }
                Place::ChunkSize => {
                    let size = chunk_size(&self.line(from, MAX_LINE)?)?;
                    if size > 0 {
                        self.place = Place::Chunk(size);
                        continue;
                    }
                    for _ in 0..MAX_TRAILERS {
                        if self.line(from, MAX_LINE)?.is_empty() {
                            self.place = Place::End;
                            return Ok(0);
                        }
                    }
                    return Err(NetError::Protocol("too many trailers"));
                }
            }
        }
    }

    fn fill(&self, from: &mut impl BufRead, out: &mut [u8]) -> Result<usize, NetError> {
        loop {
            match from.read(out) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => return result.map_err(|e| NetError::from_io(e, DOING, self.patience)),
            }
        }
    }

    /// At least one byte and at most `left`; the end of the stream is an error.
    fn fill_at_most(&self, from: &mut impl BufRead, out: &mut [u8], left: u64) -> Result<usize, NetError> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        match self.fill(from, &mut out[..most])? {
            0 => Err(NetError::Closed { doing: DOING }),
            got => Ok(got),
        }
    }

    /// One line of at most `limit` bytes, without its CR LF.
    fn line(&self, from: &mut impl BufRead, limit: usize) -> Result<Vec<u8>, NetError> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            if self.fill(from, &mut byte)? == 0 {
                return Err(NetError::Closed { doing: DOING });
            }
            match (byte[0], line.last()) {
                (b'\n', Some(b'\r')) => {
                    line.pop();
                    return Ok(line);
                }
                (b'\n', _) | (_, Some(b'\r')) => {
                    return Err(NetError::Protocol("bad line end in a chunked body"));
                }
                // The CR that is still to be dropped counts too.
                (_, _) if line.len() > limit => return Err(NetError::Protocol("bad chunk")),
                (byte, _) => line.push(byte),
            }
        }
    }
}

/// `1*HEXDIG [ ";" extension ]`.
fn chunk_size(line: &[u8]) -> Result<u64, NetError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // Blanks before an extension are a known variation; blanks before the digits are not.
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(NetError::Protocol("bad chunk size"));
    }
    let text = str::from_utf8(digits).map_err(|_| NetError::Protocol("bad chunk size"))?;
    u64::from_str_radix(text, 16).map_err(|_| NetError::Protocol("bad chunk size"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    /// Decodes `wire` with buffers of `step` bytes: what came out, and what was left behind the body.
    fn decode(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), NetError> {
        let mut from = BufReader::with_capacity(step, wire);
        let mut decoder = Decoder::new(framing, Duration::from_secs(1));
        let (mut out, mut buf) = (Vec::new(), vec![0; step]);
        loop {
            let got = decoder.read(&mut from, &mut buf)?;
            if got == 0 {
                break;
            }
            out.extend_from_slice(&buf[..got]);
        }
        assert!(decoder.is_at_end());
        let mut rest = Vec::new();
        from.read_to_end(&mut rest).unwrap();
        Ok((out, rest))
    }

    #[test]
    fn bodies_that_are_whole() {
        type Row = (Framing, &'static [u8], &'static [u8], &'static [u8]);
        let table: &[Row] = &[
            (Framing::Length(0), b"next", b"", b"next"),
            (Framing::Length(3), b"abcnext", b"abc", b"next"),
            (Framing::UntilClose, b"abc", b"abc", b""),
            (Framing::UntilClose, b"", b"", b""),
            (Framing::Chunked, b"0\r\n\r\nnext", b"", b"next"),
            (Framing::Chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext", b"abcde", b"next"),
            (Framing::Chunked, b"0003;x=\"y\"\r\nabc\r\n0;z\r\nT: v\r\n\r\n", b"abc", b""),
            (Framing::Chunked, b"3 ;x\r\nabc\r\n0\r\n\r\n", b"abc", b""),
            (Framing::Chunked, b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        ];
        for (framing, wire, body, rest) in table {
            for step in 1..8 {
                let (got, left) = decode(*framing, wire, step).unwrap();
                assert_eq!((got.as_slice(), left.as_slice()), (*body, *rest), "{:?}", String::from_utf8_lossy(wire));
            }
        }
    }

    #[test]
    fn bodies_that_are_refused() {
        let trailers = [b"0\r\n".to_vec(), b"T: v\r\n".repeat(MAX_TRAILERS + 1)].concat();
        let long = [b"3;".to_vec(), b"x".repeat(MAX_LINE + 1), b"\r\nabc\r\n".to_vec()].concat();
        let table: &[(Framing, &[u8])] = &[
            (Framing::Length(4), b"abc"),
            (Framing::Length(1), b""),
            (Framing::Chunked, b""),
            (Framing::Chunked, b"3\r\nab"),
            (Framing::Chunked, b"3\r\nabc"),
            (Framing::Chunked, b"3\r\nabc\r\n"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n"),
            (Framing::Chunked, b"3\r\nabcd\r\n0\r\n\r\n"),
            (Framing::Chunked, b"3\r\nabc0\r\n\r\n"),
            (Framing::Chunked, b"3\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"3\r\nabc\n0\r\n\r\n"),
            (Framing::Chunked, b"3\rx\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b" 3\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"+3\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"-1\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"0x3\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"3g\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"10000000000000000\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, &trailers),
            (Framing::Chunked, &long),
        ];
        for (framing, wire) in table {
            for step in [1, 7, 4096] {
                assert!(decode(*framing, wire, step).is_err(), "{:?}", String::from_utf8_lossy(wire));
            }
        }
    }
}
