//! Arguments and environment as today's program takes them (`cli.md` §1), as clap wants them.
//!
//! The tables are the definitions of the commands themselves: which flags a command has, which are switches and which
//! are lists, is asked of them. To clap goes each flag once, in its long form, with its value in the same argument, and
//! the positional arguments behind `--`.
//!
//! - One dash or two, whatever the length: `-message x`, `--m x`. Short flags are not clustered.
//! - `--flag=value`, or the value in the next argument, whatever it begins with. A switch takes its value (`=false`) in
//!   the same argument only, and so does a flag that may stand without its value. Of several, the last counts; lists collect.
//! - Behind a command, flags and positional arguments may be mixed. Before one, the first that is no flag is the command.
//!   What stands behind `--` is positional.
//! - A flag wins over the environment, and that over the default. A list from the environment is parted at commas.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

/// Command (none: before all commands), its flag, the variable that stands in for the flag.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("", "access-token", "PVR_ACCESSTOKEN"),
    ("", "baseurl", "PVR_BASEURL"),
    ("", "cacert", "PVR_CACERT"),
    ("", "config-dir", "PVR_CONFIG_DIR"),
    ("", "debug", "PVR_DEBUG"),
    ("", "disable-self-upgrade", "PVR_DISABLE_SELF_UPGRADE"),
    ("", "http-proxy", "PVR_HTTP_PROXY"),
    ("", "insecure", "PVR_INSECURE"),
    ("", "no-index", "PVR_NO_INDEX"),
    ("", "quiet", "PVR_QUIET"),
    ("", "repo-baseurl", "PVR_REPO_BASEURL"),
    ("add", "raw", "PVR_ADD_RAW"),
    ("checkout", "canonical", "PVR_CANONICAL_JSON"),
    ("clone", "canonical", "PVR_CANONICAL_JSON"),
    ("clone", "objects", "PVR_OBJECTS_DIR"),
    ("init", "objects", "PVR_OBJECTS_DIR"),
    ("sig", "at", "PVR_SIG_AT"),
    ("sig", "cacerts", "PVR_SIG_CACERTS"),
    ("sig", "certs-url", "PVS_CERTS_URL"),
    ("sig", "key", "PVR_SIG_KEY"),
    ("sig", "output", "PVS_SIG_OUTPUT"),
    ("sig", "pubkey", "PVR_SIG_PUBKEY"),
    ("sig", "with-payload", "PVS_SIG_WITH_PAYLOAD"),
    ("sig", "x5c", "PVR_X5C_PATH"),
    ("sig ls", "part", "PVR_SIG_ADD_PART"),
    ("sig ls", "with-sigs", "PVR_SIG_LS_WITH_SIGS"),
];

/// Asks for completions, as the last argument.
const COMPLETE: &str = "--generate-bash-completion";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A command, with the program's name before it.
    Run(Vec<OsString>),
    /// Help, for the command at the end of this path.
    Help(Vec<String>),
    /// The version.
    Version,
    /// How the last of these could go on.
    Complete(Vec<OsString>),
}

/// What it cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A flag, on a command. Help for that command follows.
    Usage { path: Vec<String>, text: String },
    /// There is no such command.
    Topic(String),
    /// A variable.
    Variable(String),
}

