//! Objects on disk, from outside: whatever happens, a name means its bytes, and nothing is left lying about.

mod disk;

use disk::*;
use pvr_agent::state::ObjectId;
use pvr_agent::store::{Capabilities, ObjectStore, Stage, StoreError, Stored};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn links(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.nlink())
}

fn staged(store: &ObjectStore, id: &ObjectId) -> std::path::PathBuf {
    store.agent().join("staged").join(id.to_string())
}

fn is_tidy(store: &ObjectStore) -> bool {
    fs::read_dir(store.agent().join("tmp")).unwrap().next().is_none()
}

/// Puts a file under an object's name the way others do, long enough ago not to be in flux.
fn foreign(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    #[expect(clippy::disallowed_methods, reason = "this machine's clock")]
    let now = SystemTime::now();
    File::open(path).unwrap().set_modified(now - Duration::from_secs(60)).unwrap();
}

#[test]
fn an_object_is_read_only_linked_twice_and_known_on_every_file_system_in_every_way() {
    for (name, dir, _mount) in file_systems() {
        for (i, caps) in all_capabilities().into_iter().map(Some).chain([None]).enumerate() {
            let at = format!("{name} {caps:?}");
            let store = store_in(&dir.join(i.to_string()), caps);
            assert_eq!(fs::metadata(store.agent()).unwrap().permissions().mode() & 0o7777, 0o700);
            for bytes in [&b""[..], b"hello", &vec![7; 300_000]] {
                let (id, stored) = upload(&store, bytes).unwrap();
                assert_eq!(stored, Stored::New, "{at}");
                let meta = fs::metadata(store.path(&id)).unwrap();
                assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o444, 2), "{at}");
                assert_eq!(fs::read(store.path(&id)).unwrap(), bytes, "{at}");
                assert_eq!(store.intact(&id).unwrap(), Some(bytes.len() as u64), "{at}");
                assert_eq!(upload(&store, bytes).unwrap().1, Stored::AlreadyThere, "{at}");
                assert_eq!(links(&store.path(&id)), 2, "{at}");
            }
            assert_eq!(store.list().unwrap().len(), 3, "{at}");
            assert!(is_tidy(&store), "{at}");
        }
    }
}

#[test]
fn what_is_not_what_was_announced_is_refused_and_leaves_nothing() {
    for caps in all_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path(), Some(caps));
        let (right, wrong) = (id_of(b"hello"), id_of(b"other"));
        let mut writer = store.begin(Some(wrong), Some(5)).unwrap();
        writer.write_all(b"hello").unwrap();
        assert!(matches!(writer.finish(), Err(StoreError::WrongHash { want, got }) if want == wrong && got == right));
        let mut writer = store.begin(Some(right), Some(5)).unwrap();
        writer.write_all(b"hell").unwrap();
        assert!(matches!(writer.write_all(b"oo"), Err(StoreError::TooLong { limit: 5 })));
        assert!(matches!(writer.finish(), Err(StoreError::WrongSize { want: 5, got: 4 })));
        let mut writer = store.begin(None, None).unwrap();
        writer.write_all(b"given up").unwrap();
        drop(writer);
        assert!(store.list().unwrap().is_empty() && is_tidy(&store), "{caps:?}");
    }
}

#[test]
fn many_objects_become_durable_together() {
    for caps in all_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path(), Some(caps));
        let sealed = |i: u8| {
            let mut writer = store.begin(None, Some(1000)).unwrap();
            writer.write_all(&[i; 1000]).unwrap();
            writer.finish().unwrap()
        };
        let batch: Vec<_> = (0..20).chain(0..5).map(sealed).collect();
        let stored = store.publish(batch, Stage::No).unwrap();
        assert_eq!(stored.iter().filter(|(_, stored)| *stored == Stored::New).count(), 20);
        assert!(store.list().unwrap().iter().all(|(id, _)| links(&store.path(id)) == 1), "{caps:?}");
        assert!(store.publish(Vec::new(), Stage::Yes).unwrap().is_empty());
    }
}

