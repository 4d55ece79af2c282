//! `pvr commit`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::repo::Checkpoint;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
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
    let committed = context.repo().commit(&args.message, checkpoint).map_err(Failure::plain)?;
    show::warn(&committed.warnings);
    committed.lines.iter().for_each(|line| show::tell(line));
    Ok(())
}
