//! `pvr merge`.

use super::context::Context;
use super::failure::Failure;
use super::{get, report};
use crate::repo::How;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Device, URL, user/device, an export or another repository's .pvr, with #part,-part behind it [default: where it
    /// came from]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.repo.len() > 1 {
        return Err(Failure::plain("Merge can have at most 1 argument. See --help."));
    }
    get::take(context, args.repo.first(), args.flags, How::Merge)
}
