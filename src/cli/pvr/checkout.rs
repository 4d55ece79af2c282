//! `pvr checkout`, also `reset`.

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use crate::repo::CheckoutAs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Hardlink the pool's objects instead of copying them; JSON files in canonical form
    #[arg(long, alias = "hl")]
    hardlink: bool,
    /// JSON files in canonical form [env: PVR_CANONICAL_JSON]
    #[arg(short, long)]
    canonical: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let checkout_as = if args.hardlink {
        CheckoutAs::Hardlink
    } else if args.canonical {
        CheckoutAs::Canonical
    } else {
        CheckoutAs::Pretty
    };
    let _working = Working::begin("checking out");
    context.repo().checkout(checkout_as).map_err(|error| Failure::coded(3, error))
}
