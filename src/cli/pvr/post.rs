//! `pvr post`.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::following::{self, follow};
use super::report;
use super::sending::{self, Becomes};
use super::show::{self, Progress};
use super::working::Working;
use crate::remote::Posted;
use crate::remote::Resend;
use crate::repo::{Place, PostOptions, ReferenceError, RepoError};
use crate::trails::Verity;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Further members of the document that is posted, as a JSON object
    #[arg(short, long, value_name = "JSON")]
    envelope: Option<String>,
    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    commit_msg: Option<String>,
    /// Name of the revision: locals/<name>; -1 leaves it to the device
    #[arg(long, default_value = "-1", allow_hyphen_values = true)]
    rev: String,
    /// Take the volumes of dm-verity as they are: the device checks them otherwise, before it makes the revision
    #[arg(long)]
    no_verity_check: bool,
    #[command(flatten)]
    follow: following::Flag,
    /// Send objects again that the device has
    #[arg(short, long)]
    force: bool,
    /// Device, URL or user/device [default: where it came from]
    #[arg(value_name = "TARGET")]
    target: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    target: &'a str,
    dry_run: bool,
    rev: &'a str,
    state_sha: &'a str,
    trail_id: &'a str,
    objects: report::Objects,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<&'a following::Update>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let repo = context.repo();
    let failed = |error: RepoError| {
        let failure = Failure::coded(3, error);
        // What reads documents finds none.
        if args.flags.json { failure } else { failure.also_on_stdout() }
    };
    let remembered;
    let text = match args.target.as_slice() {
        [_, _, ..] => return Err(Failure::plain("post can have at most 1 argument. See --help.")),
        [text] if !text.is_empty() => text,
        _ => {
            remembered = repo.config().map_err(failed)?.default_post_url;
            if remembered.is_empty() {
                return Err(failed(RepoError::NoDefault));
            }
            &remembered
        }
    };
    let reference = context.remote_reference(text).map_err(|error| match error {
        ReferenceError::NickMissing => {
            Failure::coded(2, "Device nick is missing. (syntax:pvr get <USER_NICK>/<DEVICE_NICK>). See --help. ")
        }
        error => Failure::coded(2, error),
    })?;
    let Place::Remote(url) = &reference.place else {
        return Err(failed(ReferenceError::Neither.into()));
    };
    let options = PostOptions {
        envelope: args.envelope.clone().filter(|envelope| !envelope.is_empty()),
        commit_msg: args.commit_msg.clone().filter(|message| !message.is_empty()),
        rev: args.rev.clone(),
        verity: if args.no_verity_check { Verity::Trust } else { Verity::Check },
        resend: if args.force { Resend::Force } else { Resend::No },
    };
    let remote = context.discover(url).map_err(failed)?;
    if args.flags.dry_run {
        let working = Working::begin("asking");
        let plan = repo.would_post(&remote, &options).map_err(failed)?;
        drop(working);
        return sending::print(args.flags, &reference.text, &plan, Becomes::Revision);
    }
    let wait = args.follow.limit();
    // What a revision of that name says by then is not what becomes of it now.
    let before = wait.and_then(|_| remote.before_post(&options.rev));
    let progress = Progress::beside(args.flags.json);
    let (posted, sent) =
        repo.post(&remote, &reference.text, &options, &progress, &mut show::synched).map_err(failed)?;
    show::warn(&sent.warnings);
    show::posted(&posted);
    drop(progress);
    let followed = wait.map(|limit| follow(&remote, &posted, before.as_ref(), limit));
    let Posted { rev, state_sha, trail_id, .. } = &posted;
    let document = || Document {
        target: &reference.text,
        dry_run: false,
        rev,
        state_sha,
        trail_id,
        objects: (&sent).into(),
        warnings: &sent.warnings,
        update: None,
    };
    match (args.flags.json, followed) {
        (false, None) => Ok(()),
        (false, Some(followed)) => followed.end(),
        (true, None) => report::json(&document()),
        (true, Some(followed)) => {
            report::json(&Document { update: Some(&followed.update), ..document() })?;
            followed.end()
        }
    }
}
