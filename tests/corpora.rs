//! The fuzz corpora, replayed: each check of `fuzz/checks` takes every input of its folder in `fuzz/corpus`, as it is and
//! cut short. Fuzzing itself: `fuzz/Cargo.toml`.

#![allow(clippy::duplicate_mod)] // two checks bring along the same socket

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/archive.rs"]
mod archive;
#[path = "../fuzz/checks/canonical.rs"]
mod canonical;
#[path = "../fuzz/checks/cgi.rs"]
mod cgi;
#[path = "../fuzz/checks/control.rs"]
mod control;
#[path = "../fuzz/checks/device_verdict.rs"]
mod device_verdict;
#[path = "../fuzz/checks/globs.rs"]
mod globs;
#[path = "../fuzz/checks/index.rs"]
mod index;
#[path = "../fuzz/checks/pvtx.rs"]
mod pvtx;
#[path = "../fuzz/checks/remote.rs"]
mod remote;
#[path = "../fuzz/checks/routes.rs"]
mod routes;
#[path = "../fuzz/checks/sig_certificate.rs"]
mod sig_certificate;
#[path = "../fuzz/checks/sig_document.rs"]
mod sig_document;
#[path = "../fuzz/checks/sig_pem.rs"]
mod sig_pem;
#[path = "../fuzz/checks/state.rs"]
mod state;
#[path = "../fuzz/checks/verity.rs"]
mod verity;

/// A name, and what panics at a finding.
type Check = (&'static str, fn(&[u8]));

/// Every check; the folders of `fuzz` are held against this list.
const CHECKS: &[Check] = &[
    ("archive", archive::run),
    ("canonical", canonical::run),
    ("cgi", cgi::run),
    ("control", control::run),
    ("device_verdict", device_verdict::run),
    ("globs", globs::run),
    ("index", index::run),
    ("pvtx", pvtx::run),
    ("remote", remote::run),
    ("routes", routes::run),
    ("sig_certificate", sig_certificate::run),
    ("sig_document", sig_document::run),
    ("sig_pem", sig_pem::run),
    ("state", state::run),
    ("verity", verity::run),
];

/// At how many places each input is cut off.
const CUTS: usize = 16;

fn names(folder: &Path) -> Vec<String> {
    let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_string_lossy().into_owned();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn every_check_has_a_target_and_a_corpus_and_is_replayed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut checks: Vec<_> = CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    checks.sort();
    for folder in ["checks", "fuzz_targets", "corpus"] {
        assert_eq!(names(&fuzz.join(folder)), checks, "fuzz/{folder} and CHECKS");
    }
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in checks {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "fuzz/Cargo.toml lacks {name}");
    }
}

#[test]
fn no_input_of_a_corpus_is_a_finding() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in CHECKS {
        let mut inputs = 0;
        // In one order everywhere: some checks remember what was before.
        let mut paths: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let data = fs::read(&path).unwrap();
            // Shown only if one of them panics.
            println!("{}", path.display());
            run(&data);
            for cut in 0..CUTS {
                run(&data[..data.len() * cut / CUTS]);
            }
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
        println!("{name}: {inputs} inputs");
    }
}
