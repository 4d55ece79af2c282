//! Revisions on disk, from outside: whole or not there, the same inodes, the same bytes.

mod disk;

use disk::system::*;
use disk::*;
use pvr_agent::state::{JsonLimits, Revision, Spec, State, StatePath};
use pvr_agent::store::Capabilities;
use pvr_agent::trails::{Install, InstallError, Outcome, Progress, Status, Storage, factory, install, missing};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

#[test]
fn a_revision_is_laid_out_as_pantavisor_reads_it_on_every_file_system_in_every_way() {
    for (fs_name, dir, _mount) in file_systems() {
        for (i, caps) in all_capabilities().into_iter().enumerate() {
            let at = format!("{fs_name} {caps:?}");
            let root = dir.join(format!("s{i}"));
            let storage = Storage::open_with(Storage::create(&root).unwrap().root(), Some(caps)).unwrap();
            let system = system("1");
            assert_eq!(missing(&storage, &system).unwrap().len(), 4);
            upload_all(&storage);
            let installed = install_as(&storage, "locals/one", &system).unwrap();
            assert_eq!((installed.linked, installed.json, installed.copied), (3, 3, 1), "{at}");
            assert_eq!((installed.outcome, installed.state_sha), (Outcome::New, system.sha().unwrap()));

            let rev = storage.dir(&name("locals/one"));
            let same_file = |file: &str, bytes: &[u8]| {
                let object = fs::metadata(storage.store().path(&id_of(bytes))).unwrap();
                assert_eq!(fs::metadata(rev.join(file)).unwrap().ino(), object.ino(), "{at} {file}");
            };
            same_file("bsp/kernel.img", KERNEL);
            same_file("app/root.squashfs", ROOT);
            same_file(".pv/pv-kernel.img", KERNEL);
            same_file(".pv/pv-initrd.img", INITRD);
            same_file(".pv/pv-initrd.img.0", INITRD);
            let plain = |file: &str, bytes: &str| {
                assert_eq!(fs::read_to_string(rev.join(file)).unwrap(), bytes, "{at} {file}");
                let meta = fs::metadata(rev.join(file)).unwrap();
                assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o644, 1), "{at} {file}");
            };
            plain("app/etc.bind", "written to by a container");
            plain("app/run.json", r#"{"n":1.5E0,"name":"app","version":"1","z":{"a":[],"b":1}}"#);
            plain("_config/app/a b.json", r#""text""#);
            plain(".pvr/json", &system.to_canonical().unwrap());
            plain(".pvr/config", &format!(r#"{{"ObjectsDir": "{}/objects"}}"#, storage.root().display()));
            plain(".pv/commitmsg", "a message");
            plain(".pv/progress", r#"{"status":"NEW","status-msg":"Update ready to be run","progress":0,"retries":0}"#);
            assert!(!rev.join(".pv/done").exists() && !storage.trails_dir().join("current").exists());
            let modes = ["", "app", ".pv", ".pvr"].map(|dir| fs::metadata(rev.join(dir)).unwrap().mode() & 0o7777);
            assert_eq!(modes, [0o755; 4], "{at}");
            // Named by a revision, the objects need no second link in the working folder.
            let nlink = |bytes: &[u8]| fs::metadata(storage.store().path(&id_of(bytes))).unwrap().nlink();
            assert_eq!((nlink(KERNEL), nlink(INITRD), nlink(ROOT), nlink(BIND)), (3, 4, 2, 2), "{at}");
            assert_clean(&storage);
        }
    }
}

#[test]
fn standing_alone_the_revision_is_current_and_done() {
    for caps in all_capabilities() {
        let dir = quick_dir();
        factory::make(dir.path()).unwrap();
        let storage = Storage::open_with(dir.path(), Some(caps)).unwrap();
        upload_all(&storage);
        let (rev, system) = (Revision::parse("locals/one").unwrap(), system("1"));
        let job = Install { rev: &rev, state: &system, commit_msg: None, make_current: true };
        for outcome in [Outcome::New, Outcome::Same] {
            assert_eq!(install(&storage, job).unwrap().outcome, outcome, "{caps:?}");
            assert_eq!(fs::read_link(storage.trails_dir().join("current")).unwrap(), Path::new("locals/one"));
            assert_eq!(storage.progress(&name("locals/one")).unwrap(), Some(Progress::done()));
            assert!(storage.is_done(&name("locals/one")));
        }
        // Going back to one that ran, and one that had only been installed.
        install_as(&storage, "locals/two", &system).unwrap();
        let two = Revision::parse("locals/two").unwrap();
        assert_eq!(install(&storage, Install { rev: &two, ..job }).unwrap().outcome, Outcome::Same);
        assert_eq!(storage.current().unwrap(), Some(name("locals/two")));
        assert!(storage.is_done(&name("locals/two")));
        assert_clean(&storage);
    }
}

#[test]
fn what_is_missing_or_bad_is_listed_and_nothing_changes() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload(storage.store(), KERNEL).unwrap();
    upload(storage.store(), ROOT).unwrap();
    let path = storage.store().path(&id_of(INITRD));
    fs::write(&path, b"an iniTRD").unwrap();
    let before = snapshot(&storage.trails_dir());
    let Err(InstallError::Missing(list)) = install_as(&storage, "locals/x", &system("1")) else { panic!() };
    let pair = |key: &str, bytes| (StatePath::parse(key).unwrap(), id_of(bytes));
    assert_eq!(list, [pair("app/etc.bind", BIND), pair("bsp/pantavisor", INITRD)]);
    assert_eq!(snapshot(&storage.trails_dir()), before);
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    assert_clean(&storage);
}

#[test]
fn if_it_cannot_be_made_current_the_revision_is_taken_back() {
    for caps in all_capabilities() {
        let dir = quick_dir();
        Storage::create(dir.path()).unwrap();
        let storage = Storage::open_with(dir.path(), Some(caps)).unwrap();
        upload_all(&storage);
        install_as(&storage, "locals/old", &system("1")).unwrap();
        upload_all(&storage);
        // No symlink can take the place of a folder.
        fs::create_dir(storage.trails_dir().join("current")).unwrap();
        let before = snapshot(&storage.trails_dir());
        for rev in ["locals/new", "locals/old"] {
            let (rev, state) = (Revision::parse(rev).unwrap(), system("2"));
            let job = Install { rev: &rev, state: &state, commit_msg: None, make_current: true };
            let error = install(&storage, job).unwrap_err();
            assert!(error.to_string().starts_with("failed to replace"), "{error}");
            assert_eq!(snapshot(&storage.trails_dir()), before, "{caps:?} {rev}");
        }
        fs::remove_dir(storage.trails_dir().join("current")).unwrap();
        assert_clean(&storage);
    }
}

/// What may happen to a revision `locals/x` before another state is posted under its name.
type Setup = fn(&Storage);

#[test]
fn a_name_that_exists_is_replaced_only_if_it_never_ran() {
    let cases: [(&str, Setup, bool); 12] = [
        ("never ran", |_| {}, true),
        ("is a rollback point", |s| fs::write(s.dir(&name("locals/x")).join(".pv/done"), b"").unwrap(), false),
        ("ran well", |s| set_progress(s, "locals/x", "UPDATED"), false),
        ("failed", |s| set_progress(s, "locals/x", "ERROR"), false),
        ("is being installed", |s| set_progress(s, "locals/x", "INPROGRESS"), false),
        ("has a status of the future", |s| set_progress(s, "locals/x", "HMM"), false),
        ("has junk for progress", |s| fs::write(s.dir(&name("locals/x")).join(".pv/progress"), b"{").unwrap(), false),
        ("has no progress", |s| fs::remove_file(s.dir(&name("locals/x")).join(".pv/progress")).unwrap(), false),
        ("runs", |s| make_current(s, "locals/x"), false),
        ("is being tried", |s| boot(s, b"pv_rev=0\0pv_try=locals/x\0\0"), false),
        ("is booted", |s| boot(s, b"pv_rev=locals/x\0pv_try=\0"), false),
        (
            "is a mere folder",
            |s| {
                let dir = s.dir(&name("locals/x"));
                fs::remove_dir_all(&dir).unwrap();
                fs::create_dir_all(dir.join(".pv")).unwrap();
                fs::write(dir.join(".pv/commitmsg"), b"x").unwrap();
            },
            true,
        ),
    ];
    for caps in all_capabilities() {
        for (what, setup, replaced) in cases {
            let at = format!("{what} {caps:?}");
            let dir = quick_dir();
            factory::make(dir.path()).unwrap();
            let storage = Storage::open_with(dir.path(), Some(caps)).unwrap();
            upload_all(&storage);
            install_as(&storage, "locals/x", &system("1")).unwrap();
            setup(&storage);
            let before = snapshot(&storage.dir(&name("locals/x")));
            // The very state again changes nothing, if it is there.
            if before.contains_key(Path::new(".pvr/json")) {
                assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Same, "{at}");
                assert_eq!(snapshot(&storage.dir(&name("locals/x"))), before, "{at}");
            }
            let result = install_as(&storage, "locals/x", &system("2"));
            if replaced {
                assert_eq!(result.unwrap().outcome, Outcome::Replaced, "{at}");
                let now = storage.state(&name("locals/x")).unwrap().unwrap();
                assert_eq!(now, system_as_stored("2"), "{at}");
                assert_clean(&storage);
            } else {
                let running = what == "runs";
                assert!(
                    matches!(&result, Err(InstallError::Exists { .. }) if !running)
                        || matches!(&result, Err(InstallError::Running { .. }) if running),
                    "{at}: {result:?}"
                );
                assert_eq!(snapshot(&storage.dir(&name("locals/x"))), before, "{at}");
            }
        }
    }
}

#[test]
fn the_same_state_onto_a_damaged_revision_was_called_a_success() {
    let damages: [fn(&Storage); 3] = [
        |s| fs::remove_file(s.dir(&name("locals/x")).join("app/run.json")).unwrap(),
        |s| fs::write(s.dir(&name("locals/x")).join("app/run.json"), b"{}").unwrap(),
        |s| {
            fs::write(s.store().path(&id_of(ROOT)), ROOT.to_ascii_uppercase()).unwrap();
            let listed = install_as(s, "locals/x", &system("1"));
            assert!(matches!(listed, Err(InstallError::Missing(list)) if list.len() == 1));
            upload_all(s);
        },
    ];
    let setups: [fn(&Storage); 2] =
        [|s| make_current(s, "locals/x"), |s| fs::write(s.dir(&name("locals/x")).join(".pv/done"), b"").unwrap()];
    for damage in damages {
        for ran in setups {
            let dir = quick_dir();
            let storage = factory::make(dir.path()).unwrap();
            upload_all(&storage);
            install_as(&storage, "locals/x", &system("1")).unwrap();
            ran(&storage);
            assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Same);
            damage(&storage);
            let before = snapshot(&storage.trails_dir());
            let refused = install_as(&storage, "locals/x", &system("1"));
            assert!(matches!(refused, Err(InstallError::Damaged { .. })), "{refused:?}");
            assert_eq!(snapshot(&storage.trails_dir()), before);
            // The daemon may be at work on one that is under way.
            set_progress(&storage, "locals/x", "TESTING");
            assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Same);
            assert_eq!(install_as(&storage, "locals/y", &system("1")).unwrap().outcome, Outcome::New);
        }
    }
}

