//! Commands on a working copy that are killed at a random moment, and two of them at once.
//!
//! After a kill the repository opens, its state is the old or the new one, no object of it is damaged or missing, what is
//! repeated succeeds, and then `fsck` is clean: nothing unfinished is left.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use black_box::Dice;
use pvr::Home;

/// Sources: an export, the repository that it is of, and its state.
struct Source {
    json: String,
    export: &'static str,
    folder: &'static str,
}

/// A repository of a few hundred objects, and an export of it.
fn source(home: &Home, dice: &mut Dice) -> Source {
    let files: Vec<(String, Vec<u8>)> = (0..150)
        .map(|n| {
            let size = dice.below(20_000) as usize;
            (format!("f{}/o{n}", n % 7), dice.bytes(size))
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    home.repo(&files);
    home.pvr("r", &["export", "../x.tgz"]).code(0);
    Source { json: home.read("r/.pvr/json"), export: "../x.tgz", folder: "../r/.pvr" }
}

/// A repository with a pool of its own, and something to commit.
fn target(home: &Home, dice: &mut Dice) {
    for folder in ["t", "pool", "out"] {
        fs::remove_dir_all(home.at(folder)).ok();
    }
    fs::create_dir(home.at("t")).unwrap();
    fs::create_dir(home.at("out")).unwrap();
    home.pvr("t", &["init", "-o", "../pool"]).code(0);
    for n in 0..40 {
        home.write(&format!("t/w{n}"), dice.bytes(5_000));
    }
    home.pvr("t", &["add"]).code(0);
}

/// How long a command runs; and, with a `limit`, kills it then. Says whether it was killed.
fn run(home: &Home, args: &[&str], limit: Option<Duration>) -> (Duration, bool) {
    let begun = Instant::now();
    let mut child = home.command(&home.at("t"), args, &[]).spawn().unwrap();
    if let Some(limit) = limit {
        thread::sleep(limit);
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(limit.is_some() || status.success(), "{args:?}");
    (begun.elapsed(), !status.success())
}

/// Before anything is repeated: a state that had its name before its objects would be seen here.
fn only_unfinished(home: &Home, when: &str) {
    let ran = home.pvr("t", &["fsck", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let found = found["findings"].as_array().unwrap();
    assert!(found.iter().all(|finding| finding["kind"] == "unfinished"), "{when}: {ran:?}");
    assert_eq!(ran.code, Some(i32::from(!found.is_empty())), "{when}: {ran:?}");
    let ran = home.pvr("t", &["status"]);
    assert_eq!(ran.code, Some(0), "{when}: {ran:?}");
}

#[test]
fn killed_at_any_moment() {
    let home = Home::new();
    let mut dice = Dice::new("interrupted");
    let source = source(&home, &mut dice);
    // 300 moments of commit, import and get, which has two kinds of sources; deploy has a test of its own.
    let commands: [(&[&str], usize); 6] = [
        (&["commit", "-m", "x"], 300),
        (&["import", source.export], 300),
        (&["get", source.export], 150),
        (&["get", source.folder], 150),
        (&["merge", source.export], 50),
        (&["export", "../out/x.tgz"], 50),
    ];
    for (args, moments) in commands {
        target(&home, &mut dice);
        let (mut cycle, _) = run(&home, args, None);
        // Only what fell into the work counts. How long that takes changes with what else the machine does.
        let (mut killed, mut late) = (0, 0);
        while killed < black_box::rounds(moments, 3) {
            target(&home, &mut dice);
            let before = home.read("t/.pvr/json");
            let moment = Duration::from_micros(dice.below(cycle.as_micros() as u64 + 1));
            let within = run(&home, args, Some(moment)).1;
            killed += usize::from(within);
            late += usize::from(!within);
            cycle = if within { cycle + cycle / 16 } else { cycle - cycle / 8 };
            assert!(late < 1000, "no moment falls into the work of {args:?}");
            let after = home.read("t/.pvr/json");
            let new = match args[0] {
                "import" | "get" => after == source.json,
                "export" => after == before && fs::read_dir(home.at("out")).unwrap().count() <= 1,
                _ => after.len() > before.len(),
            };
            assert!(after == before || new, "{args:?} at {moment:?}: {after}");
            only_unfinished(&home, &format!("{args:?} at {moment:?}"));
            run(&home, args, None);
            let ran = home.pvr("t", &["fsck"]);
            assert_eq!(ran.code, Some(0), "{args:?} at {moment:?}: {ran:?}");
            if args[0] == "export" {
                assert_eq!(fs::read_dir(home.at("out")).unwrap().count(), 1, "{moment:?}");
                home.pvr("t", &["import", "--dry-run", "../out/x.tgz"]).code(0);
            }
        }
        println!("{args:?}: {killed} killed, {late} were done before, at last the work took {cycle:?}");
    }
}

#[test]
fn two_at_once_in_one_repository_and_one_pool_lose_nothing() {
    let home = Home::new();
    let mut dice = Dice::new("two at once");
    let source = source(&home, &mut dice);
    // Both take the same objects: into one repository, and into two with one pool.
    for round in 0..black_box::rounds(200, 4) {
        target(&home, &mut dice);
        fs::remove_dir_all(home.at("u")).ok();
        fs::create_dir(home.at("u")).unwrap();
        home.pvr("u", &["init", "-o", "../pool"]).code(0);
        let at_once = |pair: [(&str, &[&str]); 2]| {
            thread::scope(|scope| {
                for (folder, args) in pair {
                    let home = &home;
                    scope.spawn(move || home.pvr(folder, args).code(0));
                }
            });
            for folder in ["t", "u"] {
                let ran = home.pvr(folder, &["fsck"]);
                assert_eq!(ran.code, Some(0), "round {round}, {pair:?}: {ran:?}");
            }
        };
        let keys = |json: &str, part: &str| json.matches(&format!("\"{part}")).count();
        at_once([("t", &["merge", "../r/.pvr#f1"]), ("t", &["merge", "../x.tgz#f2"])]);
        let json = home.read("t/.pvr/json");
        for part in ["f1/", "f2/"] {
            assert!(keys(&json, part) == keys(&source.json, part) && keys(&json, part) > 0, "round {round}: {json}");
        }
        // A commit takes what is in the working tree: the part is there whole if it came after, and not at all else.
        at_once([("t", &["merge", "../x.tgz#f3"]), ("t", &["commit"])]);
        let json = home.read("t/.pvr/json");
        assert_eq!(keys(&json, "w"), 40, "round {round}: {json}");
        assert!([0, keys(&source.json, "f3/")].contains(&keys(&json, "f3/")), "round {round}: {json}");
        home.write("t/w0", "changed");
        at_once([("t", &["commit"]), ("t", &["commit"])]);
        assert_eq!(home.pvr("t", &["status"]).code(0).out, "", "round {round}");
        at_once([("t", &["import", source.export]), ("u", &["get", source.folder])]);
        at_once([("t", &["get", source.folder]), ("t", &["get", source.export])]);
        for folder in ["t", "u"] {
            assert_eq!(home.read(&format!("{folder}/.pvr/json")), source.json, "round {round}");
        }
        assert!(no_temporaries(&home.at("pool/.pvr-agent/tmp")), "round {round}");
    }
}

fn no_temporaries(tmp: &Path) -> bool {
    fs::read_dir(tmp).unwrap().next().is_none()
}
