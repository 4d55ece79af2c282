//! How an update goes and how it ends: one notion of it for everybody who follows one.
//!
//! | ended | code | when |
//! |---|---|---|
//! | [`Well`](Ended::Well) | 0 | `DONE`, `UPDATED` |
//! | [`WontGo`](Ended::WontGo) | 30 | `WONTGO`; `CANCEL`, which the hub says of what its owner took back |
//! | [`Overtaken`](Ended::Overtaken) | 30 | it has not begun, and a newer revision has; for [`SETTLED`] |
//! | [`Gone`](Ended::Gone) | 30 | it was there and is not any more; for [`SETTLED`] |
//! | [`Failed`](Ended::Failed) | 31 | `ERROR`: what ran before runs again |
//! | [`Deadline`](Ended::Deadline) | 32 | it is still under way when time is up |
//! | [`Lost`](Ended::Lost) | 33 | nobody answers when time is up |
//!
//! Nobody answers while a device restarts, which is how many updates are tried. So silence is no end, unless time is up.

use std::time::{Duration, Instant};

use super::{Progress, Status};

/// A revision that is run once more may say what became of it the last time, until the daemon gets to it.
const STALE: Duration = Duration::from_secs(10);

/// What may pass has to stay for so long before it counts as an end: a command that has been given and not yet been looked at, a
/// storage that is not there yet after a start.
pub const SETTLED: Duration = Duration::from_secs(10);

/// How long an update is followed, where nobody says.
pub const USUAL_WAIT: Duration = Duration::from_secs(600);

/// Longest that one can be followed.
pub const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Reads for how long to follow: a number of seconds from 1 to 86400. None: it is no such number.
pub fn wait(seconds: &str) -> Option<Duration> {
    let wait = Duration::from_secs(seconds.parse().ok()?);
    (1..=LONGEST_WAIT.as_secs()).contains(&wait.as_secs()).then_some(wait)
}

/// How an update ended, or the following of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It runs.
    Well(Progress),
    /// It was refused.
    WontGo(Progress),
    /// It failed, and the revision before it runs.
    Failed(Progress),
    /// It has not begun, and this newer revision has.
    Overtaken(String),
    /// There is no such revision any more.
    Gone,
    /// It was still under way.
    Deadline,
    /// Nobody answered any more.
    Lost,
}

impl Ended {
    /// Whether this is a last word.
    pub fn of(progress: &Progress) -> Option<Self> {
        match &progress.status {
            Status::Done | Status::Updated => Some(Self::Well(progress.clone())),
            Status::WontGo => Some(Self::WontGo(progress.clone())),
            Status::Other(word) if word == "CANCEL" => Some(Self::WontGo(progress.clone())),
            Status::Error => Some(Self::Failed(progress.clone())),
            _ => None,
        }
    }

    /// What a command that has followed it exits with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Well(_) => 0,
            Self::WontGo(_) | Self::Overtaken(_) | Self::Gone => 30,
            Self::Failed(_) => 31,
            Self::Deadline => 32,
            Self::Lost => 33,
        }
    }

    /// One word for it: the daemon's, or ours in lower case.
    pub fn word(&self) -> &str {
        match self {
            Self::Well(progress) | Self::WontGo(progress) | Self::Failed(progress) => progress.status.as_str(),
            Self::Overtaken(_) => "overtaken",
            Self::Gone => "gone",
            Self::Deadline => "deadline",
            Self::Lost => "lost",
        }
    }
}

/// For how long to follow.
#[derive(Debug, Clone, Copy)]
pub struct Following {
    /// Altogether.
    pub limit: Duration,
    /// While nobody answers.
    pub lost: Duration,
}

/// What came of asking once.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// What the revision says, and the newer one that has been begun instead.
    Progress(Progress, Option<String>),
    /// There is no such revision.
    Missing,
    /// Somebody is there, and says nothing that could be read.
    Unclear,
    /// Nobody is there.
    Silence,
}

/// What is new to whoever looks on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen<'a> {
    /// The revision says something else.
    Progress(&'a Progress),
    /// Nobody answers, from now on.
    Silence,
}

