//! Checking and collecting a storage, from outside.

mod disk;
mod program;

use disk::system::*;
use disk::*;
use pvr_agent::store::Stored;
use pvr_agent::trails::{Kind, Outcome, Rollbacks, Storage, factory, fsck, gc, gc_keeping};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is done to a storage before it is checked.
type Damage = fn(&Storage);

#[test]
fn fsck_finds_each_kind_of_damage_and_names_its_place() {
    let damages: [(Kind, &str, Damage); 22] = [
        (Kind::ObjectContent, "objects/", |s| {
            let path = s.store().path(&id_of(ROOT));
            let bytes = fs::read(&path).unwrap();
            fs::write(path, bytes.to_ascii_uppercase()).unwrap();
        }),
        (Kind::ObjectName, "objects/README", |s| fs::write(s.store().objects().join("README"), b"x").unwrap()),
        (Kind::ObjectType, "objects/0", |s| fs::create_dir(s.store().objects().join("0".repeat(64))).unwrap()),
        (Kind::ObjectMissing, "objects/", |s| fs::remove_file(s.store().path(&id_of(ROOT))).unwrap()),
        (Kind::LinkCount, "objects/", |s| fs::hard_link(s.store().path(&id_of(ROOT)), s.root().join("x")).unwrap()),
        (Kind::StateMissing, "trails/locals/x/.pvr/json", |s| remove(s, ".pvr/json")),
        (Kind::StateInvalid, "trails/locals/x/.pvr/json", |s| write(s, ".pvr/json", b"{")),
        (Kind::StateInvalid, "trails/locals/x/.pvr/json", |s| write(s, ".pvr/json", br#"{"../x":{}}"#)),
        (Kind::FileMissing, "trails/locals/x/app/run.json", |s| remove(s, "app/run.json")),
        (Kind::FileType, "trails/locals/x/app/run.json", |s| {
            remove(s, "app/run.json");
            symlink("/etc/passwd", s.dir(&name("locals/x")).join("app/run.json")).unwrap();
        }),
        (Kind::FileInode, "trails/locals/x/app/root.squashfs", |s| {
            remove(s, "app/root.squashfs");
            write(s, "app/root.squashfs", ROOT);
        }),
        (Kind::FileContent, "trails/locals/x/app/run.json", |s| write(s, "app/run.json", b"{}")),
        (Kind::FileUnknown, "trails/locals/x/app/extra", |s| write(s, "app/extra", b"")),
        (Kind::FileUnknown, "trails/locals/stray", |s| fs::write(s.trails_dir().join("locals/stray"), b"").unwrap()),
        (Kind::FileUnknown, "trails/7", |s| symlink("0", s.trails_dir().join("7")).unwrap()),
        (Kind::FileUnknown, "trails/9", |s| fs::create_dir(s.trails_dir().join("9")).unwrap()),
        (Kind::FileUnknown, "trails/locals/empty", |s| {
            fs::create_dir_all(s.trails_dir().join("locals/empty/sub")).unwrap();
        }),
        (Kind::FileMissing, "trails/locals/x/.pvr/bind/", |s| remove(s, &bind())),
        (Kind::FileInode, "trails/locals/x/.pvr/bind/", |s| {
            remove(s, &bind());
            write(s, &bind(), BIND);
        }),
        (Kind::FileUnknown, "trails/locals/x/.pvr/bind/x", |s| write(s, ".pvr/bind/x", b"")),
        (Kind::CurrentInvalid, "trails/current", |s| make_current(s, "99")),
        (Kind::Debris, ".pvr-agent/tmp/x", |s| fs::create_dir(s.store().agent().join("tmp/x")).unwrap()),
    ];
    for (kind, path, damage) in damages {
        let dir = quick_dir();
        let storage = factory::make(dir.path()).unwrap();
        upload_all(&storage);
        install_as(&storage, "locals/x", &system("1")).unwrap();
        assert_clean(&storage);
        damage(&storage);
        let found = kinds(&storage);
        assert!(found.len() == 1 && found[0].0 == kind && found[0].1.starts_with(path), "{kind:?} {path}: {found:?}");
    }
}

/// Where a revision keeps the object of its copy.
fn bind() -> String {
    format!(".pvr/bind/{}", id_of(BIND))
}

#[test]
fn links_that_keep_the_objects_of_copies_were_not_looked_at() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    remove(&storage, &bind());
    write(&storage, &bind(), &BIND.to_ascii_uppercase());
    let file = format!("trails/locals/x/{}", bind());
    assert_eq!(kinds(&storage), [(Kind::FileInode, file.clone()), (Kind::FileContent, file)]);
    // The same state once more puts them right, as long as it never ran.
    for damage in [
        |s: &Storage| remove(s, &bind()),
        |s: &Storage| {
            fs::remove_dir_all(s.dir(&name("locals/x")).join(".pvr/bind")).unwrap();
        },
    ] {
        damage(&storage);
        upload_all(&storage);
        assert_eq!(install_as(&storage, "locals/x", &system("1")).unwrap().outcome, Outcome::Replaced);
        assert_clean(&storage);
    }
}

/// One file that could not be read ended the check with exit code 2 and no report.
#[test]
fn what_cannot_be_read_is_a_finding_and_the_rest_is_checked() {
    let object = format!("objects/{}", id_of(ROOT));
    // What is closed, and whether the stray file in locals/x can be told.
    for (path, stray) in [
        ("trails/locals/x/app/run.json", true),
        ("trails/locals/x/.pvr/json", false),
        ("trails/locals/x/app", false),
        ("trails/0", true),
        (&object, true),
    ] {
        // Not in a folder that only its owner enters.
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let storage = factory::make(&dir.path().join("s")).unwrap();
        upload_all(&storage);
        install_as(&storage, "locals/x", &system("1")).unwrap();
        write(&storage, "app/extra", b"");
        make_current(&storage, "99");
        let copy = dir.path().join("pvr-agent");
        fs::copy(program::path(), &copy).unwrap();
        let mut command = program::called(&copy);
        command.args(["fsck", "--json", "--storage"]).arg(storage.root());
        if rustix::process::geteuid().is_root() {
            // Root reads everything.
            let given = Command::new("chown").args(["-R", "65534:65534"]).arg(storage.root()).status().unwrap();
            assert!(given.success());
            command.uid(65534).gid(65534);
        }
        fs::set_permissions(storage.root().join(path), fs::Permissions::from_mode(0o0)).unwrap();
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        fs::set_permissions(storage.root().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}: {out}{err}");
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let found: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| (&f["kind"], &f["path"])).collect();
        let has = |kind: &str, path: &str| found.iter().any(|(k, p)| **k == kind && **p == path);
        assert!(has("unreadable", path) && has("current-invalid", "trails/current"), "{path}: {out}");
        assert_eq!(has("file-unknown", "trails/locals/x/app/extra"), stray, "{path}: {out}");
        assert_eq!(found.len(), 2 + usize::from(stray), "{path}: {out}");
    }
}

