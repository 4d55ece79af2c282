//! What the remote of the recorded exchanges held.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use crate::black_box::seed::{File, Seed};
use crate::black_box::sha256;
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::json::Value as StateValue;
use pvr_agent::state::parse::{JsonLimits, parse_lenient};
use std::collections::HashMap;

const STATE: &[u8] = include_bytes!("../vectors/f-http/state.json");

/// The one object of the recording whose bytes are not in it.
pub fn squashfs() -> Vec<u8> {
    (0..=255).collect::<Vec<u8>>().repeat(600)
}

/// Every object that the recorded remote held, and those that the client added.
pub fn objects() -> Vec<Vec<u8>> {
    let all = vec![
        squashfs(),
        b"KERNEL".repeat(50),
        b"INITRD".repeat(50),
        b"app2 bin".to_vec(),
        b"app10".to_vec(),
        b"space".to_vec(),
        Vec::new(),
    ];
    let recorded = std::str::from_utf8(STATE).expect("text");
    for object in &all {
        assert!(recorded.contains(&sha256(object)), "not an object of the recording: {}", object.len());
    }
    all
}

pub fn canonical(value: &StateValue) -> String {
    to_canonical(value).expect("canonical form")
}

/// Lays out what the recorded remote held; returns the state as we have to answer it.
pub fn seed(seed: &Seed, full: bool) -> String {
    let text: &[u8] = if full { STATE } else { br##"{"#spec":"pantavisor-service-system@1"}"## };
    let (state, _) = parse_lenient(text, &JsonLimits::default()).expect("the recorded state");
    let objects: HashMap<_, _> = objects().into_iter().map(|bytes| (sha256(&bytes), bytes)).collect();
    let StateValue::Object(members) = &state else { panic!("not a state") };
    let files: Vec<(String, String)> = members
        .iter()
        .filter(|(key, _)| *key != "#spec")
        .map(|(key, value)| match value {
            StateValue::String(sha) => (key.clone(), sha.clone()),
            other => (key.clone(), canonical(other)),
        })
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(key, value)| match objects.get(value) {
            Some(bytes) => (key.as_str(), File::Object(bytes)),
            None => (key.as_str(), File::Json(value)),
        })
        .collect();
    let written = seed.revision("0", &files);
    assert_eq!(written, canonical(&state), "the seed and the canonical form disagree");
    written
}