#[test]
fn a_foreign_file_is_believed_only_after_it_has_been_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), None);
    let id = id_of(b"hello");
    foreign(&store.path(&id), b"hello");
    assert_eq!(store.intact(&id).unwrap(), Some(5));
    let memo = fs::read_to_string(store.agent().join("intact")).unwrap();
    assert_eq!(memo.lines().count(), 1, "{memo}");
    assert_eq!(store_in(dir.path(), None).intact(&id).unwrap(), Some(5));
    assert_eq!(fs::read_to_string(store.agent().join("intact")).unwrap(), memo, "hashed once for all");

    // A bad one counts as absent and is replaced, never written into.
    for bad in [&b"hellO"[..], b"hell", b""] {
        foreign(&store.path(&id), bad);
        let inode = fs::metadata(store.path(&id)).unwrap().ino();
        fs::hard_link(store.path(&id), dir.path().join("revision")).unwrap();
        let _ = fs::remove_file(staged(&store, &id));
        assert_eq!(store.intact(&id).unwrap(), None);
        assert!(store.open_object(&id).unwrap().is_none() && store.stage(&id).unwrap().is_none());
        assert_eq!(upload(&store, b"hello").unwrap().1, Stored::Replaced);
        assert_ne!(fs::metadata(store.path(&id)).unwrap().ino(), inode);
        assert_eq!(fs::read(dir.path().join("revision")).unwrap(), bad);
        fs::remove_file(dir.path().join("revision")).unwrap();
    }
    assert!(is_tidy(&store));
}

#[test]
fn a_file_in_flux_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), None);
    let id = id_of(b"hello");
    fs::write(store.path(&id), b"hello").unwrap();
    assert_eq!(store.intact(&id).unwrap(), Some(5));
    // Same size, and perhaps within the same tick of the clock.
    fs::write(store.path(&id), b"hellO").unwrap();
    assert_eq!(store.intact(&id).unwrap(), None);
}

#[test]
fn what_is_no_regular_file_is_no_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), None);
    let id = id_of(b"hello");
    let path = store.path(&id);
    let secret = dir.path().join("secret");
    fs::write(&secret, b"hello").unwrap();
    let makers: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink(&secret, &path).unwrap(),
        &|| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        },
        &|| std::os::unix::fs::symlink("/nowhere", &path).unwrap(),
    ];
    for make in makers {
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(staged(&store, &id));
        make();
        assert_eq!(store.intact(&id).unwrap(), None);
        assert!(store.list().unwrap().is_empty());
        assert_eq!(upload(&store, b"hello").unwrap().1, Stored::Replaced);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
}

#[test]
fn a_staged_object_survives_the_collector_and_comes_back_if_it_does_not() {
    for caps in all_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path(), Some(caps));
        let (id, _) = upload(&store, b"hello").unwrap();
        collect_objects(dir.path());
        assert_eq!(links(&store.path(&id)), 2);
        // The collector had looked before the second link was made.
        fs::remove_file(store.path(&id)).unwrap();
        let before = fs::read(store.agent().join("intact")).unwrap();
        assert_eq!(store.intact(&id).unwrap(), Some(5));
        assert_eq!(links(&store.path(&id)), 2);
        let after = fs::read(store.agent().join("intact")).unwrap();
        assert!(after.len() > before.len() && after.starts_with(&before), "the memo follows our own link");
        // Bad under its name, good in the working folder.
        foreign(&store.path(&id), b"hellO");
        assert_eq!(store.intact(&id).unwrap(), Some(5));
        assert_eq!(fs::read(store.path(&id)).unwrap(), b"hello");
        // Bad in both places.
        fs::remove_file(store.path(&id)).unwrap();
        foreign(&staged(&store, &id), b"hellO");
        assert_eq!(store.intact(&id).unwrap(), None);
        assert!(!staged(&store, &id).exists());

        let (id, _) = upload(&store, b"hello").unwrap();
        store.unstage(&[id, id_of(b"never there")]).unwrap();
        assert_eq!(links(&store.path(&id)), 1);
        assert_eq!(store.stage(&id).unwrap(), Some(5));
        assert_eq!(links(&store.path(&id)), 2);
        store.unstage(&[id]).unwrap();
        collect_objects(dir.path());
        assert_eq!(store.stage(&id).unwrap(), None);
        assert!(is_tidy(&store));
    }
}

