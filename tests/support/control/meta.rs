//! `/user-meta` and `/device-meta`.

use super::Shared;
use super::answer::Answer;
use super::request::{Body, Gone, Outcome};
use super::steps::{escaped, too_big};

const MAX: usize = 4096;

/// Values, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Store(Vec<(String, String)>);

impl Store {
    /// Values that are JSON already.
    pub fn with(facts: &[(String, String)]) -> Self {
        Self(facts.to_vec())
    }

    /// The configuration, with what is said here in the place of what it had.
    pub fn overriding(&self, config2: &str) -> String {
        let mut text = config2.to_owned();
        for (key, value) in &self.0 {
            let before = format!("{{\"key\":\"{key}\",\"value\":");
            if let Some(at) = text.find(&before)
                && let Some(end) = text[at..].find('}')
            {
                text.replace_range(at..at + end, &format!("{before}{value},\"modified\":\"metadata\""));
            }
        }
        text
    }
}

pub fn list(shared: &Shared, user: bool) -> Answer {
    let state = shared.state();
    let store = if user { &state.user_meta } else { &state.device_meta };
    let item = |(key, value): &(String, String)| format!("\"{}\":{value}", escaped(key));
    let mut items: Vec<String> = store.0.iter().map(item).collect();
    if !user {
        items.push(format!("\"pantavisor.revision\":\"{}\"", escaped(&state.disk.current())));
        let (total, reserved) = (state.config.facts.total, state.config.facts.reserved);
        let free = total.saturating_sub(state.lagging.unwrap_or_else(|| state.disk.used()));
        let real = free.saturating_sub(reserved);
        items.push(format!(
            "\"storage\":{{\"total\":{total},\"free\":{free},\"reserved\":{reserved},\"real_free\":{real}}}"
        ));
    }
    Answer::json(200, format!("{{{}}}", items.join(",")))
}

pub fn change(user: bool, key: &str, method: &str, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    let one = |answer| Ok(Outcome::Answers(vec![answer]));
    let name = if user { "User meta" } else { "Device meta" };
    let chunked = body.chunked;
    if method == "DELETE" {
        body.all()?;
        let mut state = shared.state();
        let store = if user { &mut state.user_meta } else { &mut state.device_meta };
        let before = store.0.len();
        store.0.retain(|(known, _)| known != key);
        let found = store.0.len() < before;
        return one(if found { Answer::ok() } else { Answer::error(404, &format!("{name} does not exist")) });
    }
    let value = body.all()?;
    if chunked && body.declared {
        return Ok(Outcome::Silence);
    }
    let refused = |status| Answer::error(status, &format!("Cannot add or update {}", name.to_lowercase()));
    if chunked || value.is_empty() {
        return one(refused(400));
    }
    if value.len() > MAX {
        return Ok(Outcome::Answers(too_big(shared, refused(500))));
    }
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let text = String::from_utf8_lossy(&value[..end]).into_owned();
    let json = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v.is_object() || v.is_array());
    let shown = if json { text } else { format!("\"{}\"", escaped(&text)) };
    let mut state = shared.state();
    let store = if user { &mut state.user_meta } else { &mut state.device_meta };
    match store.0.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = shown,
        None => store.0.insert(0, (key.to_owned(), shown)),
    }
    one(Answer::ok())
}
