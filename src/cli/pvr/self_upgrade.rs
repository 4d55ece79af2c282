//! `pvr self-upgrade`: how to, not doing it (`cli.md` §13.23).

use std::env;

use super::failure::Failure;
use super::show;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run() -> Result<(), Failure> {
    let place = env::current_exe().map_or_else(|_| "the running one".to_owned(), |path| crate::repo::shown(&path));
    show::print(&format!(
        "pvr {} does not replace itself. Where it came with a package, the package manager upgrades it;\n\
         elsewhere, a new build takes the place of {place}.\n",
        env!("CARGO_PKG_VERSION")
    ))
}
