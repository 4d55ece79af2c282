//! What is done on the disk.
//!
//! ```text
//! s/        a storage, with a server                     w/r/    a repository: commits
//! w/imp/    a repository: imports                         w/t/    a folder of deploys
//! o/, p/    objects and folder of `pvtx deploy`, d/ its transaction
//! home/     of the user, with the pool of the repositories
//! ```

use super::check::{folder, link, text};
use super::facts::Facts;
use crate::black_box::seed::Seed;
use crate::black_box::{Dice, sha256};
use crate::place::serving::Serving;
use crate::place::{Place, done, prepare};
use crate::tar;
use std::fs;

pub fn run(place: &Place, now: &dyn Fn() -> usize, cycles: usize, dice: &mut Dice) -> Facts {
    let mut facts = Facts::default();
    for path in ["home", "w/r", "w/imp", "o", "p"] {
        fs::create_dir_all(place.at(path)).expect("a folder");
    }
    Seed::factory(&place.at("s"));
    prepare(["w/r", "w/imp"].map(|folder| place.pvr(folder, &["init"])));
    // Who makes a storage or a folder by hand sees to it himself; the first state of each is durable.
    rustix::fs::sync();
    facts.begun = now();
    facts.state("r", now(), text(place, "w/r/.pvr/json"));
    facts.state("imp", now(), text(place, "w/imp/.pvr/json"));
    facts.state("p", now(), folder(place, "p"));
    facts.state("current", now(), link(place, "s/trails/current"));

    let serving = Serving::start(place).expect("a server");
    for cycle in 0..cycles {
        posts(place, &serving, cycle, now, dice, &mut facts);
        commit(place, cycle, now, dice, &mut facts);
        import(place, cycle, now, dice, &mut facts);
        deploy(place, cycle, now, &mut facts);
        pvtx(place, cycle, now, dice, &mut facts);
        transaction(&serving, cycle, now, dice, &mut facts);
    }
    facts
}

fn bytes(dice: &mut Dice) -> Vec<u8> {
    let size = dice.below(20_000) as usize;
    dice.bytes(size)
}

/// A state of these objects, below `app`.
fn state(version: usize, objects: &[Vec<u8>]) -> String {
    let keys = objects.iter().enumerate().map(|(at, bytes)| format!(r#","app/{at}":"{}""#, sha256(bytes)));
    let keys: String = keys.collect();
    format!(r##"{{"#spec":"pantavisor-service-system@1"{keys},"app/run.json":{{"version":{version}}}}}"##)
}

fn package(version: usize, objects: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = tar::file("json", state(version, objects).as_bytes());
    objects.iter().for_each(|bytes| archive.extend(tar::file(&format!("objects/{}", sha256(bytes)), bytes)));
    archive.extend(tar::end());
    archive
}

/// Two uploads, and a post of them.
fn posts(place: &Place, serving: &Serving, cycle: usize, now: &dyn Fn() -> usize, dice: &mut Dice, facts: &mut Facts) {
    let objects = [bytes(dice), bytes(dice)];
    for object in &objects {
        serving.talk.upload(object).expect("an upload");
        facts.objects.push((now(), sha256(object)));
    }
    let (name, state) = (format!("locals/post{cycle}"), state(cycle, &objects));
    serving.talk.post(&name, &state).expect("a post");
    let when = now();
    facts.revisions.push((when, name, state));
    facts.state("current", when, link(place, "s/trails/current"));
}

fn commit(place: &Place, cycle: usize, now: &dyn Fn() -> usize, dice: &mut Dice, facts: &mut Facts) {
    place.write("w/r/app/same", bytes(dice));
    place.write(&format!("w/r/app/{cycle}"), bytes(dice));
    done(place.pvr("w/r", &["add"]));
    done(place.pvr("w/r", &["commit", "-m", "x"]));
    facts.state("r", now(), text(place, "w/r/.pvr/json"));
}

fn import(place: &Place, cycle: usize, now: &dyn Fn() -> usize, dice: &mut Dice, facts: &mut Facts) {
    let archive = place.beside("archive");
    fs::write(&archive, package(cycle, &[bytes(dice), bytes(dice)])).expect("write an archive");
    done(place.pvr("w/imp", &["import", archive.to_str().expect("a path")]));
    facts.state("imp", now(), text(place, "w/imp/.pvr/json"));
}

fn deploy(place: &Place, cycle: usize, now: &dyn Fn() -> usize, facts: &mut Facts) {
    let source = ["r/.pvr", "imp/.pvr"][cycle % 2];
    done(place.pvr("w", &["deploy", "--nomerge", "t", source]));
    facts.state("t", now(), folder(place, "w/t"));
}

fn pvtx(place: &Place, cycle: usize, now: &dyn Fn() -> usize, dice: &mut Dice, facts: &mut Facts) {
    let archive = place.beside("archive");
    fs::write(&archive, package(cycle, &[bytes(dice), bytes(dice)])).expect("write an archive");
    let archive = archive.to_str().expect("a path");
    for words in [&["begin", "empty", "o"][..], &["add", archive], &["deploy", "p"]] {
        done(place.pvtx(words));
        let when = now();
        facts.state("transaction", when, text(place, "d/current.json"));
        if words[0] == "deploy" {
            facts.state("p", when, folder(place, "p"));
        }
    }
}

/// Over the network; it ends with a commit, which is a post.
fn transaction(serving: &Serving, cycle: usize, now: &dyn Fn() -> usize, dice: &mut Dice, facts: &mut Facts) {
    let objects = [bytes(dice)];
    serving.talk.pvtx("POST", "begin?empty=true", b"").expect("begin");
    serving.talk.pvtx("PUT", "add", &package(cycle, &objects)).expect("add");
    let name = format!("locals/pvtx{cycle}");
    serving.talk.pvtx("POST", &format!("commit?rev={name}"), b"").expect("commit");
    facts.revisions.push((now(), name, state(cycle, &objects)));
}
