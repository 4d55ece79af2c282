//! `pvr dm-apply`.

use serde::Serialize;

use super::context::Context;
use super::dm_convert::Tree;
use super::failure::Failure;
use super::{report, show};
use crate::repo::shown;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    #[command(flatten)]
    tree: Tree,
    /// A container, or another folder or file: only manifests there [default: all that are tracked]
    #[arg(value_name = "PREFIX")]
    prefix: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    dry_run: bool,
    tree: report::Changes<'a>,
    failed: Vec<Failed>,
    warnings: &'a [String],
}

/// A manifest whose volume stays as it is, and why.
#[derive(Serialize)]
struct Failed {
    path: String,
    error: String,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let making = args.tree.making().map_err(|error| Failure::coded(2, error))?;
    let prefix = args.prefix.first().map_or("", String::as_str);
    let applied =
        context.repo().dm_apply(prefix, &making, args.flags.run()).map_err(|error| Failure::coded(3, error))?;
    show::warn(&applied.warnings);
    for (path, error) in &applied.failed {
        show::tell(&format!("- Not updated {}: {error}", shown(path)));
    }
    let (dry_run, tree) = (args.flags.dry_run, report::Changes::from(&applied.changes));
    if args.flags.json {
        let failed = |(path, error): &(std::path::PathBuf, crate::repo::RepoError)| Failed {
            path: path.to_string_lossy().into_owned(),
            error: error.to_string(),
        };
        let failed = applied.failed.iter().map(failed).collect();
        report::json(&Document { dry_run, tree, failed, warnings: &applied.warnings })?;
    } else if dry_run {
        report::would_write(&applied.changes)?;
    } else {
        applied.updated.iter().try_for_each(|path| show::print(&format!("- Updated {}\n", shown(path))))?;
    }
    match applied.failed.len() {
        0 => Ok(()),
        1 => Err(Failure::coded(3, "1 volume was left as it was")),
        n => Err(Failure::coded(3, format!("{n} volumes were left as they were"))),
    }
}
