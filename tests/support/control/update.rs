//! What becomes of a revision that is run, and of other commands.
//!
//! A run that needs no reboot: `NEW`, then `TESTING` on the new revision, then `UPDATED`. One that needs one, because it
//! was asked for or because a container changes that is not restarted alone: the daemon ends and begins again, `TESTING`,
//! then `DONE`, and the revision is one to go back to. What fails ends in `WONTGO` or `ERROR`, on the old revision.

use super::State;
use super::disk::Disk;
use super::objects::hex;
use super::parts;
use super::power::BootLoader;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// How long nobody answers around a transition: long beside what a test's steps take, short beside a test.
const DEAF: Duration = Duration::from_millis(250);

/// A command that has been taken.
#[derive(Debug, Clone)]
pub enum Order {
    Run { name: String, commit: bool },
    Factory(String),
    Collect,
    Reboot,
    Nothing,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Pending(Order),
    /// The daemon is about to begin again.
    Rebooting {
        name: String,
    },
    Testing {
        name: String,
        done: bool,
    },
}

/// What is under way.
#[derive(Debug, Default)]
pub struct Update {
    phase: Phase,
}

impl Update {
    pub fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Pending(_))
    }

    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Rebooting { .. } | Phase::Testing { .. })
    }

    pub fn order(&mut self, order: Order) {
        self.phase = Phase::Pending(order);
    }

    /// What is not collected: what runs, what is being updated to, the last that ran well.
    pub fn kept(&self, disk: &Disk) -> Vec<String> {
        let mut kept = vec![disk.current()];
        if let Phase::Rebooting { name } | Phase::Testing { name, .. } = &self.phase {
            kept.push(name.clone());
        }
        let done = disk.steps().into_iter().filter_map(|name| {
            let meta = fs::metadata(disk.trail(&name).join(".pv/done")).ok()?;
            let time = pvr_agent::state::clock::modified(&meta);
            Some((time, name))
        });
        kept.extend(done.max().map(|(_, name)| name));
        kept
    }
}

/// What a start finds: the boot loader's revision runs, unless there is one to try.
pub fn boot(state: &mut State) {
    let loader = state.disk.boot_loader();
    if !loader.rev.is_empty() {
        state.disk.set_current(&loader.rev).ok();
    }
    if let Some(name) = loader.trying {
        state.update.phase = Phase::Rebooting { name };
    }
}

/// One step further. How long nobody answers then.
pub fn advance(state: &mut State) -> Option<Duration> {
    state.lagging = None;
    match std::mem::take(&mut state.update.phase) {
        Phase::Idle => None,
        Phase::Pending(order) => begin(state, order),
        Phase::Rebooting { name } => {
            let json = fs::read(state.disk.trail(&name).join(".pvr/json")).unwrap_or_default();
            // What is missing of a revision is linked at every start.
            link(&mut state.disk, &name, &json);
            if serde_json::from_slice::<Value>(&json).is_err() {
                say(state, &name, "WONTGO", "State JSON not found", 100);
                state.disk.set_trying(None).ok();
            } else if let Some(why) = broken(&state.disk, &name) {
                fail(state, &name, why);
            } else if name == "0" {
                state.disk.set_current("0").ok();
            } else {
                state.disk.set_current(&name).ok();
                say(state, &name, "TESTING", "Awaiting to set rollback point if update is stable", 75);
                state.update.phase = Phase::Testing { name, done: true };
            }
            None
        }
        Phase::Testing { name, done } => {
            if done {
                let file = state.disk.trail(&name).join(".pv/done");
                state.disk.write(&file, b"").ok();
                state.disk.set_boot_loader(&BootLoader { rev: name.clone(), trying: None }).ok();
                say(state, &name, "DONE", "Update finished, revision set as rollback point", 100);
            } else {
                state.disk.set_trying(None).ok();
                say(state, &name, "UPDATED", "Update finished, revision not set as rollback point", 100);
            }
            Some(DEAF)
        }
    }
}