fn remove(storage: &Storage, file: &str) {
    fs::remove_file(storage.dir(&name("locals/x")).join(file)).unwrap();
}

fn write(storage: &Storage, file: &str, bytes: &[u8]) {
    fs::write(storage.dir(&name("locals/x")).join(file), bytes).unwrap();
}

#[test]
fn a_repaired_object_hid_that_its_revision_keeps_the_wrong_bytes() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    fs::write(storage.store().path(&id_of(ROOT)), ROOT.to_ascii_uppercase()).unwrap();
    assert_eq!(upload(storage.store(), ROOT).unwrap().1, Stored::Replaced);
    let file = "trails/locals/x/app/root.squashfs".to_owned();
    assert_eq!(kinds(&storage), [(Kind::FileInode, file.clone()), (Kind::FileContent, file.clone())]);
    // The right bytes in a file of their own are no more than that.
    write(&storage, "app/root.squashfs", ROOT);
    assert_eq!(kinds(&storage), [(Kind::FileInode, file)]);
}

#[test]
fn a_medium_that_forgets_is_found_out_and_the_memo_corrected() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    let (id, _) = upload(storage.store(), b"hello").unwrap();
    let path = storage.store().path(&id);
    fs::write(&path, b"hellO").unwrap();
    // The bytes have changed and nothing about the file has: so the memo says, and is believed.
    let meta = fs::metadata(&path).unwrap();
    let (m, c) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    let line = format!("{id} {} 5 {}.{:09} {}.{:09}\n", meta.ino(), m.0, m.1, c.0, c.1);
    let memo = storage.store().agent().join("intact");
    fs::write(&memo, format!("{}{line}", fs::read_to_string(&memo).unwrap())).unwrap();
    assert_eq!(storage.store().intact(&id).unwrap(), Some(5));
    // Another process checks, which only looks.
    assert_eq!(kinds(&Storage::open_read_only(dir.path()).unwrap()), [(Kind::ObjectContent, format!("objects/{id}"))]);
    assert_eq!(storage.store().intact(&id).unwrap(), None);
    assert_eq!(upload(storage.store(), b"hello").unwrap().1, Stored::Replaced);
    assert_clean(&storage);
}

