//! What has to hold after a fault.

use super::{Act, Change, Scenario};
use crate::place::opens::opened;
use crate::place::serving::{Serving, address, serve};
use crate::place::talk::Talk;
use crate::place::{Place, View, said};
use crate::tracer::{Ended, Fault, Kernel, Kind, Point, Traced, Tracer, steady};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A scenario in its place.
pub struct Judge<'a> {
    place: &'a Place,
    scenario: &'a Scenario,
    kernel: Kernel,
    before: View,
    after: View,
    /// What has been found out about what may lie there.
    known: Mutex<BTreeMap<View, Arc<Left>>>,
}

/// What was left in the place, and what came of that.
struct Left {
    at_once: View,
    /// When the next has started.
    then: View,
    findings: Vec<String>,
}

/// What came of one fault.
pub struct Outcome {
    /// No error was told.
    pub borne: bool,
    pub findings: Vec<String>,
}

/// What was told by whom a fault befell.
struct Told {
    traced: Traced,
    /// Of a server: what it answered. Of a command: what it ended with.
    result: Result<(), String>,
    /// What there was when a server had refused something, and what it answered when it was asked again.
    again: Option<(View, Result<(), String>)>,
    output: String,
}

impl<'a> Judge<'a> {
    pub fn prepare(place: &'a Place, scenario: &'a Scenario, kernel: Kernel) -> Self {
        place.clear();
        (scenario.build)(place);
        place.keep();
        let before = (scenario.view)(place);
        let mut judge = Self { place, scenario, kernel, before, after: View::new(), known: Mutex::default() };
        if let Err(why) = judge.act() {
            panic!("{}, undisturbed: {why}", scenario.name);
        }
        judge.after = (scenario.view)(place);
        assert_ne!(judge.before, judge.after, "{} changes nothing", scenario.name);
        judge
    }

    /// Does it undisturbed.
    fn act(&self) -> Result<(), String> {
        match self.scenario.act {
            Act::Run(command) => {
                let output = command(self.place).output().expect("run a command");
                if output.status.success() { Ok(()) } else { Err(said(&output)) }
            }
            Act::Serve(ask) => Serving::start(self.place).and_then(|serving| ask(&serving.talk)),
        }
    }

    /// Every call that it makes.
    pub fn points(&self) -> Vec<Point> {
        let told = self.run(None);
        assert!(told.result.is_ok(), "{}: {:?}\n{}", self.scenario.name, told.result, told.output);
        assert_eq!((self.scenario.view)(self.place), self.after, "{}, traced", self.scenario.name);
        told.traced.points
    }

    fn run(&self, fault: Option<&Fault>) -> Told {
        self.place.restore();
        let live = self.place.live();
        let tracer = Tracer { below: &live, kernel: self.kernel, fault };
        let log = tempfile::NamedTempFile::new().expect("a file");
        let output = File::options().append(true).open(log.path()).expect("open it");
        let mut told = match self.scenario.act {
            Act::Run(command) => {
                let traced = tracer.run(&command(self.place), &output, |_| {});
                let result = match traced.ended {
                    Ended::Code(0) => Ok(()),
                    other => Err(format!("{other:?}")),
                };
                Told { traced, result, again: None, output: String::new() }
            }
            Act::Serve(ask) => {
                let (pid, ended) = (AtomicI32::new(0), AtomicBool::new(false));
                thread::scope(|scope| {
                    let (pid, ended) = (&pid, &ended);
                    let serving = scope.spawn(move || {
                        let started = |who: Pid| pid.store(who.as_raw(), Ordering::SeqCst);
                        let traced = tracer.run(&serve(self.place), &output, started);
                        ended.store(true, Ordering::SeqCst);
                        traced
                    });
                    let base = loop {
                        if let Some(base) = address(&fs::read_to_string(log.path()).expect("read the log")) {
                            break Some(base);
                        }
                        if ended.load(Ordering::SeqCst) {
                            break None;
                        }
                        thread::sleep(Duration::from_millis(1));
                    };
                    let (mut result, mut again) = (Err("it did not start".to_owned()), None);
                    if let Some(base) = base {
                        let talk = Talk { base };
                        result = ask(&talk);
                        // Threads that are slow may only then come to where it fails.
                        again = result
                            .is_err()
                            .then(|| ((self.scenario.view)(self.place), ask(&talk).or_else(|_| ask(&talk))));
                    }
                    if !ended.load(Ordering::SeqCst) {
                        let _ = kill(Pid::from_raw(pid.load(Ordering::SeqCst)), Signal::SIGKILL);
                    }
                    let traced = serving.join().expect("a server");
                    if matches!(traced.ended, Ended::Hung) {
                        result = Err("it hung".to_owned());
                    }
                    Told { traced, result, again, output: String::new() }
                })
            }
        };
        told.output = fs::read_to_string(log.path()).expect("read the output");
        told
    }

