//! `pvr dm-verify`. Exits with 0 if every volume is what its manifest says, 1 if one is not, 2 if it could not be told.

use super::context::Context;
use super::failure::Failure;
use super::{report, show};
use crate::dm::Bad;
use crate::repo::Verdict;
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Report as one JSON document
    #[arg(long)]
    json: bool,
    /// A container, or container/volume [default: all that are tracked]
    #[arg(value_name = "CONTAINER[/VOLUME]")]
    which: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let which = args.which.first().map(String::as_str);
    let verdicts = context.repo().dm_verify(which).map_err(|error| Failure::coded(2, error))?;
    if args.json {
        report::json(&verdicts)?;
    } else {
        show::print(&verdicts.iter().map(lines).collect::<String>())?;
    }
    let bad = verdicts.iter().filter(|verdict| !verdict.ok).count();
    let text = format!("{bad} of {} volumes are not what their manifests say", verdicts.len());
    match verdicts.iter().any(|verdict| !verdict.told) {
        true => Err(Failure::coded(2, "not every volume could be checked")),
        false if bad > 0 => Err(Failure::coded(1, text)),
        false => Ok(()),
    }
}

fn lines(verdict: &Verdict) -> String {
    let name = format!("{}/{}", escape(&verdict.container), escape(&verdict.volume));
    let mut said: Vec<String> = Vec::new();
    // An error has been escaped, and may have two lines.
    said.extend(verdict.error.as_ref().map(|error| error.replace('\n', "; ")));
    let bad = |what: &str, bad: &Bad| {
        format!("bad blocks of {what}: {}, the first is {} at offset {}", bad.count, bad.block, bad.offset)
    };
    said.extend(verdict.data.iter().map(|found| bad("data", found)));
    said.extend(verdict.tree.iter().map(|found| bad("the hash file", found)));
    said.extend(verdict.unknown.map(|blocks| format!("blocks of data below bad ones of the hash file: {blocks}")));
    said.extend(verdict.stale.map(|bytes| format!("bytes behind the tree: {bytes}, which pvr dm-apply removes")));
    if verdict.ok
        && let (Some(blocks), Some(size)) = (verdict.blocks, verdict.block_size)
    {
        said.push(format!("ok, {blocks} blocks of {size} bytes"));
    }
    said.extend(verdict.uncovered.map(|bytes| format!("bytes at the end that no tree covers: {bytes}")));
    said.iter().map(|line| format!("{name}: {line}\n")).collect()
}
