//! The Yocto recipe, as far as it can be read without BitBake: its crates are those of `Cargo.lock`, and what it repeats
//! of `Cargo.toml` and `LICENSE` is what they say. `yocto/check.sh` does the rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RECIPES: &str = "yocto/meta-pvr-agent/recipes-core/pvr-agent";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(below: impl AsRef<Path>) -> String {
    let path = root().join(below);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The value of `key = "value"` at the beginning of a line.
fn quoted(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    Some(value.split('"').next()?.to_owned())
}

/// `name/version` and checksum of everything in a `Cargo.lock` that comes from somewhere else.
fn locked(lock: &str) -> BTreeMap<String, String> {
    let packages = lock.split("[[package]]").skip(1);
    let from_elsewhere = packages.filter(|package| quoted(package, "source").is_some());
    let named = from_elsewhere.map(|package| {
        let [name, version, sum] = ["name", "version", "checksum"].map(|key| quoted(package, key).unwrap_or_default());
        (format!("{name}/{version}"), sum)
    });
    named.collect()
}

/// Everything in which a list of crates is not what `lock` says.
fn differences(lock: &str, list: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut uris, mut sums) = (BTreeMap::new(), BTreeMap::new());
    for word in list.split_whitespace().filter_map(|word| word.strip_prefix("crate://")) {
        let (host, crate_) = word.split_once('/').unwrap_or_default();
        if uris.insert(crate_.to_owned(), host.to_owned()).is_some() {
            wrong.push(format!("{crate_} is listed twice"));
        }
    }
    for line in list.lines().filter_map(|line| line.strip_prefix("SRC_URI[")) {
        let (name, sum) = line.split_once(".sha256sum] = ").unwrap_or_default();
        if sums.insert(name.to_owned(), sum.trim_matches('"').to_owned()).is_some() {
            wrong.push(format!("{name} has two checksums"));
        }
    }
    let locked = locked(lock);
    for (crate_, sum) in &locked {
        match (uris.remove(crate_), sums.remove(&crate_.replace('/', "-"))) {
            (None, _) => wrong.push(format!("{crate_} is not listed")),
            (_, None) => wrong.push(format!("{crate_} has no checksum")),
            (_, Some(found)) if &found != sum => wrong.push(format!("{crate_} has the checksum {found}, not {sum}")),
            (Some(host), _) if !lock.contains(&format!("/{host}-index\"")) => {
                wrong.push(format!("{crate_} comes from {host}"));
            }
            _ => {}
        }
    }
    wrong.extend(uris.keys().map(|crate_| format!("{crate_} is listed and not in Cargo.lock")));
    wrong.extend(sums.keys().map(|name| format!("{name} has a checksum and is not in Cargo.lock")));
    wrong
}

fn recipe() -> (PathBuf, String) {
    let mut files = fs::read_dir(root().join(RECIPES)).expect("list the recipes").map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|ending| ending == "bb")).expect("a recipe");
    let text = read(&file);
    (file, text)
}

#[test]
fn the_recipe_lists_the_crates_of_cargo_lock() {
    let (lock, list) = (read("Cargo.lock"), read(format!("{RECIPES}/pvr-agent-crates.inc")));
    assert!(locked(&lock).len() > 30, "Cargo.lock has been read: {} crates", locked(&lock).len());
    let wrong = differences(&lock, &list);
    assert!(wrong.is_empty(), "run yocto/update-crates.sh\n{}", wrong.join("\n"));
}

