//! `pvr fsck`. Exits with 0 if everything is right, 1 if there are findings, 2 if it could not be told.

use super::context::Context;
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Report as one JSON document
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let working = Working::begin("checking");
    let found = context.repo().fsck().map_err(|error| Failure::coded(2, error))?;
    drop(working);
    let wrong = match found.findings.len() {
        0 => "clean".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    if args.json {
        report::json(&found)?;
    } else {
        let mut text = String::new();
        for finding in &found.findings {
            // What is wrong comes out of an error, which has been escaped, and may have two lines.
            text.push_str(&format!(
                "{}: {}: {}\n",
                finding.kind,
                escape(&finding.path),
                finding.what.replace('\n', "; ")
            ));
        }
        let (keys, objects, bytes, unnamed) = (found.keys, found.objects, found.bytes, found.unnamed);
        text.push_str(&format!("{keys} keys, {objects} objects ({bytes} bytes, {unnamed} of other states): {wrong}\n"));
        show::print(&text)?;
    }
    if found.findings.is_empty() { Ok(()) } else { Err(Failure::coded(1, wrong)) }
}