#[test]
fn collecting_beside_posts_takes_nothing_that_is_wanted() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    let (stop, stopped) = Stop::pair();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let storage = Storage::open(dir.path()).unwrap();
            while !stopped() {
                gc(&storage, false).unwrap();
                fsck(&storage, 2).unwrap();
            }
        });
        let _stop = stop;
        for round in 0..rounds(1000) {
            upload_all(&storage);
            install_as(&storage, &format!("locals/r{round}"), &system("1")).unwrap();
        }
    });
    gc(&storage, false).unwrap();
    assert_eq!(storage.names().unwrap().len(), 1);
    assert_clean(&storage);
}

#[test]
fn fsck_leaves_alone_what_others_may_do() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    write(&storage, "app/etc.bind", b"changed by its container");
    fs::write(storage.store().objects().join(format!("{}.tmp", id_of(b"x"))), b"a download").unwrap();
    fs::write(storage.dir(&name("locals/x")).join(".pv/logs"), b"of the daemon").unwrap();
    // The daemon stores states as they come and expands JSON as it is written there.
    let rev = storage.dir(&name("locals/y"));
    for folder in [".pv", ".pvr", "app"] {
        fs::create_dir_all(rev.join(folder)).unwrap();
    }
    let run = r#"{ "b":1, "a":2 }"#;
    fs::write(rev.join(".pvr/json"), format!(r##"{{"#spec":"pantavisor-service-system@1","app/run.json":{run}}}"##))
        .unwrap();
    fs::write(rev.join("app/run.json"), run).unwrap();
    let before = snapshot(dir.path());
    let looked = Storage::open_read_only(dir.path()).unwrap();
    assert_eq!(kinds(&looked), []);
    assert_eq!(snapshot(dir.path()), before, "fsck changes nothing");
}

#[test]
fn gc_keeps_what_is_needed_and_says_what_goes() {
    for caps in all_capabilities() {
        let dir = quick_dir();
        factory::make(dir.path()).unwrap();
        let storage = Storage::open_with(dir.path(), Some(caps)).unwrap();
        let (own, shared) = (b"only in one".as_slice(), b"in several".as_slice());
        for (rev, bytes) in [
            ("locals/running", shared),
            ("locals/done", shared),
            ("locals/trying", shared),
            ("5", shared),
            ("locals/gone", own),
            ("7", shared),
        ] {
            upload(storage.store(), bytes).unwrap();
            upload(storage.store(), shared).unwrap();
            install_as(&storage, rev, &state(&[("a", bytes), ("b", shared)], &[("c/run.json", "{}")])).unwrap();
        }
        make_current(&storage, "locals/running");
        fs::write(storage.dir(&name("locals/done")).join(".pv/done"), b"").unwrap();
        boot(&storage, b"pv_rev=0\0pv_try=locals/trying\0");
        set_progress(&storage, "5", "TESTING");
        set_progress(&storage, "7", "ERROR");
        fs::create_dir_all(dir.path().join("trails/old name/sub")).unwrap();
        fs::create_dir_all(dir.path().join("logs/locals/gone")).unwrap();
        fs::write(dir.path().join("logs/locals/gone/log"), b"12345").unwrap();
        fs::create_dir_all(dir.path().join("disks/rev/7/app/vol")).unwrap();
        fs::create_dir_all(dir.path().join("disks/rev/5/app/vol")).unwrap();
        // An object that nothing names, and one that is staged.
        let (loose, _) = upload(storage.store(), b"loose").unwrap();
        storage.store().unstage(&[loose]).unwrap();
        let (staged, _) = upload(storage.store(), b"staged").unwrap();

        let before = snapshot(dir.path());
        let would = gc(&Storage::open_read_only(dir.path()).unwrap(), true).unwrap();
        assert_eq!(snapshot(dir.path()), before, "a dry run changes nothing");
        let did = gc(&storage, false).unwrap();
        assert_eq!((&would.revisions, &would.objects, would.bytes), (&did.revisions, &did.objects, did.bytes));

        let why: Vec<_> = did.kept.iter().map(|kept| format!("{} {}", kept.name, kept.why)).collect();
        let kept =
            ["0 factory", "5 in-progress", "locals/done done", "locals/running running", "locals/trying boot-loader"];
        assert_eq!(why, kept);
        let gone: Vec<_> = did.revisions.iter().map(|gone| gone.name.to_string()).collect();
        assert_eq!(gone, ["7", "old=20name", "locals/gone"]);
        let mut expected = [(id_of(own), own.len() as u64), (loose, 5)];
        expected.sort_unstable();
        assert_eq!(did.objects.iter().map(|gone| (gone.id, gone.bytes)).collect::<Vec<_>>(), expected);
        let own_bytes: u64 = did.revisions.iter().map(|gone| gone.bytes).sum();
        assert_eq!(did.bytes, own_bytes + own.len() as u64 + 5);
        assert!(!dir.path().join("logs/locals/gone").exists() && !dir.path().join("disks/rev/7").exists());
        assert!(dir.path().join("disks/rev/5/app/vol").exists());
        assert_eq!(storage.store().intact(&staged).unwrap(), Some(6));
        let memo = fs::read(storage.store().agent().join("intact")).unwrap();
        assert!(storage.store().intact(&id_of(shared)).unwrap().is_some());
        assert_eq!(fs::read(storage.store().agent().join("intact")).unwrap(), memo, "the memo followed the links");
        assert_clean(&storage);
        let again = gc(&storage, false).unwrap();
        assert_eq!((again.revisions.len(), again.objects.len(), again.bytes), (0, 0, 0));
    }
}

#[test]
fn gc_removes_nothing_it_cannot_be_sure_of() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    upload_all(&storage);
    install_as(&storage, "locals/x", &system("1")).unwrap();
    let (loose, _) = upload(storage.store(), b"loose").unwrap();
    storage.store().unstage(&[loose]).unwrap();
    // A revision that stays names an object whose link is missing; the daemon would mend that at boot.
    fs::write(storage.dir(&name("locals/x")).join(".pv/done"), b"").unwrap();
    remove(&storage, "app/root.squashfs");
    gc(&storage, false).unwrap();
    assert!(storage.store().path(&id_of(ROOT)).exists() && !storage.store().path(&loose).exists());
    // One that stays cannot be read.
    upload(storage.store(), b"loose").unwrap();
    storage.store().unstage(&[loose]).unwrap();
    write(&storage, ".pvr/json", b"{");
    let report = gc(&storage, false).unwrap();
    assert_eq!((report.objects.len(), report.unreadable), (0, vec![name("locals/x")]));
    // Nothing says what runs.
    fs::remove_file(storage.dir(&name("locals/x")).join(".pv/done")).unwrap();
    fs::remove_file(storage.trails_dir().join("current")).unwrap();
    let before = snapshot(dir.path());
    assert!(gc(&storage, false).unwrap_err().to_string().contains("trails/current"));
    assert_eq!(snapshot(dir.path()), before);
}

