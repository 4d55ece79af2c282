//! `pvr put`, and `push`.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::report;
use super::sending::{self, Becomes};
use super::show::{self, Progress};
use super::working::Working;
use crate::remote::Resend;
use crate::repo::{Place, RepoError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Send objects again that the other side has
    #[arg(short, long)]
    force: bool,
    /// Device, URL, user/device or another repository's .pvr [default: where it was put before]
    #[arg(value_name = "TARGET")]
    target: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    target: &'a str,
    dry_run: bool,
    objects: report::Objects,
    warnings: &'a [String],
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let repo = context.repo();
    let failed = |error: RepoError| Failure::coded(4, error);
    let remembered;
    let text = match args.target.as_slice() {
        [_, _, ..] => return Err(Failure::coded(2, "Push can have at most 1 argument. See --help.")),
        [text] if !text.is_empty() => text,
        _ => {
            remembered = repo.config().map_err(failed)?.default_put_url;
            if remembered.is_empty() {
                return Err(failed(RepoError::NoDefault));
            }
            &remembered
        }
    };
    let reference = context.reference(text).map_err(|error| failed(error.into()))?;
    match &reference.place {
        Place::Local(path) => {
            let mut copied = |key: &crate::state::StatePath, cached: bool| {
                show::note(&format!("{} [OK{}]", show::label(key), if cached { " cache" } else { "" }));
            };
            let working = Working::begin("putting");
            let (fetched, changes) = repo.put_local(path, args.flags.run(), &mut copied).map_err(failed)?;
            drop(working);
            report::print(args.flags, None, path, &fetched, &changes, "")
        }
        Place::Remote(url) => {
            let remote = context.discover(url).map_err(failed)?;
            let resend = if args.force { Resend::Force } else { Resend::No };
            if args.flags.dry_run {
                let working = Working::begin("asking");
                let plan = repo.would_put(&remote, resend).map_err(failed)?;
                drop(working);
                return sending::print(args.flags, &reference.text, &plan, Becomes::State);
            }
            let progress = Progress::beside(args.flags.json);
            let sent = repo.put(&remote, &reference.text, resend, &progress, &mut show::synched).map_err(failed)?;
            show::warn(&sent.warnings);
            if args.flags.json {
                let (objects, warnings) = ((&sent).into(), sent.warnings.as_slice());
                return report::json(&Document { target: &reference.text, dry_run: false, objects, warnings });
            }
            Ok(())
        }
    }
}
