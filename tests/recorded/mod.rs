//! Replays recorded steps of the original program against ours.
//!
//! `tests/vectors/<folder>/steps.json` is a list of steps: what was run, what had been edited before it, and what came
//! of it. Each runs here, one after the other, in one scratch folder in which `/W`, `/HOME`, `/TMP`, `/SRC` and `/X` of
//! the recording have a place. Where ours differs, `ours.json` beside it says how, exactly; and every step that differs
//! is named in `docs/differences.md`, as `` `<folder>/<number>` `` (numbers may be lists and ranges: `a/001,005-007`). A
//! difference that is not written down fails the test, and so does one that is written down and no longer there.
//!
//! With `PVR_RECORD_OURS=1` the test writes `ours.json` instead of comparing with it; what is new in it has to be read
//! before it is committed.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

mod differences;
mod observe;
pub mod player;
mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use scratch::{Edit, Scratch};

/// One run of the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    pub argv: Vec<String>,
    pub cwd: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub stdin: String,
    /// What had changed since the step before.
    #[serde(default)]
    pub before: Vec<Edit>,
    /// Without one, the original did not end.
    pub rc: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The files of `.pvr`: those that are there, and no others.
    pub pvr: Option<BTreeMap<String, String>>,
    /// Where that `.pvr` is, if not in the folder of the step.
    pub pvr_of: Option<String>,
    /// Other files, by their path below the folder of the step.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Everything below a folder.
    pub tree: Option<Vec<String>>,
    /// Which folder, if not that of the step.
    pub tree_of: Option<String>,
    /// The objects of a pool.
    pub pool: Option<Pool>,
    /// Archives, by their path below the folder of the step: what is in them, in any order.
    #[serde(default)]
    pub archives: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub path: String,
    pub lines: Vec<String>,
}

/// How one aspect of a step differs: lines (of long lines: pieces) that only one of the two has.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    today: Vec<String>,
    here: Vec<String>,
}

pub type Differences = BTreeMap<String, BTreeMap<String, Difference>>;

pub fn vectors(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(folder)
}

/// What else takes part in a step.
pub trait Around {
    /// Before the step is run.
    fn before(&mut self, step: &mut Step);
    /// A text that names what is elsewhere here, as it would be in the recording.
    fn recorded(&self, text: &str) -> String {
        text.to_owned()
    }
    /// What it has seen: in the recording, and now.
    fn after(&mut self, step: &Step) -> (Option<String>, Option<String>);
}

/// Nothing else.
struct Alone;

impl Around for Alone {
    fn before(&mut self, _: &mut Step) {}
    fn after(&mut self, _: &Step) -> (Option<String>, Option<String>) {
        (None, None)
    }
}

/// Replays a folder. `archive` lists the members of an archive, one line each, as the steps have them.
pub fn replay(folder: &str, archive: impl Fn(&[u8]) -> Vec<String>) {
    replay_with(folder, archive, &mut Alone);
}

/// The same, with somebody else who takes part. What that has seen is the aspect `requests`.
pub fn replay_with(folder: &str, archive: impl Fn(&[u8]) -> Vec<String>, around: &mut dyn Around) {
    let dir = vectors(folder);
    let text = fs::read_to_string(dir.join("steps.json")).unwrap();
    let mut steps: Vec<Step> = serde_json::from_str(&text).unwrap();
    let scratch = Scratch::new(&dir);
    let mut found = Differences::new();
    for step in &mut steps {
        for edit in &step.before {
            scratch.edit(edit);
        }
        around.before(step);
        let ran = scratch.run(step);
        let (mut today, mut here) = (observe::recorded(step), observe::observed(step, &scratch, ran, &archive));
        for text in here.values_mut() {
            *text = around.recorded(text);
        }
        let (requests_today, requests_here) = around.after(step);
        today.extend(requests_today.map(|requests| ("requests".to_owned(), requests)));
        here.extend(requests_here.map(|requests| ("requests".to_owned(), requests)));
        if today.contains_key("requests") {
            observe::without_transfers(&mut today, &mut here);
        }
        let names: BTreeSet<_> = today.keys().chain(here.keys()).collect();
        for name in names {
            let side = |aspects: &BTreeMap<String, String>| aspects.get(name).cloned().unwrap_or_default();
            let (today, here) = (side(&today), side(&here));
            if today != here {
                let difference = difference(&today, &here);
                found.entry(step.name.clone()).or_default().insert(name.clone(), difference);
            }
        }
    }
    let shown: Vec<(String, String)> =
        steps.iter().map(|step| (step.name.clone(), format!("pvr {}", step.argv.join(" ")))).collect();
    settle(folder, &shown, &found);
}

