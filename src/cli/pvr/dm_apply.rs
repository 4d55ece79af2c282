//! `pvr dm-apply`.

use super::context::Context;
use super::dm_convert::Tree;
use super::failure::Failure;
use super::show;
use crate::repo::shown;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    tree: Tree,
    /// A container, or another folder or file: only manifests there [default: all that are tracked]
    #[arg(value_name = "PREFIX")]
    prefix: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let making = args.tree.making().map_err(|error| Failure::coded(2, error))?;
    let prefix = args.prefix.first().map_or("", String::as_str);
    let applied = context.repo().dm_apply(prefix, &making).map_err(|error| Failure::coded(3, error))?;
    show::warn(&applied.warnings);
    for path in &applied.updated {
        show::print(&format!("- Updated {}\n", shown(path)))?;
    }
    for (path, error) in &applied.failed {
        show::tell(&format!("- Not updated {}: {error}", shown(path)));
    }
    match applied.failed.len() {
        0 => Ok(()),
        1 => Err(Failure::coded(3, "1 volume was left as it was")),
        n => Err(Failure::coded(3, format!("{n} volumes were left as they were"))),
    }
}
