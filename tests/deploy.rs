//! `pvr deploy`: what becomes of the folder, of what lies in it, and of failures. The real binary.

mod deploying;
#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use deploying::{BSP, mode, names, no_debris, same, source, tree};
use device::{Device, SPEC, sha};
use pvr::Home;

#[test]
fn objects_are_hardlinks_and_the_boot_loader_finds_its_own() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    source(
        &home,
        "app",
        &[("app/run.json", b"{ \"b\": 1.50,\n \"a\": [] }"), ("app/w.bind", b"bound"), ("app/r", b"root")],
    );
    home.pvr("", &["deploy", "t/0", "bsp/.pvr", "app/.pvr"]).code(0);
    let root = home.at("t/0");
    assert_eq!(mode(&root), 0o700);
    assert_eq!(fs::read(root.join("app/run.json")).unwrap(), b"{\"a\":[],\"b\":1.5E0}");
    for (name, key) in [
        (".pv/pv-kernel.img", "bsp/k"),
        (".pv/pv-initrd.img", "bsp/i"),
        (".pv/pv-initrd.img.0", "bsp/a0"),
        (".pv/pv-fdt.dtb", "bsp/d"),
    ] {
        assert!(same(&root.join(name), &root.join(key)), "{name}");
        assert!(same(&root.join(key), &home.object(&sha(&fs::read(root.join(key)).unwrap()))), "{key}");
        assert_eq!(mode(&root.join(key)), 0o444);
    }
    let object = home.object(&sha(b"bound"));
    assert!(!same(&root.join("app/w.bind"), &object), "containers write to it");
    assert_eq!(mode(&root.join("app/w.bind")), 0o644);
    assert!(same(&root.join(".pvr/bind").join(sha(b"bound")), &object));
    assert_eq!(home.pvr("t/0", &["status"]).code(0).out, "");
    no_debris(&home.at("t"));

    source(&home, "fit", &[("bsp/run.json", br#"{"fit":"f"}"#), ("bsp/f", b"a fit")]);
    home.pvr("", &["deploy", "t/0", "fit/.pvr#-bsp"]).code(0);
    home.pvr("", &["deploy", "t/0", "fit/.pvr"]).code(0);
    let boot: Vec<_> = fs::read_dir(root.join(".pv")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(boot, ["pantavisor.fit"], "links of what is no longer there go");
}

/// Objects that today's program has made are 0644.
#[test]
fn what_was_deployed_out_of_a_pool_of_todays_program_could_be_written_to() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    home.pvr("", &["deploy", "t/0", "bsp/.pvr"]).code(0);
    let object = home.object(&sha(b"a kernel"));
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    home.pvr("", &["deploy", "--dry-run", "t/1", "bsp/.pvr"]).code(0);
    assert_eq!(mode(&object), 0o644, "a dry run only looks");
    home.pvr("", &["deploy", "t/1", "bsp/.pvr"]).code(0);
    assert!(same(&home.at("t/1/bsp/k"), &object));
    assert_eq!((mode(&object), mode(&home.at("t/1/.pv/pv-kernel.img"))), (0o444, 0o444));
}

/// Today's program deletes all untracked files without asking (cli.md §13.15).
#[test]
fn untracked_files_were_deleted() {
    let home = Home::new();
    source(&home, "one", &[("a/x", b"x"), ("a/y", b"y"), ("only/old", b"o"), ("b.json", b"{}")]);
    source(&home, "two", &[("a/x", b"x2"), ("c", b"c")]);
    home.pvr("", &["deploy", "t", "one/.pvr"]).code(0);
    home.write("t/note", "mine");
    home.write("t/a/mine", "mine too");
    home.write("t/.pv/progress", "{}");
    home.write("t/.pvr/commitmsg", "why");
    fs::create_dir_all(home.at("t/empty/inner")).unwrap();
    fs::set_permissions(home.at("t/empty"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(home.at("t"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("nowhere", home.at("t/link")).unwrap();
    let before = tree(&home.at("t"));

    home.pvr("", &["deploy", "-n", "t", "two/.pvr"]).code(0);
    assert_eq!(names(&home.at("t")), [".pv/progress", "a/mine", "a/x", "c", "link", "note"]);
    let after = tree(&home.at("t"));
    for name in ["note", "a/mine", ".pv/progress", ".pvr/commitmsg", "link", "empty", "empty/inner", "a"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_eq!(mode(&home.at("t")), 0o711);
    assert!(!home.at("t/only").exists(), "a folder goes with the last of its files");

    home.pvr("", &["deploy", "--clean", "t", "two/.pvr"]).code(0);
    assert_eq!(names(&home.at("t")), [".pv/progress", "a/x", "c"]);
    assert!(!home.at("t/empty").exists() && home.at("t/.pvr/commitmsg").exists());
    no_debris(&home.at(""));
}

#[test]
fn what_is_in_the_way_is_named_and_kept() {
    let home = Home::new();
    source(&home, "one", &[("a/x", b"x"), ("d", b"d"), ("j.json", b"{\"a\": 1}")]);
    for (path, bytes, way) in [
        ("t/a/x", "other", "a/x"),
        ("t/a", "a file", "a"),
        ("t/d/f", "below a file", "d/f"),
        ("t/j.json", "{}", "j.json"),
    ] {
        home.write(path, bytes);
        let before = tree(&home.at("t"));
        home.pvr("", &["deploy", "t", "one/.pvr"]).code(9).says("in the way").says(&format!("\n{way}\n"));
        assert_eq!(tree(&home.at("t")), before);
        fs::remove_dir_all(home.at("t")).unwrap();
    }
    fs::create_dir_all(home.at("outside")).unwrap();
    fs::create_dir_all(home.at("t")).unwrap();
    symlink("../outside", home.at("t/a")).unwrap();
    home.pvr("", &["deploy", "t", "one/.pvr"]).code(9).says("in the way");
    home.pvr("", &["deploy", "--clean", "t", "one/.pvr"]).code(0);
    assert_eq!(fs::read_dir(home.at("outside")).unwrap().count(), 0, "nothing is written through a link");
    fs::remove_dir_all(home.at("t")).unwrap();
    home.write("t/a/x", "x");
    home.write("t/j.json", "{\"a\":1}");
    fs::create_dir_all(home.at("t/d")).unwrap();
    home.pvr("", &["deploy", "t", "one/.pvr"]).code(0);
    assert_eq!(names(&home.at("t")), ["a/x", "d", "j.json"]);
}

#[test]
fn several_sources_come_whole_or_not_at_all() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    source(&home, "app", &[("app/r", b"root")]);
    source(&home, "bad", &[("app/bad", b"bad")]);
    source(&home, "noboot", &[("bsp/run.json", br#"{"initrd":"absent","linux":"k"}"#)]);
    home.pvr("", &["deploy", "t/0", "bsp/.pvr"]).code(0);
    home.write("t/0/mine", "mine");
    let before = tree(&home.at("t"));
    let object = home.at("bad-objects").join(sha(b"bad"));
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "other bytes").unwrap();
    for target in ["t/0", "t/new", "deep/er/new"] {
        home.pvr("", &["deploy", target, "app/.pvr", "bad/.pvr"]).code(6).says(&sha(b"bad"));
        home.pvr("", &["deploy", target, "app/.pvr", "nowhere/.pvr/x"]).code(7);
        home.pvr("", &["deploy", target, "app/.pvr", "noboot/.pvr"]).code(10).says("bsp/absent");
    }
    fs::remove_file(&object).unwrap();
    home.pvr("", &["deploy", "t/0", "app/.pvr", "bad/.pvr"]).code(6).says(&sha(b"bad"));
    for (key, id) in [("../x", sha(b"root")), (".pvr/config", sha(b"root")), ("x", "../../victim".to_owned())] {
        home.write("bad/.pvr/json", format!("{{\"#spec\":\"{SPEC}\",\"{key}\":\"{id}\"}}"));
        home.pvr("", &["deploy", "t/0", "app/.pvr", "bad/.pvr"]).code(6).says("is not a state");
    }
    assert_eq!(tree(&home.at("t")), before);
    assert!(!home.at("deep").exists(), "folders that were made for nothing");
    no_debris(&home.at("t"));
    assert!(!home.object(&sha(b"bad")).exists());
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    let before = tree(&home.at(""));
    let ran = home.pvr("", &["deploy", "--dry-run", "t/0", "bsp/.pvr"]).code(0);
    assert!(ran.out.contains("A bsp/k\n") && ran.out.contains("would link .pv/pv-kernel.img\n"), "{ran:?}");
    assert!(ran.out.ends_with(
        "Would deploy 4 hardlinks, 0 copies and 1 JSON files\n4 objects (48 bytes) would come into the pool, 0 are there\n"
    ));
    assert_eq!(tree(&home.at("")), before);
    assert!(!home.object("").exists());

    home.pvr("", &["deploy", "t/0", "bsp/.pvr"]).code(0);
    source(&home, "app", &[("app/r", b"root"), ("bsp/k", b"another kernel")]);
    home.write("t/0/mine", "mine");
    let before = tree(&home.at(""));
    let args = ["deploy", "--dry-run", "--json", "--nomerge", "t/0", "app/.pvr"];
    let would = home.pvr("", &args).code(0);
    assert_eq!(tree(&home.at("")), before);
    let really = home.pvr("", &["deploy", "--json", "--nomerge", "t/0", "app/.pvr"]).code(0);
    let [would, really] = [would, really].map(|ran| serde_json::from_str::<serde_json::Value>(&ran.out).unwrap());
    assert_eq!((&would["dry-run"], &really["dry-run"]), (&true.into(), &false.into()));
    assert_eq!(really["objects"]["bytes"], 4 + 14);
    for member in ["target", "sources", "objects", "files", "state", "boot", "kept", "removed", "warnings"] {
        assert_eq!(would[member], really[member], "{member}");
    }
    assert_eq!(really["kept"], serde_json::json!(["mine"]));
    assert_eq!(really["state"]["changed"], serde_json::json!(["bsp/k"]));
    assert_eq!(really["removed"], serde_json::json!(["bsp/a0", "bsp/d", "bsp/i", "bsp/run.json"]));
    assert_eq!((really["objects"]["added"].as_array().unwrap().len(), &really["files"]["linked"]), (2, &2.into()));
}

#[test]
fn a_pool_in_the_folder_is_not_lost() {
    for (objects, pool) in [("", ".pvr/objects"), ("objects", "objects")] {
        let home = Home::new();
        source(&home, "app", &[("app/r", b"root")]);
        home.repo(&[("x", b"x")]);
        let config = home.read("r/.pvr/config");
        let own = home.object("");
        home.write("r/.pvr/config", config.replace(own.to_str().unwrap().trim_end_matches('/'), objects));
        fs::rename(own, home.at("r").join(pool)).unwrap();
        for flag in ["--clean", "--clean=false"] {
            home.pvr("", &["deploy", flag, "r", "app/.pvr"]).code(0);
            for (key, bytes) in [("x", &b"x"[..]), ("app/r", b"root")] {
                let object = home.at("r").join(pool).join(sha(bytes));
                assert!(same(&home.at("r").join(key), &object), "{key}");
            }
        }
        assert_eq!(home.pvr("r", &["checkout"]).code(0).err, "");
        no_debris(&home.at(""));
    }
}

#[test]
fn a_device_is_deployed() {
    let home = Home::new();
    let device = Device::plain(&[("app/r", b"root"), ("app/run.json", b"{}")]);
    let ran = home.pvr("", &["deploy", "t", &device.reference()]).code(0);
    assert!(ran.out.ends_with("Deployment finished. Now now available at: t\n"), "{ran:?}");
    assert!(same(&home.at("t/app/r"), &home.object(&sha(b"root"))));
    assert!(home.read("t/.pvr/config").contains("DefaultPostUrl\": \"http://"));
    let ran = home.pvr("", &["deploy", "--json", "t", &device.reference()]).code(0);
    serde_json::from_str::<serde_json::Value>(&ran.out).expect("nothing but one document");
}

#[test]
fn the_own_working_copy_is_deployed_and_a_folder_that_is_none_is_not() {
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    home.pvr("r", &["deploy", "../t"]).code(0);
    assert!(same(&home.at("t/x"), &home.object(&sha(b"x"))));
    home.pvr("", &["deploy", "u"]).code(102);
    home.pvr("", &["deploy"]).code(101);
    assert!(!home.at("u").exists());
    home.write("file", "");
    home.pvr("r", &["deploy", "../file"]).code(5).says("not a directory");
    home.pvr("r", &["deploy", "/"]).code(5).says("above everything");
    symlink("t", home.at("link")).unwrap();
    home.write("t/mine", "mine");
    home.pvr("r", &["deploy", "../link"]).code(0);
    assert!(home.at("link").is_symlink() && home.at("t/mine").exists());
}

/// The folder that is replaced may be somebody's current folder, which is no longer under its name then.
#[test]
fn whoever_stands_in_the_folder_goes_on() {
    let home = Home::new();
    source(&home, "app", &[("app/r", b"root")]);
    home.repo(&[("x", b"x")]);
    let program = pvr::program::shell();
    let script = format!("{program} pvr deploy . ../app/.pvr && {program} pvr status && {program} pvr json");
    let mut shell = std::process::Command::new("sh");
    let ran = shell.args(["-ec", &script]).current_dir(home.at("r")).env("HOME", home.at("../home")).output().unwrap();
    let out = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && out.contains("\"app/r\"") && out.contains("\"x\""), "{out} {:?}", ran.stderr);
}

/// A deploy that died between two renames leaves no folder, and the next command of any kind puts it back.
#[test]
fn a_folder_that_was_set_aside_comes_back_with_the_next_command() {
    let home = Home::new();
    source(&home, "app", &[("app/r", b"root")]);
    home.pvr("", &["deploy", "t", "app/.pvr"]).code(0);
    let digits: String = sha(b"t").chars().take(16).collect();
    let work = home.at(&format!(".pvr-deploy-{digits}"));
    let die = || {
        fs::create_dir(&work).unwrap();
        fs::write(work.join("target"), "../t").unwrap();
        fs::create_dir(work.join("new")).unwrap();
        fs::rename(home.at("t"), work.join("old")).unwrap();
    };
    die();
    assert_eq!(home.pvr(&format!(".pvr-deploy-{digits}/old"), &["status"]).code(0).out, "");
    assert!(home.at("t/app/r").exists() && !work.exists());
    die();
    home.pvr("", &["deploy", "u", "t/.pvr"]).code(0);
    assert!(home.at("t/app/r").exists() && home.at("u/app/r").exists() && !work.exists());
    die();
    home.pvr("", &["deploy", "t", "app/.pvr"]).code(0);
    assert!(home.at("t/app/r").exists() && !work.exists());
}

/// What a Yocto build does: a repository in `trails/0` beside its objects, what a recipe brought committed, then each
/// package deployed on top, here as exported. The device that boots it finds its storage in order.
#[test]
fn the_sequence_of_a_yocto_build() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    source(&home, "app", &[("app/r", b"root"), ("app/run.json", b"{\"name\":\"app\"}"), ("app/w.bind", b"bound")]);
    source(&home, "config", &[("_config/app/etc/x", b"x"), ("app/run.json", b"{\"runlevel\":\"data\"}")]);
    for (name, export) in [("bsp", "bsp.tgz"), ("app", "app.tar"), ("config", "config.tgz")] {
        home.pvr(name, &["export", &format!("../{export}")]).code(0);
    }
    fs::create_dir(home.at("config.d")).unwrap();
    let mut untar = std::process::Command::new("tar");
    untar.arg("xzf").arg(home.at("config.tgz")).arg("-C").arg(home.at("config.d"));
    assert!(untar.status().unwrap().success());
    home.write("s/trails/0/device.json", "{\"groups\":[]}");
    home.pvr("s/trails/0", &["init", "--objects=../../objects"]).code(0);
    home.pvr("s/trails/0", &["add"]).code(0);
    home.pvr("s/trails/0", &["commit"]).code(0);
    let target = home.at("s/trails/0");
    // As the classes call it, with settings of the build's own.
    let settings = home.at("settings");
    let env = [("PVR_CONFIG_DIR", settings.to_str().unwrap()), ("PVR_DISABLE_SELF_UPGRADE", "true")];
    home.run("", &["deploy", target.to_str().unwrap(), "bsp.tgz", "app.tar#app", "config.d"], &env).code(0);

    let state = home.read("s/trails/0/.pvr/json");
    for part in [
        "\"#spec\":\"pantavisor-service-system@1\"".to_owned(),
        "\"device.json\":{\"groups\":[]}".to_owned(),
        "\"app/run.json\":{\"name\":\"app\",\"runlevel\":\"data\"}".to_owned(),
        format!("\"_config/app/etc/x\":\"{}\"", sha(b"x")),
        format!("\"bsp/k\":\"{}\"", sha(b"a kernel")),
    ] {
        assert!(state.contains(&part), "{part} is not in {state}");
    }
    assert!(same(&target.join(".pv/pv-kernel.img"), &home.at("s/objects").join(sha(b"a kernel"))));
    assert!(!home.at("s/objects/.pvr-agent").exists(), "one working folder for all who work on the storage");
    let staged = fs::read_dir(home.at("s/.pvr-agent/staged")).unwrap().count();
    assert_eq!((staged, home.at("s/.pvr-agent/deploys").read_dir().unwrap().count()), (0, 0));
    assert_eq!(names_in(&home.at("s/trails")), ["0"]);
    assert_eq!(home.pvr("s/trails/0", &["status"]).code(0).out, "");
    let mut fsck = pvr::program::command();
    let fsck = fsck.args(["fsck", "--storage"]).arg(home.at("s")).output().unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A broken archive among several sources, and one whose members lead elsewhere.
#[test]
fn archives_that_are_not_whole_change_nothing() {
    let home = Home::new();
    source(&home, "bsp", BSP);
    source(&home, "app", &[("app/r", &[7; 20_000])]);
    home.pvr("app", &["export", "../app.tar"]).code(0);
    home.pvr("", &["deploy", "t", "bsp/.pvr"]).code(0);
    let before = tree(&home.at("t"));
    let whole = fs::read(home.at("app.tar")).unwrap();
    for length in (0..whole.len() - 1024).step_by(512 * 7) {
        fs::write(home.at("cut.tar"), &whole[..length]).unwrap();
        home.pvr("", &["deploy", "t", "bsp/.pvr", "cut.tar"]).code(6);
        assert_eq!(tree(&home.at("t")), before, "{length}");
    }
    assert!(!home.object(&sha(&[7; 20_000])).exists());
    home.pvr("", &["deploy", "t", "bsp/.pvr", "app.tar"]).code(0);
    assert!(same(&home.at("t/app/r"), &home.object(&sha(&[7; 20_000]))));
}
