//! A disk that is full at every step of an upload and a post: what was there before is unchanged.
//!
//! A small tmpfs holds a storage with a revision. Its size, or its number of inodes (a hardlink costs one there, too),
//! is set so that one more page or inode is left each time, until a post goes through. Needs root.

mod disk;

use disk::*;
use pvr_agent::state::{Revision, State};
use pvr_agent::store::{Capabilities, StoreError};
use pvr_agent::trails::{Install, InstallError, Storage, TrailsError, factory, install};
use rustix::fs::{StatVfs, statvfs};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Objects of a state that is to be posted.
fn parts(version: u8) -> [(&'static str, Vec<u8>); 4] {
    [
        ("app/root.squashfs", vec![version; 30_000]),
        ("app/data", vec![version ^ 0xFF; 9_000]),
        ("app/etc.bind", vec![version.wrapping_add(7); 5_000]),
        ("bsp/kernel.img", vec![version.wrapping_add(9); 5_000]),
    ]
}

fn system(version: u8) -> State {
    let parts = parts(version);
    let objects: Vec<_> = parts.iter().map(|(key, bytes)| (*key, bytes.as_slice())).collect();
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(6000));
    state(&objects, &[("app/run.json", &long), ("bsp/run.json", "{}"), ("one/two/three/run.json", "{}")])
}

/// How far a post got before the disk was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Upload,
    Install,
    Done,
}

fn post(storage: &Storage, rev: &str, version: u8, declared: bool, make_current: bool) -> Reached {
    for (_, bytes) in parts(version) {
        let uploaded = if declared {
            let size = Some(bytes.len() as u64);
            storage.store().begin(None, size).and_then(|mut writer| {
                writer.write_all(&bytes)?;
                storage.store().publish(vec![writer.finish()?], pvr_agent::store::Stage::Yes)
            })
        } else {
            upload(storage.store(), &bytes).map(|stored| vec![stored])
        };
        if let Err(e) = uploaded {
            assert!(e.is_full(), "{e}");
            return Reached::Upload;
        }
    }
    let rev = Revision::parse(rev).unwrap();
    let job = Install { rev: &rev, state: &system(version), commit_msg: Some("message"), make_current };
    match install(storage, job) {
        Ok(_) => Reached::Done,
        Err(e) => {
            assert!(e.is_full() && !matches!(e, InstallError::Missing(_)), "{e}");
            Reached::Install
        }
    }
}

fn limits(mount: &Mount) -> StatVfs {
    statvfs(mount.path()).unwrap()
}

/// What has to be the same after a failure: all but what was uploaded and the working folder's memo.
fn kept(root: &Path, version: u8) -> BTreeMap<PathBuf, String> {
    let mut all = snapshot(root);
    for (_, bytes) in parts(version) {
        for folder in ["objects", ".pvr-agent/staged"] {
            all.remove(&Path::new(folder).join(id_of(&bytes).to_string()));
        }
    }
    all.remove(Path::new(".pvr-agent/intact"));
    all
}

/// Gives a storage one more page or inode at a time; each failure leaves it as it was.
fn starve(caps: Capabilities, resource: &str, rev: &str, declared: bool, make_current: bool) {
    let at = format!("{resource} for {rev}, {caps:?}, declared {declared}, current {make_current}");
    let Some(mount) = Mount::tmpfs("size=8m,nr_inodes=4000") else { return };
    let root = mount.path().join("storage");
    factory::make(&root).unwrap();
    let storage = Storage::open_with(&root, Some(caps)).unwrap();
    // Never run, so a post under its name replaces it.
    assert_eq!(post(&storage, "locals/old", 1, false, false), Reached::Done);
    // Both locks exist from now on.
    assert_clean(&storage);
    let before = kept(&root, 2);
    let mut seen = BTreeMap::new();
    for extra in 0.. {
        let now = limits(&mount);
        match resource {
            "pages" => mount.remount(&format!("size={}k,nr_inodes=4000", (now.f_blocks - now.f_bfree + extra) * 4)),
            _ => mount.remount(&format!("size=8m,nr_inodes={}", now.f_files - now.f_ffree + extra)),
        }
        let reached = post(&storage, rev, 2, declared, make_current);
        *seen.entry(reached).or_insert(0) += 1;
        if reached == Reached::Done {
            break;
        }
        assert!(extra < 200, "{at}: {seen:?}");
        mount.remount("size=8m,nr_inodes=4000");
        assert_eq!(kept(&root, 2), before, "{at} +{extra}, {reached:?}");
        assert_clean(&storage);
        // What did get in stays usable; the next try starts without it.
        for (_, bytes) in parts(2) {
            let id = id_of(&bytes);
            if fs::exists(storage.store().path(&id)).unwrap() {
                assert_eq!(storage.store().intact(&id).unwrap(), Some(bytes.len() as u64));
            }
            storage.store().unstage(&[id]).unwrap();
            let _ = fs::remove_file(storage.store().path(&id));
        }
    }
    mount.remount("size=8m,nr_inodes=4000");
    assert!(seen[&Reached::Upload] > 1 && seen.get(&Reached::Install).is_some_and(|n| *n > 1), "{at}: {seen:?}");
    assert_clean(&storage);
    assert_eq!(storage.state(&Revision::parse(rev).unwrap().into()).unwrap().unwrap(), system(2));
    eprintln!("{at}: {seen:?}");
}

