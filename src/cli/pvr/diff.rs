//! `pvr diff`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Accepted and ignored, as today
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, _: &Args) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::coded(3, error);
    let (patch, warnings) = context.repo().diff().map_err(|error| failed(&error))?;
    show::warn(&warnings);
    show::print(&format!("{}\n", pretty(&patch, Style::TABS_HTML).map_err(|error| failed(&error))?))
}
