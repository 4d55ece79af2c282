//! Every rule of the grammar, on a small program of its own and on the real one.

use super::*;
use clap::CommandFactory;

/// `add` and `get` as leaves, `sig` as a group.
fn program() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let value = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
    let words = || Arg::new("words").action(ArgAction::Append);
    let list = value("include").action(ArgAction::Append);
    Command::new("pvr")
        .arg(value("config-dir").short('c'))
        .arg(switch("insecure").short('i'))
        .arg(switch("version").short('v'))
        .subcommand(Command::new("add").alias("a").arg(switch("raw").short('r')).arg(words()))
        .subcommand(
            Command::new("checkout")
                .arg(switch("hardlink").alias("hl"))
                .arg(switch("canonical").short('c'))
                .arg(words()),
        )
        .subcommand(
            Command::new("init")
                .arg(value("objects").short('o'))
                .arg(value("wait").num_args(0..=1).require_equals(true))
                .arg(words()),
        )
        .subcommand(
            Command::new("sig").arg(value("key").short('k')).subcommand(
                Command::new("add")
                    .arg(list)
                    .arg(value("message").short('m'))
                    .arg(switch("noconfig").short('n'))
                    .arg(words()),
            ),
        )
}

fn ask(line: &str, variables: &[(&str, &str)]) -> Result<Asked, Wrong> {
    let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
    let words = std::iter::once("pvr").chain(line.split(' ').filter(|word| !word.is_empty()));
    // `_` stands for a space.
    read(&program(), words.map(|word| OsString::from(word.replace('_', " "))), &find)
}