/// With everything there is and with nothing; at full weight, with each thing missing as well.
fn some_capabilities() -> Vec<Capabilities> {
    let all = all_capabilities();
    if rounds(100) > 50 { all } else { vec![all[0], Capabilities::NONE] }
}

#[test]
fn no_page_left_at_any_step() {
    for caps in some_capabilities() {
        starve(caps, "pages", "locals/new", false, false);
        starve(caps, "pages", "locals/old", true, true);
    }
}

#[test]
fn no_inode_left_at_any_step() {
    for caps in some_capabilities() {
        starve(caps, "inodes", "locals/new", true, true);
        starve(caps, "inodes", "locals/old", false, false);
    }
}

#[test]
fn a_memo_that_cannot_be_written_costs_a_hashing_and_nothing_else() {
    let Some(mount) = Mount::tmpfs("size=1m") else { return };
    let store = store_in(mount.path(), None);
    fs::create_dir(store.agent().join("intact")).unwrap();
    let (id, _) = upload(&store, b"hello").unwrap();
    assert_eq!(store.intact(&id).unwrap(), Some(5));
    assert_eq!(store_in(mount.path(), None).intact(&id).unwrap(), Some(5));
}

#[test]
fn copies_and_json_were_written_into_what_is_left_free_for_others() {
    for (what, state) in [
        ("a copy", state(&[("app/etc.bind", &[7; 300_000])], &[])),
        ("JSON", state(&[("app/data", b"x")], &[("app/run.json", &format!("\"{}\"", "x".repeat(300_000)))])),
    ] {
        let Some(mount) = Mount::tmpfs("size=16m") else { return };
        let storage = factory::make(&mount.path().join("storage")).unwrap();
        upload(storage.store(), &[7; 300_000]).unwrap();
        upload(storage.store(), b"x").unwrap();
        let ballast = mount.path().join("ballast");
        let room = storage.store().space().unwrap().available();
        fs::write(&ballast, vec![0; room as usize - 200_000]).unwrap();
        let before = kept(storage.root(), 0);
        let refused = install_as(&storage, "locals/x", &state).unwrap_err();
        let no_space = matches!(&refused, InstallError::Trails(TrailsError::Store(StoreError::NoSpace { .. })));
        assert!(no_space && refused.is_full(), "{what}: {refused}");
        assert_eq!(kept(storage.root(), 0), before, "{what}");
        assert_eq!(storage.store().space().unwrap().promised, 0, "{what}");
        fs::File::options().write(true).open(&ballast).unwrap().set_len(room - 700_000).unwrap();
        install_as(&storage, "locals/x", &state).unwrap();
        assert_eq!(storage.store().space().unwrap().promised, 0, "{what}");
        assert_clean(&storage);
    }
}

#[test]
fn a_revision_of_more_files_than_there_are_inodes_was_begun() {
    let texts: Vec<_> = (0..50).map(|i| (format!("app/{i}/x.json"), i.to_string())).collect();
    let json: Vec<_> = texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    let state = state(&[], &json);
    for (left, reached) in [(20, "refused"), (99, "refused"), (130, "done")] {
        let Some(mount) = Mount::tmpfs("size=16m,nr_inodes=2000") else { return };
        let storage = factory::make(&mount.path().join("storage")).unwrap();
        assert_clean(&storage);
        let before = kept(storage.root(), 0);
        let now = limits(&mount);
        mount.remount(&format!("size=16m,nr_inodes={}", now.f_files - now.f_ffree + left));
        match install_as(&storage, "locals/x", &state) {
            Ok(_) => assert_eq!(reached, "done", "{left}"),
            Err(e) => {
                assert_eq!(reached, "refused", "{left}: {e}");
                let counted = matches!(
                    &e,
                    InstallError::Trails(TrailsError::Store(StoreError::NoInodes { wanted, available, .. }))
                        if (left - 3..=left).contains(available) && (101..=120).contains(wanted)
                );
                assert!(counted && e.is_full(), "{left}: {e}");
                assert_eq!(kept(storage.root(), 0), before, "{left}");
            }
        }
        mount.remount("size=16m,nr_inodes=2000");
        assert_clean(&storage);
    }
}
