//! What has to hold of a disk after a power cut. Nothing of the program looks first.

use super::facts::Facts;
use crate::black_box::sha256;
use crate::place::Place;
use crate::place::opens::{opened, repo_opens, storage_opens};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A file as text; empty where there is none.
pub fn text(place: &Place, path: &str) -> String {
    fs::read(place.at(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Where a link leads; nowhere, where there is none.
pub fn link(place: &Place, path: &str) -> String {
    fs::read_link(place.at(path)).map(|to| to.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Everything in a folder of a state; without what is remembered, locked and under way.
pub fn folder(place: &Place, path: &str) -> String {
    let mut view = place.view(&[path]);
    let own = ["index", "lock", "tmp", "objects", "commitmsg", "batch", "new"];
    view.retain(|path, _| {
        let inside = path.split_once("/.pvr/").map(|(_, inside)| inside.split('/').next().unwrap_or_default());
        !inside.is_some_and(|inside| own.contains(&inside))
    });
    view.into_iter().map(|(path, is)| format!("{path} {is}\n")).collect()
}

pub fn all(place: &Place, facts: &Facts, moment: usize) -> Vec<String> {
    let mut found = place.bad_objects();
    trails(place, &mut found);
    let begun = |course: &str| facts.courses.get(course).is_some_and(|course| course.has_begun(moment));
    for (name, path) in [("r", "w/r"), ("imp", "w/imp"), ("t", "w/t"), ("p", "p")] {
        // One that nobody has been told of yet may be missing.
        if begun(name) || place.at(path).join(".pvr/json").exists() {
            whole(&place.at(path), &place.at("home/.pvr/objects"), name, name == "t" || name == "p", &mut found);
        }
    }
    reported(place, facts, moment, &mut found);
    for name in ["r", "imp", "t"] {
        if begun(name) {
            found.extend(repo_opens(place, &format!("w/{name}")));
        }
    }
    found.extend(storage_opens(place));
    // Work goes on, and nothing unfinished stays.
    let package = place.beside("archive");
    let package = package.to_str().expect("a path");
    let mut next: Vec<Command> = ["w/r", "w/imp"].map(|folder| place.pvr(folder, &["commit"])).into();
    next.push(place.pvr("w", &["deploy", "--nomerge", "t", "r/.pvr"]));
    for words in [&["abort"][..], &["begin", "empty", "o"], &["add", package], &["deploy", "p"]] {
        next.push(place.pvtx(words));
    }
    next.into_iter().for_each(|command| found.extend(opened(command)));
    found.extend(place.debris("").into_iter().map(|path| format!("left {path}")));
    found
}

/// What was told before the moment is there.
fn reported(place: &Place, facts: &Facts, moment: usize, found: &mut Vec<String>) {
    for (when, sha) in &facts.objects {
        if *when <= moment && !place.at("s/objects").join(sha).exists() {
            found.push(format!("object {sha} had been reported, and is not there"));
        }
    }
    for (when, name, state) in &facts.revisions {
        let is = text(place, &format!("s/trails/{name}/.pvr/json"));
        if *when <= moment && is != *state {
            found.push(format!("revision {name} had been reported, and is {is:?}"));
        }
    }
    for (name, course) in &facts.courses {
        let is = match *name {
            "r" => text(place, "w/r/.pvr/json"),
            "imp" => text(place, "w/imp/.pvr/json"),
            "t" => folder(place, "w/t"),
            "p" => folder(place, "p"),
            "current" => link(place, "s/trails/current"),
            "transaction" => text(place, "d/current.json"),
            other => panic!("nobody looks at {other}"),
        };
        found.extend(course.wrong(&is, moment).map(|wrong| format!("{name} {wrong}")));
    }
}

/// Every revision is whole, and the link leads to one.
fn trails(place: &Place, found: &mut Vec<String>) {
    for folder in ["s/trails", "s/trails/locals"] {
        for entry in fs::read_dir(place.at(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == "locals" || name == "current" {
                continue;
            }
            whole(&entry.path(), &place.at("s/objects"), &format!("{folder}/{}", name.display()), true, found);
        }
    }
    let current = place.at("s/trails").join(link(place, "s/trails/current"));
    if !current.join(".pvr/json").is_file() {
        found.push(format!("the running revision {} is none", current.display()));
    }
}

/// A folder whose `.pvr/json` names files: every object is in the pool; and in the folder, where a state was laid out.
fn whole(folder: &Path, pool: &Path, name: &str, laid_out: bool, found: &mut Vec<String>) {
    let state = match fs::read(folder.join(".pvr/json")) {
        Ok(state) => state,
        // The folder of `pvtx deploy` before the first.
        Err(_) if name == "p" => return,
        Err(error) => return found.push(format!("{name} has no state: {error}")),
    };
    let Ok(Value::Object(state)) = serde_json::from_slice(&state) else {
        return found.push(format!("the state of {name} is {:?}", String::from_utf8_lossy(&state)));
    };
    for (key, value) in state.iter().filter(|(key, _)| *key != "#spec") {
        let is = |path: &Path, sha: &str| fs::read(path).is_ok_and(|bytes| sha256(&bytes) == sha);
        match value.as_str() {
            Some(sha) => {
                // Those of `pvtx deploy` are elsewhere.
                if name != "p" && !is(&pool.join(sha), sha) {
                    found.push(format!("{name} names {sha} for {key}, which is missing or wrong"));
                }
                if laid_out && !is(&folder.join(key), sha) {
                    found.push(format!("{key} of {name} is missing or wrong"));
                }
            }
            None if laid_out => {
                let file =
                    fs::read(folder.join(key)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
                if file.as_ref() != Some(value) {
                    found.push(format!("{key} of {name} is {file:?}"));
                }
            }
            None => {}
        }
    }
}