/// A state as it reads back: numbers in their canonical spelling.
fn system_as_stored(version: &str) -> State {
    let text = system(version).to_canonical().unwrap();
    State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Known).unwrap()
}

#[test]
fn what_the_daemon_took_in_and_never_ran_is_filled_in() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    let rev = storage.dir(&name("locals/x"));
    fs::create_dir_all(rev.join(".pvr")).unwrap();
    fs::create_dir_all(rev.join(".pv")).unwrap();
    fs::write(rev.join(".pvr/json"), system("1").to_canonical().unwrap()).unwrap();
    set_progress(&storage, "locals/x", "NEW");
    assert_eq!(kinds(&storage), []);
    assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Replaced);
    assert!(rev.join("app/root.squashfs").exists());
    assert_clean(&storage);
}

#[test]
fn a_revision_that_was_set_aside_comes_back() {
    let _alone = nobody_starts();
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    let before = snapshot(&storage.trails_dir());
    // As a process leaves it that was killed between the two renames; and one killed after them.
    let aside = storage.store().agent().join("replaced");
    fs::rename(storage.dir(&name("locals/x")), aside.join("locals=2Fx")).unwrap();
    fs::create_dir(aside.join("0")).unwrap();
    assert_eq!(kinds(&storage).len(), 2);
    let swept = storage.sweep().unwrap();
    assert_eq!((swept.restored, swept.discarded), (1, 1));
    assert_eq!(snapshot(&storage.trails_dir()), before);
    assert_clean(&storage);
    // An install does the same before it looks at the name.
    fs::rename(storage.dir(&name("locals/x")), aside.join("locals=2Fx")).unwrap();
    assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Same);
    assert_clean(&storage);
}