#[test]
fn a_list_that_is_not_that_of_cargo_lock_is_seen() {
    let (lock, list) = (read("Cargo.lock"), read(format!("{RECIPES}/pvr-agent-crates.inc")));
    let (crate_, sum) = locked(&lock).into_iter().next().expect("a crate");
    let name = crate_.replace('/', "-");
    let uri = list.lines().find(|line| line.contains(&format!("/{crate_} "))).expect("its line").to_owned() + "\n";
    let checksum = format!("SRC_URI[{name}.sha256sum] = \"{sum}\"\n");
    let other = if sum.starts_with('0') { "1" } else { "0" }.to_owned() + &sum[1..];
    let one_more = uri.replace(&crate_, "no-such-crate/1.0.0");
    let broken = [
        ("is not listed", list.replace(&uri, "")),
        ("has no checksum", list.replace(&checksum, "")),
        ("not", list.replace(&sum, &other)),
        ("is listed twice", list.replace(&uri, &uri.repeat(2))),
        ("has two checksums", list.clone() + &checksum),
        ("is listed and not in Cargo.lock", list.replace(&uri, &(uri.clone() + &one_more))),
        ("has a checksum and is not", list.clone() + &checksum.replace(&name, "no-such-crate-1.0.0")),
        ("comes from", list.replace(&uri, &uri.replace("crate://", "crate://elsewhere."))),
        ("is not listed", list.replace(&crate_, &(crate_.clone() + "1"))),
    ];
    for (expected, list) in broken {
        let wrong = differences(&lock, &list);
        assert!(wrong.iter().any(|line| line.contains(expected)), "{expected:?} is not in {wrong:?}");
    }
}

/// A copy of what the script works on.
fn workplace(lock: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make a folder");
    fs::create_dir_all(folder.path().join(RECIPES)).expect("make the folder of the recipe");
    fs::write(folder.path().join("Cargo.lock"), lock).expect("write Cargo.lock");
    fs::copy(root().join("yocto/update-crates.sh"), folder.path().join("yocto/update-crates.sh")).expect("copy");
    folder
}

fn update(folder: &Path, args: &[&str]) -> bool {
    let script = folder.join("yocto/update-crates.sh");
    Command::new("sh").arg(script).args(args).output().expect("run the script").status.success()
}

#[test]
fn update_crates_writes_the_list_that_is_there() {
    let folder = workplace(&read("Cargo.lock"));
    let list = folder.path().join(RECIPES).join("pvr-agent-crates.inc");
    assert!(update(folder.path(), &[]), "the script fails");
    assert_eq!(fs::read_to_string(&list).expect("read the list"), read(format!("{RECIPES}/pvr-agent-crates.inc")));
    assert!(update(folder.path(), &["--check"]), "--check is not content with what the script wrote");

    fs::write(&list, "SRC_URI += \"\"\n").expect("write a list");
    assert!(!update(folder.path(), &["--check"]), "--check is content with an empty list");
    assert_eq!(fs::read_to_string(&list).expect("read the list"), "SRC_URI += \"\"\n", "--check writes");
}

#[test]
fn update_crates_leaves_the_list_alone_when_a_crate_has_no_registry() {
    let from_git = "\n[[package]]\nname = \"x\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/x#0123\"\n";
    for lock in [read("Cargo.lock") + from_git, from_git.to_owned() + &read("Cargo.lock")] {
        let folder = workplace(&lock);
        let below = folder.path().join(RECIPES);
        fs::write(below.join("pvr-agent-crates.inc"), "before").expect("write a list");
        assert!(!update(folder.path(), &[]), "the script takes a crate that the recipe can't fetch");
        assert_eq!(fs::read_to_string(below.join("pvr-agent-crates.inc")).expect("read the list"), "before");
        assert_eq!(fs::read_dir(&below).expect("list").count(), 1, "something is left behind");
    }
}

#[test]
fn the_recipe_repeats_cargo_toml_and_the_licence() {
    let (file, recipe) = recipe();
    let manifest = read("Cargo.toml");
    let version = quoted(&manifest, "version").expect("a version");
    assert_eq!(file.file_name().and_then(|name| name.to_str()), Some(&*format!("pvr-agent_{version}.bb")));
    assert_eq!(quoted(&recipe, "LICENSE"), quoted(&manifest, "license"));

    let rust = quoted(&manifest, "rust-version").expect("a rust-version");
    let needed = format!("needed = ({})", rust.replace('.', ", "));
    assert!(recipe.contains(&needed), "the recipe asks for another Rust than {rust}");

    let output = Command::new("md5sum").arg(root().join("LICENSE")).output().expect("run md5sum");
    let output = String::from_utf8(output.stdout).expect("md5sum prints text");
    let sum = output.split_whitespace().next().expect("a checksum");
    assert_eq!(quoted(&recipe, "LIC_FILES_CHKSUM"), Some(format!("file://LICENSE;md5={sum}")));
}
