//! `pvr diff`.

use serde::Serialize;
use serde_json::value::RawValue;

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::state::canonical::to_canonical;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Report as one JSON document: the patch, and the keys that it is about
    #[arg(long)]
    json: bool,
    /// Accepted and ignored, as today
    #[arg(hide = true)]
    ignored: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    changes: report::Changes<'a>,
    /// In canonical form, as it would be committed.
    patch: Box<RawValue>,
    warnings: &'a [String],
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::coded(3, error);
    let working = Working::begin("reading");
    let (patch, status, warnings) = context.repo().diff().map_err(|error| failed(&error))?;
    drop(working);
    show::warn(&warnings);
    if args.json {
        let text = to_canonical(&patch).map_err(|error| failed(&error))?;
        let patch = RawValue::from_string(text).map_err(|error| failed(&error))?;
        let changes = report::Changes::from(&status);
        return report::json(&Document { changes, patch, warnings: &warnings });
    }
    show::print(&format!("{}\n", pretty(&patch, Style::DIFF).map_err(|error| failed(&error))?))
}