#[test]
fn listings_show_what_is_there_under_names_that_can_be_asked_for() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/b", &system("1")).unwrap();
    install_as(&storage, "17", &system("1")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"locals/a b\x1b\xff");
    fs::create_dir_all(storage.trails_dir().join(odd).join(".pvr")).unwrap();
    fs::write(storage.trails_dir().join(odd).join(".pvr/json"), b"{}").unwrap();
    fs::create_dir(storage.trails_dir().join("007")).unwrap();
    fs::write(storage.trails_dir().join("a file"), b"").unwrap();
    symlink("locals/b", storage.trails_dir().join("9")).unwrap();
    let names: Vec<_> = storage.list().unwrap().iter().map(|step| step.name.to_string()).collect();
    assert_eq!(names, ["0", "007", "17", "locals/a=20b=1B=FF", "locals/b"]);
    for name in &names {
        assert_eq!(storage.resolve(name).unwrap().unwrap().to_string(), *name);
    }
    let odd = storage.resolve("locals/a=20b=1B=FF").unwrap().unwrap();
    assert_eq!(storage.state_bytes(&odd).unwrap().as_deref(), Some(&b"{}"[..]));
    assert_eq!(storage.resolve("current").unwrap(), Some(name("0")));
    for bad in ["1", "locals", "locals/", "..", "locals/..", "../objects", "9", "locals/a b", "a=20file", "", "."] {
        assert_eq!(storage.resolve(bad).unwrap(), None, "{bad}");
    }
    let step = storage.step(&name("17")).unwrap().unwrap();
    assert_eq!((step.commit_msg.as_str(), step.progress.unwrap().status), ("a message", Status::New));
    for (target, current) in
        [("locals/b", Some("locals/b")), ("./17", Some("17")), ("99", None), ("../objects", None), ("locals", None)]
    {
        make_current(&storage, target);
        assert_eq!(storage.current().unwrap().map(|name| name.to_string()).as_deref(), current, "{target}");
    }
    make_current(&storage, storage.dir(&name("0")).to_str().unwrap());
    assert_eq!(storage.current().unwrap(), Some(name("0")));
}