/// Stand-alone, every post becomes a rollback point: a storage that only ever grew could not be emptied by any command.
#[test]
fn a_storage_full_of_rollback_points_can_be_emptied_when_its_owner_says_so() {
    let dir = quick_dir();
    let storage = factory::make(dir.path()).unwrap();
    for (rev, bytes) in [("locals/a", b"a"), ("locals/b", b"b"), ("locals/c", b"c"), ("locals/d", b"d")] {
        upload(storage.store(), bytes).unwrap();
        install_as(&storage, rev, &state(&[("x", bytes)], &[])).unwrap();
        make_current(&storage, rev);
        let done = storage.dir(&name(rev)).join(".pv/done");
        let seconds = u64::from(bytes[0]) * 1000;
        let when = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::write(&done, b"").unwrap();
        fs::File::options().write(true).open(&done).unwrap().set_modified(when).unwrap();
    }
    assert_eq!(gc(&storage, false).unwrap().revisions.len(), 0, "unasked, all stay");
    let would = gc_keeping(&storage, true, Rollbacks::Newest(1)).unwrap();
    let did = gc_keeping(&storage, false, Rollbacks::Newest(1)).unwrap();
    assert_eq!((would.revisions, would.bytes), (did.revisions.clone(), did.bytes));
    let gone: Vec<_> = did.revisions.iter().map(|gone| gone.name.to_string()).collect();
    assert_eq!(gone, ["locals/a", "locals/b"]);
    assert_eq!(storage.store().intact(&id_of(b"a")).unwrap(), None);
    assert_eq!(storage.store().intact(&id_of(b"c")).unwrap(), Some(1));
    let none = gc_keeping(&storage, false, Rollbacks::Newest(0)).unwrap();
    let why: Vec<_> = none.kept.iter().map(|kept| format!("{} {}", kept.name, kept.why)).collect();
    assert_eq!(why, ["0 factory", "locals/d running"]);
    assert_clean(&storage);
}
