//! `pvr-agent access`: who may do what over the network.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use super::pvr::prompt;
use super::{audited, place};
use crate::device::{AuditLog, Audited};
use crate::endpoint::access::{AccessError, AccountsFile, Credential, Scope};
use crate::state::{clock, escape};

/// Say who may do what over the network; without any account, everybody may do everything
///
/// Exits with 0, with 1 if there is no such account or already is one, with 2 if it could not be done.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Add a user, who logs in with a password
    Add(AddArgs),
    /// Make a token, which is shown once, for PVR_ACCESSTOKEN
    Token(TokenArgs),
    /// List the accounts
    Ls(Common),
    /// Remove an account; what was handed out to it ends at once
    Rm(RmArgs),
}

#[derive(clap::Args, Debug)]
struct Common {
    /// The storage of the device [env: PVR_AGENT_STORAGE] [default: /storage, else ./pvroot]
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// The control socket that serve works through, if it does [env: PVR_AGENT_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The folder of the accounts, as serve has it; without, .pvr-agent of the storage [env: PVR_AGENT_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Changing {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct AddArgs {
    /// Its name
    name: String,
    /// What it may do: read, deploy or admin
    #[arg(long)]
    scope: Scope,
    /// Take the password from the first line of this file, - for standard input; without, the terminal is asked
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// Let it in by a certificate alone (serve --client-ca)
    #[arg(long)]
    no_password: bool,
    /// Make it anew if it is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    changing: Changing,
}

#[derive(clap::Args, Debug)]
struct TokenArgs {
    /// Its name
    name: String,
    /// What it may do: read, deploy or admin
    #[arg(long)]
    scope: Scope,
    /// When it ends: 12h or 30d from now, a date (2027-01-31) or a time (2027-01-31T12:00:00Z) [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Make it anew if it is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    changing: Changing,
}

#[derive(clap::Args, Debug)]
struct RmArgs {
    /// Its name
    name: String,
    /// Even if it is the last one, so that everybody is let in
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    changing: Changing,
}

impl Common {
    fn file(&self) -> Result<AccountsFile> {
        let places = place::places(self.state_dir.as_deref(), None, None)?;
        if let Some(state) = places.state {
            return Ok(AccountsFile::within(state));
        }
        let device = place::device(self.socket.as_deref(), self.storage.as_deref(), super::limits::json()?)?;
        Ok(AccountsFile::within(device.accounts_folder()))
    }
}

/// Does it and says so.
pub fn run(args: Args) -> Result<ExitCode> {
    let done = match args.command {
        Command::Add(args) => add(args),
        Command::Token(args) => token(args),
        Command::Ls(common) => ls(&common),
        Command::Rm(args) => rm(&args),
    };
    match done {
        Err(error) if error.downcast_ref().is_some_and(AccessError::is_no) => {
            eprintln!("ERROR: {error:#}");
            Ok(ExitCode::from(1))
        }
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn add(args: AddArgs) -> Result<()> {
    let Changing { dry_run, common } = &args.changing;
    let file = common.file()?;
    let credential = match (&args.password_file, args.no_password) {
        (_, true) => Credential::Certificate,
        (Some(path), false) => Credential::Password(first_line(path)?),
        (None, false) => Credential::Password(asked(&args.name)?),
    };
    file.add(&args.name, args.scope, credential, args.replace, *dry_run)?;
    report(common, *dry_run, "added", &args.name, json!({"scope": args.scope.name()}), None, &file)
}

fn token(args: TokenArgs) -> Result<()> {
    let Changing { dry_run, common } = &args.changing;
    let file = common.file()?;
    let expires = args.expires.as_deref().map(|text| when(text, clock::seconds(clock::now()))).transpose()?;
    let token = file.add(&args.name, args.scope, Credential::Token(expires), args.replace, *dry_run)?;
    let token = token.filter(|_| !dry_run);
    let expires = expires.map(|seconds| clock::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)));
    let told = json!({"scope": args.scope.name(), "expires": expires, "token": token});
    report(common, *dry_run, "added", &args.name, told, token.as_deref(), &file)
}

fn rm(args: &RmArgs) -> Result<()> {
    let Changing { dry_run, common } = &args.changing;
    let file = common.file()?;
    file.remove(&args.name, args.open, *dry_run)?;
    report(common, *dry_run, "removed", &args.name, json!({}), None, &file)
}

