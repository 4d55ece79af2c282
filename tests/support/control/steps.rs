//! `/steps`: states, written in place.

use super::answer::Answer;
use super::disk::READY;
use super::objects::FULL;
use super::request::{Body, Gone, Outcome};
use super::{Shared, State};
use pvr_agent::state::clock;
use serde_json::Value;
use std::fs;

const BEGUN: &str = r#"{"status":"NEW","status-msg":"Update not yet installed","progress":0,"retries":0}"#;
const MAX_NAME: usize = 64;
const MAX_SHOWN: usize = 512;
const MAX_MESSAGE: usize = 256;

pub fn list(shared: &Shared) -> Answer {
    let state = shared.state();
    let item = |name: String| {
        let folder = state.disk.trail(&name);
        let small = |file: &str| {
            let bytes = fs::read(folder.join(file)).ok().filter(|bytes| bytes.len() <= MAX_SHOWN);
            // What follows a NUL is not seen.
            let bytes = bytes.unwrap_or_default();
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let date = fs::metadata(&folder).map(|meta| clock::rfc3339(clock::modified(&meta))).unwrap_or_default();
        let progress = Some(small(".pv/progress")).filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".into());
        let message = escaped(&small(".pv/commitmsg"));
        format!(r#"{{"name":"{}", "date":"{date}", "commitmsg":"{message}", "progress":{progress}}}"#, name)
    };
    let items: Vec<String> = state.disk.steps().into_iter().map(item).collect();
    Answer::json(200, format!("[{}]", items.join(",")))
}

/// As the daemon writes texts into JSON: what needs it as `\u00XX`.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c < ' ' || c == '"' || c == '\\' {
            out.push_str(&format!("\\u{:04X}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

fn read(state: &State, path: &[&str], last: &str) -> Option<Vec<u8>> {
    let name = path[1..].iter().filter(|part| **part != last).copied().collect::<Vec<_>>().join("/");
    let file = if last.is_empty() { ".pvr/json".to_owned() } else { format!(".pv/{last}") };
    // The daemon's own check is that the folder is below `trails`.
    let bytes = fs::read(state.disk.trail(&name).join(file)).ok();
    bytes.filter(|_| name != "..")
}

pub fn get(path: &[&str], shared: &Shared) -> Answer {
    match read(&shared.state(), path, "") {
        None => Answer::error(404, "Resource does not exist"),
        Some(bytes) if bytes.is_empty() => Answer::error(500, "Cannot send data"),
        Some(bytes) => Answer::json(200, bytes),
    }
}

pub fn progress(path: &[&str], shared: &Shared) -> Answer {
    match read(&shared.state(), path, "progress") {
        None => Answer::error(404, "Resource does not exist"),
        Some(bytes) => Answer::json(200, bytes),
    }
}

pub fn put(target: &str, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    let one = |answer| Ok(Outcome::Answers(vec![answer]));
    let name = target.strip_prefix("/steps/locals/").unwrap_or_default();
    let cut = name.starts_with("progress") || name.starts_with("commitmsg");
    if name.is_empty() || name.contains('/') || cut || name.len() > MAX_NAME {
        body.all()?;
        return one(Answer::error(400, "Request has bas step name"));
    }
    let name = format!("locals/{name}");
    let defects = shared.state().config.defects;
    let write = |bytes: &[u8], progress: &str| {
        let mut state = shared.state();
        let file = state.disk.trail(&name).join(".pv/progress");
        state
            .disk
            .write_state(&name, bytes)
            .and_then(|()| state.disk.write(&file, progress.as_bytes()))
            .map_err(|_| Gone)
    };
    if defects.refusal_deletes {
        write(b"", BEGUN)?;
        write(b"", READY)?;
    }
    let mut bytes = Vec::new();
    while let Some(piece) = body.piece()? {
        bytes.extend(piece);
        if bytes.len() as u64 > shared.state().room() {
            body.all()?;
            if !defects.keeps_debris {
                shared.state().disk.remove_trail(&name);
            }
            return one(Answer::error(507, FULL));
        }
    }
    let refused = refused(&bytes, &shared.state().config);
    if let Some(why) = refused {
        if defects.refusal_deletes && !name.ends_with('.') {
            shared.state().disk.remove_trail(&name);
        }
        return one(Answer::error(422, why));
    }
    write(&bytes, READY)?;
    one(Answer::ok())
}

/// Why a state is refused. Objects are not looked at.
fn refused(bytes: &[u8], config: &super::Config) -> Option<&'static str> {
    const BAD: &str = "Parser: State JSON has bad format";
    let Ok(Value::Object(state)) = serde_json::from_slice::<Value>(bytes) else {
        return Some(BAD);
    };
    if let Some((_, why)) = config.verdicts.iter().find(|(hash, _)| *hash == super::objects::hex(bytes)) {
        return Some(why);
    }
    let signed = state.values().any(|value| value.get("#spec").and_then(Value::as_str) == Some("pvs@2"));
    if config.strict && !signed {
        return Some("Secureboot: State not fully covered by signatures");
    }
    let spec = state.get("#spec").and_then(Value::as_str);
    if spec != Some("pantavisor-service-system@1") {
        return Some(BAD);
    }
    let bad_run = state.iter().any(|(key, value)| key.ends_with("/run.json") && !value.is_object());
    bad_run.then_some(BAD)
}

pub fn commit_message(target: &str, path: &[&str], body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    let one = |answer| Ok(Outcome::Answers(vec![answer]));
    let _ = target;
    let message = body.all()?;
    let hangs = shared.state().config.defects.hangs_on_empty;
    let none = Answer::error(400, "No commit message");
    if message.is_empty() {
        return if hangs { Ok(Outcome::Silence) } else { one(none) };
    }
    if message.len() > MAX_MESSAGE {
        return Ok(Outcome::Answers(too_big(shared, none)));
    }
    let name = path[1..path.len() - 1].join("/");
    let mut state = shared.state();
    let file = state.disk.trail(&name).join(".pv/commitmsg");
    state.disk.replace(&file, &message).map_err(|_| Gone)?;
    one(Answer::ok())
}

/// What a body gets that is longer than it may be: 507, and what the request itself would get without one.
pub fn too_big(shared: &Shared, otherwise: Answer) -> Vec<Answer> {
    let full = Answer::error(507, FULL);
    let second = otherwise.behind(&full);
    if shared.state().config.defects.double_replies { vec![full, second] } else { vec![full] }
}
