//! Transactions: everything that `pvtx` changes, into a folder of objects and into a storage.

use super::{Act, Change, Scenario};
use crate::black_box::seed::Seed;
use crate::black_box::sha256;
use crate::place::opens::{opened, storage_opens};
use crate::place::{Place, View, prepare, said};
use crate::tar;
use std::fs;
use std::process::Command;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("pvtx begin", packages, |place| place.pvtx(&["begin", "empty", "o"]), transaction)
            .opens_as(|_| Vec::new()),
        scenario("pvtx begin after one", ended, |place| place.pvtx(&["begin", "empty", "o"]), transaction)
            .opens_as(|_| Vec::new()),
        scenario("pvtx add", begun, |place| place.pvtx(&["add", "one"]), transaction),
        scenario("pvtx add over one", filled, |place| place.pvtx(&["add", "two"]), transaction),
        scenario("pvtx remove", filled, |place| place.pvtx(&["remove", "app"]), transaction),
        scenario("pvtx abort", filled, |place| place.pvtx(&["abort"]), transaction).opens_as(|_| Vec::new()),
        scenario("pvtx deploy", filled, |place| place.pvtx(&["deploy", "t"]), |place| place.view(&["t"]))
            .opens_as(settled),
        scenario(
            "pvtx deploy over one",
            filled_again,
            |place| place.pvtx(&["deploy", "t"]),
            |place| place.view(&["t"]),
        )
        .opens_as(settled),
        scenario(
            "pvtx deploy into a storage",
            filled_for_a_storage,
            |place| place.pvtx(&["deploy", "s/trails/0"]),
            |place| place.view(&["s/trails"]),
        )
        .opens_as(storage_opens),
        scenario("pvtx queue new", packages, |place| place.pvtx(&["queue", "new", "q", "o"]), queue)
            .opens_as(|_| Vec::new()),
        scenario("pvtx queue unpack", queued, |place| place.pvtx(&["queue", "unpack", "two"]), queue)
            .opens_as(|_| Vec::new()),
        scenario("pvtx queue remove", queued, |place| place.pvtx(&["queue", "remove", "app"]), queue)
            .opens_as(|_| Vec::new()),
        scenario("pvtx queue process", queued, |place| place.pvtx(&["queue", "process", "empty"]), transaction)
            .opens_as(|_| Vec::new()),
    ]
}

/// Another deploy into the folder, which comes to nothing: there is no such repository.
fn settled(place: &Place) -> Vec<String> {
    let output = place.pvr("", &["deploy", "--dry-run", "t", "none/.pvr"]).output().expect("run pvr");
    assert!(!output.status.success(), "{}", said(&output));
    Vec::new()
}

fn scenario(name: &'static str, build: fn(&Place), run: fn(&Place) -> Command, view: fn(&Place) -> View) -> Scenario {
    let opens = |place: &Place| opened(place.pvtx(&["show"]));
    let next = |place: &Place| {
        ["abort", "begin empty o", "add one", "deploy t"]
            .map(|words| place.pvtx(&words.split(' ').collect::<Vec<_>>()))
            .into()
    };
    Scenario { name, build, act: Act::Run(run), view, change: Change::Whole, opens, next }
}

impl Scenario {
    fn opens_as(self, opens: fn(&Place) -> Vec<String>) -> Self {
        Self { opens, ..self }
    }
}

/// What a transaction says of itself: which is its state, if it is one.
fn transaction(place: &Place) -> View {
    let output = place.pvtx(&["show"]).output().expect("run pvtx");
    let state = if output.status.success() { output.stdout } else { Vec::new() };
    View::from([("state".to_owned(), String::from_utf8_lossy(&state).into_owned())])
}

/// The steps, and how many there are of them.
fn queue(place: &Place) -> View {
    let mut view = place.view(&["q"]);
    let temporary = |path: &str| path.contains("/.");
    view.retain(|path, _| !temporary(path));
    view
}

/// A package of one app, whose files have these bytes.
fn package(app: &str, contents: &[&[u8]]) -> Vec<u8> {
    let keys = contents.iter().enumerate().map(|(at, bytes)| (format!("{app}/file{at}"), sha256(bytes)));
    let keys: String = keys.map(|(key, sha)| format!(r#","{key}":"{sha}""#)).collect();
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1"{keys},"{app}/run.json":{{"name":"{app}"}}}}"##);
    let mut archive = tar::file("json", state.as_bytes());
    contents.iter().for_each(|bytes| archive.extend(tar::file(&format!("objects/{}", sha256(bytes)), bytes)));
    archive.extend(tar::end());
    archive
}

fn packages(place: &Place) {
    for folder in ["o", "t"] {
        fs::create_dir(place.at(folder)).expect("a folder");
    }
    place.write("one", tar::gzip(&package("app", &[b"one", &[1; 9000], b""])));
    place.write("two", package("app", &[b"two", &[1; 9000]]));
}

fn begun(place: &Place) {
    packages(place);
    prepare([place.pvtx(&["begin", "empty", "o"])]);
}

fn filled(place: &Place) {
    begun(place);
    prepare([place.pvtx(&["add", "one"])]);
}

fn ended(place: &Place) {
    filled(place);
    prepare([place.pvtx(&["deploy", "t"])]);
}

fn filled_again(place: &Place) {
    ended(place);
    prepare([place.pvtx(&["begin", "empty", "o"]), place.pvtx(&["add", "two"])]);
}

fn filled_for_a_storage(place: &Place) {
    packages(place);
    Seed::factory(&place.at("s"));
    prepare([place.pvtx(&["begin", "s/trails/0", "s/objects"]), place.pvtx(&["add", "one"])]);
}

fn queued(place: &Place) {
    packages(place);
    prepare([place.pvtx(&["queue", "new", "q", "o"]), place.pvtx(&["queue", "unpack", "one"])]);
}
