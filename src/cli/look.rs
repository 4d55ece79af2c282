//! `pvr-agent status`, `steps` and `rollback`: how the device is, what is on it, and back to what ran well.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{audited, place};
use crate::device::{Audited, Device, DeviceError, Step};
use crate::state::{Progress, Status, escape, escape_text};

/// Which device.
#[derive(clap::Args, Debug)]
pub struct Which {
    /// The storage [env: PVR_AGENT_STORAGE] [default: /storage, else ./pvroot]
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// The control socket of Pantavisor, or none; without, the first that is found, unless --storage names another than
    /// /storage [env: PVR_AGENT_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Which {
    fn device(&self) -> Result<Device> {
        place::device(self.socket.as_deref(), self.storage.as_deref(), super::limits::json()?)
    }
}

/// What runs, what failed and why, and how much room there is
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

/// The revisions of the device, the running one marked
#[derive(clap::Args, Debug)]
pub struct StepsArgs {
    #[command(flatten)]
    which: Which,
}

/// Go back to a revision that ran well
///
/// Through Pantavisor, it is run by way of a reboot. On a storage, only one without Pantavisor. Exits with 0, with 1 if there
/// is nothing to go back to, with 2 if it could not be done.
#[derive(clap::Args, Debug)]
pub struct RollbackArgs {
    /// The revision [default: the newest other rollback point]
    rev: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
}

/// A revision and what became of it.
struct Told {
    step: Step,
    status: String,
    message: String,
    failed: bool,
}

impl Told {
    fn new(step: Step) -> Self {
        let progress = step.progress.as_deref().and_then(Progress::parse);
        let (status, message, failed) = match progress {
            None => ("?".to_owned(), String::new(), false),
            Some(progress) => {
                let failed = matches!(progress.status, Status::Error | Status::WontGo);
                (progress.status.as_str().to_owned(), progress.status_msg, failed)
            }
        };
        Self { step, status, message, failed }
    }

    fn json(&self, running: Option<&str>) -> Value {
        json!({
            "name": self.step.name,
            "running": running == Some(self.step.name.as_str()),
            "date": self.step.date,
            "status": self.status,
            "status-msg": self.message,
            "commit-msg": self.step.commit_msg,
        })
    }
}

fn all(device: &Device) -> Result<Vec<Told>> {
    let steps = device.steps().context("list the revisions")?;
    Ok(steps.into_iter().map(Told::new).collect())
}

fn write_json(value: &Value) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

/// `status`
pub fn status(args: StatusArgs) -> Result<ExitCode> {
    let device = args.which.device()?;
    let status = device.status().context("ask the device how it is")?;
    let told = all(&device)?;
    let failed: Vec<_> = told.iter().filter(|told| told.failed).collect();
    let running = status.running.as_deref();
    let current = told.iter().find(|told| Some(told.step.name.as_str()) == running);
    if args.which.json {
        return write_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "backend": status.backend,
            "place": device.place().to_string_lossy(),
            "running": running,
            "state-sha": status.state_sha.map(|sha| sha.to_string()),
            "status": current.map(|told| &told.status),
            "status-msg": current.map(|told| &told.message),
            "update-in-progress": status.update,
            "installed": told.iter().map(|told| &told.step.name).collect::<Vec<_>>(),
            "serving": device.serving(),
            "failed": failed.iter().map(|told| told.json(running)).collect::<Vec<_>>(),
            "storage": {
                "total": status.space.total,
                "free": status.space.free,
                "reserved": status.space.reserved,
                "reclaimable": status.reclaimable,
            },
        }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "back end     {}, {}", status.backend, escape(&device.place().to_string_lossy()))?;
    let state = status.state_sha.map_or_else(|| "its state cannot be read".to_owned(), |sha| sha.to_string());
    match (running, current) {
        (None, _) => writeln!(out, "running      nothing that is known")?,
        (Some(name), None) => writeln!(out, "running      {}", escape(name))?,
        (Some(name), Some(told)) => {
            writeln!(out, "running      {}  {}  {}", escape(name), escape(&told.status), escape_text(&told.message))?;
        }
    }
    writeln!(out, "state        {state}")?;
    writeln!(out, "update       {}", status.update.as_deref().map_or("none".into(), escape))?;
    writeln!(out, "installed    {} revisions", told.len())?;
    for told in &failed {
        let name = escape(&told.step.name);
        writeln!(out, "failed       {name}  {}  {}", escape(&told.status), escape_text(&told.message))?;
    }
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let space = status.space;
    let usable = space.free.saturating_sub(space.reserved);
    writeln!(
        out,
        "room         {} MiB of {} MiB, {} more are reserved",
        mib(usable),
        mib(space.total),
        mib(space.reserved)
    )?;
    match device.serving() {
        Some(serving) => {
            writeln!(out, "served       by process {}: {}", serving.pid, escape_text(&serving.privileges.to_string()))?
        }
        None => writeln!(out, "served       by no pvr-agent serve")?,
    }
    match status.reclaimable {
        Some(bytes) => writeln!(out, "reclaimable  {} MiB (pvr-agent gc)", mib(bytes))?,
        None => writeln!(out, "reclaimable  nobody could look")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `steps`
pub fn steps(args: StepsArgs) -> Result<ExitCode> {
    let device = args.which.device()?;
    let running = match device.resolve("current") {
        Ok(name) => Some(name),
        Err(DeviceError::NoCurrent) => None,
        Err(error) => return Err(error).context("ask what runs"),
    };
    let told = all(&device)?;
    if args.which.json {
        return write_json(&told.iter().map(|told| told.json(running.as_deref())).collect());
    }
    let mut out = std::io::stdout().lock();
    let widest = told.iter().map(|told| told.step.name.chars().count()).max().unwrap_or(0);
    for told in &told {
        let mark = if running.as_ref() == Some(&told.step.name) { '*' } else { ' ' };
        let line = format!(
            "{mark} {:widest$}  {:11}  {}  {}",
            escape(&told.step.name),
            escape(&told.status),
            escape(&told.step.date),
            escape_text(told.step.commit_msg.lines().next().unwrap_or_default()),
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `rollback`
pub fn rollback(args: RollbackArgs) -> Result<ExitCode> {
    let device = args.which.device()?;
    let plan = match device.plan_rollback(args.rev.as_deref()) {
        Err(error @ (DeviceError::NoRollback(_) | DeviceError::NoSuchRevision(_))) => {
            eprintln!("ERROR: {error}");
            return Ok(ExitCode::from(1));
        }
        other => other.context("look for a revision to go back to")?,
    };
    if !args.dry_run {
        device.settle().context("clear up what others left")?;
        let done = device.rollback(&plan);
        let result = if done.is_ok() { "ok" } else { "failed" };
        let to = Audited { rev: Some(plan.to.clone()), result, ..Audited::default() };
        audited::tell(device.audit_log().map_err(std::io::Error::other), "rollback", to);
        done.with_context(|| format!("go back to revision {}", plan.to))?;
    }
    if args.which.json {
        return write_json(&json!({"from": plan.from, "to": plan.to, "dry-run": args.dry_run}));
    }
    let verb = if args.dry_run { "would go back to" } else { "went back to" };
    let from = plan.from.as_deref().map_or_else(String::new, |from| format!(" from {}", escape(from)));
    writeln!(std::io::stdout(), "{verb} {}{from}", escape(&plan.to))?;
    Ok(ExitCode::SUCCESS)
}
