//! Properties of working copies: random trees and edits through the real binary, `get`, `merge` and parts against naive
//! models.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod black_box;
#[path = "client/pvr.rs"]
mod pvr;

use std::collections::BTreeMap;
use std::fs;

use black_box::{Dice, rounds};
use pvr::Home;
use serde_json::{Map, Value};

type Files = BTreeMap<String, Vec<u8>>;

const FOLDERS: [&str; 6] = ["", "app/", "app/deep/", "app2/", "_config/app/etc/", "bsp/"];
const NAMES: [&str; 6] = ["a", "b.txt", "c d", "run.json", "é", "x%s.json"];

fn json(dice: &mut Dice, depth: u64) -> Value {
    match dice.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(dice.below(2) == 0),
        2 => Value::from(dice.next()),
        3 => Value::from("<&>\u{2028}\"\\é".repeat(dice.below(3) as usize)),
        4 => Value::from(dice.below(1000)),
        5 => (0..dice.below(4)).map(|_| json(dice, depth - 1)).collect(),
        _ => Value::Object((0..dice.below(4)).map(|n| (format!("k{n}"), json(dice, depth - 1))).collect()),
    }
}

/// Writes, replaces or removes a few files.
fn edit(dice: &mut Dice, files: &mut Files) {
    for _ in 0..1 + dice.below(8) {
        let pick = |dice: &mut Dice, from: &[&'static str]| from[dice.below(from.len() as u64) as usize];
        let path = format!("{}{}", pick(dice, &FOLDERS), pick(dice, &NAMES));
        if dice.below(4) == 0 {
            files.remove(&path);
        } else if path.ends_with(".json") {
            files.insert(path, serde_json::to_vec_pretty(&json(dice, 3)).unwrap());
        } else {
            let size = dice.below(3000) as usize;
            files.insert(path, dice.bytes(size));
        }
    }
}

fn write(home: &Home, folder: &str, before: &Files, after: &Files) {
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        fs::remove_file(home.at(&format!("{folder}/{path}"))).unwrap();
    }
    for (path, bytes) in after {
        home.write(&format!("{folder}/{path}"), bytes);
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn committed(home: &Home, folder: &str) -> Map<String, Value> {
    match parse(&home.read(&format!("{folder}/.pvr/json"))) {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

/// What a commit of these files has to be.
fn model(files: &Files) -> Map<String, Value> {
    let spec = ("#spec".to_owned(), Value::from("pantavisor-service-system@1"));
    let entries = files.iter().map(|(path, bytes)| {
        let value = match path.ends_with(".json") {
            true => serde_json::from_slice(bytes).unwrap(),
            false => Value::from(black_box::sha256(bytes)),
        };
        (path.clone(), value)
    });
    std::iter::once(spec).chain(entries).collect()
}

/// RFC 7396, as it says.
fn patch(target: Value, with: &Value) -> Value {
    let Value::Object(with) = with else { return with.clone() };
    let mut out = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, value) in with {
        match value {
            Value::Null => drop(out.remove(key)),
            value => {
                let old = out.remove(key).unwrap_or(Value::Null);
                out.insert(key.clone(), patch(old, value));
            }
        }
    }
    Value::Object(out)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(_) => false, // taken whole
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

#[test]
fn what_is_committed_is_checked_out_elsewhere_as_the_same_tree() {
    let mut dice = Dice::new("trees");
    for round in 0..rounds(60, 3) {
        let home = Home::new();
        fs::create_dir(home.at("r")).unwrap();
        home.pvr("r", &["init", "-o", "../pool"]).code(0);
        let mut files = Files::new();
        for step in 0..4 {
            let before = files.clone();
            edit(&mut dice, &mut files);
            write(&home, "r", &before, &files);
            home.pvr("r", &["add"]).code(0);
            let old = Value::Object(committed(&home, "r"));
            let diff = parse(&home.pvr("r", &["diff"]).code(0).out);
            home.pvr("r", &["commit", "-m", "x"]).code(0);
            let new = committed(&home, "r");
            assert_eq!(new, model(&files), "round {round}, step {step}");
            // What became null cannot be said in a merge patch.
            if !files
                .iter()
                .any(|(path, bytes)| path.ends_with(".json") && has_null(&serde_json::from_slice(bytes).unwrap()))
            {
                assert_eq!(patch(old, &diff), Value::Object(new), "round {round}, step {step}");
            }
            assert_eq!(home.pvr("r", &["status"]).code(0).out, "");
            assert_eq!(home.pvr("r", &["diff"]).code(0).out, "{}\n");
        }
        home.pvr("r", &["export", "../x.tgz"]).code(0);
        home.pvr("", &["clone", "-o", "other", "x.tgz", "c"]).code(0);
        home.pvr("", &["clone", "-o", "other", "r/.pvr", "d"]).code(0);
        for folder in ["c", "d"] {
            assert_eq!(home.pvr(folder, &["status"]).code(0).out, "");
            for (path, bytes) in &files {
                let got = fs::read(home.at(&format!("{folder}/{path}"))).unwrap();
                match path.ends_with(".json") {
                    true => assert_eq!(
                        parse(std::str::from_utf8(&got).unwrap()),
                        parse(std::str::from_utf8(bytes).unwrap())
                    ),
                    false => assert!(got == *bytes, "{path}"),
                }
            }
        }
    }
}

#[test]
fn get_and_merge_take_what_a_naive_model_takes() {
    let mut dice = Dice::new("parts");
    const PARTS: [&str; 8] = ["app", "app2", "app/deep", "app/a", "_config", "bsp", "ap", "_config/app/"];
    for round in 0..rounds(60, 3) {
        let home = Home::new();
        for folder in ["local", "incoming"] {
            fs::create_dir(home.at(folder)).unwrap();
            home.pvr(folder, &["init", "-o", &format!("../pool-{folder}")]).code(0);
            let mut files = Files::new();
            (0..5).for_each(|_| edit(&mut dice, &mut files));
            write(&home, folder, &Files::new(), &files);
            home.pvr(folder, &["add"]).code(0);
            home.pvr(folder, &["commit"]).code(0);
        }
        home.pvr("incoming", &["export", "../x.tgz"]).code(0);
        let incoming = committed(&home, "incoming");
        for step in 0..6 {
            let parts: Vec<(bool, &str)> = (0..dice.below(3))
                .map(|_| (dice.below(3) == 0, PARTS[dice.below(PARTS.len() as u64) as usize]))
                .collect();
            let list: Vec<String> =
                parts.iter().map(|(out, part)| format!("{}{part}", if *out { "-" } else { "" })).collect();
            let source = ["../x.tgz", "../incoming/.pvr"][dice.below(2) as usize];
            let reference = if parts.is_empty() { source.to_owned() } else { format!("{source}#{}", list.join(",")) };
            let below = |key: &str, part: &str| {
                let part = part.trim_end_matches('/');
                key == part || key.starts_with(&format!("{part}/"))
            };
            let named = |wanted: bool, key: &str| parts.iter().any(|(out, part)| *out != wanted && below(key, part));
            let whole = !parts.iter().any(|(out, _)| !out);
            let meant = |key: &str| if key == "#spec" { whole } else { whole || named(true, key) };
            let taken_out = |key: &str| key != "#spec" && named(false, key);
            let local = committed(&home, "local");
            let command = ["get", "merge"][dice.below(2) as usize];
            let mut want = local.clone();
            if command == "get" {
                want.retain(|key, _| !meant(key) && !taken_out(key));
                want.extend(
                    incoming
                        .iter()
                        .filter(|(key, _)| meant(key) && !taken_out(key))
                        .map(|(k, v)| (k.clone(), v.clone())),
                );
            } else {
                want.retain(|key, _| !taken_out(key));
                for (key, value) in incoming.iter().filter(|(key, value)| meant(key) && !value.is_null()) {
                    let old = want.remove(key).unwrap_or(Value::Null);
                    want.insert(key.clone(), patch(old, value));
                }
            }
            home.pvr("local", &[command, &reference]).code(0);
            assert_eq!(committed(&home, "local"), want, "round {round}, step {step}: {command} {reference}");
            home.pvr("local", &["fsck"]).code(0);
        }
    }
}