/// Reads what was asked for. The first argument is the program's own name.
pub(super) fn read(
    root: &Command,
    args: impl Iterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Asked, Wrong> {
    let mut args: Vec<OsString> = args.collect();
    if args.last().is_some_and(|last| last == COMPLETE) {
        args.pop();
        return Ok(Asked::Complete(args));
    }
    let mut rest = args.into_iter();
    let mut level = Level { command: root, path: Vec::new() };
    let mut out: Vec<OsString> = rest.next().into_iter().collect();
    loop {
        let given = level.flags(&mut rest)?;
        if given.flags.get("help").is_some_and(Value::is_on) {
            return Ok(Asked::Help(level.path));
        }
        if level.path.is_empty() && given.flags.get("version").is_some_and(Value::is_on) {
            return Ok(Asked::Version);
        }
        level.write(given.flags, variable, &mut out)?;
        let mut positional = given.positional.into_iter();
        if !level.command.has_subcommands() {
            out.push("--".into());
            out.extend(positional);
            return Ok(Asked::Run(out));
        }
        let Some(name) = positional.next() else { return Ok(Asked::Help(level.path)) };
        let name = name.to_string_lossy().into_owned();
        if name == "help" || name == "h" {
            return topic(level, rest);
        }
        let Some(command) = level.command.find_subcommand(&name) else { return Err(Wrong::Topic(name)) };
        level.command = command;
        level.path.push(command.get_name().to_owned());
        out.push(command.get_name().into());
    }
}

/// `help`, with the command that it is about.
fn topic(mut level: Level<'_>, rest: impl Iterator<Item = OsString>) -> Result<Asked, Wrong> {
    for word in rest {
        let name = word.to_string_lossy();
        level.command = level.command.find_subcommand(&*name).ok_or_else(|| Wrong::Topic(name.clone().into_owned()))?;
        level.path.push(level.command.get_name().to_owned());
    }
    Ok(Asked::Help(level.path))
}

/// The name of a flag, as it was found.
struct Flag<'a> {
    /// Its long form.
    long: &'a str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Value,
    /// A value that may be left out.
    Optional,
    List,
}

/// What a flag was given.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Switch(bool),
    Texts(Vec<OsString>),
}

impl Value {
    fn is_on(&self) -> bool {
        matches!(self, Self::Switch(true))
    }
}

#[derive(Default)]
struct Given {
    flags: BTreeMap<String, Value>,
    positional: Vec<OsString>,
}

/// A command on the way from the program to what is asked for.
struct Level<'a> {
    command: &'a Command,
    path: Vec<String>,
}

impl<'a> Level<'a> {
    fn find(&self, name: &str) -> Option<Flag<'a>> {
        if matches!(name, "help" | "h") {
            return Some(Flag { long: "help", kind: Kind::Switch });
        }
        let mut args = self.command.get_arguments();
        let arg = args.find(|arg| long_names(arg).any(|n| n == name) || short_names(arg).any(|n| n == name))?;
        Some(Flag { long: arg.get_long()?, kind: kind(arg) })
    }

    /// Takes flags, and positional arguments: all of them, or the first one where that is a command.
    fn flags(&self, rest: &mut impl Iterator<Item = OsString>) -> Result<Given, Wrong> {
        let mut given = Given::default();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                // Before a command, what follows is still that command and its flags.
                let take = if self.command.has_subcommands() { 1 } else { usize::MAX };
                given.positional.extend(rest.take(take));
                break;
            }
            let Some(flag) = arg.as_bytes().strip_prefix(b"-").filter(|flag| !flag.is_empty()) else {
                given.positional.push(arg);
                if self.command.has_subcommands() {
                    break;
                }
                continue;
            };
            let flag = flag.strip_prefix(b"-").unwrap_or(flag);
            let (name, value) = match flag.iter().position(|byte| *byte == b'=') {
                Some(at) => (&flag[..at], Some(OsString::from_vec(flag[at + 1..].to_owned()))),
                None => (flag, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            if name.is_empty() || name.starts_with('-') {
                return Err(self.wrong(format!("bad flag syntax: {}", arg.to_string_lossy())));
            }
            let Some(found) = self.find(&name) else {
                return Err(self.wrong(format!("flag provided but not defined: -{name}")));
            };
            if found.kind == Kind::Switch {
                let on = match value {
                    None => true,
                    Some(value) => truth(&value).ok_or_else(|| {
                        let value = value.to_string_lossy();
                        self.wrong(format!("invalid boolean value {value:?} for -{name}: parse error"))
                    })?,
                };
                given.flags.insert(found.long.to_owned(), Value::Switch(on));
                continue;
            }
            if found.kind == Kind::Optional && value.is_none() {
                given.flags.insert(found.long.to_owned(), Value::Switch(true));
                continue;
            }
            let Some(value) = value.or_else(|| rest.next()) else {
                return Err(self.wrong(format!("flag needs an argument: -{name}")));
            };
            match given.flags.get_mut(found.long) {
                Some(Value::Texts(values)) if found.kind == Kind::List => values.push(value),
                _ => drop(given.flags.insert(found.long.to_owned(), Value::Texts(vec![value]))),
            }
        }
        Ok(given)
    }

    fn wrong(&self, text: String) -> Wrong {
        Wrong::Usage { path: self.path.clone(), text }
    }

    /// Writes the flags of this command, those from the environment among them.
    fn write(
        &self,
        mut flags: BTreeMap<String, Value>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        out: &mut Vec<OsString>,
    ) -> Result<(), Wrong> {
        let here = self.path.join(" ");
        for (_, long, name) in VARIABLES.iter().filter(|(command, ..)| *command == here) {
            let (Some(flag), Some(text)) = (self.find(long), variable(name)) else { continue };
            // Set to nothing: as if it were not set. Read as a value, it makes the current folder the one for settings.
            if text.is_empty() {
                continue;
            }
            let value = from_variable(flag.kind, &text).ok_or_else(|| self.no_truth(&text, flag.long, name))?;
            flags.entry(flag.long.to_owned()).or_insert(value);
        }
        for (long, value) in flags {
            match value {
                Value::Switch(false) => {}
                Value::Switch(true) => out.push(format!("--{long}").into()),
                Value::Texts(values) => out.extend(values.into_iter().map(|value| {
                    let mut text = OsString::from(format!("--{long}="));
                    text.push(value);
                    text
                })),
            }
        }
        Ok(())
    }

    /// Names the flag with all its names, and the variable.
    fn no_truth(&self, text: &OsStr, long: &str, variable: &str) -> Wrong {
        let text = text.to_string_lossy();
        let arg = self.command.get_arguments().find(|arg| arg.get_long() == Some(long));
        let names: Vec<String> = arg.into_iter().flat_map(|arg| long_names(arg).chain(short_names(arg))).collect();
        let names = names.join(", ");
        Wrong::Variable(format!("could not parse {text} as bool value for flag {names}: {variable} is true or false"))
    }
}

