//! A request out of the environment of a web server, and its body off standard input: what is decoded is decoded once, and a
//! body is what its framing says, or an error.
//!
//! An input is `NAME=value` NUL …, an empty one, and the body.

use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use pvr_agent::endpoint::cgi::Environment;
use pvr_agent::endpoint::route::{BASE, Route};
use pvr_agent::net::{Decoder, Framing};

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let mut variables = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (one, behind) = rest.split_at(end);
        rest = &behind[1..];
        if one.is_empty() {
            break;
        }
        let equals = one.iter().position(|byte| *byte == b'=').unwrap_or(one.len());
        let value = one.get(equals + 1..).unwrap_or_default();
        variables.push((one[..equals].to_vec(), value.to_vec()));
    }
    let value = |name: &[u8]| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let Some(environment) = Environment::new(variables.iter().map(|(name, value)| (os(name), os(value)))) else {
        return;
    };
    environment.method();
    let invocation = match environment.invocation() {
        Ok(invocation) => invocation,
        Err(error) => {
            assert!(matches!(error.status().as_u16(), 400 | 501), "{error:?}");
            return;
        }
    };
    let request = invocation.request();
    let path = request.uri().path();
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    // What frames a body on a socket says nothing here.
    for name in ["content-length", "transfer-encoding", "connection", "expect", "proxy"] {
        assert!(!request.headers().contains_key(name), "{name}");
    }
    let _ = Route::parse(request.method(), path);
    if value(b"SCRIPT_NAME").is_none_or(<[u8]>::is_empty)
        && !value(b"SERVER_SOFTWARE").is_some_and(|s| s.starts_with(b"busybox"))
    {
        let want = [BASE.as_bytes(), value(b"PATH_INFO").unwrap_or_default()].concat();
        assert_eq!(decoded(path), want, "{path:?}");
    }
    body(invocation.framing(), rest);
}

fn decoded(path: &str) -> Vec<u8> {
    let mut pieces = path.split('%');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        out.push(u8::from_str_radix(&piece[..2], 16).expect("an escape"));
        out.extend_from_slice(&piece.as_bytes()[2..]);
    }
    out
}

fn body(framing: Framing, wire: &[u8]) {
    let want = match framing {
        Framing::Length(length) => usize::try_from(length).ok().and_then(|length| wire.split_at_checked(length)),
        Framing::UntilClose => panic!("the end of standard input is never the end of a body"),
        Framing::Chunked => None,
    };
    let want = match framing {
        Framing::Chunked => chunks(wire),
        _ => want.map(|(body, behind)| (body.to_vec(), behind)),
    };
    for room in [1, 7, 64 * 1024] {
        let mut from = std::io::BufReader::with_capacity(room, wire);
        let mut decoder = Decoder::new(framing, Duration::from_secs(1));
        let (mut out, mut piece) = (Vec::new(), vec![0; room]);
        let ended = loop {
            match decoder.read(&mut from, &mut piece) {
                Ok(0) => break true,
                Ok(got) => out.extend_from_slice(&piece[..got]),
                Err(_) => break false,
            }
        };
        assert!(out.len() <= wire.len());
        let mut left = from.buffer().to_vec();
        from.consume(left.len());
        from.into_inner().read_to_end(&mut left).expect("bytes");
        let got = ended.then_some((out, left.as_slice()));
        assert_eq!(got, want, "{framing:?} by {room}");
    }
}

/// The body in chunks that `wire` begins with, and what is behind it (RFC 9112 §7.1), within the limits of the decoder.
fn chunks(mut wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    fn line<'a>(wire: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = wire.windows(2).position(|two| two == b"\r\n")?;
        let (line, rest) = wire.split_at(end);
        *wire = &rest[2..];
        (line.len() <= 4096 && !line.iter().any(|byte| matches!(byte, b'\r' | b'\n'))).then_some(line)
    }
    let mut out = Vec::new();
    loop {
        let digits = line(&mut wire)?.split(|byte| *byte == b';').next()?.trim_ascii_end();
        if digits.is_empty() || digits.len() > 16 || digits.iter().any(|byte| !byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (chunk, rest) = wire.split_at_checked(size)?;
        out.extend_from_slice(chunk);
        wire = rest.strip_prefix(b"\r\n")?;
    }
    for _ in 0..64 {
        if line(&mut wire)?.is_empty() {
            return Some((out, wire));
        }
    }
    None
}