#[test]
fn the_device_id_is_where_the_hub_client_keeps_it() {
    let dir = quick_dir();
    let storage = Storage::create(dir.path()).unwrap();
    assert_eq!(storage.device_id().unwrap(), None);
    fs::create_dir(dir.path().join("config")).unwrap();
    for (text, id) in [
        ("creds.host=x\ncreds.id=5f1a2b\ncreds.prn=y\n", Some("5f1a2b")),
        ("PH_CREDS_ID=abc\n", Some("abc")),
        ("creds.id=\n", None),
        ("creds.id=a b\r\nX: y\n", None),
    ] {
        fs::write(dir.path().join("config/pantahub.config"), text).unwrap();
        assert_eq!(storage.device_id().unwrap().as_deref(), id, "{text:?}");
    }
}

#[test]
fn a_folder_that_is_no_storage_is_named() {
    let dir = quick_dir();
    let error = Storage::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no storage: it has no folder 'objects'"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_collector_at_any_moment_between_upload_and_post() {
    for caps in [None, Some(Capabilities::NONE)] {
        let dir = quick_dir();
        factory::make(dir.path()).unwrap();
        let storage = Storage::open_with(dir.path(), caps).unwrap();
        let (stop, stopped) = Stop::pair();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stopped() {
                    collect(dir.path(), &["0"]);
                }
            });
            let _stop = stop;
            for round in 0..rounds(2000) {
                upload_all(&storage);
                let system = system(&round.to_string());
                assert_eq!(missing(&storage, &system).unwrap(), []);
                install_as(&storage, &format!("locals/r{}", round % 5), &system).unwrap();
            }
        });
        // One that the collector knows stays as it was installed.
        upload_all(&storage);
        collect(dir.path(), &["0"]);
        install_as(&storage, "locals/known", &system("known")).unwrap();
        collect(dir.path(), &["0", "locals/known"]);
        storage.sweep().unwrap();
        assert_clean(&storage);
    }
}

#[test]
fn a_name_whose_revision_was_being_collected_was_refused_as_if_it_had_run() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    upload_all(&storage);
    let rev = storage.dir(&name("locals/x"));
    fs::remove_file(rev.join(".pv/progress")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(40));
            // Once its state has gone, the new one may come before the folder goes.
            if let Err(error) = fs::remove_dir_all(&rev) {
                assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
            }
        });
        install_as(&storage, "locals/x", &system("2")).unwrap();
    });
    assert_clean(&storage);
}

#[test]
fn posts_at_once_are_installed_one_after_the_other() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    for bytes in [KERNEL, INITRD, ROOT, BIND] {
        storage.store().stage(&id_of(bytes)).unwrap();
    }
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let one = |i: usize| {
            let storage = Storage::open(dir.path()).unwrap();
            scope.spawn(move || install_as(&storage, "locals/x", &system(&(i % 2).to_string())).unwrap().outcome)
        };
        let threads: Vec<_> = (0..8).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::New).count(), 1, "{outcomes:?}");
    assert_clean(&storage);
}
