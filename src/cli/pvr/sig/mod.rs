//! `pvr sig`: signatures of the committed state (`sig-dm.md` part 1).
//!
//! What a run needs besides its command stands before that: `pvr sig --key F add --part app`.

mod add;
mod check;
mod keys;
mod ls;
mod made;
mod update;

use std::path::PathBuf;

use clap::Subcommand;

use super::context::Context;
use super::failure::Failure;
use crate::repo::Run;
use crate::state::{clock, escape};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    group: Group,
    #[command(subcommand)]
    command: Command,
}

/// What stands before the command.
#[derive(Debug, clap::Args)]
struct Group {
    /// The private key to sign with, PEM [env: PVR_SIG_KEY] [default: pvs/key.default.pem in the config folder]
    #[arg(short, long, value_name = "FILE")]
    key: Option<String>,
    /// The certificates that go into the header, PEM, the signer's first; "no" for none [env: PVR_X5C_PATH]
    /// [default: pvs/x5c.default.pem in the config folder]
    #[arg(short, long, value_name = "FILE")]
    x5c: Option<String>,
    /// Verify with these public keys, PEM, and believe no certificates [env: PVR_SIG_PUBKEY]
    #[arg(short, long, value_name = "FILE")]
    pubkey: Option<String>,
    /// The certificates that are trusted, PEM; "_system_" for those that this system trusts [env: PVR_SIG_CACERTS]
    /// [default: pvs/cacerts.default.pem in the config folder]
    #[arg(short, long, value_name = "FILE")]
    cacerts: Option<String>,
    /// Where the developer keys come from, should they be missing and wanted [env: PVS_CERTS_URL]
    #[arg(long, value_name = "URL")]
    certs_url: Option<String>,
    /// Keep what is signed in the signature, or show it [env: PVS_SIG_WITH_PAYLOAD]
    #[arg(long)]
    with_payload: bool,
    /// Write the signature to this file as well; "-" for standard output [env: PVS_SIG_OUTPUT]
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
    /// Verify certificates as of this time, 2027-01-01T00:00:00Z or 2027-01-01, instead of now [env: PVR_SIG_AT]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign a part of the committed state, or what patterns select
    #[command(alias = "a")]
    Add(add::Args),
    /// Sign again what signatures cover
    #[command(alias = "up")]
    Update(update::Args),
    /// Verify signatures, and list what they cover
    Ls(ls::Args),
    /// Say whether a device would take a state, by its signatures
    Check(check::Args),
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let group = &args.group;
    match &args.command {
        Command::Add(args) => add::run(context, group, args),
        Command::Update(args) => update::run(context, group, args),
        Command::Ls(args) => ls::run(context, group, args),
        Command::Check(args) => check::run(context, group, args),
    }
}

impl Group {
    /// The second from 1970 at which certificates have to be valid.
    fn time(&self) -> Result<i64, Failure> {
        let seconds = match given(&self.at) {
            None => Some(clock::seconds(clock::now())),
            Some(text) => clock::parse_rfc3339(text),
        };
        seconds.and_then(|seconds| i64::try_from(seconds).ok()).ok_or_else(|| {
            let given = self.at.as_deref().unwrap_or_default();
            Failure::plain(format!("--at: \"{}\" is no time such as 2027-01-01T00:00:00Z or 2027-01-01", escape(given)))
        })
    }

    /// Puts a signature where `--output` says, if it says so. A dry run makes no file of it.
    fn also(&self, context: &Context, text: &str, run: Run, code: u8) -> Result<(), Failure> {
        match given(&self.output) {
            None => Ok(()),
            Some("-") => super::show::print(text),
            Some(_) if run == Run::Dry => Ok(()),
            Some(path) => {
                crate::repo::write_elsewhere(&context.cwd.join(path), text).map_err(|error| Failure::coded(code, error))
            }
        }
    }
}

/// What a flag was given. Nothing at all is what a script has whose variable is not set.
fn given(flag: &Option<String>) -> Option<&str> {
    flag.as_deref().filter(|text| !text.is_empty())
}

/// A path as a command was given it.
fn file(context: &Context, given: &str) -> PathBuf {
    context.cwd.join(given)
}
