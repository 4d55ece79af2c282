//! `pvr inspect`: a committed state, here or elsewhere.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::repo::{Place, RepoError};
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The canonical form, on one line
    #[arg(short, long)]
    canonical: bool,
    /// Device, URL, user/device or another repository's .pvr [default: the committed state of this one]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let failed = |error: RepoError| Failure::coded(1, error);
    let text = args.repo.first().filter(|text| !text.is_empty()).map_or(".pvr", String::as_str);
    let reference = context.reference(text).map_err(|error| Failure::coded(7, error))?;
    let state = match &reference.place {
        Place::Remote(url) => {
            let remote = context.discover(url).map_err(failed)?;
            remote.state(&context.limits).map_err(|error| failed(error.into()))?
        }
        Place::Local(path) => crate::repo::state_of(path, &context.limits).map_err(failed)?,
    };
    let value = state.to_value();
    let text = if args.canonical { to_canonical(&value) } else { pretty(&value, Style::TABS_HTML) };
    show::print(&format!("{}\n", text.map_err(|error| failed(error.into()))?))
}
