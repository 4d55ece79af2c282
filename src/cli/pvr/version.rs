//! `pvr version`, also `--version`.

use super::failure::Failure;
use super::show;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run() -> Result<(), Failure> {
    show::print(&format!("pvr version {}\n", env!("CARGO_PKG_VERSION")))
}
