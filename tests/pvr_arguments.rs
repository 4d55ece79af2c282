//! How `pvr` reads its arguments and its environment, and what it says where it cannot. The real binary.

#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::os::unix::fs::symlink;

use pvr::{Home, program};

#[test]
fn an_unknown_flag_is_told_with_help_on_one_stream_and_the_error_on_the_other() {
    let home = Home::new();
    let ran = home.pvr("", &["add", "x", "--key", "k"]).code(1);
    assert_eq!(ran.err, "ERROR: flag provided but not defined: -key\n");
    assert!(ran.out.starts_with("Incorrect Usage: flag provided but not defined: -key\n\nTrack files\n"), "{ran:?}");
    let ran = home.pvr("", &["--nosuch", "add"]).code(1);
    assert!(ran.err == "ERROR: flag provided but not defined: -nosuch\n" && ran.out.contains("checkout"), "{ran:?}");
    let ran = home.pvr("", &["init", "-objects"]).code(1);
    assert_eq!(ran.err, "ERROR: flag needs an argument: -objects\n");
    assert_eq!(home.pvr("", &["add", "-\u{1b}[2J"]).code(1).err, "ERROR: flag provided but not defined: -\\u{1b}[2J\n");
}

/// The inventory of today's program, as far as it is here: each name leads to its command, which has these flags.
#[test]
fn every_command_alias_and_flag_of_todays_program_is_here() {
    let home = Home::new();
    let same = |name: &str| home.pvr("", &[name, "--help"]).code(0).out;
    for (command, aliases, flags) in [
        ("init", &["i"][..], &["-o", "--objects", "-s", "--spec"][..]),
        ("add", &["a"], &["-r", "--raw"]),
        ("json", &["j"], &["-c", "--canonical"]),
        ("diff", &["d"], &["--json"]),
        ("status", &["s"], &["--json"]),
        ("commit", &["ci"], &["-m", "--message", "-c", "--checkpoint", "--dry-run"]),
        ("put", &["p", "push"], &["-f", "--force", "--dry-run"]),
        ("post", &["po"], &["-e", "--envelope", "-m", "--commit-msg", "--rev", "-f", "--force", "--dry-run", "--json"]),
        ("putobjects", &[], &["-f", "--force"]),
        ("get", &["g"], &["--dry-run", "--json"]),
        ("merge", &["m"], &["--dry-run", "--json"]),
        ("inspect", &[], &["-c", "--canonical"]),
        ("remoteinfo", &["ri"], &["-c", "--canonical"]),
        ("stepinfo", &[], &["-c", "--canonical"]),
        ("deploy", &[], &["-n", "--nomerge", "--clean", "--dry-run", "--json"]),
        ("checkout", &["reset", "r", "co"], &["--hardlink", "-c", "--canonical"]),
        ("clone", &["c"], &["-o", "--objects", "-c", "--canonical", "-s", "--spec", "--json"]),
        ("fastcopy", &["fcp"], &["-e", "--envelope", "-m", "--commit-msg", "--rev", "--merge"]),
        ("export", &[], &["-p", "--parts", "--json"]),
        ("import", &[], &["--dry-run", "--json"]),
        ("global-config", &[], &[]),
        ("completion", &["com"], &[]),
        ("version", &[], &[]),
        ("self-upgrade", &[], &[]),
        ("login", &["lo"], &[]),
        ("whoami", &["wai"], &[]),
    ] {
        let help = same(command);
        aliases.iter().for_each(|alias| assert_eq!(same(alias), help, "{alias}"));
        for flag in flags {
            let words = help.split(|c: char| c.is_whitespace() || c == ',');
            assert!(words.into_iter().any(|word| word == *flag), "{command} {flag}: {help}");
        }
    }
    let help = same("--help");
    for flag in [
        "-a",
        "--access-token",
        "-b",
        "--baseurl",
        "--http-proxy",
        "-r",
        "--repo-baseurl",
        "-c",
        "--config-dir",
        "-d",
        "--debug",
        "-i",
        "--insecure",
        "-q",
        "--quiet",
    ] {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag},")), "{flag}: {help}");
    }
    // Taken, and of no effect: said by no help.
    home.pvr("", &["--disable-self-upgrade", "version"]).code(0);
    home.pvr("", &["co", "-hl", "--help"]).code(0);
    home.pvr("", &["fcp", "--force", "--help"]).code(0);
}

