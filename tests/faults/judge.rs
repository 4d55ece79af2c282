//! What has to hold after a fault.

use super::{Act, Change, Scenario};
use crate::place::opens::opened;
use crate::place::serving::{Serving, address, serve};
use crate::place::talk::Talk;
use crate::place::{Place, View, said};
use crate::tracer::{Ended, Fault, Kernel, Kind, Point, Traced, Tracer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

/// A scenario in its place.
pub struct Judge<'a> {
    place: &'a Place,
    scenario: &'a Scenario,
    kernel: Kernel,
    before: View,
    after: View,
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
    /// What a server that was alive answered when it was asked again.
    again: Option<Result<(), String>>,
    output: String,
}

impl<'a> Judge<'a> {
    pub fn prepare(place: &'a Place, scenario: &'a Scenario, kernel: Kernel) -> Self {
        place.clear();
        (scenario.build)(place);
        place.keep();
        let before = (scenario.view)(place);
        let mut judge = Self { place, scenario, kernel, before, after: View::new() };
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
                        again = Some(ask(&talk));
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
        if told.output.contains("panicked") {
            findings.push(format!("a panic: {}", told.output));
        }
        match (told.traced.ended, &self.scenario.act) {
            (Ended::Hung, _) => findings.push("it hung".to_owned()),
            (Ended::By(Signal::SIGKILL), act) if aborted || matches!(act, Act::Serve(_)) => {}
            (Ended::By(signal), _) => findings.push(format!("it ended by {signal}: {}", told.output)),
            (Ended::Code(_), _) => {}
        }
        let borne = told.result.is_ok() && !aborted;
        let said = told.output.trim_end();
        // A server that lives on was asked again, and has to have done it then.
        let want = match (&told.again, &told.result) {
            _ if aborted => None,
            (Some(Err(why)), _) => {
                findings.push(format!("asked again, the server said {why} after {:?}: {said}", told.result));
                None
            }
            (Some(Ok(())), _) | (None, Ok(())) => Some(&self.after),
            (None, Err(_)) => Some(&self.before),
        };
        let at_once = (self.scenario.view)(self.place);
        if let Some(want) = want {
            self.compare(&at_once, want, &format!("said {:?} ({said}), at once", told.result), &mut findings);
        }
        findings.extend(self.place.bad_objects());

        findings.extend((self.scenario.opens)(self.place));
        let then = (self.scenario.view)(self.place);
        match want {
            Some(want) => self.compare(&then, want, &format!("said {:?} ({said})", told.result), &mut findings),
            None if self.is_between(&then) => {}
            None => self.compare(&then, &self.before, "ended", &mut findings),
        }
        if then == self.before || self.scenario.change == Change::FileByFile {
            if let Err(why) = self.act() {
                findings.push(format!("once more: {why}"));
            }
        }
        self.compare(&(self.scenario.view)(self.place), &self.after, "in the end", &mut findings);
        findings.extend((self.scenario.opens)(self.place));
        findings.extend(self.place.bad_objects());
        // Whoever comes next clears away what could not be removed.
        let _ = self.act();
        for command in (self.scenario.next)(self.place) {
            findings.extend(opened(command));
        }
        findings.extend(self.place.debris("").into_iter().map(|path| format!("left {path}")));
        Some(Outcome { borne, findings })
    }

    fn compare(&self, view: &View, want: &View, when: &str, findings: &mut Vec<String>) {
        let is = match self.scenario.change {
            Change::FileByFile if *want == self.before => self.is_between(view),
            _ => view == want,
        };
        if !is {
            findings.push(format!("{when}: {}", difference(want, view)));
        }
    }

    /// Whether it is the old or the new one, or has the files of both where each changes for itself.
    fn is_between(&self, view: &View) -> bool {
        let all = || self.before.keys().chain(self.after.keys()).chain(view.keys());
        *view == self.before
            || *view == self.after
            || self.scenario.change == Change::FileByFile
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