/// The following of one update.
#[derive(Debug)]
pub struct Course<'a> {
    before: Option<&'a Progress>,
    following: Following,
    begun: Instant,
    heard: Instant,
    silent: bool,
    last: Option<Progress>,
    /// What will count as its end, and since when it would.
    settling: Option<(Ended, Instant)>,
}

impl<'a> Course<'a> {
    /// Begins now. `before`: what the revision said before it was told to run.
    pub fn new(before: Option<&'a Progress>, following: Following) -> Self {
        let now = Instant::now();
        Self { before, following, begun: now, heard: now, silent: false, last: None, settling: None }
    }

    /// Takes what was heard; `saw` is told what is new. Some: that was the end.
    pub fn hear(&mut self, heard: Heard, saw: &mut dyn FnMut(Seen<'_>)) -> Option<Ended> {
        let silent = heard == Heard::Silence;
        if silent && !self.silent {
            saw(Seen::Silence);
        }
        if !silent {
            self.heard = Instant::now();
        }
        self.silent = silent;
        let candidate = match heard {
            Heard::Progress(progress, overtaken) => {
                if self.is_stale(&progress) {
                    None
                } else if let Some(ended) = self.take(progress, saw) {
                    return Some(ended);
                } else {
                    overtaken.filter(|_| self.has_not_begun()).map(Ended::Overtaken)
                }
            }
            // One that was never there may be about to come.
            Heard::Missing if self.last.is_some() => Some(Ended::Gone),
            Heard::Missing | Heard::Unclear => None,
            Heard::Silence => self.settling.as_ref().map(|(ended, _)| ended.clone()),
        };
        let before = self.settling.take();
        self.settling = candidate.map(|ended| match before {
            Some((same, since)) if same == ended => (ended, since),
            _ => (ended, Instant::now()),
        });
        if let Some((ended, _)) = self.settling.take_if(|(_, since)| since.elapsed() >= SETTLED) {
            return Some(ended);
        }
        if self.heard.elapsed() > self.following.lost {
            return Some(Ended::Lost);
        }
        let over = self.begun.elapsed() >= self.following.limit;
        over.then_some(if self.silent { Ended::Lost } else { Ended::Deadline })
    }

    /// How long it makes sense to wait for news: until time is up, or what may be the end has become it.
    pub fn patience(&self) -> Duration {
        let left = self.following.limit.saturating_sub(self.begun.elapsed());
        self.settling.as_ref().map_or(left, |(_, since)| left.min(SETTLED.saturating_sub(since.elapsed())))
    }

    /// Whether the revision has said anything yet.
    pub fn has_heard(&self) -> bool {
        self.last.is_some()
    }

    fn is_stale(&self, progress: &Progress) -> bool {
        self.last.is_none() && self.before == Some(progress) && self.begun.elapsed() < STALE
    }

    fn take(&mut self, progress: Progress, saw: &mut dyn FnMut(Seen<'_>)) -> Option<Ended> {
        if self.last.as_ref() != Some(&progress) {
            saw(Seen::Progress(&progress));
        }
        let ended = Ended::of(&progress);
        self.last = Some(progress);
        ended
    }

    fn has_not_begun(&self) -> bool {
        self.last.as_ref().is_some_and(|progress| progress.status.is_waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(status: &str) -> Progress {
        Progress::parse(format!(r#"{{"status":"{status}"}}"#).as_bytes()).unwrap()
    }

    fn long() -> Following {
        Following { limit: USUAL_WAIT, lost: USUAL_WAIT }
    }

    /// As if so much time had passed since it began and since anything settled.
    fn later(course: &mut Course<'_>, by: Duration) {
        let back = |at: Instant| at.checked_sub(by).unwrap();
        course.begun = back(course.begun);
        course.heard = back(course.heard);
        course.settling = course.settling.take().map(|(ended, at)| (ended, back(at)));
    }

    #[test]
    fn each_last_word_has_its_code() {
        for (status, code) in
            [("DONE", 0), ("UPDATED", 0), ("WONTGO", 30), ("CANCEL", 30), ("ERROR", 31), ("TESTING", 99), ("NEW", 99)]
        {
            let ended = Ended::of(&progress(status));
            assert_eq!(ended.as_ref().map_or(99, Ended::code), code, "{status}");
            assert!(ended.is_none_or(|ended| ended.word() == status));
        }
    }

    #[test]
    fn every_change_is_shown_once_and_the_last_is_the_end() {
        let mut course = Course::new(None, long());
        let mut shown = Vec::new();
        for status in ["NEW", "NEW", "TESTING", "TESTING", "DONE"] {
            let mut saw = |seen: Seen<'_>| {
                if let Seen::Progress(progress) = seen {
                    shown.push(progress.status.to_string());
                }
            };
            let ended = course.hear(Heard::Progress(progress(status), None), &mut saw);
            assert_eq!(ended.is_some(), status == "DONE");
        }
        assert_eq!(shown, ["NEW", "TESTING", "DONE"]);
    }

    #[test]
    fn what_was_said_before_it_ran_is_not_believed_at_once() {
        let before = progress("ERROR");
        let mut course = Course::new(Some(&before), long());
        assert_eq!(course.hear(Heard::Progress(before.clone(), None), &mut |_| ()), None);
        later(&mut course, STALE);
        assert_eq!(
            course.hear(Heard::Progress(before.clone(), None), &mut |_| ()),
            Some(Ended::Failed(before.clone()))
        );
    }

    #[test]
    fn silence_ends_nothing_before_time_is_up() {
        let mut course = Course::new(None, long());
        let mut silences = 0;
        let mut saw = |seen: Seen<'_>| silences += usize::from(seen == Seen::Silence);
        for _ in 0..2 {
            assert_eq!(course.hear(Heard::Silence, &mut saw), None);
        }
        assert_eq!(course.hear(Heard::Progress(progress("TESTING"), None), &mut saw), None);
        assert_eq!(course.hear(Heard::Silence, &mut saw), None);
        assert_eq!(silences, 2, "it is told when it begins");
        later(&mut course, USUAL_WAIT);
        assert_eq!(course.hear(Heard::Silence, &mut |_| ()), Some(Ended::Lost));
        assert_eq!(course.hear(Heard::Unclear, &mut |_| ()), Some(Ended::Deadline));
        let mut course = Course::new(None, Following { lost: SETTLED, ..long() });
        later(&mut course, SETTLED + SETTLED);
        assert_eq!(course.hear(Heard::Silence, &mut |_| ()), Some(Ended::Lost), "before time is up");
    }

    #[test]
    fn what_may_pass_has_to_stay_before_it_counts() {
        let new = |by: &str| Heard::Progress(progress("NEW"), Some(by.to_owned()));
        let mut course = Course::new(None, long());
        assert_eq!(course.hear(new("b"), &mut |_| ()), None);
        assert!(course.patience() <= SETTLED);
        later(&mut course, SETTLED);
        assert_eq!(course.hear(Heard::Progress(progress("NEW"), None), &mut |_| ()), None, "it passed");
        assert_eq!(course.hear(new("b"), &mut |_| ()), None);
        later(&mut course, SETTLED);
        assert_eq!(course.hear(new("b"), &mut |_| ()), Some(Ended::Overtaken("b".to_owned())));
        // What has begun is not overtaken.
        let mut course = Course::new(None, long());
        for _ in 0..2 {
            assert_eq!(course.hear(Heard::Progress(progress("TESTING"), Some("b".to_owned())), &mut |_| ()), None);
            later(&mut course, SETTLED);
        }
        // What was never there is not gone.
        let mut course = Course::new(None, long());
        for there in [false, true] {
            if there {
                assert_eq!(course.hear(Heard::Progress(progress("TESTING"), None), &mut |_| ()), None);
            }
            assert_eq!(course.hear(Heard::Missing, &mut |_| ()), None);
            later(&mut course, SETTLED);
            assert_eq!(course.hear(Heard::Missing, &mut |_| ()), there.then_some(Ended::Gone));
        }
    }

    #[test]
    fn waits_are_seconds_in_range() {
        assert_eq!(wait("1"), Some(Duration::from_secs(1)));
        assert_eq!(wait("86400"), Some(LONGEST_WAIT));
        for bad in ["", "0", "-1", "1.5", "86401", "x", "99999999999999999999"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }
}
