//! The working copy: everything that `pvr` changes in one.

use super::{Act, Change, Scenario, device};
use crate::place::opens::{opened, repo_opens};
use crate::place::{Place, View, prepare};
use std::fs;
use std::path::Path;
use std::process::Command;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        whole(
            "init",
            |place| fs::create_dir(place.at("r")).expect("a folder"),
            init,
            |place| place.view(&["r/.pvr/json"]),
        )
        .opening(|_| Vec::new()),
        whole("add", changed, |place| place.pvr("r", &["add"]), |place| place.view(&["r/.pvr/new"])),
        whole("commit", added, commit, committed),
        whole("get", other, |place| place.pvr("r", &["get", "../other/.pvr"]), committed),
        whole("merge", other, |place| place.pvr("r", &["merge", "../other/.pvr"]), committed),
        whole("import", exported, |place| place.pvr("r", &["import", "../x.tgz"]), committed),
        whole("export", other, |place| place.pvr("other", &["export", "../x.tgz"]), |place| place.view(&["x.tgz"])),
        whole(
            "export over one",
            exported_before,
            |place| place.pvr("r", &["export", "../x.tgz"]),
            |place| place.view(&["x.tgz"]),
        ),
        whole("clone", other, |place| place.pvr("", &["clone", "other/.pvr", "c"]), |place| tree(place, "c")),
        whole("clone from a device", other, |place| place.pvr("", &["clone", device(), "c"]), |place| tree(place, "c")),
        whole("get from a device", other, |place| place.pvr("r", &["get", device()]), committed),
        by_file("checkout", got, |place| place.pvr("r", &["checkout"])),
        by_file("checkout of hardlinks", got, |place| place.pvr("r", &["checkout", "--hardlink"])),
        whole("deploy", other, |place| deploy(place, &[]), |place| tree(place, "t")).opening(deployed),
        whole("deploy over one", deployed_before, |place| deploy(place, &["--nomerge"]), |place| tree(place, "t"))
            .opening(|place| deployed_over(place, "--nomerge")),
        whole(
            "deploy into a pool of its own",
            deployed_inside,
            |place| deploy(place, &["--clean"]),
            |place| tree(place, "t"),
        )
        .opening(|place| deployed_over(place, "--clean")),
        whole("dm-convert", volume, convert, |place| tree(place, "r")),
        whole("dm-apply", converted, |place| place.pvr("r", &["dm-apply", "--reproducible"]), |place| tree(place, "r")),
        whole("sig add", repository, sign, |place| place.view(&["r/_sigs/app.json"])),
        whole("global-config", repository, configure, |place| place.view(&["home/.pvr/config.json"])),
    ]
}

fn whole(name: &'static str, build: fn(&Place), run: fn(&Place) -> Command, view: fn(&Place) -> View) -> Scenario {
    let next = |place: &Place| vec![commit(place)];
    Scenario {
        name,
        build,
        act: Act::Run(run),
        view,
        change: Change::Whole,
        opens: |place| repo_opens(place, "r"),
        next,
    }
}

fn by_file(name: &'static str, build: fn(&Place), run: fn(&Place) -> Command) -> Scenario {
    Scenario { change: Change::FileByFile, ..whole(name, build, run, |place| tree(place, "r")) }
}

impl Scenario {
    fn opening(self, opens: fn(&Place) -> Vec<String>) -> Self {
        Self { opens, ..self }
    }
}

fn vector(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/d-sig/keys")
        .join(name)
        .to_str()
        .expect("a path")
        .to_owned()
}

/// A folder, and the state of the repository in it; without what is remembered, locked and under way.
fn tree(place: &Place, folder: &str) -> View {
    let mut view = place.view(&[folder]);
    let own = ["index", "lock", "tmp", "objects", "commitmsg", "batch", "cloning"];
    view.retain(|path, _| {
        let inside = path.split_once("/.pvr/").map(|(_, inside)| inside.split('/').next().unwrap_or_default());
        !inside.is_some_and(|inside| own.contains(&inside))
    });
    view
}

fn committed(place: &Place) -> View {
    place.view(&["r/.pvr/json"])
}

fn init(place: &Place) -> Command {
    place.pvr("r", &["init"])
}

fn commit(place: &Place) -> Command {
    place.pvr("r", &["commit", "-m", "second"])
}

fn deploy(place: &Place, flags: &[&str]) -> Command {
    place.pvr("", &[&["deploy"], flags, &["t", "other/.pvr"]].concat())
}

