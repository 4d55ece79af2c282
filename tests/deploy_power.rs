//! `pvr deploy` that is killed at random moments, and beside commits and gets of the same repository and pool.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
#[path = "black_box/mod.rs"]
mod black_box;
mod deploying;
#[path = "client/pvr.rs"]
mod pvr;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use black_box::{Dice, rounds, sha256};
use deploying::{no_debris, source, tree};
use pvr::Home;

/// The files of a folder by name and content, without what only the repository and the locks have.
fn files(home: &Home, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let all = tree(&home.at(folder)).into_iter();
    // What was hashed is written down when it is old enough: on a slow machine while this runs.
    let own = [".pvr/config", ".pvr/index"];
    all.filter(|(name, (mode, ..))| mode & 0o170000 == 0o100000 && !own.contains(&name.as_str()))
        .map(|(name, (.., bytes))| (name, bytes))
        .collect()
}

/// Every object of the pool is what its name says.
fn pool_is_intact(home: &Home, when: &str) {
    for entry in fs::read_dir(home.object("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != ".pvr-agent" {
            assert_eq!(sha256(&fs::read(entry.path()).unwrap()), name, "{when}");
        }
    }
}

#[test]
fn killed_at_any_moment() {
    let mut dice = Dice::new("deploy_power");
    let home = Home::new();
    let contents: Vec<Vec<u8>> = (0..40).map(|_| dice.bytes(20_000)).collect();
    for (name, kept) in [("one", 0..30), ("two", 10..40)] {
        let keys: Vec<String> = kept.clone().map(|index| format!("app/{}/file{index}", index % 7)).collect();
        let files: Vec<(&str, &[u8])> =
            keys.iter().map(String::as_str).zip(contents[kept].iter().map(Vec::as_slice)).collect();
        source(&home, name, &files);
        fs::write(home.at(&format!("{name}/app/run.json")), format!("{{\"name\":\"{name}\"}}")).unwrap();
        home.pvr(name, &["add"]).code(0);
        home.pvr(name, &["commit"]).code(0);
    }
    let deploy = |name: &str| ["deploy".to_owned(), "--nomerge".to_owned(), "t".to_owned(), format!("{name}/.pvr")];
    let mut whole = Vec::new();
    let mut cycle = Duration::from_secs(1);
    for name in ["one", "two"] {
        home.pvr("", &deploy(name)).code(0);
        home.write("t/mine", "mine");
        home.write("t/app/also mine", "mine");
        let begun = Instant::now();
        home.pvr("", &deploy(name)).code(0);
        cycle = cycle.min(begun.elapsed());
        whole.push(files(&home, "t"));
    }
    assert_ne!(whole[0], whole[1]);

    let kills = rounds(300, 10);
    let (mut within, mut late, mut changed) = (0, 0, 0);
    while within < kills {
        let name = ["one", "two"][(within + late) % 2];
        if dice.below(3) == 0 && home.object("").exists() {
            // So that objects come as well.
            fs::remove_dir_all(home.object("")).unwrap();
        }
        let before = files(&home, "t");
        let mut child = home.command(&home.at(""), &deploy(name), &[]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(cycle.as_micros() as u64)));
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("kill {within}");
        home.pvr("t", &["status"]).code(0);
        let after = files(&home, "t");
        assert!(whole.contains(&after), "{when}: {:?}", after.keys());
        changed += usize::from(before != after);
        if home.object("").exists() {
            pool_is_intact(&home, &when);
        }
        if finished {
            late += 1
        } else {
            within += 1
        }
        if dice.below(4) == 0 {
            home.pvr("", &deploy(name)).code(0);
            no_debris(&home.at(""));
        }
    }
    home.pvr("", &deploy("one")).code(0);
    assert_eq!(files(&home, "t"), whole[0]);
    no_debris(&home.at(""));
    pool_is_intact(&home, "at the end");
    println!("{within} kills, {late} after the end, {changed} after the exchange, a cycle takes {cycle:?}");
}

#[test]
fn commits_gets_and_deploys_at_once_lose_nothing() {
    let home = Home::new();
    source(&home, "got", &[("got/x", b"got")]);
    home.repo(&[("first", b"first")]);
    for round in 0..rounds(200, 5) {
        let name = format!("dep{round}");
        source(&home, &name, &[(&format!("dep/{round}"), format!("deployed {round}").as_bytes())]);
        let new = format!("new{round}");
        home.write(&format!("r/{new}"), &new);
        home.write("r/untracked", format!("{round}"));
        home.pvr("r", &["add", &new]).code(0);
        let deploy = ["deploy".to_owned(), home.at("r").to_string_lossy().into_owned(), format!("../{name}/.pvr")];
        // Not by way of the folder that a slow start may find exchanged.
        let got = format!("{}#got", home.at("got/.pvr").display());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| home.pvr("r", &["commit", "-m", "at once"]).code(0));
                scope.spawn(|| home.pvr("r", &["get", &got]).code(0));
                scope.spawn(|| home.pvr("got", &deploy).code(0));
            }
        });
        let state: serde_json::Value = serde_json::from_str(&home.read("r/.pvr/json")).unwrap();
        assert_eq!(home.read("r/untracked"), format!("{round}"));
        for past in 0..=round {
            for (key, bytes) in
                [(format!("new{past}"), format!("new{past}")), (format!("dep/{past}"), format!("deployed {past}"))]
            {
                assert_eq!(home.read(&format!("r/{key}")), bytes, "round {round}");
                assert_eq!(state[&key], sha256(bytes.as_bytes()), "round {round}");
            }
        }
        for (key, id) in state.as_object().unwrap().iter().filter(|(key, _)| *key != "#spec") {
            assert!(home.object(id.as_str().unwrap()).exists(), "round {round}: {key}");
        }
        no_debris(&home.at(""));
    }
    pool_is_intact(&home, "at the end");
}
