//! `pvr`: the command line of today's program (`cli.md` §1–§8), one file for each command.
//!
//! Exit codes and streams are today's: a coded error is its text on stderr and its code; a plain one is `ERROR: …` and
//! 1. Where today's program hides a failure behind 0, this one does not.

mod access;
mod add;
mod checkout;
mod clone;
mod commit;
mod context;
mod deploy;
mod diff;
mod failure;
mod fastcopy;
mod get;
mod grammar;
mod init;
mod inspect;
mod json;
mod login;
mod post;
mod prompt;
mod put;
mod putobjects;
mod remoteinfo;
mod show;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::context::Context;
use self::failure::Failure;
use crate::state::escape;

/// Options that stand before the command.
#[derive(Debug, Parser)]
#[command(
    name = "pvr",
    about = "Repositories of Pantavisor states",
    disable_version_flag = true,
    infer_long_args = false,
    subcommand_required = false
)]
struct Pvr {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What all commands share.
#[derive(Debug, Clone, Default, Args)]
struct Globals {
    /// Access token for the endpoint [env: PVR_ACCESSTOKEN]
    #[arg(short = 'a', long, value_name = "TOKEN")]
    access_token: Option<String>,
    /// The API of the hub [env: PVR_BASEURL]
    #[arg(short = 'b', long, value_name = "URL")]
    baseurl: Option<String>,
    /// Where references like user/device live [env: PVR_REPO_BASEURL]
    #[arg(short = 'r', long, value_name = "URL")]
    repo_baseurl: Option<String>,
    /// Folder of what all repositories share [env: PVR_CONFIG_DIR] [default: ~/.pvr]
    #[arg(short = 'c', long, value_name = "DIR")]
    config_dir: Option<String>,
    /// The authorities (PEM) that may vouch for an https server, in place of those built in [env: PVR_CACERT,
    /// SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    cacert: Option<String>,
    /// Talk to any https server, whatever its certificate says [env: PVR_INSECURE]
    #[arg(short, long)]
    insecure: bool,
    /// Proxy for all requests; "system" takes http_proxy, https_proxy and no_proxy, "no" none [env: PVR_HTTP_PROXY]
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
    /// Show the heads of all requests and answers on stderr [env: PVR_DEBUG]
    #[arg(short, long)]
    debug: bool,
    /// Nothing replaces this program while it runs: accepted for scripts
    #[arg(long, hide = true)]
    disable_self_upgrade: bool,
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a repository of the current folder
    #[command(alias = "i")]
    Init(init::Args),
    /// Track files
    #[command(alias = "a")]
    Add(add::Args),
    /// Print the state of the working tree
    #[command(alias = "j")]
    Json(json::Args),
    /// Print the merge patch from the committed state to the working tree
    #[command(alias = "d")]
    Diff(diff::Args),
    /// List what differs from the committed state
    #[command(alias = "s")]
    Status(status::Args),
    /// Commit the working tree
    #[command(alias = "ci")]
    Commit(commit::Args),
    /// Print a committed state
    Inspect(inspect::Args),
    /// Post the committed state as a new revision
    #[command(alias = "po")]
    Post(post::Args),
    /// Put the committed state in place of another one
    #[command(aliases = ["p", "push"])]
    Put(put::Args),
    /// Send the objects of the committed state
    Putobjects(putobjects::Args),
    /// Print what a device or a server says about its repository
    #[command(alias = "ri")]
    Remoteinfo(remoteinfo::Args),
    /// Print the step that the state of a device belongs to
    Stepinfo(remoteinfo::Args),
    /// Copy parts of one device's state to another, without moving an object
    #[command(alias = "fcp")]
    Fastcopy(fastcopy::Args),
    /// Log in
    #[command(alias = "lo")]
    Login(login::Args),
    /// Forget a login
    Logout(login::Args),
    /// Say who is logged in where
    #[command(alias = "wai")]
    Whoami(login::Nothing),
    /// Get a state, or parts of one, from a device or another repository
    #[command(alias = "g")]
    Get(get::Args),
    /// Write the files of the committed state
    #[command(aliases = ["reset", "r", "co"])]
    Checkout(checkout::Args),
    /// Put the files of one or more repositories into a folder, as hardlinks, with what a boot loader needs
    Deploy(deploy::Args),
    /// Make a repository out of what a device runs, or of another repository
    #[command(alias = "c")]
    Clone(clone::Args),
}

/// Runs `pvr` with these arguments (without the program's own name).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = std::iter::once(OsString::from("pvr")).chain(grammar::rewrite(args));
    let parsed = match Pvr::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    if parsed.globals.version {
        return end(show::print(&format!("pvr version {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let Some(command) = parsed.command else {
        return end(show::print(&Pvr::command().render_help().to_string()));
    };
    end(Context::new(&parsed.globals).and_then(|context| dispatch(&context, command)))
}

fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Add(args) => add::run(context, &args),
        Command::Json(args) => json::run(context, &args),
        Command::Diff(args) => diff::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Commit(args) => commit::run(context, &args),
        Command::Inspect(args) => inspect::run(context, &args),
        Command::Post(args) => post::run(context, &args),
        Command::Put(args) => put::run(context, &args),
        Command::Putobjects(args) => putobjects::run(context, &args),
        Command::Remoteinfo(args) => remoteinfo::run(context, &args, remoteinfo::About::Remote),
        Command::Stepinfo(args) => remoteinfo::run(context, &args, remoteinfo::About::Step),
        Command::Fastcopy(args) => fastcopy::run(context, &args),
        Command::Login(args) => login::login(context, &args),
        Command::Logout(args) => login::logout(context, &args),
        Command::Whoami(_) => login::whoami(context),
        Command::Get(args) => get::run(context, &args),
        Command::Checkout(args) => checkout::run(context, &args),
        Command::Deploy(args) => deploy::run(context, &args),
        Command::Clone(args) => clone::run(context, &args),
    }
}

fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Usage errors as today: 3 for a command that there is not, 1 for the rest; help is no error.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => end(show::print(&error.render().to_string())),
        ErrorKind::InvalidSubcommand => {
            let name = match error.get(clap::error::ContextKind::InvalidSubcommand) {
                Some(clap::error::ContextValue::String(name)) => name.as_str(),
                _ => "",
            };
            Failure::coded(3, format!("No help topic for '{}'", escape(name))).report()
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Failure::plain(text.lines().map(escape).collect::<Vec<_>>().join("\n")).report()
        }
    }
}
