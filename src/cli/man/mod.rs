//! `pvr-agent man`: the manual pages, from the definitions of the commands.
//!
//! Whoever has the program has its pages: `pvr-agent man pvr | man -l -`. The packages take them from here. Devices read no
//! manuals: the feature `man` is not in their builds.

mod page;
mod roff;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Command, CommandFactory};

use self::page::Page;

/// Every name that this program goes by. A further one is a further line.
const PAGES: &[Page] = &[
    Page {
        name: "pvr-agent",
        definition: super::Cli::command,
        exit: "0: yes, or done. 1: no, or there are findings. 2: it could not be told: usage, input or output.",
        files: &[
            ("/storage", "The storage of a device, if no other is named"),
            ("./pvroot", "The storage to try things on, which serve makes where there is no /storage"),
            ("/etc/pvr-sdk/config.json", "Where serve listens, if the running state does not say so"),
        ],
    },
    Page {
        name: "pvr",
        definition: super::pvr::definition,
        exit: "0: done. Everything else is a failure; which one, each command has its own numbers for. 1: usage, or a \
               failure without a number of its own. 3: there is no such command, or most failures of most commands.",
        files: &[
            (".pvr", "The repository of the current folder: the committed state and its settings"),
            ("~/.pvr", "What all repositories share: logins, settings and, if no other folder is named, objects"),
        ],
    },
];

/// Print a manual page
///
/// To read it: pvr-agent man pvr | man -l -
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The page
    #[arg(value_name = "PAGE", default_value = "pvr-agent", value_parser = names())]
    page: String,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(PAGES.iter().map(|page| page.name))
}

/// Writes a page to the standard output.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let page = PAGES.iter().find(|page| page.name == args.page).ok_or_else(|| anyhow!("there is no such page"))?;
    let others: Vec<&str> = PAGES.iter().map(|page| page.name).filter(|name| *name != page.name).collect();
    let mut out = io::stdout().lock();
    out.write_all(page.text(&others).as_bytes()).and_then(|()| out.flush()).context("write the page")?;
    Ok(ExitCode::SUCCESS)
}

/// A definition with everything that clap adds to it, as the help has it.
fn built(definition: fn() -> Command) -> Command {
    let mut command = definition();
    command.build();
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of a command, without markup, parted where a sub-command begins.
    fn plain(page: &Page) -> Vec<String> {
        let text = page.text(&[]).replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
        text.split("\n.SS ").map(str::to_owned).collect()
    }

    /// What of a command is not in its part of a page.
    fn missing(command: &Command, part: &str) -> Vec<String> {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
        let mut names = Vec::new();
        for arg in shown {
            names.extend(arg.get_long().map(|long| format!("--{long}")));
            names.extend(arg.get_short().map(|short| format!("-{short}")));
            names.extend(arg.get_value_names().filter(|_| arg.is_positional()).map(|names| names[0].to_string()));
            names.extend(arg.get_help().map(|help| help.to_string().split_whitespace().next().unwrap().to_owned()));
        }
        names.extend(command.get_all_aliases().map(str::to_owned));
        names.extend(command.get_about().map(|about| about.to_string().split('\n').next().unwrap().to_owned()));
        let lines = part.replace("\\(aq", "'");
        let bare = |name: &String| {
            lines.split(|c: char| c.is_whitespace() || ",=[]\"".contains(c)).any(|word| word == name)
                || lines.contains(name.as_str()) && !name.starts_with('-')
        };
        names.retain(|name| !bare(&name.replace('…', "\\[u2026]")));
        names
    }

    /// All that can be asked for below a command, each with the words that lead to it.
    fn below<'a>(command: &'a Command, words: &str, found: &mut Vec<(String, &'a Command)>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let words = format!("{words} {}", sub.get_name());
            if sub.get_name() != "help" {
                below(sub, &words, found);
            } else if words.split(' ').count() > 2 {
                continue; // of a group: said once, of the program
            }
            found.push((words, sub));
        }
    }

    #[test]
    fn every_command_and_every_flag_is_on_its_page() {
        for page in PAGES {
            let command = built(page.definition);
            let parts = plain(page);
            assert_eq!(missing(&command, &parts[0]), Vec::<String>::new(), "{}", page.name);
            let mut subs = Vec::new();
            below(&command, page.name, &mut subs);
            assert!(subs.len() > 3, "{}: {subs:?}", page.name);
            assert_eq!(parts.len(), subs.len() + 1, "{}", page.name);
            for (words, sub) in subs {
                let heads = [format!("\"{words}\"\n"), format!("\"{words} ")];
                let part = parts.iter().find(|part| heads.iter().any(|head| part.starts_with(head)));
                let part = part.unwrap_or_else(|| panic!("{words} has no part"));
                assert_eq!(missing(sub, part), Vec::<String>::new(), "{words}");
            }
        }
    }

    #[test]
    fn a_flag_that_is_not_on_the_page_is_seen() {
        let page = PAGES.iter().find(|page| page.name == "pvr").unwrap();
        let parts = plain(page);
        let commit = parts.iter().find(|part| part.starts_with("\"pvr commit")).unwrap();
        let definition = built(page.definition);
        let definition = definition.find_subcommand("commit").unwrap();
        assert_eq!(missing(definition, &commit.replace("--checkpoint", "")), ["--checkpoint"]);
        assert_eq!(missing(definition, &commit.replace("ci", "")), ["ci"]);
    }
}
