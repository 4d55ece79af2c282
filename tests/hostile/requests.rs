//! Requests that nobody should send, each with what may be answered. All are made of numbers by chance, so that a run can be
//! repeated from its seed.

use super::super::black_box::Dice;

/// What may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One refusal, and the end of the connection: where the next request begins, nobody knows.
    Refused,
    /// One answer, and the end of the connection: what follows is a body that nobody has read.
    Once,
    /// A refusal; the request behind it, which is a good one, may be answered as well.
    RefusedThenGood,
    /// So many good answers.
    Good(usize),
    /// Whatever is an answer, or nothing.
    Any,
}

/// What goes out on one connection.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: &'static str,
    pub bytes: Vec<u8>,
    pub rule: Rule,
    /// The first request is a HEAD.
    pub bodiless: bool,
}

/// In the path of every request that must never be seen as one.
pub const SMUGGLED: &str = "smuggled";

/// The sha256 of what nobody uploads.
pub const ABSENT: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Makes cases for a server at `host`.
pub struct Generator {
    host: String,
    dice: Dice,
}

/// The share of each kind, of all of them together.
const KINDS: &[(u64, &str)] = &[
    (20, "framing"),
    (14, "chunks"),
    (8, "head-too-large"),
    (10, "bad-head"),
    (8, "bad-path"),
    (4, "target"),
    (4, "version"),
    (4, "unread-body"),
    (2, "pipeline"),
    (10, "cut"),
    (16, "mutated"),
];

/// How a body can be said to end in ways that two readers read differently, or none can.
const FRAMINGS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0",
    "content-length: 0\r\ntransfer-encoding: chunked",
    "Content-Length: 5\r\nTransfer-Encoding: identity",
    "Content-Length: 3\nTransfer-Encoding: chunked",
    "Content-Length: 3\rTransfer-Encoding: chunked",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 0\r\nX: y\r\ncontent-length: 44",
    "Content-Length: 5, 6",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 5 5",
    "Content-Length: 5;",
    "Content-Length: 5.0",
    "Content-Length: 1e1",
    "Content-Length: five",
    "Content-Length: \u{665}",
    "Content-Length: 99999999999999999999999999",
    "Content-Length: 18446744073709551616",
    "Content-Length: 5\0",
    "Content-Length : 5",
    "Content-Length\t: 5",
    "Content-Length:\r\n 5",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chun\tked",
    "Transfer-Encoding: chunke\u{212a}",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\u{b}: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tContent-Length: 5",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: chunked\r\n\u{0}: x",
];

/// Chunks that are none. What follows would be the next request to whoever reads them otherwise.
const CHUNKS: &[&str] = &[
    "xyz\r\nabc\r\n",
    "-3\r\nabc\r\n",
    "+3\r\nabc\r\n",
    "0x3\r\nabc\r\n",
    " 3\r\nabc\r\n",
    "3 3\r\nabc\r\n",
    "\r\nabc\r\n",
    ";\r\nabc\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "2\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "8000000000000000\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\nzero\r\n\r\n",
    "4\r\nabcd\r\n0\r\n\r\n",
    "3\0\r\nabc\r\n0\r\n\r\n",
    "\u{ff13}\r\nabc\r\n0\r\n\r\n",
];

/// Paths that lead nowhere.
const PATHS: &[&str] = &[
    "/cgi-bin/pvr/%",
    "/cgi-bin/pvr/%4",
    "/cgi-bin/pvr/%zz",
    "/cgi-bin/pvr/%00",
    "/cgi-bin/pvr/steps/%2e%2e/json",
    "/cgi-bin/pvr/steps/..%2f..%2fetc/json",
    "/cgi-bin/pvr/steps/%ff/json",
    "/cgi-bin/pvr/steps/%c0%af/json",
    "/cgi-bin/pvr/steps/%ed%a0%80/json",
    "/cgi-bin/pvr/steps/locals/%2e/json",
    "/cgi-bin/pvr/../../etc/passwd",
    "/cgi-bin//pvr/json",
    "/cgi-bin/pvr/objects/%41",
    "/cgi-bin/pvr/objects/../json",
    "/cgi-bin/pvr/%u0041",
    "/cgi-bin/logs?rev=%",
    "/cgi-bin/logs?rev=%ff&source=..%2f..",
    "/cgi-bin/pvr/steps/0/events?timeout=x",
    "/../cgi-bin/pvr/json",
    "/cgi-bin/pvr/json%0d%0aX:%20y",
    "/",
    "/cgi-bin",
    "/etc/passwd",
];

