//! Following a revision that was posted, until it is settled what became of it ([`crate::state::update`]).
//!
//! An endpoint that can be followed says where in the answer to the post (`events-url`, `docs/events.md`): it is asked what is new
//! since the last answer, and answers when something is. Of any other one, the step itself is asked every few seconds; the hub and
//! today's devices have the progress in it.
//!
//! Each question has a connection of its own. A device that restarts doesn't answer, or what stands before it says so (502 to
//! 504): both are silence, and it is asked again until time is up.

use std::thread;
use std::time::{Duration, Instant};

use super::record::{self, ProgressRecord};
use super::rest::{self, Call, net, shown};
use super::{Posted, Remote, RemoteError};
use crate::net::{Method, Patience, Response, Url};
use crate::state::{Course, Ended, Following, Heard, Progress, Revision, Seen, escape};

/// How long one question may wait for news. A machine that loses its power says nothing: it takes this and [`SLOWNESS`] to notice.
const POLL: Duration = Duration::from_secs(15);
/// What an answer may take beyond that, and a connection.
const SLOWNESS: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Before a step is asked again, and before anybody who did not answer is.
const BETWEEN: Duration = Duration::from_secs(1);
/// No question comes sooner after the one before.
const LEAST: Duration = Duration::from_millis(100);

/// Where it is said what becomes of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowedAt {
    /// Where one can wait for news.
    events: Option<Url>,
    /// The step.
    step: Option<Url>,
}

impl FollowedAt {
    /// `posted_to`: where the revision was posted to; `events`: what the answer said.
    pub(super) fn new(posted_to: &Url, rev: &str, events: Option<&str>) -> Self {
        // What is no name would lead to another place.
        let named = Revision::parse(rev).is_ok();
        Self {
            events: events.and_then(|text| posted_to.join(text).ok()),
            step: named.then(|| posted_to.with_appended(rev)),
        }
    }
}

/// What was answered to one question.
enum Answer {
    Heard(Heard),
    /// Nobody can be asked there.
    NotHere(String),
}

impl Remote {
    /// What a revision says that is there already, to be given to [`follow`](Self::follow) after it was posted again.
    pub fn before_post(&self, rev: &str) -> Option<Progress> {
        let at = FollowedAt::new(&self.post, rev, None);
        let response = self.session.call(Call::get(&at.step?)).ok().filter(|response| response.status() == 200)?;
        let record: ProgressRecord = rest::json(&self.post, response).ok()?;
        progress(&record)
    }

    /// Follows what becomes of a revision that was posted here. `before` is what it said before; `saw` is shown what is new.
    ///
    /// [`RemoteError::NoProgress`]: the endpoint doesn't say.
    pub fn follow(
        &self,
        posted: &Posted,
        before: Option<&Progress>,
        limit: Duration,
        saw: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Ended, RemoteError> {
        let FollowedAt { mut events, step } = posted.followed_at.clone();
        let mut course = Course::new(before, Following { limit, lost: limit });
        let mut since: Option<String> = None;
        loop {
            let asked = Instant::now();
            let (url, poll) = match (&events, &step) {
                (Some(url), _) => (url, since.as_ref().map(|_| POLL.min(course.patience()))),
                (None, Some(step)) => (step, None),
                (None, None) => return Err(no_progress(&self.post, "its name is none that could be asked for")),
            };
            let mut id = None;
            let heard = match self.ask(url, since.as_deref().zip(poll), &mut id)? {
                Answer::Heard(heard) => heard,
                // Whoever stands between may know nothing of it; the step is always there.
                Answer::NotHere(_) if events.is_some() && step.is_some() && !course.has_heard() => {
                    events = None;
                    continue;
                }
                Answer::NotHere(_) if course.has_heard() => Heard::Missing,
                Answer::NotHere(why) => return Err(no_progress(url, &why)),
            };
            // Who does not answer now is asked without waiting the next time: that takes no place of those who wait.
            since = id;
            let waited = events.is_some() && since.is_some();
            if let Some(ended) = course.hear(heard, saw) {
                return Ok(ended);
            }
            let pause = if waited { LEAST } else { BETWEEN };
            thread::sleep(pause.saturating_sub(asked.elapsed()).min(course.patience()));
        }
    }

    /// Asks once. `poll`: what is known, and how long to wait for something else. `id` is of what was heard, where one can wait
    /// for what follows it.
    fn ask(&self, url: &Url, poll: Option<(&str, Duration)>, id: &mut Option<String>) -> Result<Answer, RemoteError> {
        // Rounded up: whoever has less than a second left would ask without end.
        let seconds = |wait: Duration| wait.as_millis().div_ceil(1000).max(1);
        let query = poll.map(|(since, wait)| format!("?since={since}&timeout={}", seconds(wait)));
        let url = &query.and_then(|query| url.join(&query).ok()).unwrap_or_else(|| url.clone());
        let idle = poll.map_or(Duration::ZERO, |(_, wait)| wait) + SLOWNESS;
        let session = self.session.waiting(Patience { connect: CONNECT, idle });
        let response = match session.call(Call::get(url).once()) {
            Err(error) if error.is_transient() => return Ok(Answer::Heard(Heard::Silence)),
            other => other?,
        };
        match response.status() {
            200 => read(url, response, id),
            404 | 405 | 410 | 501 => {
                Ok(Answer::NotHere(format!("{} {}", response.status(), escape(response.reason()))))
            }
            // All places of those who wait are taken, perhaps: that is an answer.
            503 if poll.is_some() => Ok(Answer::Heard(Heard::Unclear)),
            408 | 429 | 500.. => Ok(Answer::Heard(Heard::Silence)),
            _ => Err(self.session.refusal(url, response)),
        }
    }
}

fn read(url: &Url, response: Response, id: &mut Option<String>) -> Result<Answer, RemoteError> {
    let bytes = match rest::record_bytes(response) {
        Err(error) if error.is_transient() => return Ok(Answer::Heard(Heard::Silence)),
        other => other.map_err(|source| net(Method::Get, url, source))?,
    };
    let Ok(record) = serde_json::from_slice::<ProgressRecord>(&bytes) else {
        return Ok(Answer::NotHere("what it answers is no record".to_owned()));
    };
    // It goes into an address.
    let plain = |id: &String| !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    *id = record::text(&record.id).filter(plain);
    Ok(match (progress(&record), id.is_some()) {
        (Some(progress), _) => Answer::Heard(Heard::Progress(progress, record::text(&record.overtaken_by))),
        (None, true) => Answer::Heard(Heard::Unclear),
        (None, false) => Answer::NotHere("there is no progress in what it answers".to_owned()),
    })
}

fn progress(record: &ProgressRecord) -> Option<Progress> {
    Progress::parse(record.progress.to_string().as_bytes())
}

fn no_progress(url: &Url, why: &str) -> RemoteError {
    RemoteError::NoProgress { url: shown(url), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_revision_is_followed() {
        let url = Url::parse("http://x:1/a/steps").unwrap();
        let at = |rev, events| {
            let FollowedAt { events, step } = FollowedAt::new(&url, rev, events);
            (events.map(|url| url.to_string()), step.map(|url| url.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at("7", None), (None, some("http://x:1/a/steps/7")));
        assert_eq!(at("locals/x", Some("e")), (some("http://x:1/a/e"), some("http://x:1/a/steps/locals/x")));
        assert_eq!(at("../json", Some("https://y/e")), (some("https://y/e"), None));
        assert_eq!(at("x", Some("ftp://y/e")), (None, None));
    }
}
