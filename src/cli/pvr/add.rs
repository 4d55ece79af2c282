//! `pvr add`.

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use crate::repo::AddAs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Commit .json files as objects [env: PVR_ADD_RAW]
    #[arg(short, long)]
    raw: bool,
    /// Which files; all where nothing is given. * and ? do not go across a /
    #[arg(value_name = "GLOB")]
    patterns: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let add_as = if args.raw { AddAs::Object } else { AddAs::Inline };
    let _working = Working::begin("adding");
    context.repo().add(&args.patterns, add_as).map_err(|error| Failure::coded(3, error))
}
