//! Nothing is added that no target runs: every file of `tests/` is in `cross/capabilities.txt`, as a test of the program,
//! which `cross/test.sh` then runs for each target, or as one of the library, with a reason.
//!
//! Which of the two a file is, is read from its text: a test of the program takes it from `tests/program`. Nothing else
//! names a binary, so none can be tested by mistake. A second test feeds the checker what it has to find.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every one of them is a promise.
const TARGETS: [&str; 8] = [
    "armv7-unknown-linux-musleabihf",
    "arm-unknown-linux-musleabihf",
    "armv5te-unknown-linux-musleabi",
    "aarch64-unknown-linux-musl",
    "mipsel-unknown-linux-musl",
    "mips-unknown-linux-musl",
    "riscv64gc-unknown-linux-musl",
    "x86_64-unknown-linux-musl",
];
/// Of the first of them: 2.0 MiB without TLS, 2.5 MiB with, now that signatures, volumes and transactions are in.
const ARMV7: [u64; 2] = [2_097_152, 2_621_440];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The lines of a list, without comments, as words.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty())
}

/// Everything that is wrong with the list. `files` says of each test whether it runs the program.
fn check(list: &str, files: &BTreeMap<String, bool>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for words in lines(list) {
        let name = words[0];
        if !seen.insert(name) {
            wrong.push(format!("{name} is there twice"));
        }
        match (files.get(name), words.get(1).copied().unwrap_or_default()) {
            (None, _) => wrong.push(format!("{name} is no file of tests/")),
            (Some(true), "smoke" | "program" | "machine") | (Some(false), "library") => {}
            (Some(true), _) => wrong.push(format!("{name} runs the program: `program` or `smoke`")),
            (Some(false), _) => wrong.push(format!("{name} does not run the program: `library`, and the reason")),
        }
        if matches!(words.get(1), Some(&"library" | &"machine")) != (words.len() > 2) {
            wrong.push(format!("{name}: a reason belongs to `library` and `machine`, and to nothing else"));
        }
    }
    let missing = files.keys().filter(|name| !seen.contains(name.as_str()));
    wrong.extend(missing.map(|name| format!("{name} runs on no target: it is not in cross/capabilities.txt")));
    wrong
}

/// The files that a test consists of: its own, and those of its modules.
fn parts(file: PathBuf, found: &mut BTreeSet<PathBuf>) {
    let text = fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    let folder = file.parent().expect("a folder").to_path_buf();
    if !found.insert(file) {
        return;
    }
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(told) = line.strip_prefix("#[path = \"") {
            path = told.strip_suffix("\"]").map(|told| folder.join(told));
        } else if let Some(name) =
            line.trim_start_matches("pub ").strip_prefix("mod ").and_then(|l| l.strip_suffix(';'))
        {
            let usual = || [format!("{name}.rs"), format!("{name}/mod.rs")].map(|file| folder.join(file));
            let file = path.take().or_else(|| usual().into_iter().find(|file| file.exists()));
            let file = file.unwrap_or_else(|| panic!("no file for `{line}` in {}", folder.display()));
            parts(file.canonicalize().unwrap_or_else(|err| panic!("{}: {err}", file.display())), found);
        }
    }
}

/// Every test, and whether it runs the program.
fn files() -> BTreeMap<String, bool> {
    let program = top().join("tests/program/mod.rs").canonicalize().expect("tests/program");
    let entries = fs::read_dir(top().join("tests")).expect("list tests/");
    let tests = entries.map(|entry| entry.expect("an entry").path());
    tests
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let mut found = BTreeSet::new();
            parts(path.canonicalize().expect("a test"), &mut found);
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), found.contains(&program))
        })
        .collect()
}

#[test]
fn every_test_is_for_every_target_or_says_why_not() {
    let files = files();
    let running = files.values().filter(|runs| **runs).count();
    assert!(files.len() > 20 && running > 10, "these are not all tests: {files:?}");
    let wrong = check(&read("cross/capabilities.txt"), &files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_list_lacks_is_found() {
    let files = BTreeMap::from([("a".to_string(), true), ("b".to_string(), false)]);
    assert_eq!(check("# a list\na smoke\nb library because\n", &files), [""; 0]);
    for (list, finding) in [
        ("b library because", "a runs on no target"),
        ("a program", "b runs on no target"),
        ("a library because\nb library because", "a runs the program"),
        ("a smoke\nb program", "b does not run the program"),
        ("a\nb library because", "a runs the program"),
        ("a smoke\nb library", "b: a reason"),
        ("a machine\nb library because", "a: a reason"),
        ("a smoke\nb machine because", "b does not run the program"),
        ("a smoke not always\nb library because", "a: a reason"),
        ("a smoke\na smoke\nb library because", "a is there twice"),
        ("a smoke\nb library because\nc smoke", "c is no file"),
    ] {
        let wrong = check(list, &files).join("\n");
        assert!(wrong.contains(finding), "{list:?}: expected {finding:?}, found {wrong:?}");
    }
}

#[test]
fn only_one_place_names_the_binary() {
    let mut folders = vec![top().join("tests"), top().join("benches")];
    let (mut named, mut looked) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("list a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                looked += 1;
                // In two pieces, so that this file isn't found.
                if fs::read_to_string(&path).expect("a source").contains(concat!("CARGO_BIN_", "EXE")) {
                    named.push(path.strip_prefix(top()).expect("ours").to_path_buf());
                }
            }
        }
    }
    assert!(looked > 30, "these are not all: {looked}");
    assert_eq!(named, [Path::new("tests/program/mod.rs")]);
}

#[test]
fn every_target_runs_every_test_of_the_program_within_a_limit() {
    let list = read("cross/limits.txt");
    let mut limits = BTreeMap::new();
    for words in lines(&list) {
        let bytes: Vec<u64> = words[1..].iter().map(|figure| figure.parse().expect("bytes")).collect();
        assert!(bytes.len() == 2 && bytes[0] < bytes[1], "{words:?}: bytes without TLS, bytes with");
        limits.insert(words[0], bytes);
    }
    assert_eq!(limits.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(TARGETS));
    assert!(limits[TARGETS[0]][0] <= ARMV7[0] && limits[TARGETS[0]][1] <= ARMV7[1], "{:?}", limits[TARGETS[0]]);

    let output = Command::new("bash").arg(top().join("cross/test.sh")).args(["--list", "all"]).output().expect("bash");
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).expect("text");
    let listed: BTreeSet<(String, String)> = listed
        .lines()
        .map(|line| line.split_once(' ').expect("a target and a test"))
        .map(|(target, test)| (target.to_string(), test.to_string()))
        .collect();
    let capabilities = read("cross/capabilities.txt");
    let here: Vec<_> =
        lines(&capabilities).filter(|words| words.get(1) == Some(&"machine")).map(|words| words[0]).collect();
    let runs = |(name, runs): &(String, bool)| *runs && !here.contains(&name.as_str());
    let program: Vec<_> = files().into_iter().filter(runs).map(|(name, _)| name).collect();
    let wanted = TARGETS.iter().flat_map(|target| program.iter().map(|test| (target.to_string(), test.clone())));
    assert_eq!(listed, wanted.collect());
}
