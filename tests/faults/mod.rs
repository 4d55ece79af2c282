//! Which faults there are, which of them are tried, and what came of it.

mod endpoint;
mod judge;
mod pvtx;
mod repo;
mod storage;

use crate::black_box::seed::Seed;
use crate::black_box::{Dice, per_cent};
use crate::place::serving::Serving;
use crate::place::talk::Talk;
use crate::place::{Place, View};
use crate::tracer::{Fault, Kernel, Kind, Point};
use judge::Judge;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

/// What is done while calls fail.
pub enum Act {
    /// A command that ends.
    Run(fn(&Place) -> Command),
    /// A server, and what it is asked: up to the first answer that is none.
    Serve(fn(&Talk) -> Result<(), String>),
}

/// How much of what is shown changes in one step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// All of it.
    Whole,
    /// A file, or a folder that is shown as one. Who ends may leave some changed; an error, none.
    Steps,
    /// Each file. An error may come when some have been changed.
    FileByFile,
}

static DEVICE: OnceLock<String> = OnceLock::new();

/// The URL of a device that nothing befalls.
fn device() -> &'static str {
    DEVICE.get().expect("a device")
}

/// Calls after which something is durable, and error is not to be passed over.
const SYNCS: [&str; 4] = ["fsync", "fdatasync", "syncfs", "sync_file_range"];

/// Where such an error is passed over all the same: by a scenario, a path, and why that is well.
const PASSED_OVER: [(&str, &str, &str); 4] = [
    ("commit", "/r/.pvr", "the message of a commit that has been made"),
    ("dm-convert", "/r/", "it is tried once more, and the whole batch stays until that succeeds"),
    ("dm-apply", "/r/", "the same"),
    ("transaction", "/s/.pvr-agent/pvtx", "that the revision, which is there, has been made of the transaction"),
];

fn is_passed_over(scenario: &str, point: &Point) -> bool {
    PASSED_OVER.iter().any(|(name, path, _)| *name == scenario && point.nth > 0 && point.call.about.starts_with(path))
        || scenario.starts_with("dm-") && point.call.about.starts_with("/r/app")
}

/// Something that is done, and what has to hold of it.
pub struct Scenario {
    pub name: &'static str,
    /// Makes what there is before, in an empty place.
    pub build: fn(&Place),
    pub act: Act,
    /// What is either as before or as after.
    pub view: fn(&Place) -> View,
    pub change: Change,
    /// Starts what comes next, and says what does not open or is not clean.
    pub opens: fn(&Place) -> Vec<String>,
    /// What is done after that, and clears away what could not be removed.
    pub next: fn(&Place) -> Vec<Command>,
}

/// A scenario on a kernel.
type Case<'a> = (&'a Scenario, Kernel);

const ERRORS: [Errno; 3] = [Errno::EIO, Errno::ENOSPC, Errno::EINTR];
/// Faults that are tried with one preparation.
const AT_ONCE: usize = 200;
/// How often a point is waited for, which threads may have reached in another order.
const TRIES: usize = 20;

fn scenarios() -> Vec<Scenario> {
    let asked = std::env::var("FAULTS").unwrap_or_default();
    let all = [repo::scenarios(), pvtx::scenarios(), storage::scenarios(), endpoint::scenarios()];
    all.into_iter().flatten().filter(|scenario| scenario.name.contains(&asked)).collect()
}

/// All that can fail at these points, of one kind after the other, so that a part of it is spread over all points.
fn faults(points: &[Point]) -> Vec<Fault> {
    let errors = ERRORS.iter().map(|error| Kind::Error(*error));
    let kinds = errors.chain([Kind::Short, Kind::Abort]);
    let fault = |kind: Kind| {
        let fits = move |point: &&Point| kind != Kind::Short || point.call.writes;
        points.iter().filter(fits).map(move |point| Fault { point: point.clone(), kind })
    };
    kinds.flat_map(fault).collect()
}

/// Does `work` for each of `items`, as many at once as there are processors.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&Place, &T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let place = Place::new();
                while let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let at = next.load(Ordering::SeqCst);
                    let result = work(&place, item);
                    results.lock().expect("results").push((at, result));
                }
            });
        }
    });
    let results = results.into_inner().expect("results");
    results.into_iter().map(|(_, result)| result).collect()
}

/// What came of the faults of one case.
#[derive(Default)]
struct Tally {
    tried: usize,
    /// The program went on, and nothing was lacking.
    borne: usize,
    /// It was not reached again.
    missed: usize,
    findings: Vec<String>,
}