    /// What comes of a fault. None: it did not come to pass.
    pub fn one(&self, fault: &Fault) -> Option<Outcome> {
        let told = self.run(Some(fault));
        if !told.traced.reached {
            return None;
        }
        let mut findings = Vec::new();
        let aborted = fault.kind == Kind::Abort;
        let said = format!("said {:?} ({})", told.result, told.output.trim_end());
        if told.output.contains("panicked") {
            findings.push(format!("a panic: {said}"));
        }
        match (told.traced.ended, &self.scenario.act) {
            (Ended::Hung, _) => findings.push("it hung".to_owned()),
            (Ended::By(Signal::SIGKILL), act) if aborted || matches!(act, Act::Serve(_)) => {}
            (Ended::By(signal), _) => findings.push(format!("it ended by {signal}: {said}")),
            (Ended::Code(_), _) => {}
        }
        // A server that lives on was asked again, and has to have done it then.
        let want = match (&told.again, &told.result) {
            _ if aborted => None,
            (Some((view, _)), _)
                if *view != self.before && !(self.scenario.change == Change::FileByFile && self.is_between(view)) =>
            {
                findings.push(format!("it {said}; then {}", difference(&self.before, view)));
                None
            }
            (Some((_, Err(why))), _) => {
                findings.push(format!("it {said}, and when asked again {why}"));
                None
            }
            (Some((_, Ok(()))), _) | (None, Ok(())) => Some(&self.after),
            (None, Err(_)) => Some(&self.before),
        };
        let left = self.left();
        for (view, when) in [(&left.at_once, "at once"), (&left.then, "after a start")] {
            let is = match (want, self.scenario.change) {
                (Some(want), Change::FileByFile) if *want == self.before => self.is_between(view),
                (Some(want), _) => view == want,
                // Not before what was interrupted has been settled.
                (None, _) => when == "at once" || self.is_between(view),
            };
            if !is {
                let want = want.unwrap_or(&self.before);
                findings.push(format!("it {said}; {when} {}", difference(want, view)));
                break;
            }
        }
        findings.extend(left.findings.iter().cloned());
        Some(Outcome { borne: told.result.is_ok() && !aborted, findings })
    }

    /// What is to be said of what lies in the place. It is found out once for all that is the same.
    fn left(&self) -> Arc<Left> {
        let lies = self.place.lies(steady);
        if let Some(left) = self.known.lock().expect("what is known").get(&lies) {
            return Arc::clone(left);
        }
        let at_once = (self.scenario.view)(self.place);
        let mut findings = self.place.bad_objects();
        findings.extend((self.scenario.opens)(self.place));
        let then = (self.scenario.view)(self.place);
        if then != self.after {
            if let Err(why) = self.act() {
                findings.push(format!("once more: {why}"));
            }
            findings.extend((self.scenario.opens)(self.place));
        }
        let end = (self.scenario.view)(self.place);
        if end != self.after {
            findings.push(format!("in the end {}", difference(&self.after, &end)));
        }
        if !self.place.debris("").is_empty() {
            // Whoever comes next clears away what could not be removed.
            let _ = self.act();
            (self.scenario.next)(self.place).into_iter().for_each(|command| findings.extend(opened(command)));
        }
        findings.extend(self.place.bad_objects());
        findings.extend(self.place.debris("").into_iter().map(|path| format!("left {path}")));
        let left = Arc::new(Left { at_once, then, findings });
        self.known.lock().expect("what is known").insert(lies, Arc::clone(&left));
        left
    }

    /// Whether it is the old or the new one, or has the files of both where each changes for itself.
    fn is_between(&self, view: &View) -> bool {
        let all = || self.before.keys().chain(self.after.keys()).chain(view.keys());
        *view == self.before
            || *view == self.after
            || self.scenario.change != Change::Whole
                && all().all(|path| {
                    let is = view.get(path);
                    is == self.before.get(path) || is == self.after.get(path)
                })
    }
}

/// Where two views differ, by the first few names.
fn difference(want: &View, is: &View) -> String {
    let names: std::collections::BTreeSet<_> = want.keys().chain(is.keys()).collect();
    let differ = names.into_iter().filter(|name| want.get(*name) != is.get(*name));
    let lines = differ.take(6).map(|name| format!("{name}: {:?} instead of {:?}", is.get(name), want.get(name)));
    lines.collect::<Vec<_>>().join("; ")
}