#[test]
fn help_and_version_need_no_home() {
    let home = Home::new();
    let alone = [("HOME", "/nonexistent/x")];
    for args in [&["help", "commit"][..], &["commit", "-h"], &["ci", "x", "--help"]] {
        let ran = home.run("", args, &alone).code(0);
        assert!(ran.out.contains("--checkpoint") && ran.err.is_empty(), "{ran:?}");
    }
    for args in [&["--version"][..], &["-v"], &["-version", "status"]] {
        let ran = home.run("", args, &alone).code(0);
        assert_eq!(ran.out, format!("pvr version {}\n", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(home.pvr("", &["help", "nosuch"]).code(3).err, "No help topic for 'nosuch'\n");
}

#[test]
fn variables() {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.run("r", &["init"], &[("PVR_OBJECTS_DIR", "pool")]).code(0);
    assert!(home.read("r/.pvr/config").contains("/r/pool\""), "{}", home.read("r/.pvr/config"));
    home.write("r/x.json", "{}");
    home.run("r", &["add"], &[("PVR_ADD_RAW", "t")]).code(0);
    assert!(home.read("r/.pvr/new").contains("\"ForceObject\":true"));
    home.run("r", &["add", "--raw=false"], &[("PVR_ADD_RAW", "t")]).code(0);
    assert!(home.read("r/.pvr/new").contains("\"ForceObject\":false"));
    let ran = home.run("r", &["add"], &[("PVR_ADD_RAW", "perhaps")]).code(1);
    assert!(ran.err.starts_with("ERROR: could not parse perhaps as bool value for flag raw, r: "), "{ran:?}");
}

/// A folder for settings that was set to nothing put the pool into the working tree.
#[test]
fn settings_that_are_set_to_nothing_went_into_the_current_folder() {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.run("r", &["init"], &[("PVR_CONFIG_DIR", ""), ("PVR_OBJECTS_DIR", "")]).code(0);
    let pool = home.object("").display().to_string();
    assert!(home.read("r/.pvr/config").contains(pool.trim_end_matches('/')), "{}", home.read("r/.pvr/config"));
}

/// `pvr post -f URL --rev 3` took the flag behind the address for another address.
#[test]
fn a_switch_before_an_argument_ended_the_flags() {
    let home = Home::new();
    home.repo(&[("a", b"a")]);
    home.write("r/x.json", "{}");
    home.pvr("r", &["add", "-r", "x.json", "--raw=0"]).code(0);
    assert!(home.read("r/.pvr/new").contains("\"ForceObject\":false"));
    home.pvr("r", &["commit", "-checkpoint", "-m", "-comp gzip"]).code(0);
    assert_eq!(home.read("r/.pvr/commitmsg"), "-comp gzip");
}

#[test]
fn global_settings() {
    let home = Home::new();
    let usual = "{\n    \"Spec\": \"1\",\n    \"AutoUpgrade\": true,\n    \"DistributionTag\": \"develop\"\n}\n";
    assert_eq!(home.pvr("", &["global-config"]).code(0).out, usual);
    home.pvr("", &["global-config", "AutoUpgrade=false", "DistributionTag=stable"]).code(0);
    let set = usual.replace("true", "false").replace("develop", "stable");
    assert_eq!(home.pvr("", &["global-config"]).code(0).out, set);
    home.pvr("", &["global-config", "AutoUpgrade=perhaps"]).code(2).says("AutoUpgrade is true or false, not perhaps");
    home.pvr("", &["global-config", "nosuch=1"]).code(0).says("there is no setting nosuch");
    home.pvr("", &["global-config", "word"]).code(2).says("word is not NAME=VALUE");
    assert_eq!(home.pvr("", &["global-config"]).code(0).out, set);
}

#[test]
fn nothing_replaces_the_program() {
    let home = Home::new();
    let before = fs::read(program::path()).unwrap();
    assert!(home.pvr("", &["self-upgrade"]).code(0).out.contains("does not replace itself"));
    assert_eq!(fs::read(program::path()).unwrap(), before);
}

/// The shell itself says whether it can read what it is given, and what it then completes.
#[test]
fn a_shell_completes_commands_and_flags() {
    let home = Home::new();
    symlink(program::path(), home.at("pvr")).unwrap();
    let script = home.pvr("", &["completion"]).code(0).out;
    assert_eq!(home.pvr("", &["completion", "bash"]).code(0).out, script);
    home.write("complete.bash", script);
    let complete = |words: &str| {
        let script = format!(
            ". ./complete.bash; pvr() {{ {} pvr \"$@\"; }}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _pvr_complete; echo \"${{COMPREPLY[*]}}\"",
            program::shell()
        );
        // A shell, not the program: what the program is told to run as stands in its script.
        let mut shell = std::process::Command::new("bash");
        let output = shell.args(["-c", &script]).current_dir(home.at("")).env("HOME", home.at("")).output();
        let output = match output {
            Ok(output) => output,
            // A machine without bash has nothing to complete for.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{error}"),
        };
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    };
    for (words, wanted) in [
        ("pvr sta", "status\n"),
        ("pvr commit --ch", "--checkpoint\n"),
        ("pvr --config-dir d com", "commit completion\n"),
    ] {
        assert!(complete(words).is_none_or(|found| found == wanted), "{words}: {:?}", complete(words));
    }
    for (shell, wanted) in
        [("zsh", "compdef _pvr_complete pvr; fi\n"), ("fish", "complete -c pvr -a '(__pvr_complete)'\n")]
    {
        assert!(home.pvr("", &["completion", shell]).code(0).out.ends_with(wanted));
    }
}
