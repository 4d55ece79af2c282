//! `pvr json`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use super::working::Working;
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The canonical form, on one line
    #[arg(short, long)]
    canonical: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let bar = Working::begin("reading");
    let working = context.repo().working().map_err(|error| Failure::coded(3, error))?;
    drop(bar);
    show::warn(&working.warnings);
    let value = working.state.to_value();
    let text = if args.canonical { to_canonical(&value) } else { pretty(&value, Style::TABS) };
    show::print(&format!("{}\n", text.map_err(|error| Failure::coded(3, error))?))
}
