//! Canonical JSON and the name of a state, as the program makes them on whatever machine it was built for: byte for byte
//! what the original wrote on x86-64. `cross/test.sh` runs this for every target, big-endian MIPS among them.
mod black_box;

use black_box::agent::{self, Server};
use black_box::seed::Seed;
use black_box::{http, program, sha256};
use std::fs;
use std::path::Path;

const NUMBERS: &str = include_str!("vectors/canonical/n-pairs.tsv");
const STRINGS: &str = include_str!("vectors/canonical/s-pairs.tsv");
/// Of what the original printed, on x86-64, for a state of all these rows.
const RECORDED: &str = "f53ada857cc576a107d34a1d0e998af7f76ee6517e5bd0678ec7d06b089ba8fb";

/// One column of a table, as a JSON array.
fn array(table: &str, column: usize, between: &str) -> String {
    let rows = table.lines().filter(|row| !row.starts_with("# "));
    let cells: Vec<_> = rows.map(|row| row.split('\t').nth(column).expect("a column")).collect();
    format!("[{}]", cells.join(between))
}

/// What the original makes of all rows.
fn recorded() -> String {
    let (numbers, strings) = (array(NUMBERS, 1, ","), array(STRINGS, 1, ","));
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1","n.json":{numbers},"s.json":{strings}}}"##);
    assert_eq!(sha256(state.as_bytes()), RECORDED, "the tables are not what was recorded");
    state
}

fn pvr(folder: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = agent::command();
    let output = command.arg("pvr").args(args).current_dir(folder).env("HOME", folder).output().expect("run pvr");
    assert!(output.status.success(), "pvr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_working_copy_prints_and_commits_the_recorded_bytes() {
    let recorded = recorded();
    let dir = tempfile::tempdir().expect("a folder");
    pvr(dir.path(), &["init"]);
    fs::write(dir.path().join("n.json"), array(NUMBERS, 0, ",\n")).expect("numbers");
    fs::write(dir.path().join("s.json"), array(STRINGS, 0, " ,\t")).expect("strings");
    pvr(dir.path(), &["add"]);
    let printed = pvr(dir.path(), &["json", "--canonical"]);
    assert_eq!(String::from_utf8_lossy(&printed).trim_end_matches('\n'), recorded);
    pvr(dir.path(), &["commit"]);
    assert_eq!(fs::read_to_string(dir.path().join(".pvr/json")).expect("the state"), recorded);
}

#[test]
fn a_posted_state_has_the_recorded_bytes_and_name() {
    let recorded = recorded();
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let server = Server::start(root.path());
    // As it was typed, and with the members the wrong way round.
    let (numbers, strings) = (array(NUMBERS, 0, ", "), array(STRINGS, 0, "\n,"));
    let typed = format!(r##"{{ "s.json" :{strings}, "n.json":{numbers}, "#spec":"pantavisor-service-system@1" }}"##);
    let posted = server.post(&typed, Some("locals/typed")).expect("an answer");
    let name = agent::member(&posted, 200, "state-sha").expect("the name of the state");
    assert_eq!(name, RECORDED);
    let read = http::get(&format!("{}/json", server.base));
    assert_eq!(String::from_utf8_lossy(&read.body), recorded);
    let stored = fs::read(root.path().join("trails/locals/typed/.pvr/json")).expect("the state");
    assert_eq!(String::from_utf8_lossy(&stored), recorded);
    agent::assert_clean(root.path(), "the post");
    let what = program::path();
    println!("state-sha {name} by {} ({})", what.display(), if program::emulated() { "emulated" } else { "native" });
}
