//! One page: a program, its flags, and all its commands with theirs.

use clap::{Arg, Command};

use super::built;
use super::roff::Roff;

/// What a page is made of, beside the definitions.
pub(super) struct Page {
    /// The program.
    pub(super) name: &'static str,
    /// Its commands.
    pub(super) definition: fn() -> Command,
    /// What its exit codes mean.
    pub(super) exit: &'static str,
    /// The files that it uses, and what for.
    pub(super) files: &'static [(&'static str, &'static str)],
}

impl Page {
    /// The page as `man` reads it. `others` are pages to read as well.
    pub(super) fn text(&self, others: &[&str]) -> String {
        let command = built(self.definition);
        let program = format!("pvr-agent {}", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::default();
        roff.order("TH", &[&self.name.to_uppercase(), "1", "", &program, "User Commands"]);
        roff.order("SH", &["NAME"]);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        roff.pieces(&[(false, self.name), (false, " - "), (false, &about)]);
        roff.order("SH", &["SYNOPSIS"]);
        let usage = usage(&command);
        let rest = usage.strip_prefix(self.name).unwrap_or(&usage);
        roff.pieces(&[(true, self.name), (false, rest)]);
        roff.order("SH", &["OPTIONS"]);
        command.get_arguments().filter(|arg| !arg.is_hide_set()).for_each(|arg| argument(&mut roff, arg));
        roff.order("SH", &["COMMANDS"]);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            sub_command(&mut roff, self.name, sub);
        }
        roff.order("SH", &["EXIT STATUS"]);
        roff.text(self.exit);
        roff.order("SH", &["FILES"]);
        for (file, what) in self.files {
            roff.order("TP", &[]);
            roff.pieces(&[(true, file)]);
            roff.text(what);
        }
        if !others.is_empty() {
            roff.order("SH", &["SEE ALSO"]);
            let mut names = Vec::new();
            for (at, name) in others.iter().enumerate() {
                names.extend([(false, if at > 0 { ", " } else { "" }), (true, *name), (false, "(1)")]);
            }
            roff.pieces(&names);
        }
        roff.finish()
    }
}

fn sub_command(roff: &mut Roff, program: &str, sub: &Command) {
    // Of `help`, clap has every command once more below it.
    let usage = match sub.get_name() {
        "help" => format!("{program} help [COMMAND]"),
        _ => usage(sub),
    };
    roff.order("SS", &[&usage]);
    let about = sub.get_long_about().or(sub.get_about()).map(ToString::to_string).unwrap_or_default();
    for (at, paragraph) in about.split("\n\n").enumerate() {
        if at > 0 {
            roff.order("PP", &[]);
        }
        roff.text(paragraph);
    }
    let aliases: Vec<&str> = sub.get_all_aliases().collect();
    if !aliases.is_empty() {
        roff.order("PP", &[]);
        roff.text(&format!("Also: {}.", aliases.join(", ")));
    }
    // Every command has --help: that is said once, above.
    let args = sub.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
    args.for_each(|arg| argument(roff, arg));
    if sub.get_name() != "help" {
        let below = sub.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
        below.for_each(|below| sub_command(roff, program, below));
    }
}

/// As the help has it, without the word before it.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:");
    usage.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn argument(roff: &mut Roff, arg: &Arg) {
    let takes_value = arg.get_action().takes_values();
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let values =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let mut head = Vec::new();
    for name in [&short, &long].into_iter().flatten() {
        if !head.is_empty() {
            head.push((false, ", "));
        }
        head.push((true, name.as_str()));
    }
    if takes_value {
        head.extend((!head.is_empty()).then_some((false, " ")));
        head.push((false, &values));
    }
    roff.order("TP", &[]);
    roff.pieces(&head);
    let mut text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    if arg.get_id() == "help" {
        text.push_str("; every command has this");
    }
    let possible: Vec<String> = match takes_value && !arg.is_hide_possible_values_set() {
        true => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
        false => Vec::new(),
    };
    if !possible.is_empty() {
        text.push_str(&format!(" [one of: {}]", possible.join(", ")));
    }
    if takes_value && !arg.get_default_values().is_empty() && !arg.is_hide_default_value_set() {
        let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        text.push_str(&format!(" [default: {}]", values.join(" ")));
    }
    roff.text(&text);
}