#[track_caller]
fn runs(line: &str, variables: &[(&str, &str)], wanted: &str) {
    match ask(line, variables) {
        Ok(Asked::Run(words)) => {
            let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy().replace(' ', "_")).collect();
            assert_eq!(words.join(" "), wanted, "{line}");
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn flags_and_positional_arguments() {
    for (line, wanted) in [
        ("add", "add --"),
        ("a x y", "add -- x y"),
        // Any number of letters behind one dash or two.
        ("add -raw x", "add --raw -- x"),
        ("add --r x", "add --raw -- x"),
        ("checkout -hl", "checkout --hardlink --"),
        ("checkout --hl", "checkout --hardlink --"),
        // Before, behind and between.
        ("add x -r y", "add --raw -- x y"),
        ("sig add x -m y z --include=b", "sig add --include=b --message=y -- x z"),
        // A switch does not take the word behind it.
        ("add -r x --raw", "add --raw -- x"),
        ("add --raw=false x", "add -- x"),
        ("add --raw=T x", "add --raw -- x"),
        // Of several the last counts; lists collect.
        ("add -r -raw=0 x", "add -- x"),
        ("init -o a --objects b", "init --objects=b --"),
        ("sig add -include a --include=b", "sig add --include=a --include=b --"),
        // A value may begin with a dash, hold an = and be nothing.
        ("init -o -x", "init --objects=-x --"),
        ("init -o -- x", "init --objects=-- -- x"),
        ("sig add -m=-comp_gzip", "sig add --message=-comp_gzip --"),
        ("sig add -m -comp_gzip x", "sig add --message=-comp_gzip -- x"),
        ("init -o=a=b", "init --objects=a=b --"),
        ("init -o=", "init --objects= --"),
        // One that may stand alone takes no word behind it.
        ("init -wait x", "init --wait -- x"),
        ("init x --wait=5", "init --wait=5 -- x"),
        ("init --wait --wait=5 --wait", "init --wait --"),
        // Behind -- everything is as it is.
        ("add -- -raw -- x", "add -- -raw -- x"),
        ("add x -- --raw", "add -- x --raw"),
        ("add -", "add -- -"),
        // Flags of the program and of a group stand before the command.
        ("-c d -insecure add -r", "--config-dir=d --insecure add --raw --"),
        ("--config-dir=d checkout -c", "--config-dir=d checkout --canonical --"),
        ("sig --key k add x", "sig --key=k add -- x"),
        ("-- add x", "add -- x"),
    ] {
        runs(line, &[], wanted);
    }
}

#[test]
fn the_environment_stands_between_a_flag_and_its_default() {
    for (line, variables, wanted) in [
        ("add x", &[("PVR_ADD_RAW", "1")][..], "add --raw -- x"),
        ("add x", &[("PVR_ADD_RAW", "False")], "add -- x"),
        ("add x", &[("PVR_ADD_RAW", "")], "add -- x"),
        ("add --raw=false x", &[("PVR_ADD_RAW", "1")], "add -- x"),
        ("add x", &[("PVR_CANONICAL_JSON", "1")], "add -- x"),
        ("checkout", &[("PVR_CANONICAL_JSON", "TRUE")], "checkout --canonical --"),
        ("init", &[("PVR_OBJECTS_DIR", "d")], "init --objects=d --"),
        ("init -o e", &[("PVR_OBJECTS_DIR", "d")], "init --objects=e --"),
        ("init -o=", &[("PVR_OBJECTS_DIR", "d")], "init --objects= --"),
        ("init", &[("PVR_OBJECTS_DIR", "")], "init --"),
        ("add", &[("PVR_CONFIG_DIR", "d"), ("PVR_INSECURE", "t")], "--config-dir=d --insecure add --"),
        ("-c e add", &[("PVR_CONFIG_DIR", "d")], "--config-dir=e add --"),
    ] {
        runs(line, variables, wanted);
    }
    let wrong = "could not parse maybe as bool value for flag insecure, i: PVR_INSECURE is true or false";
    assert_eq!(ask("add", &[("PVR_INSECURE", "maybe")]), Err(Wrong::Variable(wrong.to_owned())));
    // The command is another one, and so its variables are not looked at.
    runs("add", &[("PVR_CANONICAL_JSON", "maybe")], "add --");
}

#[test]
fn a_list_from_the_environment_is_parted_at_commas() {
    let texts = |words: &[&str]| Value::Texts(words.iter().map(OsString::from).collect());
    let value = from_variable(Kind::List, OsStr::new("a, b,c"));
    assert_eq!(value, Some(texts(&["a", "b", "c"])));
    let command = program();
    let group = command.find_subcommand("sig").and_then(|group| group.find_subcommand("add")).unwrap();
    let level = Level { command: group, path: vec!["sig".to_owned(), "add".to_owned()] };
    let mut out = Vec::new();
    // What has a flag is not parted.
    level.write([("include".to_owned(), texts(&["a", "b,c"]))].into(), &|_| None, &mut out).unwrap();
    assert_eq!(out, ["--include=a", "--include=b,c"]);
}

#[test]
fn what_is_wrong() {
    let usage = |path: &[&str], text: &str| {
        let path = path.iter().map(|word| (*word).to_owned()).collect();
        Err(Wrong::Usage { path, text: text.to_owned() })
    };
    for (line, wanted) in [
        ("sig add --key k", usage(&["sig", "add"], "flag provided but not defined: -key")),
        ("sig --include k add", usage(&["sig"], "flag provided but not defined: -include")),
        ("add x --nosuch=1", usage(&["add"], "flag provided but not defined: -nosuch")),
        ("-x add", usage(&[], "flag provided but not defined: -x")),
        // No clusters.
        ("sig add -nm x", usage(&["sig", "add"], "flag provided but not defined: -nm")),
        ("init -o", usage(&["init"], "flag needs an argument: -o")),
        ("add --raw=maybe", usage(&["add"], "invalid boolean value \"maybe\" for -raw: parse error")),
        ("add ---raw", usage(&["add"], "bad flag syntax: ---raw")),
        ("add --=x", usage(&["add"], "bad flag syntax: --=x")),
        ("frobnicate", Err(Wrong::Topic("frobnicate".to_owned()))),
        ("sig frobnicate", Err(Wrong::Topic("frobnicate".to_owned()))),
        ("help frobnicate", Err(Wrong::Topic("frobnicate".to_owned()))),
    ] {
        assert_eq!(ask(line, &[]), wanted, "{line}");
    }
}

#[test]
fn help_and_version() {
    let help = |path: &[&str]| Ok(Asked::Help(path.iter().map(|word| (*word).to_owned()).collect()));
    for (line, wanted) in [
        ("", help(&[])),
        ("help", help(&[])),
        ("h", help(&[])),
        ("-h", help(&[])),
        ("--help add", help(&[])),
        ("help a", help(&["add"])),
        ("add x -help", help(&["add"])),
        ("help sig add", help(&["sig", "add"])),
        ("sig", help(&["sig"])),
        ("sig help add", help(&["sig", "add"])),
        ("sig add -h", help(&["sig", "add"])),
        ("-v add", Ok(Asked::Version)),
        ("--version", Ok(Asked::Version)),
    ] {
        assert_eq!(ask(line, &[]), wanted, "{line}");
    }
    runs("add --help=false x", &[], "add -- x");
    runs("--version=false add", &[], "add --");
}

#[test]
fn completion() {
    let complete = |line: &str| match ask(line, &[]) {
        Ok(Asked::Complete(words)) => completions(&program(), &words).join(" "),
        other => panic!("{other:?}"),
    };
    for (line, wanted) in [
        ("--generate-bash-completion", "add checkout help init sig"),
        ("a --generate-bash-completion", "add"),
        ("--c --generate-bash-completion", "--config-dir"),
        ("- --generate-bash-completion", "--config-dir --help --insecure --version"),
        ("-c d sig a --generate-bash-completion", "add"),
        ("sig add -m --generate-bash-completion", "--message"),
        ("add x y --generate-bash-completion", ""),
    ] {
        assert_eq!(complete(line), wanted, "{line}");
    }
}

#[test]
fn every_variable_stands_for_a_flag_of_the_program() {
    let root = crate::cli::pvr::Pvr::command();
    for (path, flag, variable) in VARIABLES {
        let mut level = Level { command: &root, path: Vec::new() };
        for name in path.split_whitespace() {
            level.command = level.command.find_subcommand(name).unwrap_or_else(|| panic!("{variable}: no {name}"));
            assert_eq!(level.command.get_name(), name, "{variable}: an alias");
        }
        assert!(level.find(flag).is_some_and(|found| found.long == *flag), "{variable}: no --{flag} of pvr {path}");
    }
}

#[test]
fn every_flag_has_a_long_name_and_every_name_leads_to_one_command() {
    fn look(command: &Command) {
        let mut names = std::collections::BTreeSet::new();
        for sub in command.get_subcommands() {
            for name in std::iter::once(sub.get_name()).chain(sub.get_all_aliases()) {
                assert!(names.insert(name.to_owned()), "{} {name} is there twice", command.get_name());
            }
            look(sub);
        }
        let flags = command.get_arguments().filter(|arg| !arg.is_positional());
        flags.for_each(|arg| assert!(arg.get_long().is_some(), "{} {arg}", command.get_name()));
    }
    look(&crate::cli::pvr::Pvr::command());
}
