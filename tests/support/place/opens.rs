//! Whether what lies in a place can be used: by starting what comes next.

use super::serving::Serving;
use super::{Place, said};
use std::process::Command;

/// What `fsck --json` finds that the next who writes would not clear away.
pub fn checked(command: Command) -> Vec<String> {
    let mut command = command;
    let output = command.output().expect("run fsck");
    let report: serde_json::Value = match serde_json::from_slice(&output.stdout) {
        Ok(report) => report,
        Err(_) => return vec![format!("fsck: {}", said(&output))],
    };
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    findings
        .iter()
        .filter(|finding| finding["kind"] != "unfinished")
        .map(|finding| format!("fsck: {finding}"))
        .collect()
}

/// Whether a command succeeds; what it says if not.
pub fn opened(mut command: Command) -> Vec<String> {
    let output = command.output().expect("run a command");
    if output.status.success() { Vec::new() } else { vec![format!("{command:?} does not open it: {}", said(&output))] }
}

/// What a storage `s` has to be after a start.
pub fn storage_opens(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    match Serving::start(place) {
        Ok(serving) => drop(serving),
        Err(why) => found.push(why),
    }
    let storage = place.at("s");
    let storage = storage.to_str().expect("a path");
    found.extend(place.debris("s").into_iter().map(|path| format!("a start left {path}")));
    found.extend(checked(place.agent("", &["fsck", "--storage", storage, "--json"])));
    found.extend(opened(place.agent("", &["status", "--storage", storage])));
    found
}

/// What a repository has to be when the next looks at it.
pub fn repo_opens(place: &Place, folder: &str) -> Vec<String> {
    let mut found = opened(place.pvr(folder, &["status"]));
    found.extend(checked(place.pvr(folder, &["fsck", "--json"])));
    found
}
