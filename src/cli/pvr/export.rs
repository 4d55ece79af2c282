//! `pvr export`.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::report;
use super::working::Working;
use crate::repo::{Exported, Packing};
use crate::state::PartSelection;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these parts: folders and keys, with commas between them
    #[arg(short, long, value_name = "PARTS")]
    parts: Vec<String>,
    /// Say what was written as one JSON document
    #[arg(long)]
    json: bool,
    /// Where to; .gz and .tgz are compressed, - is the standard output
    #[arg(value_name = "FILE")]
    file: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    file: &'a str,
    gzip: bool,
    #[serde(flatten)]
    exported: Exported,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let file = match args.file.as_slice() {
        [] => return Err(Failure::plain("export-file name is required. See --help")),
        [file] => file,
        _ => return Err(Failure::plain("export can have at most 1 argument. See --help")),
    };
    let parts = PartSelection::parse(&args.parts.join(","));
    let working = Working::begin("exporting");
    let repo = context.repo();
    if file == "-" {
        if args.json {
            return Err(Failure::plain("the standard output is taken by the archive: --json needs a file"));
        }
        return repo.export_to(io::stdout().lock(), &parts).map(drop).map_err(|error| Failure::coded(3, error));
    }
    let path = Path::new(file);
    let packing = Packing::of(path);
    let exported = repo.export(path, packing, &parts).map_err(|error| Failure::coded(3, error))?;
    drop(working);
    if args.json {
        return report::json(&Document { file, gzip: packing == Packing::Gzip, exported });
    }
    Ok(())
}