/// Request lines whose target is in another form, or no target.
const TARGETS: &[&str] = &[
    "GET http://evil.example/cgi-bin/pvr/json HTTP/1.1",
    "GET https://evil.example:1/cgi-bin/pvr/json HTTP/1.1",
    "GET ftp://127.0.0.1/cgi-bin/pvr/nothing HTTP/1.1",
    "GET http://user:pass@127.0.0.1/cgi-bin/pvr/json HTTP/1.1",
    "GET http://127.0.0.1:99999/cgi-bin/pvr/json HTTP/1.1",
    "GET http://127.0.0.1 HTTP/1.1",
    "GET //evil.example/cgi-bin/pvr/json HTTP/1.1",
    "CONNECT evil.example:80 HTTP/1.1",
    "CONNECT 127.0.0.1:12368 HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET * HTTP/1.1",
    "TRACE /cgi-bin/pvr/json HTTP/1.1",
    "BREW /cgi-bin/pvr/json HTTP/1.1",
    "get /cgi-bin/pvr/json HTTP/1.1",
    "DELETE /cgi-bin/pvr/json HTTP/1.1",
];

/// What is no version of HTTP that is spoken here.
const VERSIONS: &[&str] = &[
    "",
    " ",
    " HTTP/0.9",
    " HTTP/1.2",
    " HTTP/2.0",
    " HTTP/2",
    " HTTP/3",
    " HTTP/11",
    " HTTP/1.10",
    " HTTP/1",
    " HTTP/1.",
    " http/1.1",
    " HTTP/1.1x",
    " HTTP/-1.1",
    " HTTP/1,1",
    " HTTPS/1.1",
    " ICAP/1.0",
    " HTTP/1.1 HTTP/1.1",
    "\tHTTP/1.1",
];