pub fn all() {
    let begun = Instant::now();
    let elsewhere = Place::new();
    elsewhere.clear();
    Seed::factory(&elsewhere.at("s"));
    let serving = Serving::start(&elsewhere).expect("a device");
    DEVICE.set(serving.talk.base.clone()).expect("one device");
    let scenarios = scenarios();
    let cases: Vec<Case> =
        scenarios.iter().flat_map(|scenario| [(scenario, Kernel::New), (scenario, Kernel::Old)]).collect();
    assert!(!cases.is_empty(), "no scenario is called so");

    let looked = side_by_side(&cases, |place, (scenario, kernel)| {
        let points = Judge::prepare(place, scenario, *kernel).points();
        (scenario.name, *kernel == Kernel::Old, points)
    });
    let mut looked: Vec<_> = looked.into_iter().collect();
    looked.sort();
    let (mut points, mut every, mut calls) = (0, Vec::new(), BTreeMap::new());
    for (name, old, of_case) in &looked {
        let kernel = if *old { Kernel::Old } else { Kernel::New };
        let case = *cases.iter().find(|case| case.0.name == *name && case.1 == kernel).expect("a case");
        println!("faults: {name}{}: {} points", on(kernel), of_case.len());
        points += of_case.len();
        of_case.iter().for_each(|point| *calls.entry(point.call.name).or_insert(0) += 1);
        every.extend(faults(of_case).into_iter().map(|fault| (case, fault)));
    }
    let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("faults: {points} points in {} scenarios: {}", looked.len(), calls.join(", "));

    let calls = std::env::var("FAULT_CALLS").unwrap_or_default();
    every.retain(|(_, fault)| fault.point.call.name.contains(&calls));
    let (stride, count) = (100 / per_cent(), every.len());
    let first = Dice::new("faults").below(stride as u64) as usize;
    let chosen: Vec<_> =
        every.into_iter().enumerate().filter(|(at, _)| at % stride == first).map(|(_, it)| it).collect();
    let mut groups: BTreeMap<(&str, bool), (Case, Vec<Fault>)> = BTreeMap::new();
    for (case, fault) in chosen {
        let key = (case.0.name, case.1 == Kernel::Old);
        groups.entry(key).or_insert_with(|| (case, Vec::new())).1.push(fault);
    }
    let batches: Vec<(Case, &[Fault])> =
        groups.values().flat_map(|(case, faults)| faults.chunks(AT_ONCE).map(|part| (*case, part))).collect();
    let tallies = side_by_side(&batches, |place, ((scenario, kernel), faults)| {
        let judge = Judge::prepare(place, scenario, *kernel);
        let mut tally = Tally::default();
        for fault in *faults {
            let when = format!("{}{}: {}", scenario.name, on(*kernel), told(fault));
            let tried = (0..TRIES).find_map(|_| judge.one(fault));
            let Some(outcome) = tried else {
                // Two threads may do the same, or one of them for both.
                tally.missed += 1;
                println!("faults: not reached again: {when}");
                if fault.point.nth == 0 && !is_by_the_clock(&fault.point) {
                    tally.findings.push(format!("{when}: it was not reached again"));
                }
                continue;
            };
            tally.tried += 1;
            tally.borne += usize::from(outcome.borne);
            let unsure = matches!(fault.kind, Kind::Error(error) if error != Errno::EINTR);
            let sync = SYNCS.contains(&fault.point.call.name) && !is_passed_over(scenario.name, &fault.point);
            if outcome.borne && unsure && sync {
                tally.findings.push(format!("{when}: what may not be durable was said to be done"));
            }
            tally.findings.extend(outcome.findings.into_iter().map(|finding| format!("{when}: {finding}")));
        }
        tally
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let findings: BTreeSet<&String> = tallies.iter().flat_map(|tally| &tally.findings).collect();
    println!(
        "faults: {} of {count} faults tried, {} of them borne, {} not reached again, {} findings, in {:?}",
        sum(|tally| tally.tried),
        sum(|tally| tally.borne),
        sum(|tally| tally.missed),
        findings.len(),
        begun.elapsed()
    );
    findings.iter().for_each(|finding| println!("FOUND {finding}"));
    assert!(findings.is_empty(), "{} findings", findings.len());
    // Threads reach some in another order; were it many, what is said to be visited would not be. Of few, chance makes more.
    let (missed, tried) = (sum(|tally| tally.missed), sum(|tally| tally.tried));
    let one_in = if per_cent() == 100 { 50 } else { 10 };
    assert!(missed * one_in <= tried, "{missed} of {} were not reached again", missed + tried);
}

fn on(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::New => "",
        Kernel::Old => " on an old kernel",
    }
}

/// Whether it depends on the clock if a point is reached: a line of the audit log is written beside the answer, which may be all
/// that a scenario waits for, and an index is kept only of files that are not too fresh to be told apart.
fn is_by_the_clock(point: &Point) -> bool {
    [".pvr-agent/audit.log", ".pvr/index"].iter().any(|name| point.call.about.contains(name))
}

/// A fault, for people.
fn told(fault: &Fault) -> String {
    let Fault { point: Point { call, nth }, kind } = fault;
    let kind = match kind {
        Kind::Error(error) => format!("{error:?} of"),
        Kind::Short => "half of".to_owned(),
        Kind::Abort => "an end after".to_owned(),
    };
    format!("{kind} {} {} ({nth})", call.name, call.about)
}
