//! `pvr inspect`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::repo::{Place, RepoError, Source};
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The canonical form, on one line
    #[arg(short, long)]
    canonical: bool,
    /// Device, URL, user/device, an export or another repository's .pvr [default: this repository]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let failed = |error: RepoError| Failure::coded(1, error);
    let state = match args.repo.first() {
        None => context.repo().pristine_or_empty(),
        Some(text) => {
            let reference = context.reference(text).map_err(|error| Failure::coded(7, error))?;
            match &reference.place {
                Place::Local(path) => Source::Local(path).open(&context.limits).map(|opened| opened.state),
                Place::Remote(url) => {
                    let remote = context.discover(url).map_err(failed)?;
                    Source::Remote(&remote).open(&context.limits).map(|opened| opened.state)
                }
            }
        }
    };
    let value = state.map_err(failed)?.to_value();
    let text = if args.canonical { to_canonical(&value) } else { pretty(&value, Style::TABS_HTML) };
    show::print(&format!("{}\n", text.map_err(|error| Failure::coded(3, error))?))
}