fn deployed(place: &Place) -> Vec<String> {
    // A folder that never came has nothing to open.
    if place.at("t").exists() { repo_opens(place, "t") } else { Vec::new() }
}

/// Where folders can't be exchanged, one is out of its place for a moment. Whoever deploys next goes on from there; there is no folder
/// that anybody else could come to.
fn deployed_over(place: &Place, flag: &str) -> Vec<String> {
    if place.at("t").exists() { deployed(place) } else { opened(deploy(place, &[flag])) }
}

fn make(place: &Place, folder: &str, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        place.write(&format!("{folder}/{path}"), bytes);
    }
    prepare([&["init"][..], &["add"], &["commit", "-m", "first"]].map(|args| place.pvr(folder, args)));
}

fn repository(place: &Place) {
    make(
        place,
        "r",
        &[
            ("app/one", b"one"),
            ("app/two", &[2; 20_000]),
            ("app/run.json", br#"{"name":"app"}"#),
            ("bsp/kernel", b"a kernel"),
            ("bsp/pantavisor", b"an initial ram disk"),
            ("bsp/run.json", br#"{"linux":"kernel"}"#),
        ],
    );
}

fn changed(place: &Place) {
    repository(place);
    place.write("r/app/one", "another one");
    place.write("r/app/run.json", r#"{"name":"app","new":1}"#);
    place.write("r/new/three", vec![3; 200_000]);
    place.write("r/new/four", "four");
    fs::remove_file(place.at("r/app/two")).expect("remove a file");
}

fn added(place: &Place) {
    changed(place);
    prepare([place.pvr("r", &["add"])]);
}

/// Beside `r`, with parts that `r` has, too.
fn other(place: &Place) {
    repository(place);
    make(
        place,
        "other",
        &[
            ("app/one", b"one"),
            ("app/two", b"not those of the other"),
            ("app/run.json", br#"{"name":"other"}"#),
            ("bsp/kernel", b"another kernel"),
            ("bsp/pantavisor", b"an initial ram disk"),
            ("bsp/run.json", br#"{"linux":"kernel"}"#),
            ("third/etc.bind", &[7; 5000]),
        ],
    );
}

/// As an archive, the objects of which are nowhere else.
fn exported(place: &Place) {
    other(place);
    prepare([place.pvr("other", &["export", "../x.tgz"])]);
    fs::remove_dir_all(place.at("other")).expect("remove a folder");
    fs::remove_dir_all(place.at("r")).expect("remove a folder");
    fs::remove_dir_all(place.at("home/.pvr/objects")).expect("remove a folder");
    repository(place);
}

fn exported_before(place: &Place) {
    other(place);
    prepare([place.pvr("other", &["export", "../x.tgz"])]);
}

fn got(place: &Place) {
    other(place);
    prepare([place.pvr("r", &["get", "../other/.pvr"])]);
}

fn deployed_before(place: &Place) {
    other(place);
    prepare([place.pvr("", &["deploy", "t", "r/.pvr"])]);
    place.write("t/mine", "mine");
    place.write("t/app/also mine", "mine");
}

fn deployed_inside(place: &Place) {
    other(place);
    fs::create_dir(place.at("t")).expect("a folder");
    prepare([place.pvr("t", &["init", "-o", ".pvr/objects"]), place.pvr("", &["deploy", "t", "r/.pvr"])]);
    place.write("t/not mine", "for long");
}

fn volume(place: &Place) {
    make(
        place,
        "r",
        &[
            ("app/root.squashfs", &[5; 4096 * 130]),
            ("app/run.json", br#"{"name":"app","root-volume":"root.squashfs"}"#),
            ("app/src.json", br##"{"#spec":"service-manifest-src@1","template":"t"}"##),
        ],
    );
}

fn convert(place: &Place) -> Command {
    place.pvr("r", &["dm-convert", "--reproducible", "app", "root.squashfs"])
}

fn converted(place: &Place) {
    volume(place);
    prepare([convert(place)]);
    place.write("r/app/root.squashfs", [6; 4096 * 3]);
}

fn sign(place: &Place) -> Command {
    let (key, chain) = (vector("rsa.key"), vector("rsa.chain.pem"));
    place.pvr("r", &["sig", "-k", &key, "-x", &chain, "add", "--part", "app"])
}

fn configure(place: &Place) -> Command {
    place.pvr("r", &["global-config", "DistributionTag=x"])
}