#[test]
fn our_own_links_do_not_make_an_object_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), None);
    let (id, _) = upload(&store, b"hello").unwrap();
    for _ in 0..3 {
        store.unstage(&[id]).unwrap();
        store.stage(&id).unwrap();
    }
    let memo = || fs::read_to_string(store.agent().join("intact")).unwrap();
    let before = memo();
    // The last line is true of the file as it is, so another process need not hash it (nor write that it has).
    assert_eq!(store_in(dir.path(), None).intact(&id).unwrap(), Some(5));
    assert_eq!(memo(), before);
}

#[test]
fn the_same_object_from_everywhere_at_once_is_stored_once() {
    for caps in [None, Some(Capabilities::NONE)] {
        for round in 0..rounds(100) {
            let dir = tempfile::tempdir().unwrap();
            let bytes = format!("round {round} ").repeat(5000).into_bytes();
            let shared = store_in(dir.path(), caps);
            let results: Vec<Stored> = std::thread::scope(|scope| {
                // Half of them share a handle, as the threads of a server; half are on their own, as processes.
                let one = |i: usize| {
                    let store = if i.is_multiple_of(2) { shared.clone() } else { store_in(dir.path(), caps) };
                    let bytes = &bytes;
                    scope.spawn(move || {
                        let (id, stored) = upload(&store, bytes).unwrap();
                        assert_eq!(store.intact(&id).unwrap(), Some(bytes.len() as u64));
                        stored
                    })
                };
                let threads: Vec<_> = (0..16).map(one).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let id = id_of(&bytes);
            // None, if the one whose second link it is was overtaken while making the name.
            assert!(results.iter().filter(|stored| **stored == Stored::New).count() <= 1, "{results:?}");
            assert!(!results.contains(&Stored::Replaced));
            assert_eq!(fs::read(shared.path(&id)).unwrap(), bytes);
            assert_eq!(links(&shared.path(&id)), 2, "both names are one file");
            assert!(is_tidy(&shared));
        }
    }
}

#[test]
fn publishing_and_staging_beside_a_tireless_collector() {
    for caps in [None, Some(Capabilities::NONE)] {
        let dir = quick_dir();
        let store = store_in(dir.path(), caps);
        let (stop, stopped) = Stop::pair();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stopped() {
                    collect_objects(dir.path());
                }
            });
            let _stop = stop;
            for round in 0..rounds(2000) {
                let bytes = format!("{}", round % 7).into_bytes();
                let (id, _) = upload(&store, &bytes).unwrap();
                assert_eq!(store.stage(&id).unwrap(), Some(1));
                assert_eq!(store.intact(&id).unwrap(), Some(1), "staged, so it can always be brought back");
                if round % 3 == 0 {
                    store.unstage(&[id]).unwrap();
                }
            }
        });
        assert!(is_tidy(&store));
    }
}

#[test]
fn a_sweep_removes_what_belongs_to_nobody_and_nothing_else() {
    let _alone = nobody_starts();
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), Some(Capabilities::NONE));
    let tmp = store.agent().join("tmp");
    let mut writer = store.begin(None, None).unwrap();
    writer.write_all(b"still coming").unwrap();
    fs::write(tmp.join("dead"), b"x").unwrap();
    fs::create_dir_all(tmp.join("half-built/rev/app")).unwrap();
    fs::write(tmp.join("half-built/rev/app/run.json"), b"{}").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tmp.join("link")).unwrap();
    let locked = tmp.join("being-built");
    fs::create_dir(&locked).unwrap();
    let lock = File::open(&locked).unwrap();
    lock.lock().unwrap();

    let swept = store.sweep().unwrap();
    assert_eq!((swept.temporaries, swept.staged), (3, 0));
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 2);
    let id = store.publish(vec![writer.finish().unwrap()], Stage::Yes).unwrap()[0].0;
    drop(lock);
    assert_eq!(store.sweep().unwrap().temporaries, 1);
    assert!(is_tidy(&store) && Path::new("/etc/passwd").exists());

    // Second links go when they are old, but not while anybody uses the store.
    assert_eq!(store.sweep_after(Duration::from_secs(3600)).unwrap().staged, 0);
    let using = store.lock_shared().unwrap();
    assert_eq!(store.sweep_after(Duration::ZERO).unwrap().staged, 0);
    drop(using);
    assert_eq!(store.sweep_after(Duration::ZERO).unwrap().staged, 1);
    assert_eq!((links(&store.path(&id)), store.intact(&id).unwrap()), (1, Some(12)));
}

