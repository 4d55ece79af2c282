//! What is seen of an update that is being followed, and how it ended.
//!
//! | | |
//! |---|---|
//! | on a terminal | one line that is drawn again |
//! | elsewhere | a line on stderr for each change |
//! | `--quiet` | only how it ended |

use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::Failure;
use super::screen;
use super::show::{note, tell};
use crate::remote::{Posted, Remote};
use crate::state::{Ended, Progress, Seen, escape, escape_text, update};

/// Codes beside those of how an update ended (`design.md` invariant 10): it could not be told.
const COULD_NOT_TELL: u8 = 2;

/// `--wait`, on a command that posts.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Flag {
    /// Follow the update to its end and say by the exit code how that was: 0 DONE or UPDATED, 30 it will not run, 31 ERROR, 32 not
    /// ended in time, 33 no connection any more, 2 the other side does not say
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600", value_parser = seconds)]
    wait: Option<Duration>,
}

impl Flag {
    /// For how long to follow, if at all.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.wait
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    update::wait(text).ok_or_else(|| "it is no number of seconds from 1 to 86400".to_owned())
}

/// How an update ended, as a member of a document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Update {
    ended: Option<String>,
    exit_code: u8,
    /// The last that was heard.
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overtaken_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// An update that has been followed: what a document says of it, and what people are told.
pub(super) struct Followed {
    pub(super) update: Update,
    text: String,
}

/// Follows a revision that was posted. `before`: what it said before that.
pub(super) fn follow(remote: &Remote, posted: &Posted, before: Option<&Progress>, limit: Duration) -> Followed {
    let (live, begun) = (screen::is_live(), Instant::now());
    let mut last: Option<Progress> = None;
    let mut saw = |seen: Seen<'_>| {
        let line = match seen {
            Seen::Progress(progress) => {
                last = Some(progress.clone());
                line(progress)
            }
            Seen::Silence => "no answer: it may be restarting".to_owned(),
        };
        if live {
            screen::draw(&format!("{}: {line}", posted.rev));
        } else {
            note(&format!("{}: {line} [{} s]", posted.rev, begun.elapsed().as_secs()));
        }
    };
    if live {
        screen::draw(&format!("{}: waiting", posted.rev));
    }
    let followed = remote.follow(posted, before, limit, &mut saw);
    screen::clear();
    let (ended, exit_code, text, overtaken_by, why) = match followed {
        Ok(ended) => {
            let text = sentence(&ended, last.as_ref(), limit);
            let by = if let Ended::Overtaken(by) = &ended { Some(by.clone()) } else { None };
            (Some(ended.word().to_owned()), ended.code(), text, by, None)
        }
        Err(error) => {
            let why = error.to_string();
            (None, COULD_NOT_TELL, format!("how the update ends is not known: {why}"), None, Some(why))
        }
    };
    let text = format!("Revision {}: {text}", posted.rev);
    Followed { update: Update { ended, exit_code, progress: last, overtaken_by, why }, text }
}

impl Followed {
    /// Says how it ended.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.update.exit_code {
            0 => tell(&self.text),
            code => return Err(Failure::coded(code, self.text)),
        }
        Ok(())
    }
}

fn line(progress: &Progress) -> String {
    let Progress { status, status_msg, progress, .. } = progress;
    format!("{} {progress}% {}", escape_text(status.as_str()), escape_text(status_msg)).trim_end().to_owned()
}

fn sentence(ended: &Ended, last: Option<&Progress>, limit: Duration) -> String {
    let last =
        || last.map_or_else(|| "nothing was heard of it".to_owned(), |last| format!("the last was {}", line(last)));
    match ended {
        Ended::Well(progress) | Ended::WontGo(progress) | Ended::Failed(progress) => line(progress),
        Ended::Overtaken(by) => format!("it will not run, because {} has been started after it was made", escape(by)),
        Ended::Gone => format!("it is not there any more; {}", last()),
        Ended::Deadline => format!("the update has not ended within {} seconds; {}", limit.as_secs(), last()),
        Ended::Lost => format!("no answer any more; {}; the update may go on", last()),
    }
}
