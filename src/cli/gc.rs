//! `pvr-agent gc`: remove revisions that nobody will go back to, and objects that nothing names then.

use super::audited;
use crate::device::{AuditLog, Audited};
use crate::trails::{GcReport, Rollbacks, Storage, gc_keeping};
use anyhow::Context;
use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Remove revisions and objects that nothing needs
///
/// Stays: the running revision, rollback points, revision 0, what an update in progress or the boot loader names, and
/// objects that were uploaded within the last 24 hours. Exits with 0, or with 2 if it could not be done.
#[derive(Debug, Parser)]
pub struct Args {
    /// The storage [default: /storage, else ./pvroot].
    #[arg(long, value_name = "DIR")]
    pub storage: Option<PathBuf>,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Keep only the N latest rollback points, beside the running revision and revision 0 [default: all]
    #[arg(long, value_name = "N")]
    pub rollbacks: Option<usize>,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Collects and reports. An error is exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = args.storage.unwrap_or_else(Storage::usual_place);
    let opened = if args.dry_run { Storage::open_read_only(&root) } else { Storage::open(&root) };
    let storage = opened.context("open the storage")?.with_json_limits(super::limits::json()?);
    let rollbacks = args.rollbacks.map_or(Rollbacks::All, Rollbacks::Newest);
    let collected = gc_keeping(&storage, args.dry_run, rollbacks);
    if !args.dry_run {
        let log = || Ok(AuditLog::within(storage.store().agent().to_owned()));
        deeds(collected.as_ref().ok()).into_iter().for_each(|to| audited::tell(log(), "gc", to));
    }
    let report = collected.context("collect")?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the audit log is to have: each revision that is gone; else that only objects are, or that it failed.
fn deeds(report: Option<&GcReport>) -> Vec<Audited> {
    let Some(report) = report else { return vec![Audited { result: "failed", ..Audited::default() }] };
    let ok = Audited { result: "ok", ..Audited::default() };
    if report.revisions.is_empty() && !report.objects.is_empty() {
        return vec![Audited { what: Some(format!("{} objects", report.objects.len())), ..ok }];
    }
    report.revisions.iter().map(|gone| Audited { rev: Some(gone.name.to_string()), ..ok.clone() }).collect()
}

fn print(out: &mut impl Write, report: &GcReport) -> std::io::Result<()> {
    let done = if report.dry_run { "would remove" } else { "removed" };
    for kept in &report.kept {
        writeln!(out, "kept revision {} ({})", kept.name, kept.why)?;
    }
    for revision in &report.revisions {
        writeln!(out, "{done} revision {} ({} bytes)", revision.name, revision.bytes)?;
    }
    for object in &report.objects {
        writeln!(out, "{done} object {} ({} bytes)", object.id, object.bytes)?;
    }
    for name in &report.unreadable {
        writeln!(out, "kept all objects: the state of revision {name} cannot be read, so it might name any of them")?;
    }
    let (revisions, objects) = (report.revisions.len(), report.objects.len());
    writeln!(out, "{done} {revisions} revisions and {objects} objects, {} bytes", report.bytes)
}
