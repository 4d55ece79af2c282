//! What a post or a put would send, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::failure::Failure;
use super::report::{self, Changes, Flags, Objects};
use super::show;
use crate::remote::Disk;
use crate::repo::Plan;
use crate::state::{ObjectId, escape};

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    target: &'a str,
    dry_run: bool,
    objects: Objects,
    /// The same objects, with their keys and sizes.
    sending: Vec<Sending<'a>>,
    /// Null where the endpoint's own state is not known.
    state: Option<Changes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reboot: Option<Reboot<'a>>,
    disk: Option<Room>,
}

#[derive(Debug, Serialize)]
struct Sending<'a> {
    key: &'a str,
    sha256: ObjectId,
    bytes: u64,
}

/// Null: not known.
#[derive(Debug, Serialize)]
struct Reboot<'a> {
    needed: Option<bool>,
    because: &'a [String],
}

#[derive(Debug, Serialize)]
struct Room {
    #[serde(flatten)]
    disk: Disk,
    needed: u64,
    fits: Option<bool>,
}

/// Whether the state becomes a revision that the device would go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Revision,
    State,
}

/// Prints a plan.
pub(super) fn print(flags: Flags, target: &str, plan: &Plan, becomes: Becomes) -> Result<(), Failure> {
    if flags.json {
        let sending = plan.sending.iter();
        return report::json(&Document {
            target,
            dry_run: true,
            objects: Objects {
                added: plan.sending.keys().copied().collect(),
                reused: plan.there,
                linked: 0,
                bytes: Some(plan.bytes()),
            },
            sending: sending
                .map(|(id, (key, bytes))| Sending { key: key.as_str(), sha256: *id, bytes: *bytes })
                .collect(),
            state: plan.changes.as_ref().map(Changes::from),
            reboot: (becomes == Becomes::Revision)
                .then_some(Reboot { needed: plan.restart.needed, because: &plan.restart.because }),
            disk: plan.disk.map(|disk| Room { disk, needed: plan.room.sum(), fits: plan.fits() }),
        });
    }
    show::print(&text(target, plan, becomes))
}

fn text(target: &str, plan: &Plan, becomes: Becomes) -> String {
    let mut text = match &plan.changes {
        Some(changes) => Changes::from(changes).lines(),
        None => "What would change is not known: the endpoint does not say what it has.\n".to_owned(),
    };
    for (key, size) in plan.sending.values() {
        // A string takes everything.
        writeln!(text, "would send {} ({size} bytes)", escape(key.as_str())).ok();
    }
    let (sending, bytes, there) = (plan.sending.len(), plan.bytes(), plan.there);
    writeln!(text, "Would send {sending} objects ({bytes} bytes) to {}, {there} are there.", escape(target)).ok();
    if becomes == Becomes::Revision {
        text.push_str(match plan.restart.needed {
            Some(true) => "The device would have to reboot:",
            Some(false) => "The device would not have to reboot.",
            None => "Whether the device would have to reboot is not known:",
        });
        let because = plan.restart.because.join("; ");
        text.push_str(&if because.is_empty() { "\n".to_owned() } else { format!(" {because}.\n") });
    }
    let room = plan.room.sum();
    let disk = plan.disk.map(|disk| (disk.free, disk.reserved));
    text.push_str(&match (disk, plan.fits()) {
        (Some((free, reserved)), Some(true)) => {
            format!("It fits: it takes {room} bytes, and {free} are free, {reserved} of them left to others.\n")
        }
        (Some((free, reserved)), _) => {
            let reclaimable = plan.disk.and_then(|disk| disk.reclaimable);
            let more = reclaimable.map(|more| format!(" A collection would free {more}.")).unwrap_or_default();
            format!("It does not fit: it takes {room} bytes, and {free} are free, {reserved} of them left to others.{more}\n")
        }
        (None, _) => format!("It takes {room} bytes; how many are free, the endpoint does not say.\n"),
    });
    text + "Nothing was changed.\n"
}
