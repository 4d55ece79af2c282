//! `pvr inspect`.

use std::path::Path;

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::net::Url;
use crate::repo::{Place, Source};
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The canonical form, on one line
    #[arg(short, long)]
    canonical: bool,
    /// Device, URL, user/device, an export or another repository's .pvr [default: the committed state here]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let place = match args.repo.as_slice() {
        [_, _, ..] => return Err(Failure::plain("inspect can have at most 1 argument. See --help.")),
        [text] if !text.is_empty() => context.reference(text).map_err(|error| Failure::coded(7, error))?.place,
        _ => Place::Local(context.cwd.join(".pvr")),
    };
    let local = |path: &Path| Source::Local(path).state(&context.limits);
    let remote = |url: &Url| context.discover(url).and_then(|remote| Source::Remote(&remote).state(&context.limits));
    let state = match &place {
        Place::Local(path) => local(path).map_err(Failure::plain),
        Place::Remote(url) => remote(url).map_err(|error| Failure::coded(1, error)),
    };
    let value = state?.to_value();
    let text = if args.canonical { to_canonical(&value) } else { pretty(&value, Style::TABS_HTML) };
    show::print(&format!("{}\n", text.map_err(Failure::plain)?))
}
