//! `pvr status`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, _: &Args) -> Result<(), Failure> {
    let (status, warnings) = context.repo().status().map_err(|error| Failure::coded(3, error))?;
    show::warn(&warnings);
    let groups = [('A', &status.added), ('D', &status.removed), ('C', &status.changed), ('?', &status.untracked)];
    let mut text = String::new();
    for (letter, paths) in groups {
        for path in paths {
            text.push_str(&format!("{letter} {}\n", escape(path)));
        }
    }
    show::print(&text)
}