#[test]
fn collecting_excludes_using_and_the_other_way_round() {
    let _alone = nobody_starts();
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path(), None);
    let (a, b) = (store.lock_shared().unwrap(), store.lock_shared().unwrap());
    assert!(store.try_lock_exclusive().unwrap().is_none());
    drop((a, b));
    let alone = store.try_lock_exclusive().unwrap().unwrap();
    assert!(store_in(dir.path(), None).try_lock_exclusive().unwrap().is_none());
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| upload(&store, b"hello").unwrap().1);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished() && store.list().unwrap().is_empty());
        drop(alone);
        waiting.join().unwrap()
    });
    assert_eq!(waiting, Stored::New);
}

#[test]
fn space_is_promised_once() {
    let Some(mount) = Mount::tmpfs("size=16m") else { return };
    for caps in [None, Some(Capabilities::NONE)] {
        let store = store_in(&mount.path().join(format!("{}", caps.is_some())), caps);
        let mib = 1 << 20;
        let first = store.reserve(10 * mib).unwrap();
        let refused = store.reserve(10 * mib).unwrap_err();
        assert!(refused.is_full() && matches!(refused, StoreError::NoSpace { .. }), "{refused}");
        drop(first);
        drop(store.reserve(10 * mib).unwrap());
        // 64 uploads of 1 MiB: those that begin can be finished, all others are refused before their first byte.
        let begun: Vec<_> = (0..64).map(|_| store.begin(None, Some(mib))).collect();
        let (good, bad): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
        assert!((10..=16).contains(&good.len()), "{} begun", good.len());
        assert!(bad.into_iter().all(|refused| refused.unwrap_err().is_full()));
        for (i, writer) in good.into_iter().enumerate() {
            let mut writer = writer.unwrap();
            writer.write_all(&vec![u8::try_from(i).unwrap(); 1 << 20]).unwrap();
            drop(writer.finish().unwrap());
        }
        assert!(store.begin(None, Some(10_000_000_000)).unwrap_err().is_full());
        assert_eq!(store.space().unwrap().promised, 0);
    }
}

#[test]
fn a_store_that_is_only_looked_at_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let objects = dir.path().join("objects");
    fs::create_dir(&objects).unwrap();
    let id = id_of(b"hello");
    foreign(&objects.join(id.to_string()), b"hello");
    let options = pvr_agent::store::Options { read_only: true, ..Default::default() };
    let store = ObjectStore::open_with(&objects, &dir.path().join(".pvr-agent"), options).unwrap();
    assert_eq!(store.intact(&id).unwrap(), Some(5));
    assert_eq!(store.list().unwrap(), [(id, 5)]);
    assert!(!dir.path().join(".pvr-agent").exists());
}

#[test]
fn only_what_was_hashed_before_is_known() {
    let dir = quick_dir();
    let store = store_in(dir.path(), None);
    let known = |id: &_| store.open_known(id).unwrap().map(|(_, size)| size);
    let (ours, _) = upload(&store, b"hello").unwrap();
    assert_eq!((known(&ours), known(&id_of(b"absent"))), (Some(5), None));
    // What somebody else has put there, even long ago.
    let theirs = id_of(b"theirs");
    fs::write(store.path(&theirs), b"theirs").unwrap();
    #[expect(clippy::disallowed_methods, reason = "this machine's clock")]
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(store.path(&theirs)).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(known(&theirs), None);
    assert_eq!((store.intact(&theirs).unwrap(), known(&theirs)), (Some(6), Some(6)));
    fs::write(store.path(&theirs), b"THEIRS").unwrap();
    assert_eq!(known(&theirs), None);
    fs::remove_file(store.path(&ours)).unwrap();
    fs::create_dir(store.path(&ours)).unwrap();
    assert_eq!(known(&ours), None);
}