impl Generator {
    /// For a server at `host:port`.
    pub fn new(host: String, dice: Dice) -> Self {
        Self { host, dice }
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.dice.below(of.len() as u64) as usize]
    }

    fn among(&mut self, from: usize, to: usize) -> usize {
        from + self.dice.below((to - from) as u64) as usize
    }

    /// The next one.
    pub fn case(&mut self) -> Case {
        let mut chance = self.dice.below(KINDS.iter().map(|(share, _)| share).sum());
        let kind = KINDS.iter().find(|(share, _)| match chance.checked_sub(*share) {
            None => true,
            Some(left) => {
                chance = left;
                false
            }
        });
        let kind = kind.expect("a kind").1;
        let (bytes, rule) = match kind {
            "cut" => {
                let whole = self.part().0;
                let at = self.among(0, whole.len().max(1));
                (whole[..at].to_vec(), Rule::Any)
            }
            "mutated" => (self.mutated(), Rule::Any),
            kind => self.of(kind),
        };
        let bodiless = bytes.starts_with(b"HEAD ");
        Case { kind, bytes, rule, bodiless }
    }

    /// One of those that are cut.
    fn part(&mut self) -> (Vec<u8>, Rule) {
        let whole = ["framing", "chunks", "bad-head", "bad-path", "target", "unread-body", "pipeline", "good"];
        let kind = self.pick(&whole);
        self.of(kind)
    }

    fn of(&mut self, kind: &str) -> (Vec<u8>, Rule) {
        match kind {
            "framing" => (self.framing(), Rule::Refused),
            "chunks" => (self.chunks(), Rule::Refused),
            "head-too-large" => (self.too_large(), Rule::Refused),
            "bad-head" => (self.bad_head(), Rule::Refused),
            "bad-path" => (self.bad_path(), Rule::RefusedThenGood),
            "target" => (self.target(), Rule::RefusedThenGood),
            "version" => (self.version(), Rule::Refused),
            "unread-body" => (self.unread(), Rule::Once),
            "pipeline" => self.pipeline(),
            _ => (self.good(false), Rule::Any),
        }
    }

    /// A request line that would be answered, or refused, but for what comes with it.
    fn line(&mut self) -> String {
        match self.dice.below(7) {
            0 => "GET /cgi-bin/pvr/json HTTP/1.1".to_owned(),
            1 => "POST /cgi-bin/pvr/steps HTTP/1.1".to_owned(),
            2 => "POST /cgi-bin/pvr/objects/ HTTP/1.1".to_owned(),
            3 => "PUT /cgi-bin/pvtx/add HTTP/1.1".to_owned(),
            4 => "PUT /cgi-bin/pvr/json HTTP/1.1".to_owned(),
            5 => "HEAD /cgi-bin/pvr/json HTTP/1.1".to_owned(),
            _ => format!("PUT /cgi-bin/pvr/objects/{ABSENT}/blob?size=3 HTTP/1.1"),
        }
    }

    /// What an attacker wants to be taken for a request.
    fn smuggled(&mut self) -> String {
        let method = self.pick(&["GET", "DELETE", "POST"]);
        format!("{method} /cgi-bin/pvr/{SMUGGLED} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host)
    }

    fn framing(&mut self) -> Vec<u8> {
        let (line, framing) = (self.line(), self.pick(FRAMINGS));
        // Where it stands among the others plays no part.
        let host = format!("Host: {}", self.host);
        let mut lines = vec![host, framing.to_owned()];
        if self.dice.below(3) == 0 {
            lines.insert(self.among(0, 2), "X-Other: value".to_owned());
        }
        if self.dice.below(8) == 0 {
            lines.push("Expect: 100-continue".to_owned());
        }
        if self.dice.below(2) == 0 {
            lines.swap(0, 1);
        }
        // At the beginning of a header, a folded line would be part of the request line.
        let body = self.pick(&["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc", ""]);
        format!("{line}\r\n{}\r\n\r\n{body}{}", lines.join("\r\n"), self.smuggled()).into_bytes()
    }

    fn chunks(&mut self) -> Vec<u8> {
        let (host, smuggled) = (self.host.clone(), self.smuggled());
        let chunks = match self.dice.below(6) {
            0 => format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(self.among(17_000, 40_000))),
            1 => format!("2\r\nab\r\n0\r\n{}\r\n", "T: v\r\n".repeat(self.among(65, 400))),
            2 => format!("2\r\nab\r\n0\r\nT: {}\r\n\r\n", "v".repeat(self.among(17_000, 40_000))),
            // Many small ones, one of which is too much.
            3 => format!("{}4\r\nabcd\r\n0\r\n\r\n", "1\r\na\r\n".repeat(self.among(1, 400))),
            _ => self.pick(CHUNKS).to_owned(),
        };
        let head = format!("PUT /cgi-bin/pvr/objects/{ABSENT}/blob?size=2 HTTP/1.1\r\nHost: {host}\r\n");
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}").into_bytes()
    }

    fn too_large(&mut self) -> Vec<u8> {
        let (host, line, smuggled) = (self.host.clone(), self.line(), self.smuggled());
        let long = "x".repeat(self.among(17_000, 120_000));
        match self.dice.below(5) {
            0 => format!("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n{smuggled}"),
            1 => format!("{line}\r\nHost: {host}\r\nA: {long}\r\n\r\n{smuggled}"),
            2 => format!("{line}\r\nHost: {host}\r\n{long}: a\r\n\r\n{smuggled}"),
            3 => {
                let many: String = (0..self.among(64, 2000)).map(|at| format!("X-{at}: y\r\n")).collect();
                format!("{line}\r\nHost: {host}\r\n{many}\r\n{smuggled}")
            }
            _ => format!("{long} / HTTP/1.1\r\nHost: {host}\r\n\r\n{smuggled}"),
        }
        .into_bytes()
    }

    fn bad_head(&mut self) -> Vec<u8> {
        let (host, line, smuggled) = (self.host.clone(), self.line(), self.smuggled());
        let good = format!("Host: {host}");
        let control = char::from(self.pick(&["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f"]).as_bytes()[0]);
        let lines = match self.dice.below(14) {
            0 => format!("{line}\r\n{good}\r\nA{control}: b"),
            1 => format!("{line}\r\n{good}\r\nA: b{control}c"),
            2 => format!("G{control}T /cgi-bin/pvr/json HTTP/1.1\r\n{good}"),
            3 => format!("GET /cgi-bin/pvr/js{control}on HTTP/1.1\r\n{good}"),
            4 => format!("{line}\r\n{good}\r\nA b: c"),
            5 => format!("{line}\r\n{good}\r\nno colon"),
            6 => format!("{line}\r\n{good}\r\n: no name"),
            7 => format!("{line}\r\n{good}\r\nA: b\r\n folded"),
            8 => format!("{line}\r\n{good}\r\nA: b\rc"),
            9 => format!("{line}\r\n{good}\r\n{good}"),
            10 => line,
            11 => format!(
                "{line}\r\nHost: {}",
                self.pick(&["a b", "", "user@localhost", "localhost:99999", "[::1", "evil.example", "a/b"])
            ),
            12 => format!(" {line}\r\n{good}"),
            _ => format!("GET  /cgi-bin/pvr/json  HTTP/1.1\r\n{good}"),
        };
        format!("{lines}\r\n\r\n{smuggled}").into_bytes()
    }

    /// A good request, after which the connection may end.
    fn good(&mut self, last: bool) -> Vec<u8> {
        let close = if last { "Connection: close\r\n" } else { "" };
        format!("GET /cgi-bin/pvr/json HTTP/1.1\r\nHost: {}\r\n{close}\r\n", self.host).into_bytes()
    }

    fn bad_path(&mut self) -> Vec<u8> {
        let path = self.pick(PATHS);
        let mut target = path.as_bytes().to_vec();
        if self.dice.below(4) == 0 {
            target.extend_from_slice(&[b'/', 0xff, 0xc3, 0x28]);
        }
        let mut bytes =
            [b"GET ", target.as_slice(), b" HTTP/1.1\r\nHost: ", self.host.as_bytes(), b"\r\n\r\n"].concat();
        bytes.extend(self.good(true));
        bytes
    }

    fn target(&mut self) -> Vec<u8> {
        let line = self.pick(TARGETS);
        let mut bytes = format!("{line}\r\nHost: {}\r\n\r\n", self.host).into_bytes();
        bytes.extend(self.good(true));
        bytes
    }

    fn version(&mut self) -> Vec<u8> {
        let (version, smuggled) = (self.pick(VERSIONS), self.smuggled());
        format!("GET /cgi-bin/pvr/json{version}\r\nHost: {}\r\n\r\n{smuggled}", self.host).into_bytes()
    }

    /// A body where none is wanted, which has the look of a request.
    fn unread(&mut self) -> Vec<u8> {
        let line = self.pick(&[
            "GET /cgi-bin/pvr/json HTTP/1.1",
            "GET /cgi-bin/pvr/nothing HTTP/1.1",
            "DELETE /cgi-bin/pvr/json HTTP/1.1",
            "POST /cgi-bin/pvr/status HTTP/1.1",
        ]);
        let body = self.smuggled();
        let head = format!("{line}\r\nHost: {}\r\n", self.host);
        match self.dice.below(2) {
            0 => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
            _ => format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{body}", body.len()),
        }
        .into_bytes()
    }

    /// Many good ones at once.
    fn pipeline(&mut self) -> (Vec<u8>, Rule) {
        let count = self.among(2, 200);
        let mut bytes = self.good(false).repeat(count - 1);
        bytes.extend(self.good(true));
        (bytes, Rule::Good(count))
    }

    /// One that is good, or bad already, with something changed in it, once or more often.
    fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = match self.dice.below(4) {
            0 => self.good(false),
            1 => format!(
                "PUT /cgi-bin/pvr/objects/{ABSENT}/blob?size=3 HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\n\r\nabd",
                self.host
            )
            .into_bytes(),
            2 => {
                let post = r##"{"rev":"locals/x","state":{"#spec":"pantavisor-service-system@1","a":"00"}}"##;
                let host = &self.host;
                format!(
                    "POST /cgi-bin/pvr/steps HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{post}",
                    post.len()
                )
                .into_bytes()
            }
            // What it was to smuggle may be a request now, and then it is answered.
            _ => String::from_utf8_lossy(&self.part().0).replace(SMUGGLED, "pipelined").into_bytes(),
        };
        for _ in 0..self.among(1, 8) {
            let at = self.among(0, bytes.len().max(1)).min(bytes.len());
            match self.dice.below(6) {
                0 => bytes.insert(at, self.dice.next() as u8),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.dice.below(8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let piece = self.pick(&["\r\n", "\n", "\r", "\0", ":", " ", "\r\n\r\n", "%", "chunked", ";", "\t"]);
                    bytes.splice(at..at, piece.bytes());
                }
                4 => {
                    let end = (at + self.among(1, 40)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}