fn ls(common: &Common) -> Result<()> {
    let file = common.file()?;
    let accounts = file.read()?;
    let all = accounts.as_ref().map(|accounts| accounts.all()).unwrap_or_default();
    let now = clock::seconds(clock::now());
    let mut out = io::stdout().lock();
    if common.json {
        let list = all.iter().map(|account| {
            json!({
                "name": account.name,
                "scope": account.scope.name(),
                "by": account.kind(),
                "created": account.created,
                "expires": account.expires,
                "ended": account.has_ended(now),
            })
        });
        let list: Vec<_> = list.collect();
        writeln!(out, "{}", json!({"file": file.path().to_string_lossy(), "open": list.is_empty(), "accounts": list}))?;
        return Ok(());
    }
    if all.is_empty() {
        writeln!(out, "no accounts in {}: everybody may do everything", shown(&file.path()))?;
    }
    for account in all {
        let ends = match &account.expires {
            None => String::new(),
            Some(when) if account.has_ended(now) => format!(", ended {when}"),
            Some(when) => format!(", until {when}"),
        };
        writeln!(
            out,
            "{:<24} {:<7} by {}, since {}{ends}",
            account.name,
            account.scope.name(),
            account.kind(),
            account.created
        )?;
    }
    Ok(())
}

/// What was done, or would be. A token goes to standard output alone, for a script to take.
fn report(
    common: &Common,
    dry_run: bool,
    done: &str,
    name: &str,
    more: serde_json::Value,
    token: Option<&str>,
    file: &AccountsFile,
) -> Result<()> {
    if !dry_run {
        let did = if done == "removed" { "access-rm" } else { "access-add" };
        let to = Audited { what: Some(name.to_owned()), result: "ok", ..Audited::default() };
        audited::tell(Ok(AuditLog::within(file.folder().to_owned())), did, to);
    }
    let mut out = io::stdout().lock();
    if common.json {
        let mut told = json!({done: name, "dry-run": dry_run, "file": file.path().to_string_lossy()});
        if let (Some(told), serde_json::Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        writeln!(out, "{told}")?;
        return Ok(());
    }
    let would = if dry_run { "would have " } else { "" };
    let line = format!("{would}{done} {name} in {}", shown(&file.path()));
    match token {
        Some(token) => {
            writeln!(io::stderr(), "{line}; this is its token, and it is not shown again:")?;
            writeln!(out, "{token}")?;
        }
        None => writeln!(out, "{line}")?,
    }
    Ok(())
}

/// The first line of a file, or of standard input, without its end.
fn first_line(path: &Path) -> Result<Vec<u8>> {
    const MOST: u64 = 4096;
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(MOST).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("read the password from '{}'", shown(path)))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// What is typed, twice.
fn asked(name: &str) -> Result<Vec<u8>> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for a password on\ngive --password-file FILE, or - for standard input");
    }
    let once = prompt::hidden(&format!("Password for {}: ", escape(name)))?;
    eprintln!();
    let twice = prompt::hidden("Once more: ")?;
    eprintln!();
    if once == twice { Ok(once.into_bytes()) } else { Err(anyhow!("these are two different passwords")) }
}

/// `12h`, `30d`, a date or a time, as seconds after 1970.
fn when(text: &str, now: u64) -> Result<u64> {
    let period = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        now.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)
    };
    let when = clock::parse_rfc3339(text).or_else(period).filter(|when| *when < 253_402_300_800);
    match when {
        None => bail!("'{}' is no time\nsay 12h, 30d, 2027-01-31 or 2027-01-31T12:00:00Z", escape(text)),
        Some(when) if when <= now => {
            bail!("{} is over already", clock::rfc3339(UNIX_EPOCH + Duration::from_secs(when)))
        }
        Some(when) => Ok(when),
    }
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_tokens() {
        let now = 1_800_000_000;
        for (text, want) in [
            ("12h", Some(now + 43_200)),
            ("30d", Some(now + 2_592_000)),
            ("2027-01-31", Some(1_801_353_600)),
            ("2027-01-31T12:00:00Z", Some(1_801_396_800)),
            ("0h", None),
            ("2020-01-01", None),
            ("2027-02-30", None),
            ("d", None),
            ("", None),
            ("30", None),
            ("30w", None),
            ("-1d", None),
            ("1é", None),
            ("99999999999999999d", None),
            ("9999999d", None),
        ] {
            assert_eq!(when(text, now).ok(), want, "{text}");
        }
    }
}