/// Holds what was found against `ours.json` and `docs/differences.md`. Of the steps: what they are called, and what was run.
pub fn settle(folder: &str, steps: &[(String, String)], found: &Differences) {
    let path = vectors(folder).join("ours.json");
    if std::env::var_os("PVR_RECORD_OURS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let known: Differences = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Differences::new(),
    };
    let wrong = compare(folder, steps, found, &known, &differences::named(folder));
    assert!(wrong.is_empty(), "{} of {} steps:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}

/// What is not written down, or written down and not so.
fn compare(
    folder: &str,
    steps: &[(String, String)],
    found: &Differences,
    known: &Differences,
    named: &BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, shown) in steps {
        let number = name.split('-').next().unwrap();
        let (found, known) = (found.get(name), known.get(name));
        if found != known {
            wrong.push(format!("{name}: {shown}\n  found {found:#?}\n  known {known:#?}"));
        }
        match (found.is_some(), named.contains(number)) {
            (true, false) => wrong.push(format!("{name}: docs/differences.md does not name {folder}/{number}")),
            (false, true) => wrong.push(format!("{name}: docs/differences.md names it; it is as it was")),
            _ => {}
        }
    }
    let numbers: BTreeSet<_> = steps.iter().map(|(name, _)| name.split('-').next().unwrap()).collect();
    let none = named.iter().filter(|number| !numbers.contains(number.as_str()));
    wrong.extend(none.map(|number| format!("docs/differences.md names {folder}/{number}, which there is not")));
    wrong
}

/// Lines and their pieces that only one side has; the whole of both where they have the same ones in another order.
pub fn difference(today: &str, here: &str) -> Difference {
    let pieces = |text: &str| -> Vec<String> {
        text.lines().flat_map(|line| line.split_inclusive(",\"")).map(str::to_owned).collect()
    };
    let without = |from: Vec<String>, mut other: Vec<String>| -> Vec<String> {
        let mut rest = from;
        rest.retain(|piece| match other.iter().position(|o| o == piece) {
            Some(at) => {
                other.swap_remove(at);
                false
            }
            None => true,
        });
        rest
    };
    let (only_today, only_here) = (without(pieces(today), pieces(here)), without(pieces(here), pieces(today)));
    if only_today.is_empty() && only_here.is_empty() {
        return Difference { today: vec![today.to_owned()], here: vec![here.to_owned()] };
    }
    Difference { today: only_today, here: only_here }
}

#[test]
fn what_differs_is_told_from_what_does_not() {
    let step = |name: &str| (name.to_owned(), "pvr status".to_owned());
    let differs = |text: &str| -> Differences {
        let difference = Difference { today: vec!["0".to_owned()], here: vec![text.to_owned()] };
        [("001-a".to_owned(), [("rc".to_owned(), difference)].into())].into()
    };
    let (steps, none, named) = ([step("001-a"), step("002-b")], Differences::new(), BTreeSet::from(["001".to_owned()]));
    let wrong = |found: &Differences, known: &Differences, named: &BTreeSet<String>| {
        compare("x", &steps, found, known, named).len()
    };
    assert_eq!(wrong(&differs("1"), &differs("1"), &named), 0);
    assert_eq!(wrong(&differs("1"), &differs("2"), &named), 1);
    assert_eq!(wrong(&differs("1"), &none, &named), 1);
    assert_eq!(wrong(&none, &differs("1"), &named), 2);
    assert_eq!(wrong(&differs("1"), &differs("1"), &BTreeSet::new()), 1);
    assert_eq!(wrong(&none, &none, &BTreeSet::from(["003".to_owned()])), 1);
    assert_eq!(difference("a\nb\n", "b\nc\n"), Difference { today: vec!["a".into()], here: vec!["c".into()] });
    assert_eq!(difference("a\nb\n", "b\na\n").today, ["a\nb\n"]);
}
