//! `/commands`, `/signal` and `/storage/gc`.

use super::answer::Answer;
use super::steps::too_big;
use super::update::Order;
use super::{Shared, State};
use serde_json::Value;

const MAX: usize = 4096;
const OPS: [&str; 15] = [
    "UPDATE_METADATA",
    "REBOOT_DEVICE",
    "POWEROFF_DEVICE",
    "TRY_ONCE",
    "LOCAL_RUN",
    "MAKE_FACTORY",
    "RUN_GC",
    "ENABLE_SSH",
    "DISABLE_SSH",
    "GO_REMOTE",
    "DEFER_REBOOT",
    "LOCAL_RUN_COMMIT",
    "LOCAL_APPLY",
    "XCONNECT_GRAPH",
    "UNCLAIM",
];
/// What is not done while an update is under way.
const EXCLUSIVE: [&str; 6] =
    ["REBOOT_DEVICE", "POWEROFF_DEVICE", "LOCAL_RUN", "LOCAL_RUN_COMMIT", "MAKE_FACTORY", "UNCLAIM"];

/// The two texts of a command. It is enough that its beginning is that of an op.
fn parse(bytes: &[u8]) -> Option<(&'static str, String)> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let op = value.get("op")?.as_str()?;
    let payload = match value.get("payload")? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let op = OPS.into_iter().find(|known| known.starts_with(op))?;
    Some((op, payload))
}

pub fn command(bytes: &[u8], shared: &Shared) -> Vec<Answer> {
    if bytes.len() > MAX {
        return too_big(shared, Answer::error(400, "No command found"));
    }
    let Some((op, payload)) = parse(bytes) else {
        return vec![Answer::error(400, "Command has bad format")];
    };
    let mut state = shared.state();
    vec![order(op, payload, &mut state)]
}

fn order(op: &'static str, payload: String, state: &mut State) -> Answer {
    if state.update.is_pending() {
        return Answer::error(503, "A command is already in progress. Try again").retry(120);
    }
    if state.update.is_running() && EXCLUSIVE.contains(&op) {
        return Answer::error(503, "Cannot do this operation while update is ongoing").retry(600);
    }
    let because = |what: &str| Answer::error(409, &format!("Cannot do this operation {what}"));
    match op {
        "UPDATE_METADATA" => return because("while on local mode"),
        "GO_REMOTE" => return because("when remote mode is disabled by config"),
        "DEFER_REBOOT" => return because("when debug shell is not active"),
        "UNCLAIM" => return Answer::error(204, "Device is already unclaimed"),
        _ => {}
    }
    state.commands.push((op.to_owned(), payload.clone()));
    state.update.order(match op {
        "LOCAL_RUN" => Order::Run { name: payload, commit: false },
        "LOCAL_RUN_COMMIT" => Order::Run { name: payload, commit: true },
        "MAKE_FACTORY" => Order::Factory(payload),
        "RUN_GC" => Order::Collect,
        "REBOOT_DEVICE" | "POWEROFF_DEVICE" => Order::Reboot,
        _ => Order::Nothing,
    });
    Answer::ok()
}

pub fn signal(bytes: &[u8]) -> Vec<Answer> {
    let bad = Answer::error(400, "Signal has bad format");
    if bytes.len() > MAX {
        let full = Answer::error(507, super::objects::FULL);
        return vec![full.clone(), bad.behind(&full)];
    }
    let kind =
        serde_json::from_slice::<Value>(bytes).ok().and_then(|value| Some(value.get("type")?.as_str()?.to_owned()));
    vec![match kind {
        None => bad,
        Some(_) => Answer::error(500, "Signal not expected from this platform"),
    }]
}

/// At once, while the client waits.
pub fn collect(shared: &Shared) -> Answer {
    let mut state = shared.state();
    let kept = state.update.kept(&state.disk);
    let before = state.disk.used();
    let reclaimed = state.disk.collect(&kept);
    state.lagging = state.config.defects.sizes_lag.then_some(before);
    Answer::json(200, format!("{{\"reclaimed\": {reclaimed}}}"))
}

impl State {
    /// Bytes that may still be written.
    pub(super) fn room(&self) -> u64 {
        self.config.facts.total.saturating_sub(self.config.facts.reserved).saturating_sub(self.disk.used())
    }
}
