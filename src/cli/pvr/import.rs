//! `pvr import`.

use std::path::Path;

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// A file that pvr export has written
    #[arg(value_name = "FILE")]
    file: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let file = match args.file.as_slice() {
        [] => return Err(Failure::plain("repo-tarball name is required. See --help")),
        [file] => file,
        _ => return Err(Failure::plain("import can have at most 1 argument. See --help")),
    };
    let working = Working::begin("importing");
    let imported =
        context.repo().import(Path::new(file), args.flags.run()).map_err(|error| Failure::coded(3, error))?;
    drop(working);
    show::warn(&imported.fetched.warnings);
    let done = format!(
        "\nImported {}\n\n\nRun pvr checkout to checkout the changed files into the workspace.\nThen run pvr add and pvr \
         commit to merge the imported data with the current state.\n",
        escape(file)
    );
    report::print(args.flags, Some(file), &imported.pool, &imported.fetched, &imported.changes, &done)
}
