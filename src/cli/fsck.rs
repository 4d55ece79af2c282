//! `pvr-agent fsck`: is every object what its name says, and every revision what its state says?

use crate::state::escape;
use crate::trails::{FsckReport, Storage, fsck};
use anyhow::Context;
use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check a storage: every object's bytes, every revision's files, what was left behind
///
/// Nothing is changed, and a device may serve meanwhile. Exits with 0 if everything is right, 1 if there are findings,
/// 2 if it could not be told.
#[derive(Debug, Parser)]
pub struct Args {
    /// The storage [default: /storage, else ./pvroot].
    #[arg(long, value_name = "DIR")]
    pub storage: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks and reports. An error is exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = args.storage.unwrap_or_else(Storage::usual_place);
    let storage = Storage::open_read_only(&root).context("open the storage")?.with_json_limits(super::limits::json()?);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = fsck(&storage, threads).context("check the storage")?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(out: &mut impl Write, report: &FsckReport) -> std::io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{}: {}: {}", finding.kind.as_str(), escape(&finding.path), escape(&finding.what))?;
    }
    writeln!(
        out,
        "{} objects ({} bytes), {} revisions: {}",
        report.objects,
        report.bytes,
        report.revisions,
        match report.findings.len() {
            0 => "clean".to_owned(),
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trails::{Finding, Kind};

    #[test]
    fn names_from_the_disk_cannot_act_on_a_terminal() {
        let finding = Finding { kind: Kind::FileUnknown, path: "trails/0/\u{1b}[2J\n".into(), what: "x".into() };
        let report = FsckReport { findings: vec![finding], ..FsckReport::default() };
        let mut out = Vec::new();
        print(&mut out, &report).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "file-unknown: trails/0/\\u{1b}[2J\\n: x\n0 objects (0 bytes), 0 revisions: 1 finding\n");
    }
}