fn begin(state: &mut State, order: Order) -> Option<Duration> {
    match order {
        Order::Nothing => None,
        Order::Collect => {
            let kept = state.update.kept(&state.disk);
            state.disk.collect(&kept);
            None
        }
        Order::Reboot => {
            state.disk.sync();
            state.disk.set_current(&state.disk.boot_loader().rev).ok();
            Some(DEAF)
        }
        Order::Factory(name) => {
            let name = if name.is_empty() { state.disk.current() } else { name };
            let json = fs::read(state.disk.trail(&name).join(".pvr/json"));
            let Ok(json) = json else {
                if state.config.defects.factory_of_nothing {
                    state.disk.remove_trail("0");
                    fs::create_dir_all(state.disk.trail("0")).ok();
                }
                return None;
            };
            state.disk.write_state("0", &json).ok()?;
            link(&mut state.disk, "0", &json);
            say(state, "0", "DONE", "Factory revision", 100);
            state.disk.sync();
            state.update.phase = Phase::Rebooting { name: "0".into() };
            Some(DEAF)
        }
        Order::Run { name, commit } => {
            let Ok(json) = fs::read(state.disk.trail(&name).join(".pvr/json")) else {
                say(state, &name, "WONTGO", "State JSON not found", 100);
                return None;
            };
            link(&mut state.disk, &name, &json);
            state.disk.set_trying(Some(&name)).ok();
            let reboot = commit || needs_reboot(state, &json);
            if reboot {
                // It unmounts the store.
                state.disk.sync();
                state.update.phase = Phase::Rebooting { name };
                return Some(DEAF);
            }
            if let Some(why) = broken(&state.disk, &name) {
                fail(state, &name, why);
                return Some(DEAF);
            }
            state.disk.set_current(&name).ok();
            say(state, &name, "TESTING", "Awaiting to see if update is stable", 75);
            state.update.phase = Phase::Testing { name, done: false };
            Some(DEAF)
        }
    }
}

/// With the log of it, which is longer than what a list shows where a file is missing.
fn fail(state: &mut State, name: &str, why: &'static str) {
    let missing = objects(&fs::read(state.disk.trail(name).join(".pvr/json")).unwrap_or_default())
        .iter()
        .any(|(_, id)| !state.disk.object(id).exists());
    let log = "an object is not what it should be; ".repeat(if missing { 20 } else { 5 });
    let text = format!(
        r#"{{"status":"ERROR","status-msg":"{why}","progress":100,"retries":0,"logs":"{{\"msg\":\"{log}\"}}"}}"#
    );
    let file = state.disk.trail(name).join(".pv/progress");
    state.disk.write(&file, text.as_bytes()).ok();
    state.disk.set_trying(None).ok();
}

pub(super) fn say(state: &mut State, name: &str, status: &str, message: &str, progress: u8) {
    let text = format!(r#"{{"status":"{status}","status-msg":"{message}","progress":{progress},"retries":0}}"#);
    let file = state.disk.trail(name).join(".pv/progress");
    state.disk.write(&file, text.as_bytes()).ok();
}

/// The keys of a state that are objects.
fn objects(json: &[u8]) -> Vec<(String, String)> {
    let Ok(Value::Object(state)) = serde_json::from_slice(json) else { return Vec::new() };
    let object = |(key, value): (&String, &Value)| {
        let id = value.as_str().filter(|_| !key.starts_with('#'))?;
        Some((key.clone(), id.to_owned()))
    };
    state.iter().filter_map(object).collect()
}

fn link(disk: &mut Disk, name: &str, json: &[u8]) {
    for (key, id) in objects(json) {
        let to = disk.trail(name).join(key);
        if !to.exists() {
            disk.link(&disk.object(&id), &to).ok();
        }
    }
}

fn broken(disk: &Disk, name: &str) -> Option<&'static str> {
    let json = fs::read(disk.trail(name).join(".pvr/json")).ok()?;
    let whole =
        |(key, id): &(String, String)| fs::read(disk.trail(name).join(key)).is_ok_and(|bytes| hex(&bytes) == *id);
    let all = objects(&json).iter().all(whole);
    (!all).then_some("Object validation went wrong")
}

/// Whether a container changes or goes that is not restarted alone.
fn needs_reboot(state: &State, json: &[u8]) -> bool {
    let old = fs::read(state.disk.trail(&state.disk.current()).join(".pvr/json")).unwrap_or_default();
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (before, after) = (parse(&old), parse(json));
    let of = |value: &Value, name: &str| -> Vec<(String, Value)> {
        let keys = value.as_object().into_iter().flatten();
        keys.filter(|(key, _)| key.starts_with(&format!("{name}/"))).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    parts::of_state(&old)
        .into_iter()
        .any(|(name, policy, _)| policy != "container" && of(&before, &name) != of(&after, &name))
}
