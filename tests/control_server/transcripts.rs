//! The recorded transcripts (`tests/vectors/h-pvctrl`), and what of a request was not recorded.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One connection.
#[derive(Debug, Clone, Deserialize)]
pub struct Transcript {
    pub step: String,
    pub group: String,
    request: String,
    response: String,
    /// `open`, `silent`, `closed`, `left`, `refused`, `reset`.
    pub end: String,
    pub caller: Option<String>,
    #[serde(default)]
    pub parts: Vec<usize>,
    pub daemon: Option<String>,
}

impl Transcript {
    pub fn number(&self) -> u32 {
        self.step[..3].parse().unwrap()
    }

    pub fn name(&self) -> String {
        format!("{}/{}", self.group, self.step)
    }
}

pub fn all() -> Vec<Transcript> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/h-pvctrl/transcripts.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Bytes that stand for those that were not recorded, and the hashes that change with them.
#[derive(Default)]
pub struct Stand {
    hashes: BTreeMap<String, String>,
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `<<N bytes sha256=…>>` in a text, its length and its hash.
fn placeholder(text: &str) -> Option<(usize, usize, usize, String)> {
    let begin = text.find("<<")?;
    let end = begin + text[begin..].find(">>")? + 2;
    let (length, rest) = text[begin + 2..end - 2].split_once(" bytes sha256=")?;
    Some((begin, end, length.parse().ok()?, rest.to_owned()))
}

impl Stand {
    /// The bytes of a request.
    pub fn request(&mut self, transcript: &Transcript) -> Vec<u8> {
        let mut text = transcript.request.clone();
        let mut body = Vec::new();
        if let Some((begin, end, length, hash)) = placeholder(&text) {
            body = self.body(transcript, length, &hash);
            text.replace_range(begin..end, "");
        }
        let mut bytes: Vec<u8> = self.replaced(&text).chars().map(|c| c as u8).collect();
        bytes.extend(body);
        bytes
    }

    fn body(&mut self, transcript: &Transcript, length: usize, hash: &str) -> Vec<u8> {
        let filled = |before: &str, with: char, after: &str| {
            let fill = length - before.len() - after.len();
            format!("{before}{}{after}", with.to_string().repeat(fill)).into_bytes()
        };
        let end = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let known = match transcript.number() {
            38 => filled("GET /daemons HTTP/1.1\r\nHost: localhost\r\nX-A: ", 'y', "\r\n\r\n"),
            39 => {
                let segments = format!("/{}", "u".repeat(100)).repeat(100);
                format!("GET {}{end}", &segments[..length - 4 - end.len()]).into_bytes()
            }
            45 | 902 => filled("GET /", 'u', end),
            363 => filled(r#"{"action":"stop","x":""#, 'y', "\"}"),
            511..=513 => filled("", 'z', ""),
            517 | 523 => filled("", 't', ""),
            _ => Vec::new(),
        };
        if !known.is_empty() {
            assert_eq!(sha(&known), hash, "{}", transcript.step);
            return known;
        }
        // Only its hash is known: other bytes stand in its place, and their hash in the place of the recorded one.
        let other = match (&transcript.group, transcript.number()) {
            (group, _) if group == "steps" => {
                filled(r##"{"#spec":"pantavisor-service-system@1","x.json":""##, 'p', "\"}")
            }
            (_, 519) => filled(r##"{"#spec":"pantavisor-service-system@1","x.json":""##, 'p', "\"}"),
            // The first 30,000 bytes of the object that comes whole later.
            (_, 154) => {
                let whole = noise(50_000, 157);
                self.hashes
                    .insert("b78d0dad52e58c4cdd9374df50b8c77fc460f648f69ec18a97682b6f153aada9".into(), sha(&whole));
                whole[..length].to_vec()
            }
            (_, 161 | 162) => noise(length, 161),
            (_, number) => noise(length, number),
        };
        if transcript.number() == 149 {
            // It is fetched in chunks, of which the hash was recorded.
            let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            let framed = [other.chunks(4096).flat_map(chunk).collect::<Vec<u8>>(), b"0\r\n\r\n".to_vec()].concat();
            self.hashes.insert("c04f87ac2762fb821a4cb343dd753fa3069c6a981797145dd8f49887ccb9a1dc".into(), sha(&framed));
        }
        self.hashes.insert(hash.to_owned(), sha(&other));
        other
    }

    fn replaced(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (old, new) in &self.hashes {
            text = text.replace(old, new);
        }
        text
    }

    /// What has to come.
    pub fn response(&self, transcript: &Transcript) -> String {
        self.replaced(&transcript.response)
    }
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The same text for the same meaning: no dates, no sizes of what is another machine's, lists in order, long bodies as
/// their hashes.
pub fn normal(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| *byte as char).collect();
    let mut out = String::new();
    let mut rest = text.as_str();
    // Headers of dates, and dates in the list of revisions.
    while let Some(at) = rest.find("Date: ").into_iter().chain(rest.find("\"date\":\"")).min() {
        out.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("Date") { "\r\n" } else { "\", " };
        let from = if rest[at..].starts_with("Date") { at } else { at + 8 };
        match rest[from..].find(end) {
            Some(length) => rest = &rest[from + length + end.len()..],
            None => break,
        }
    }
    out.push_str(rest);
    // As they were recorded.
    if let Some((head, body)) = out.split_once("\r\n\r\n").filter(|(_, body)| body.len() > 20_000) {
        let bytes: Vec<u8> = body.chars().map(|c| c as u8).collect();
        return format!("{head}\r\n\r\n<<{} bytes sha256={}>>", bytes.len(), sha(&bytes));
    }
    sort_objects(&out)
}

fn sort_objects(text: &str) -> String {
    let Some(at) = text.find("[{\"sha256\":") else { return text.to_owned() };
    let Some(end) = text[at..].find("}]") else { return text.to_owned() };
    let mut items: Vec<&str> =
        text[at + 1..at + end + 1].split_inclusive("},").map(|item| item.trim_end_matches(',')).collect();
    items.sort_unstable();
    format!("{}[{}]{}", &text[..at], items.join(","), &text[at + end + 2..])
}
