//! `pvr status`.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::state::escape_text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Report as one JSON document
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    changes: report::Changes<'a>,
    untracked: &'a [String],
    warnings: &'a [String],
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let working = Working::begin("reading");
    let (status, warnings) = context.repo().status().map_err(|error| Failure::coded(3, error))?;
    drop(working);
    show::warn(&warnings);
    let changes = report::Changes::from(&status);
    if args.json {
        return report::json(&Document { changes, untracked: &status.untracked, warnings: &warnings });
    }
    let untracked: String = status.untracked.iter().map(|path| format!("? {}\n", escape_text(path))).collect();
    show::print(&(changes.lines() + &untracked))
}