/// The value of a variable; none where a switch is neither on nor off.
fn from_variable(kind: Kind, text: &OsStr) -> Option<Value> {
    Some(match kind {
        Kind::Switch => Value::Switch(truth(text)?),
        Kind::Value | Kind::Optional => Value::Texts(vec![text.to_owned()]),
        Kind::List => {
            let parts = text.as_bytes().split(|byte| *byte == b',');
            Value::Texts(parts.map(|part| OsString::from_vec(part.trim_ascii().to_owned())).collect())
        }
    })
}

fn long_names(arg: &Arg) -> impl Iterator<Item = String> {
    let longs = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
    longs.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn short_names(arg: &Arg) -> impl Iterator<Item = String> {
    arg.get_short().into_iter().chain(arg.get_all_short_aliases().unwrap_or_default()).map(String::from)
}

fn kind(arg: &Arg) -> Kind {
    match arg.get_action() {
        ArgAction::SetTrue => Kind::Switch,
        ArgAction::Append => Kind::List,
        _ if arg.get_num_args().is_some_and(|count| count.min_values() == 0) => Kind::Optional,
        _ => Kind::Value,
    }
}

/// A switch in the spellings of today's program.
fn truth(text: &OsStr) -> Option<bool> {
    match text.to_str()? {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// How the last word could go on: commands, or flags where it begins with a dash.
pub(super) fn completions(root: &Command, words: &[OsString]) -> Vec<String> {
    let mut level = Level { command: root, path: Vec::new() };
    let (last, before) = match words.get(1..) {
        Some([before @ .., last]) => (last.to_string_lossy().into_owned(), before),
        _ => (String::new(), &[][..]),
    };
    let mut rest = before.iter().cloned();
    while level.command.has_subcommands()
        && let Ok(given) = level.flags(&mut rest)
        && let Some(name) = given.positional.first()
        && let Some(command) = level.command.find_subcommand(name)
    {
        level.command = command;
    }
    let mut found: Vec<String> = if last.starts_with('-') {
        let args = level.command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional());
        let longs = args.filter_map(Arg::get_long).map(|long| format!("--{long}"));
        longs.chain(["--help".to_owned()]).collect()
    } else {
        let commands = level.command.get_subcommands().filter(|command| !command.is_hide_set());
        let help = level.command.has_subcommands().then(|| "help".to_owned());
        commands.map(|command| command.get_name().to_owned()).chain(help).collect()
    };
    let bare = last.trim_start_matches('-');
    found.retain(|word| word.trim_start_matches('-').starts_with(bare));
    found.sort();
    found
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
