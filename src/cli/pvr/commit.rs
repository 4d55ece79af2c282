//! `pvr commit`.

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::repo::Checkpoint;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Why
    #[arg(short, long, default_value = "** No commit message **")]
    message: String,
    /// Mark the revision as one to fall back to
    #[arg(short, long)]
    checkpoint: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let checkpoint = if args.checkpoint { Checkpoint::Yes } else { Checkpoint::No };
    let working = Working::begin("committing");
    let committed = context.repo().commit(&args.message, checkpoint, args.flags.run()).map_err(Failure::plain)?;
    drop(working);
    show::warn(&committed.fetched.warnings);
    if !args.flags.dry_run {
        committed.lines.iter().for_each(|line| show::note(line));
    }
    report::print(args.flags, None, &committed.pool, &committed.fetched, &committed.changes, "")
}
