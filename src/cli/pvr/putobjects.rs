//! `pvr putobjects`.

use super::context::Context;
use super::failure::Failure;
use super::show::Progress;
use crate::net::Url;
use crate::remote::Resend;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Send objects again that the endpoint has
    #[arg(short, long)]
    force: bool,
    /// URL of an objects endpoint
    #[arg(value_name = "URL")]
    endpoint: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let [endpoint] = args.endpoint.as_slice() else {
        return Err(Failure::coded(2, "Push requires exactly 1 argument. See --help."));
    };
    let url = Url::parse(endpoint).map_err(|error| {
        Failure::coded(4, format!("\"{}\" is no objects endpoint: {error}", crate::state::escape(endpoint)))
    })?;
    let resend = if args.force { Resend::Force } else { Resend::No };
    context
        .repo()
        .put_objects(&context.objects(&url), resend, &Progress::new())
        .map_err(|error| Failure::coded(4, error))
}
