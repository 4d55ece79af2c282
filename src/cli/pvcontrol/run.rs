//! `cmd run` and `cmd run-commit`, and what becomes of them.

use super::Options;
use super::answer::{Answer, Failure, print};
use super::commands::empty;
use crate::pvctrl::{Command, Control, LOST, StepName};
use crate::state::{Ended, Following, Progress, Seen, escape_text};

pub(super) fn run(control: &Control, name: &StepName, commit: bool, options: &Options) -> Result<Answer, Failure> {
    let command = if commit { Command::LocalRunCommit(name.clone()) } else { Command::LocalRun(name.clone()) };
    let Some(limit) = options.wait else { return empty(control.command(&command)) };
    let before = control.before_run(name);
    control.command(&command)?;
    let mut saw = |seen: Seen<'_>| {
        let Seen::Progress(progress) = seen else { return };
        let line = if options.json {
            String::from_utf8_lossy(&progress.to_bytes()).into_owned()
        } else {
            let Progress { status, status_msg, progress, .. } = progress;
            format!("{} {progress}% {}", escape_text(status.as_str()), escape_text(status_msg))
        };
        // Whoever no longer reads is told by the code.
        print(format!("{line}\n").as_bytes()).ok();
    };
    let ended = control.follow(name, before.as_ref(), Following { limit, lost: limit.min(LOST) }, &mut saw)?;
    match &ended {
        Ended::Deadline => eprintln!("ERROR: the update has not ended within {} seconds", limit.as_secs()),
        Ended::Lost => eprintln!("ERROR: Pantavisor does not answer any more; the update may go on"),
        Ended::Gone => eprintln!("ERROR: the revision is not there any more"),
        _ => {}
    }
    Ok(Answer::Ended(ended.code()))
}
