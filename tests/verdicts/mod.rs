//! The recorded verdicts of a real Pantavisor, for whoever looks at states with signatures.
#![allow(dead_code, reason = "every test binary uses its part of this")]

use pvr_agent::sig::device::Trust;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The modes of a device.
pub const MODES: [&str; 4] = ["disabled", "lenient", "audit", "strict"];

/// Of those that a device in `strict` takes: what `hardened` has against which.
pub const AMBIGUOUS: &[&str] = &["116", "119", "158", "159", "161", "305", "306", "309", "311"];
pub const MISPLACED: &[&str] = &["165"];
pub const STRIPPED: &[&str] = &["187", "556"];
pub const ALGORITHM: &[&str] = &[
    "005", "007", "009", "011", "012", "013", "014", "015", "017", "033", "034", "035", "041", "043", "045", "046",
    "116",
];
pub const ONLY_EXCLUDED: &[&str] = &["165", "180", "181", "276", "277", "283"];

/// One state.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// `003-rs256`
    pub name: String,
    pub title: String,
    /// Mode → `accepted`, `bad-format`, `bad-signature`, `not-covered` or `crash`.
    pub verdict: BTreeMap<String, String>,
    pub state: String,
}

impl Case {
    pub fn number(&self) -> &str {
        &self.name[..3]
    }

    pub fn numbered(number: &str) -> Self {
        cases().into_iter().find(|case| case.number() == number).unwrap_or_else(|| panic!("there is no case {number}"))
    }
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/g-device-verdict")
}

pub fn cases() -> Vec<Case> {
    let file = fs::File::open(folder().join("cases.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The trust store of that device.
pub fn trust() -> Trust {
    Trust::from_pem(&fs::read_to_string(folder().join("trust.crt")).unwrap()).unwrap()
}

/// A signature over these keys of a state, as a value. `members` are names and values as they are written.
pub fn signature(members: &BTreeMap<String, String>, header: &str, selected: &[&str]) -> String {
    use pvr_agent::sig::{base64, key::PrivateKey};
    let key = PrivateKey::from_pem(&fs::read_to_string(folder().join("p256.key")).unwrap()).unwrap();
    let mut payload: Vec<String> = members
        .iter()
        .filter(|(key, _)| selected.contains(&key.as_str()))
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    assert_eq!(payload.len(), selected.len(), "{selected:?}");
    if let Some(first) = payload.first_mut() {
        first.insert(0, '{');
    }
    let protected = base64::url(header.as_bytes());
    let signed = format!("{protected}.{}", base64::url(format!("{}}}", payload.join(",")).as_bytes()));
    let signature = base64::url(&key.sign(signed.as_bytes()).unwrap());
    format!(r##"{{"#spec":"pvs@2","protected":"{protected}","signature":"{signature}"}}"##)
}

/// The header of one, with the certificate that the recorded device trusts.
pub fn header(include: &[&str], exclude: &[&str]) -> String {
    let pem = fs::read_to_string(folder().join("p256.crt")).unwrap();
    let x5c: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let (include, exclude) = (serde_json::to_string(include).unwrap(), serde_json::to_string(exclude).unwrap());
    format!(r#"{{"alg":"ES256","pvs":{{"include":{include},"exclude":{exclude}}},"typ":"PVS","x5c":["{x5c}"]}}"#)
}

/// The text of a state.
pub fn text(members: &BTreeMap<String, String>) -> String {
    let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The first members of every state.
pub fn members(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let spec = [("#spec", r#""pantavisor-service-system@1""#)];
    spec.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
