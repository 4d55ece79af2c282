//! Recorded steps of today's `pvtx` (`pvtx.md`), replayed; what differs is in `docs/differences.md`.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod pvtx_steps;
mod recorded;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pvtx_steps::daemon::Daemon;
use pvtx_steps::stage::Stage;
use pvtx_steps::{Step, observe};
use recorded::{Differences, difference, settle, vectors};

const FOLDER: &str = "i-pvtx";

/// Steps of which the recording says that another exit code would be right, and why ours has none of it.
const DECIDED: &[(&[&str], &str)] = &[
    (&["067", "464", "472", "473", "477"], "what has no #spec gets one, and no key is lost"),
    (&["148"], "the step before, which failed, has begun"),
    (&["347"], "the base is refused already"),
    (&["349"], "a header that is no object claims nothing"),
    (&["540", "611"], "it is read"),
    (&["1140", "1144"], "there are no such steps"),
    (&["1149", "1152", "1153"], "folders are passed over, ./json is json"),
    (
        &["1147", "1156", "1162", "1165", "1168", "1171", "1174", "1183", "1186"],
        "the step that could not be read was refused, and is not there",
    ),
];

#[test]
fn every_step_is_as_it_was_or_written_down() {
    let folder = vectors(FOLDER);
    let steps = pvtx_steps::steps(&folder);
    assert_eq!(steps.len(), 1199);
    let stage = Stage::new(&folder);
    let mut found = Differences::new();
    let mut wrong = Vec::new();
    let mut objects = Arc::new(Mutex::new(Vec::new()));
    for step in &steps {
        if step.uid.is_some() && !rustix::process::geteuid().is_root() {
            eprintln!("skipped, as only root can be somebody else: {}", step.name);
            continue;
        }
        if step.reset {
            stage.empty();
            objects = Arc::default();
        }
        step.setup.iter().for_each(|edit| stage.set_up(edit));
        let (ran, requests) = run(&stage, step, &objects);
        let (today, here) = (observe::recorded(step), observe::observed(step, &stage, &ran, &requests));
        let names: BTreeSet<_> = today.keys().chain(here.keys()).collect();
        for name in names {
            let (today, here) = (&today[name], &here[name]);
            if today != here {
                let difference = difference(today, here);
                found.entry(step.name.clone()).or_default().insert(name.clone(), difference);
            }
        }
        wrong.extend(not_as_expected(step, ran.rc));
    }
    let shown: Vec<_> = steps.iter().map(|step| (step.name.clone(), format!("pvtx {}", step.argv.join(" ")))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    settle(FOLDER, &shown, &found);
}

fn run(stage: &Stage, step: &Step, objects: &Arc<Mutex<Vec<(String, u64)>>>) -> (pvtx_steps::stage::Ran, Vec<String>) {
    if step.socket.is_none() {
        return (stage.run(step, None), Vec::new());
    }
    let socket = stage.base.join("pv-ctrl");
    let long: &Path = &stage.base.join("I/vals-long.json");
    let daemon = Daemon::start(&socket, &step.requests, long, Arc::clone(objects));
    let ran = stage.run(step, Some(&socket));
    (ran, daemon.stop())
}

/// A step with a defect says which exit code is right, where its text begins with one.
fn not_as_expected(step: &Step, rc: Option<i32>) -> Option<String> {
    let expected = step.expected.as_deref()?;
    let digits = expected.split(|c: char| !c.is_ascii_digit()).next()?;
    let wanted: i32 = digits.parse().ok()?;
    let decided = DECIDED.iter().any(|(numbers, _)| numbers.contains(&step.name.split('-').next().unwrap()));
    let right = rc == Some(wanted) || decided;
    let defect = step.defect.as_deref().unwrap_or_default();
    (!right).then(|| format!("{}: ended with {rc:?}; {defect}: {expected}", step.name))
}
