//! `pvr`: the command line of today's program (`cli.md` §1–§8), one file for each command.
//!
//! Exit codes and streams are today's: a coded error is its text on stderr and its code; a plain one is `ERROR: …` and
//! 1. Where today's program hides a failure behind 0, this one does not.

mod access;
mod add;
mod checkout;
mod clone;
mod commit;
mod completion;
mod context;
mod deploy;
mod diff;
mod dm_apply;
mod dm_convert;
mod dm_info;
mod dm_verify;
mod export;
mod failure;
mod fastcopy;
mod following;
mod fsck;
mod get;
mod global_config;
mod grammar;
mod import;
mod init;
mod inspect;
mod json;
mod login;
mod merge;
mod post;
pub(super) mod prompt;
mod put;
mod putobjects;
mod remoteinfo;
mod report;
mod screen;
mod self_upgrade;
mod sending;
mod show;
mod sig;
mod status;
mod version;
mod working;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::context::Context;
use self::failure::Failure;
use self::grammar::{Asked, Wrong};
use crate::state::escape;

/// Options that stand before the command.
#[derive(Debug, Parser)]
#[command(name = "pvr", about = "Repositories of Pantavisor states", disable_version_flag = true)]
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
    /// Read every file again, also those that have not changed since [env: PVR_NO_INDEX]
    #[arg(long)]
    no_index: bool,
    /// Proxy for all requests; "system" takes http_proxy, https_proxy and no_proxy, "no" none [env: PVR_HTTP_PROXY]
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
    /// Show the heads of all requests and answers on stderr [env: PVR_DEBUG]
    #[arg(short, long)]
    debug: bool,
    /// Only results, warnings and errors: neither bars nor lines about single steps [env: PVR_QUIET]
    #[arg(short, long)]
    quiet: bool,
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
    /// Lay a state, or parts of one, over the committed state
    #[command(alias = "m")]
    Merge(merge::Args),
    /// Write the committed state and its objects into one file
    Export(export::Args),
    /// Take an export for the committed state
    Import(import::Args),
    /// Check the repository and its pool
    Fsck(fsck::Args),
    /// Write the files of the committed state
    #[command(aliases = ["reset", "r", "co"])]
    Checkout(checkout::Args),
    /// Put the files of one or more repositories into a folder, as hardlinks, with what a boot loader needs
    Deploy(deploy::Args),
    /// Make a volume of a container one of dm-verity: hash tree, manifest, run.json
    #[command(alias = "dmc")]
    DmConvert(dm_convert::Args),
    /// Make the hash trees of dm-verity volumes again
    #[command(alias = "dma")]
    DmApply(dm_apply::Args),
    /// Check dm-verity volumes against their hash trees and manifests
    DmVerify(dm_verify::Args),
    /// Print what dm-verity volumes are made with
    DmInfo(dm_info::Args),
    /// Make a repository out of what a device runs, or of another repository
    #[command(alias = "c")]
    Clone(clone::Args),
    /// Sign the committed state, or parts of it, and verify signatures
    Sig(Box<sig::Args>),
    /// Print or set what all repositories share
    GlobalConfig(global_config::Args),
    /// Print a script that completes commands and flags in a shell
    #[command(alias = "com")]
    Completion(completion::Args),
    /// Say how to upgrade
    SelfUpgrade(self_upgrade::Args),
    /// Print the version
    Version(version::Args),
}

/// The commands of `pvr` and their flags.
pub fn definition() -> clap::Command {
    Pvr::command()
}

/// Runs `pvr` with these arguments (without the program's own name).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = std::iter::once(OsString::from("pvr")).chain(args);
    let root = Pvr::command();
    match grammar::read(&root, args, &|name| std::env::var_os(name)) {
        Ok(Asked::Run(words)) => match Pvr::try_parse_from(words) {
            Ok(Pvr { globals, command: Some(command) }) => {
                end(Context::new(&globals).and_then(|context| dispatch(&context, command)))
            }
            Ok(_) => end(show::print(&help(&[]))),
            Err(error) => usage(&error),
        },
        Ok(Asked::Help(path)) => end(show::print(&help(&path))),
        Ok(Asked::Version) => end(version::run()),
        Ok(Asked::Complete(words)) => {
            let words = grammar::completions(&root, &words);
            end(show::print(&words.iter().map(|word| format!("{word}\n")).collect::<String>()))
        }
        Err(Wrong::Usage { path, text }) => {
            let text = escape(&text);
            let said = format!("Incorrect Usage: {text}\n\n{}", help(&path));
            end(show::print(&said).and(Err(Failure::plain(text))))
        }
        Err(Wrong::Topic(name)) => end(Err(Failure::coded(3, format!("No help topic for '{}'", escape(&name))))),
        Err(Wrong::Variable(text)) => end(Err(Failure::plain(escape(&text)))),
    }
}

/// Help for the command at the end of `path`.
fn help(path: &[String]) -> String {
    let mut root = Pvr::command();
    root.build();
    // The path was found in the same tree.
    let command = path.iter().try_fold(&root, |command, name| command.find_subcommand(name));
    command.cloned().unwrap_or_default().render_help().to_string()
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
        Command::Merge(args) => merge::run(context, &args),
        Command::Export(args) => export::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Fsck(args) => fsck::run(context, &args),
        Command::Checkout(args) => checkout::run(context, &args),
        Command::Deploy(args) => deploy::run(context, &args),
        Command::DmConvert(args) => dm_convert::run(context, &args),
        Command::DmApply(args) => dm_apply::run(context, &args),
        Command::DmVerify(args) => dm_verify::run(context, &args),
        Command::DmInfo(args) => dm_info::run(context, &args),
        Command::Clone(args) => clone::run(context, &args),
        Command::Sig(args) => sig::run(context, &args),
        Command::GlobalConfig(args) => global_config::run(context, &args),
        Command::Completion(args) => completion::run(&args),
        Command::SelfUpgrade(_) => self_upgrade::run(),
        Command::Version(_) => version::run(),
    }
}

fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What the grammar lets pass and clap does not: a flag that must be there, a value that is none.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    Failure::plain(text.lines().map(escape).collect::<Vec<_>>().join("\n")).report()
}
