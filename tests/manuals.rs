//! What the shells and `man` make of the scripts and pages that the program prints. The shells themselves are asked, and
//! somebody types.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod black_box;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use black_box::skip;
use pvr::{Home, program};
use terminal::Terminal;

/// A folder with the scripts, and with a `pvr` to call.
fn home() -> Home {
    let home = Home::new();
    home.write("bin/pvr", format!("#!/bin/sh\nexec {} pvr \"$@\"\n", program::shell()));
    fs::set_permissions(home.at("bin/pvr"), fs::Permissions::from_mode(0o755)).unwrap();
    for (shell, file) in [("bash", "pvr.bash"), ("zsh", "found/_pvr"), ("fish", "pvr.fish")] {
        home.write(file, home.pvr("", &["completion", shell]).code(0).out);
    }
    home
}

/// Another program, with our `pvr` before all others.
fn other(home: &Home, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(args).current_dir(home.at("")).env_clear();
    command.env("PATH", format!("{}:{path}", home.at("bin").display())).env("TERM", "vt100").env("PS1", "$ ");
    command.env("HOME", home.at("")).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Whether it is there; where it has to be, it is missed.
fn there_is(name: &str, test: &str) -> bool {
    let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        skip(test, &format!("there is no {name}"));
    }
    there
}

#[track_caller]
fn silent(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}

#[test]
fn shells_read_their_scripts() {
    let home = home();
    for (shell, check, file) in
        [("bash", "-n", "pvr.bash"), ("zsh", "-n", "found/_pvr"), ("fish", "--no-execute", "pvr.fish")]
    {
        if there_is(shell, "shells_read_their_scripts") {
            silent(&other(&home, shell, &[check, file]).output().unwrap());
            // That the shell would have said so.
            home.write("broken", format!("{}\nif (", home.read(file)));
            assert!(!other(&home, shell, &[check, "broken"]).output().unwrap().status.success(), "{shell}");
        }
    }
}

/// Types commands, each at its prompt, and then an unfinished command, a tab and a newline: it has to become the whole one.
fn complete_at_a_terminal(home: &Home, shell: &str, args: &[&str], before: &[&str]) {
    let mut terminal = Terminal::start(other(home, shell, args));
    let mut prompts = 1;
    for line in before {
        terminal.answer(prompts, "$ ", &format!("{line}; echo Read'y'\n"), false);
        terminal.answer(prompts, "Ready", "", false);
        prompts += 1;
    }
    // Several could be meant: the first tab says nothing or all of them, the second one all.
    terminal.answer(prompts, "$ ", "pvr com\t\t", false);
    terminal.answer(1, "completion", "\u{15}", false);
    assert!(terminal.screen().contains("commit"), "{}", terminal.screen());
    terminal.answer(1, "completion", "pvr --config-dir settings versi\t\n", false);
    terminal.answer(1, "pvr version 0.", "exit\n", false);
    let ran = terminal.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn bash_completes_what_is_typed() {
    if there_is("bash", "bash_completes_what_is_typed") {
        complete_at_a_terminal(&home(), "bash", &["--noprofile", "--norc", "-i"], &[". ./pvr.bash"]);
    }
}

/// As packages have it: zsh finds the file by its name, and runs it at the first tab.
#[test]
fn zsh_completes_what_is_typed() {
    if there_is("zsh", "zsh_completes_what_is_typed") {
        let compinit = "autoload -Uz compinit && compinit -u -D";
        let found = format!("fpath=($PWD/found $fpath) && {compinit}");
        complete_at_a_terminal(&home(), "zsh", &["-f", "-i"], &[&found]);
        complete_at_a_terminal(&home(), "zsh", &["-f", "-i"], &[compinit, ". ./found/_pvr"]);
    }
}

#[test]
fn fish_completes() {
    if !there_is("fish", "fish_completes") {
        return;
    }
    let home = home();
    for (typed, wanted) in [
        ("pvr com", "commit\ncompletion\n"),
        ("pvr commit --ch", "--checkpoint\n"),
        ("pvr --config-dir d versi", "version\n"),
        ("pvr ", "add\n"),
    ] {
        let script = format!("source pvr.fish; complete -C '{typed}'");
        let output = other(&home, "fish", &["--no-config", "-c", &script]).output().unwrap();
        silent(&output);
        let found = String::from_utf8(output.stdout).unwrap();
        assert!(found.starts_with(wanted), "{typed}: {found}");
    }
}

/// The pages, if the program has them: the one that cargo built has them if this test has.
fn pages() -> Option<Vec<String>> {
    let ask = |args: &[&str]| program::command().args(args).output().unwrap();
    let has = ask(&["man"]).status.success();
    assert!(has == cfg!(feature = "man") || std::env::var_os("PVR_AGENT_BIN").is_some());
    if !has {
        eprintln!("SKIPPED: the program was built without manual pages");
        return None;
    }
    let page = |name: &str| {
        let output = ask(&["man", name]);
        silent(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&["man"]).stdout, page("pvr-agent").into_bytes());
    assert_eq!(ask(&["man", "ls"]).status.code(), Some(2));
    Some(vec![page("pvr-agent"), page("pvr")])
}

#[test]
fn man_finds_nothing_wrong_with_the_pages() {
    let (home, Some(pages)) = (Home::new(), pages()) else { return };
    for page in pages {
        home.write("page", &page);
        if there_is("groff", "man_finds_nothing_wrong_with_the_pages") {
            let groff = |file| other(&home, "groff", &["-man", "-ww", "-Tutf8", "-P-cbou", file]).output().unwrap();
            let output = groff("page");
            silent(&output);
            let shown = String::from_utf8(output.stdout).unwrap();
            for heading in ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXIT STATUS", "FILES", "SEE ALSO"] {
                assert!(shown.contains(heading), "{heading}: {shown}");
            }
            // What is on the page for people is what the program's help has.
            assert!(shown.contains("--storage") || shown.contains("--no-index"), "{shown}");
            home.write("broken", page.clone() + "\\fBbold\\[nosuch]\n.NOSUCH\n");
            assert!(!groff("broken").stderr.is_empty(), "groff would have said so");
        }
        if there_is("man", "man_finds_nothing_wrong_with_the_pages") {
            silent(&other(&home, "man", &["--warnings", "-l", "page"]).env("MANPAGER", "cat").output().unwrap());
        }
    }
}
