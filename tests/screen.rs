//! What a terminal shows: a bar while something takes long, plain lines otherwise, and with `--quiet` only what was asked for.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;
#[path = "client/terminal.rs"]
mod terminal;

use std::fs;

use device::Device;
use pvr::{Home, Ran};
use terminal::Terminal;

const FRAME: &str = "\u{1b}[K";

/// Runs a command on a terminal, on which bars are drawn at once.
fn on_a_terminal(home: &Home, folder: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = home.command(&home.at(folder), args, &[("TERM", "xterm"), ("PVR_PROGRESS_AFTER", "0")]);
    command.envs(env.iter().copied());
    Terminal::start(command).end()
}

/// Commands that read or write files, with what their bar says; each leaves what the next one needs.
fn commands(device: &str) -> Vec<(&'static str, Vec<String>, &'static str)> {
    let words = |text: &str| text.split(' ').map(|word| word.replace("DEVICE", device)).collect::<Vec<_>>();
    vec![
        ("r", words("add"), "adding"),
        ("r", words("status"), "reading"),
        ("r", words("diff"), "reading"),
        ("r", words("json"), "reading"),
        ("r", words("commit"), "committing"),
        ("r", words("export ../x.tgz"), "exporting"),
        ("r", words("checkout"), "checking out"),
        ("r", words("fsck"), "checking"),
        ("r", words("import ../x.tgz"), "importing"),
        ("r", words("get ../x.tgz"), "getting"),
        ("r", words("merge ../x.tgz"), "getting"),
        ("", words("clone x.tgz c"), "checking out"),
        ("", words("deploy d x.tgz"), "deploying"),
        ("r", words("put ../c/.pvr"), "putting"),
        ("r", words("post --dry-run DEVICE"), "asking"),
        ("r", words("post DEVICE"), "waiting for the answer"),
        ("", words("clone DEVICE e"), "running"),
    ]
}

fn prepared() -> (Home, Device) {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.pvr("r", &["init"]).code(0);
    home.write("r/one", [7; 400_000]);
    home.write("r/x.json", "{}");
    (home, Device::plain(&[("far", &[9; 300_000])]))
}

#[test]
fn a_terminal_has_a_bar_that_goes_again() {
    let (home, device) = prepared();
    for (folder, args, what) in commands(&device.reference()) {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = on_a_terminal(&home, folder, &words, &[]).code(0);
        let drawn = ran.err.split('\r').any(|frame| frame.contains(what) && frame.contains(FRAME));
        assert!(drawn, "{args:?} draws nothing that says {what}: {:?}", ran.err);
        // The last thing that was done to the line is taking it away: nothing of a frame stands on the screen.
        let last = ran.err.rsplit('\r').find(|piece| piece.contains(FRAME)).unwrap();
        assert!(last.starts_with(FRAME), "{args:?} leaves its bar: {:?}", ran.err);
        assert!(!ran.err.contains("\u{1b}[3") && !ran.err.contains("\u{1b}[1"), "{args:?} has colours: {:?}", ran.err);
    }
}

#[test]
fn no_bar_where_none_belongs() {
    for (args, env) in
        [(&["--quiet"][..], &[][..]), (&["-q"], &[]), (&[], &[("PVR_QUIET", "1")]), (&[], &[("TERM", "dumb")])]
    {
        let (home, device) = prepared();
        for (folder, words, _) in commands(&device.reference()) {
            let all: Vec<&str> = args.iter().copied().chain(words.iter().map(String::as_str)).collect();
            let ran = on_a_terminal(&home, folder, &all, env).code(0);
            assert!(!ran.err.contains('\u{1b}'), "{all:?} {env:?}: {:?}", ran.err);
        }
    }
    // A pipe, with NO_COLOR and without: not one control character.
    let (home, device) = prepared();
    for (folder, words, _) in commands(&device.reference()) {
        let ran = home.run(folder, &words, &[("PVR_PROGRESS_AFTER", "0"), ("NO_COLOR", "1")]).code(0);
        let control = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        assert!(!control(&ran.out) && !control(&ran.err), "{words:?}: {ran:?}");
    }
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let (home, device) = prepared();
    home.write("r/twice.json", "{\"a\":1,\"a\":2}");
    home.pvr("r", &["-q", "add"]).code(0);
    let table: &[(&str, &[&str], &str, &str)] = &[
        ("r", &["status"], "A one\nA twice.json\nA x.json\n", "WARNING: "),
        ("r", &["commit"], "", "WARNING: "),
        ("r", &["checkout"], "", ""),
        ("r", &["export", "../x.tgz"], "", ""),
        ("r", &["import", "../x.tgz"], "", ""),
        ("r", &["get", "../x.tgz"], "", ""),
        ("", &["clone", "x.tgz", "c"], "", ""),
        ("", &["deploy", "d", "x.tgz"], "", ""),
        ("r", &["post", "DEVICE"], "", "Successfully posted Revision "),
        ("", &["clone", "DEVICE", "e"], "", ""),
        ("r", &["import", "../nosuch"], "", "failed to open "),
    ];
    for (folder, args, out, err) in table {
        let address = device.reference();
        let words =
            ["--quiet"].into_iter().chain(args.iter().map(|word| if *word == "DEVICE" { &address } else { *word }));
        let ran = home.pvr(folder, &words.collect::<Vec<_>>());
        assert_eq!(ran.out, *out, "{args:?}");
        assert!(ran.err.starts_with(err) && ran.err.is_empty() == err.is_empty(), "{args:?}: {ran:?}");
        assert!(ran.err.lines().count() <= 1, "{args:?}: {ran:?}");
    }
}
