//! `pvtx` as a process: packages that are cut off or damaged anywhere, processes that are killed, several at once, a
//! storage, the names that it is called by. What each command does, the recorded steps show (`recorded_pvtx`).
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
#[path = "black_box/mod.rs"]
mod black_box;
#[path = "support/tar.rs"]
mod tar;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use black_box::{Dice, program, rounds, sha256};

const EMPTY: &str = r##"{"#spec":"pantavisor-service-system@1"}"##;

/// A folder with a transaction, a folder of objects, and a link that the program is called by.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(program::path(), folder.path().join("pvtx")).unwrap();
        fs::create_dir(folder.path().join("o")).unwrap();
        Self { folder }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = program::called(&self.at("pvtx"));
        command.args(words).current_dir(self.folder.path()).env("PVTXDIR", self.at("d")).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn code(&self, words: &[&str]) -> i32 {
        self.run(words).status.code().unwrap()
    }

    fn state(&self) -> String {
        self.ok(&["show"]).trim_end().to_owned()
    }

    /// Every object is what its name says.
    fn objects(&self, when: &str) -> usize {
        let mut count = 0;
        for entry in fs::read_dir(self.at("o")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name != ".pvr-agent" {
                assert_eq!(sha256(&fs::read(entry.path()).unwrap()), name, "{when}");
                count += 1;
            }
        }
        count
    }

    /// Nothing is left of what did not come to an end.
    fn no_debris(&self, when: &str) {
        let tmp = self.at("o/.pvr-agent/tmp");
        if tmp.exists() {
            assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "{when}");
        }
        let names: Vec<_> = fs::read_dir(self.at("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == ".status" || name == "current.json"), "{when}: {names:?}");
        let beside: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!beside.iter().any(|name| name.to_string_lossy().starts_with(".pvr-deploy")), "{when}: {beside:?}");
    }
}

/// A package of one app, whose files have these bytes.
fn package(app: &str, contents: &[Vec<u8>]) -> Vec<u8> {
    let keys = contents.iter().enumerate().map(|(at, bytes)| (format!("{app}/file{at}"), sha256(bytes)));
    let keys: String = keys.map(|(key, sha)| format!(r#","{key}":"{sha}""#)).collect();
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1"{keys},"{app}/run.json":{{"name":"{app}"}}}}"##);
    let mut archive = tar::file("json", state.as_bytes());
    contents.iter().for_each(|bytes| archive.extend(tar::file(&format!("objects/{}", sha256(bytes)), bytes)));
    archive.extend(tar::end());
    archive
}

#[test]
fn a_package_that_is_cut_off_or_damaged_changes_nothing() {
    let mut dice = Dice::new("pvtx");
    let bench = Bench::new();
    bench.ok(&["begin", "empty", "o"]);
    let contents: Vec<Vec<u8>> = [3000, 1, 0, 9000].iter().map(|size| dice.bytes(*size)).collect();
    let whole = package("app", &contents);
    let packed = tar::gzip(&whole);
    let unchanged = |bytes: &[u8], when: &str| {
        fs::write(bench.at("p"), bytes).unwrap();
        assert_eq!(bench.code(&["add", "p"]), 255, "{when}");
        assert_eq!(bench.state(), EMPTY, "{when}");
        assert_eq!(bench.objects(when), 0, "{when}");
    };
    // The second of the two blocks at the end says nothing more.
    for cut in (0..whole.len() - 512).step_by(512) {
        unchanged(&whole[..cut], &format!("tar cut at {cut}"));
    }
    for at in (0..packed.len()).step_by(512) {
        unchanged(&packed[..at], &format!("tgz cut at {at}"));
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        unchanged(&damaged, &format!("tgz damaged at {at}"));
    }
    for (at, header) in [(0, "json"), (1024, "the first object")] {
        let mut damaged = whole.clone();
        damaged[at + 130] ^= 1;
        unchanged(&damaged, &format!("the size of {header}"));
    }
    bench.no_debris("after all that");
    fs::write(bench.at("p"), &packed).unwrap();
    bench.ok(&["add", "p"]);
    assert_eq!(bench.objects("in the end"), 4);
    assert!(bench.state().contains("app/file3"));
}

#[test]
fn a_pipe_is_read_as_a_file_is() {
    let bench = Bench::new();
    bench.ok(&["begin", "empty", "o"]);
    let whole = package("app", &[b"one".to_vec()]);
    for (bytes, code) in
        [(whole.clone(), 0), (tar::gzip(&whole), 0), (whole[..whole.len() - 1024].to_vec(), 255), (EMPTY.into(), 0)]
    {
        let mut child = bench.command(&["add", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes).ok();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
    assert_eq!(bench.objects("piped"), 1);
}

#[test]
fn a_package_through_a_pipe_was_unpacked_to_any_size() {
    let bench = Bench::new();
    bench.ok(&["begin", "empty", "o"]);
    let packed = tar::gzip(&package("app", &[vec![0; 4 << 20]]));
    let before = bench.state();
    for (ratio, code) in [("10", 255), ("1100", 0)] {
        let mut command = bench.command(&["add", "-"]);
        let mut child = command.env("PVR_AGENT_MAX_RATIO", ratio).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &packed).ok();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{ratio}");
        assert_eq!(bench.state() == before, code != 0, "{ratio}");
    }
    assert_eq!(bench.objects("unpacked"), 1);
}

#[test]
fn killed_at_any_moment_of_an_add() {
    let mut dice = Dice::new("pvtx_add");
    let bench = Bench::new();
    let mut states = Vec::new();
    for name in ["one", "two"] {
        let contents: Vec<Vec<u8>> = (0..12).map(|_| dice.bytes(40_000)).collect();
        fs::write(bench.at(name), tar::gzip(&package("app", &contents))).unwrap();
        bench.ok(&["begin", "empty", "o"]);
        bench.ok(&["add", name]);
        states.push(bench.state());
        bench.ok(&["abort"]);
    }
    states.push(EMPTY.to_owned());
    bench.ok(&["begin", "empty", "o"]);
    let begun = Instant::now();
    bench.ok(&["add", "one"]);
    let cycle = begun.elapsed();
    let kills = rounds(300, 10);
    let (mut within, mut late) = (0, 0);
    while within < kills {
        let name = ["one", "two"][(within + late) % 2];
        if dice.below(2) == 0 {
            // So that objects come as well.
            fs::remove_dir_all(bench.at("o")).unwrap();
            fs::create_dir(bench.at("o")).unwrap();
        }
        let mut child = bench.command(&["add", name]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(cycle.as_micros() as u64)));
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("kill {within}");
        let state = bench.state();
        assert!(states.contains(&state), "{when}: {state}");
        bench.objects(&when);
        if finished { late += 1 } else { within += 1 }
    }
    println!("pvtx_add: {within} kills, {late} too late");
    bench.ok(&["add", "one"]);
    bench.ok(&["add", "two"]);
    assert_eq!(bench.state(), states[1]);
    bench.no_debris("in the end");
}

fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn killed_at_any_moment_of_a_deploy() {
    let mut dice = Dice::new("pvtx_deploy");
    let bench = Bench::new();
    fs::create_dir(bench.at("t")).unwrap();
    let (mut whole, mut cycle) = (Vec::new(), Duration::from_secs(1));
    for name in ["one", "two"] {
        let contents: Vec<Vec<u8>> = (0..20).map(|_| dice.bytes(5_000)).collect();
        fs::write(bench.at(name), package("app", &contents)).unwrap();
        bench.ok(&["begin", "empty", "o"]);
        bench.ok(&["add", name]);
        fs::copy(bench.at("d/current.json"), bench.at(&format!("{name}.json"))).unwrap();
        let begun = Instant::now();
        bench.ok(&["deploy", "t"]);
        cycle = cycle.min(begun.elapsed());
        whole.push(tree(&bench.at("t")));
    }
    assert_ne!(whole[0], whole[1]);
    let kills = rounds(300, 10);
    let (mut within, mut late, mut changed) = (0, 0, 0);
    while within < kills {
        let name = ["one.json", "two.json"][(within + late) % 2];
        bench.ok(&["abort"]);
        bench.ok(&["begin", name, "o"]);
        let before = tree(&bench.at("t"));
        let mut child = bench.command(&["deploy", "t"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(cycle.as_micros() as u64)));
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("kill {within}");
        let after = tree(&bench.at("t"));
        assert!(whole.contains(&after), "{when}: {:?}", after.keys());
        changed += usize::from(before != after);
        bench.objects(&when);
        if finished { late += 1 } else { within += 1 }
    }
    println!("pvtx_deploy: {within} kills, {late} too late, {changed} with a new tree");
    bench.ok(&["abort"]);
    bench.ok(&["begin", "one.json", "o"]);
    bench.ok(&["deploy", "t"]);
    assert_eq!(tree(&bench.at("t")), whole[0]);
    bench.no_debris("in the end");
}

#[test]
fn many_at_once_lose_nothing() {
    let bench = Bench::new();
    bench.ok(&["begin", "empty", "o"]);
    for round in 0..rounds(40, 2) {
        let names: Vec<String> = (0..8).map(|at| format!("app{round}x{at}")).collect();
        for name in &names {
            let contents = vec![name.clone().into_bytes(), b"shared by all".to_vec()];
            fs::write(bench.at(name), package(name, &contents)).unwrap();
        }
        let children: Vec<_> = names.iter().map(|name| bench.command(&["add", name]).spawn().unwrap()).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let state = bench.state();
        assert!(names.iter().all(|name| state.contains(&format!("\"{name}/run.json\""))), "{state}");
        let mut removals: Vec<_> =
            names[1..].iter().map(|name| bench.command(&["remove", name]).spawn().unwrap()).collect();
        let begins: Vec<_> =
            (0..3).map(|_| bench.command(&["begin", "empty", "o"]).stderr(Stdio::null()).spawn().unwrap()).collect();
        assert!(removals.iter_mut().all(|child| child.wait().unwrap().success()));
        assert!(begins.into_iter().all(|mut child| child.wait().unwrap().code() == Some(255)));
        let state = bench.state();
        assert!(!names[1..].iter().any(|name| state.contains(&format!("\"{name}/"))), "{state}");
        assert!(state.contains(&format!("\"{}/run.json\"", names[0])), "{state}");
    }
    bench.objects("after all");
    bench.no_debris("after all");
}

#[test]
fn of_several_that_begin_one_does() {
    let bench = Bench::new();
    for _ in 0..rounds(20, 2) {
        let children: Vec<_> =
            (0..6).map(|_| bench.command(&["begin", "empty", "o"]).stderr(Stdio::null()).spawn().unwrap()).collect();
        let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert!(codes.iter().all(|code| matches!(code, 0 | 255)), "{codes:?}");
        bench.ok(&["abort"]);
    }
}

#[test]
fn objects_of_a_storage_are_kept_until_a_revision_has_them() {
    let bench = Bench::new();
    for folder in ["s/objects", "s/trails/0"] {
        fs::create_dir_all(bench.at(folder)).unwrap();
    }
    let content = b"an object".to_vec();
    let object = bench.at(&format!("s/objects/{}", sha256(&content)));
    fs::write(bench.at("p"), package("app", &[content])).unwrap();
    bench.ok(&["begin", "empty", "s/objects"]);
    bench.ok(&["add", "p"]);
    // Pantavisor's collector takes what has one link.
    assert_eq!(object.metadata().unwrap().nlink(), 2);
    assert_eq!(object.metadata().unwrap().mode() & 0o777, 0o444);
    bench.ok(&["deploy", "s/trails/0"]);
    assert_eq!(object.metadata().unwrap().nlink(), 2);
    assert_eq!(object.metadata().unwrap().ino(), bench.at("s/trails/0/app/file0").metadata().unwrap().ino());
    let left: Vec<_> = fs::read_dir(bench.at("s/trails")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["0"], "what else lies in trails/ is collected");
    assert_eq!(fs::read(bench.at("s/trails/0/.pvr/config")).unwrap(), b"{\"ObjectsDir\": \"s/objects\"}");
}

#[test]
fn a_deploy_threw_away_the_objects_that_lay_in_its_folder() {
    let bench = Bench::new();
    fs::create_dir_all(bench.at("t/o")).unwrap();
    fs::write(bench.at("p"), package("app", &[b"x".to_vec()])).unwrap();
    bench.ok(&["begin", "empty", "t/o"]);
    bench.ok(&["add", "p"]);
    for folder in ["t", "t/", ".", "t/o"] {
        assert_eq!(bench.code(&["deploy", folder]), 255, "{folder}");
    }
    assert!(bench.at("t/o").join(sha256(b"x")).exists());
    bench.ok(&["abort"]);
}

#[test]
fn a_step_that_was_not_counted_is_in_nobodys_way() {
    let bench = Bench::new();
    bench.ok(&["queue", "new", "q", "o"]);
    // As one leaves it that is killed behind its last write but one.
    fs::write(bench.at("q/000__app.remove"), "").unwrap();
    fs::create_dir(bench.at("q/.pvtx.tmp")).unwrap();
    bench.ok(&["queue", "remove", "app"]);
    fs::write(bench.at("p"), package("app", &[b"x".to_vec()])).unwrap();
    bench.ok(&["queue", "unpack", "p"]);
    let mut names: Vec<_> = fs::read_dir(bench.at("q")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["000__app.remove", "001__app.remove", "002__p"]);
    bench.ok(&["queue", "process", "empty"]);
    assert!(bench.state().contains("app/file0"));
}

#[test]
fn it_is_itself_by_either_name() {
    let bench = Bench::new();
    let long = |words: &[&str]| {
        let mut command = program::command();
        command.arg("pvtx").args(words).current_dir(bench.folder.path()).env("PVTXDIR", bench.at("d"));
        command.output().unwrap()
    };
    assert_eq!(long(&["show"]).status.code(), Some(11));
    assert!(long(&["--json", "begin", "empty", "o"]).status.success());
    assert_eq!(bench.state(), EMPTY);
    fs::write(bench.at("-x"), r##"{"#spec":"x","b":{"z":1,"a":1.0}}"##).unwrap();
    assert_eq!(String::from_utf8(long(&["--json", "add", "-x"]).stdout).unwrap(), "{\"changed\":true}\n");
    assert_eq!(bench.state(), r##"{"#spec":"pantavisor-service-system@1","b":{"a":1,"z":1}}"##);
    assert_eq!(String::from_utf8(long(&["--help"]).stdout).unwrap(), bench.ok(&["help"]));
    let unknown = long(&["\u{1b}[31m"]);
    assert_eq!(unknown.status.code(), Some(255));
    assert!(!unknown.stderr.contains(&0x1b), "{unknown:?}");
    // What cannot be printed has not been shown.
    if Path::new("/dev/full").exists() {
        let full = fs::File::create("/dev/full").unwrap();
        assert_eq!(bench.command(&["show"]).stdout(full).status().unwrap().code(), Some(255));
    }
}
