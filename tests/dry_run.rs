//! `--dry-run` and `--json`: what would be done is what is done, and nothing is changed by saying so.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod black_box;
#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use black_box::agent::Server;
use black_box::seed::{self, File, Seed};
use device::{Device, sha};
use pvr::{Home, Ran};
use serde_json::{Value, json};
use server::Reply;

/// Everything below a folder, with the times of files: what is as it was has not been written to.
fn all(root: &Path) -> BTreeMap<String, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (meta.mode(), meta.mtime(), meta.mtime_nsec(), bytes));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn document(ran: &Ran) -> Value {
    assert_eq!(ran.out.lines().count(), 1, "one document and nothing else: {ran:#?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Runs a command as a dry run, in words and as a document; then really. The document of both.
fn dry_then_really(home: &Home, folder: &str, args: &[&str]) -> (Value, Value) {
    let root = home.at("..");
    let before = all(&root);
    // Behind the name of the command; that of a group, and its flags, stand before it.
    let name = args.iter().position(|word| *word == "add" || *word == "update").filter(|_| args[0] == "sig");
    let (command, rest) = args.split_at(name.unwrap_or(0) + 1);
    let with = |more: &[&str]| {
        let args: Vec<&str> = [command, more, rest].concat();
        home.pvr(folder, &args).code(0)
    };
    let said = with(&["--dry-run"]);
    assert!(said.out.contains("ould "), "{args:?}: {said:#?}");
    let would = document(&with(&["--dry-run", "--json"]));
    let after = all(&root);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{args:?}");
    assert!(before == after, "{args:?} has changed something");
    assert_eq!(would["dry-run"], true, "{args:?}");
    let really = document(&with(&["--json"]));
    assert_eq!(really["dry-run"], false, "{args:?}");
    (would, really)
}

#[test]
fn what_would_be_done_is_what_is_done() {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.write("r/a.txt", "one");
    home.write("r/same.txt", "one");
    home.write("r/b/run.json", "{\"x\": 10000000000000000001}");
    home.pvr("r", &["init", "-o", "../pool"]).code(0);
    home.pvr("r", &["add"]).code(0);

    let same = |(would, really): (Value, Value), members: &[&str]| {
        members.iter().for_each(|member| assert_eq!(would[member], really[member], "{member}: {would}"));
        would
    };
    let took = same(dry_then_really(&home, "r", &["commit", "-m", "x"]), &["objects", "state", "pool", "warnings"]);
    assert_eq!(took["objects"], json!({"added": [sha(b"one")], "reused": 0, "linked": 0, "bytes": 3}));
    assert_eq!(took["state"], json!({"added": ["a.txt", "b/run.json", "same.txt"], "removed": [], "changed": []}));

    // A checkpoint is a file that is written, and a file that is not there yet.
    let (would, really) = dry_then_really(&home, "r", &["commit", "--checkpoint"]);
    assert_eq!((&would["state"], &would["objects"]), (&really["state"], &really["objects"]));
    assert_eq!(would["state"]["added"], json!(["checkpoint.json"]));

    home.pvr("r", &["export", "../x.tgz"]).code(0);
    for (command, source) in
        [("import", "../x.tgz"), ("get", "../x.tgz"), ("get", "../r/.pvr"), ("merge", "../x.tgz#b")]
    {
        fs::remove_dir_all(home.at("t")).ok();
        fs::remove_dir_all(home.at("other")).ok();
        fs::create_dir(home.at("t")).unwrap();
        home.pvr("t", &["init", "-o", "../other"]).code(0);
        let took = same(dry_then_really(&home, "t", &[command, source]), &["objects", "state", "source", "pool"]);
        let added = if command == "merge" { json!([]) } else { json!([sha(b"one")]) };
        assert_eq!(took["objects"]["added"], added, "{command}");
    }
    let put = same(dry_then_really(&home, "r", &["put", "../t/.pvr"]), &["objects", "state"]);
    assert_eq!(
        (&put["objects"]["added"], &put["state"]["added"]),
        (&json!([sha(b"one")]), &json!(["a.txt", "checkpoint.json", "same.txt"]))
    );
    let put = same(dry_then_really(&home, "r", &["put", "../t/.pvr"]), &["objects", "state"]);
    assert_eq!((&put["objects"]["reused"], &put["state"]["added"]), (&json!(1), &json!([])));
    let deployed = same(
        dry_then_really(&home, "", &["deploy", "d/0", "x.tgz"]),
        &["objects", "state", "files", "boot", "kept", "removed", "target", "sources", "warnings"],
    );
    assert_eq!(deployed["files"], json!({"linked": 2, "copied": 0, "json": 2}));
}

/// A dry run did not ask whether the state that comes of it can be read again.
#[test]
fn a_dry_run_said_yes_to_a_state_that_is_too_large() {
    let home = Home::new();
    for name in ["one", "two"] {
        fs::create_dir(home.at(name)).unwrap();
        home.write(&format!("{name}/{name}.json"), format!("\"{}\"", "x".repeat(1200)));
        home.pvr(name, &["init", "-o", "../pool"]).code(0);
        home.pvr(name, &["add"]).code(0);
        home.pvr(name, &["commit"]).code(0);
    }
    home.write("two/more.json", format!("\"{}\"", "x".repeat(1200)));
    home.pvr("two", &["add"]).code(0);
    let cases: [(&str, &[&str], i32); 3] = [
        ("one", &["merge", "../two/.pvr"], 3),
        ("two", &["commit"], 1),
        ("", &["deploy", "d", "one/.pvr", "two/.pvr"], 6),
    ];
    for (folder, args, code) in cases {
        for dry in [&["--dry-run"][..], &[]] {
            let args: Vec<&str> = [&args[..1], dry, &args[1..]].concat();
            home.run(folder, &args, &[("PVR_AGENT_MAX_STATE_BYTES", "2000")])
                .code(code)
                .says("could not be read again");
        }
    }
}

/// A dry run did not ask whether hardlinks can be made at all.
#[test]
fn a_dry_run_said_yes_to_a_deploy_to_another_file_system() {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("SKIPPED: there is no /dev/shm") };
    let home = Home::new();
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(home.at("")).unwrap().dev() {
        return eprintln!("SKIPPED: /dev/shm is no file system of its own");
    }
    home.repo(&[("x", b"x")]);
    let target = other.path().join("deep/er/d");
    for dry in [&["--dry-run"][..], &[]] {
        let args = [&["deploy"][..], dry, &[target.to_str().unwrap(), "r/.pvr"]].concat();
        home.pvr("", &args).code(8).says("are on different file systems");
    }
}

#[test]
fn signatures_and_trees_that_would_be_made() {
    let home = Home::new();
    let volume = |fill: u8| vec![fill; 3 * 4096];
    let run = br#"{"name":"app","volumes":["root.squashfs"]}"#;
    let src = br##"{"#spec":"service-manifest-src@1","template":"builtin-lxc-docker"}"##;
    home.repo(&[("app/root.squashfs", &volume(1)), ("app/run.json", run), ("app/src.json", &src[..])]);
    let tree = |added: &[&str], changed: &[&str]| json!({"added": added, "removed": [], "changed": changed});
    let same = |(would, really): (Value, Value), members: &[&str]| {
        members.iter().for_each(|member| assert_eq!(would[member], really[member], "{member}: {would}"));
        would
    };

    let (hash, manifest) = ("app/root.squashfs.hash", "app/_dm/root.squashfs.json");
    let convert = ["dm-convert", "--reproducible", "app/root.squashfs"];
    let would = same(dry_then_really(&home, "r", &convert), &["tree", "warnings", "container", "volume"]);
    assert_eq!(would["tree"], tree(&[manifest, hash], &["app/run.json", "app/src.json"]));
    let would = same(dry_then_really(&home, "r", &convert), &["tree"]);
    assert_eq!(would["tree"], tree(&[], &[]), "it is what it would become");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home.write("r/app/root.squashfs", volume(2));
    let would = same(dry_then_really(&home, "r", &["dm-apply"]), &["tree", "failed", "warnings"]);
    assert_eq!((&would["tree"], &would["failed"]), (&tree(&[], &[manifest, hash]), &json!([])));
    home.write("r/app/root.squashfs", "too small");
    let before = all(&home.at("r"));
    let failed = home.pvr("r", &["dm-apply", "--dry-run", "--json"]).code(3);
    let document = document(&failed);
    assert_eq!((&document["tree"], document["failed"].as_array().unwrap().len()), (&tree(&[], &[]), 1));
    assert!(document["failed"][0]["path"].as_str().unwrap().ends_with(manifest), "{document}");
    home.pvr("r", &["dm-convert", "--dry-run", "app/nothing"]).code(4).says("nothing");
    assert!(before == all(&home.at("r")));

    let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys");
    let key = keys.join("rsa.key");
    let group = ["sig", "--key", key.to_str().unwrap(), "--x5c", "no"];
    let add = [&group[..], &["add", "--part", "app"]].concat();
    let would = same(dry_then_really(&home, "r", &add), &["tree", "signatures", "warnings"]);
    assert_eq!(would["tree"], tree(&["_sigs/app.json"], &[]));
    let made = &would["signatures"][0];
    assert_eq!((&made["key"], &made["algorithm"]), (&json!("_sigs/app.json"), &json!("RS256")));
    assert_eq!(made["protected"], json!([manifest, "app/root.squashfs", hash, "app/run.json"]));
    assert_eq!(made["excluded"], json!(["app/src.json"]));
    assert_eq!(same(dry_then_really(&home, "r", &add), &["tree"])["tree"], tree(&[], &[]), "RS256 has no chance in it");
    home.pvr("r", &["add"]).code(0);
    home.write("r/app/root.squashfs", volume(3));
    home.pvr("r", &["commit"]).code(0);
    let update = [&group[..], &["update"]].concat();
    let would = same(dry_then_really(&home, "r", &update), &["tree", "signatures"]);
    assert_eq!(would["tree"], tree(&[], &["_sigs/app.json"]));

    // What cannot be done is an error of the dry run too.
    let before = all(&home.at("r"));
    for (more, code, word) in [
        (&["add", "--dry-run", "--part", "../x"][..], 127, "x"),
        (&["add", "--dry-run", "--parts", "nosuch"], 127, "nosuch"),
        (&["add", "--dry-run"], 5, "no part"),
    ] {
        home.pvr("r", &[&group[..], more].concat()).code(code).says(word);
    }
    let output = [&group[..], &["--output", "-"]].concat();
    home.pvr("r", &[&output[..], &["add", "--json", "--part", "app"]].concat()).code(127).says("--json");
    home.pvr("r", &[&output[..], &["update", "--json"]].concat()).code(126).says("--json");
    let shown = home.pvr("r", &[&output[..], &["add", "--dry-run", "--part", "app"]].concat()).code(0);
    assert!(shown.out.starts_with("{\"#spec\":\"pvs@2\""), "{shown:#?}");
    let file = [&group[..], &["--output", "../signature", "add", "--dry-run", "--part", "app"]].concat();
    home.pvr("r", &file).code(0);
    assert!(!home.at("signature").exists() && before == all(&home.at("r")));
}

#[test]
fn status_diff_export_and_clone_as_documents() {
    let home = Home::new();
    home.repo(&[("gone", b"1"), ("kept", b"2"), ("x.json", b"{\"a\":1,\"b\":[null]}")]);
    fs::remove_file(home.at("r/gone")).unwrap();
    home.write("r/x.json", "{\"a\":10000000000000000001,\"b\":[null]}");
    home.write("r/new", "3");
    home.pvr("r", &["add", "new"]).code(0);
    home.write("r/\u{1b}[2J", "");
    let status = document(&home.pvr("r", &["status", "--json"]).code(0));
    let changes = json!({"added": ["new"], "removed": ["gone"], "changed": ["x.json"]});
    for (member, keys) in changes.as_object().unwrap() {
        assert_eq!(status[member], *keys);
    }
    assert_eq!((&status["untracked"], &status["warnings"]), (&json!(["\u{1b}[2J"]), &json!([])));
    let ran = home.pvr("r", &["diff", "--json"]).code(0);
    let patch =
        format!("\"patch\":{{\"gone\":null,\"new\":\"{}\",\"x.json\":{{\"a\":10000000000000000001}}}}", sha(b"3"));
    assert!(ran.out.contains(&patch), "{}", ran.out);
    assert_eq!(document(&ran)["changed"], json!(["x.json"]));
    home.pvr("r", &["commit"]).code(0);
    let exported = document(&home.pvr("r", &["export", "--json", "../x.tgz"]).code(0));
    assert_eq!((&exported["objects"], &exported["bytes"], &exported["keys"]), (&json!(2), &json!(2), &json!(3)));
    for source in ["x.tgz", "r/.pvr"] {
        let target = home.at("c");
        fs::remove_dir_all(&target).ok();
        let cloned =
            document(&home.pvr("", &["clone", "--json", "-o", &format!("p-{}", source.len()), source, "c"]).code(0));
        assert_eq!(cloned["files"], json!({"linked": 0, "copied": 2, "json": 1}));
        assert_eq!(
            (&cloned["objects"]["added"].as_array().unwrap().len(), &cloned["objects"]["bytes"]),
            (&2, &json!(2))
        );
        assert_eq!(cloned["target"], target.to_str().unwrap());
        assert_eq!(cloned["state"]["added"], json!(["kept", "new", "x.json"]));
    }
    let device = Device::plain(&[("x", b"abc")]);
    let failed = home.pvr("r", &["post", "--json", "127.0.0.1:1"]).code(3);
    assert_eq!(failed.out, "", "no document, and nothing else in its place");
    // This one does not tell sizes; ours does.
    let got = document(&home.pvr("r", &["get", "--dry-run", "--json", &device.reference()]).code(0));
    assert_eq!((&got["objects"]["added"], &got["objects"]["bytes"]), (&json!([sha(b"abc")]), &json!(null)));
    let cloned = document(&home.pvr("", &["clone", "--json", &device.reference(), "e"]).code(0));
    assert_eq!((&cloned["objects"]["added"], &cloned["objects"]["bytes"]), (&json!([sha(b"abc")]), &json!(3)));
}

#[test]
fn a_post_says_what_would_travel_whether_the_device_reboots_and_whether_it_fits() {
    let home = Home::new();
    let storage = home.at("storage");
    Seed::new(&storage).revision(
        "0",
        &[
            ("bsp/kernel.img", File::Object(b"a kernel\n")),
            ("bsp/run.json", File::Json(r#"{"linux":"kernel.img"}"#)),
            ("app/root.squashfs", File::Object(&[1; 20_000])),
            ("app/run.json", File::Json(r#"{"group":"app","name":"app"}"#)),
            ("sys/run.json", File::Json(r#"{"name":"sys","restart_policy":"system"}"#)),
        ],
    );
    let server = Server::start(&storage);
    home.pvr("", &["clone", &server.base, "r"]).code(0);
    let plan = |what: &str| {
        home.pvr("r", &["add"]).code(0);
        home.pvr("r", &["commit"]).code(0);
        let (on_device, here) = (seed::visible(&storage), all(&home.at("r")));
        let said = home.pvr("r", &["post", "--dry-run"]).code(0);
        let document = document(&home.pvr("r", &["post", "--dry-run", "--json"]).code(0));
        assert_eq!(seed::visible(&storage), on_device, "{what}");
        assert!(all(&home.at("r")) == here, "{what}");
        assert_eq!(seed::debris(&storage), [""; 0], "{what}");
        (said, document)
    };
    let (said, same) = plan("nothing is new");
    assert_eq!((&same["objects"]["added"], &same["reboot"]["needed"]), (&json!([]), &json!(false)));
    assert!(said.out.starts_with("Would send 0 objects (0 bytes) to "), "{said:?}");

    home.write("r/app/root.squashfs", [2; 30_000]);
    home.write("r/app/twin", [2; 30_000]);
    let (said, app) = plan("an app");
    assert_eq!(app["objects"], json!({"added": [sha(&[2; 30_000])], "reused": 1, "linked": 0, "bytes": 30_000}));
    assert_eq!(app["sending"], json!([{"key": "app/root.squashfs", "sha256": sha(&[2; 30_000]), "bytes": 30_000}]));
    assert_eq!(app["reboot"], json!({"needed": false, "because": []}));
    assert_eq!(app["state"], json!({"added": ["app/twin"], "removed": [], "changed": ["app/root.squashfs"]}));
    assert!(app["disk"]["fits"] == true && app["disk"]["free"].as_u64() > app["disk"]["needed"].as_u64(), "{app}");
    for line in [
        "A app/twin\nC app/root.squashfs\n",
        "would send app/root.squashfs (30000 bytes)\n",
        "The device would not have to reboot.\n",
        "It fits: ",
        "Nothing was changed.\n",
    ] {
        assert!(said.out.contains(line), "{line}: {said:?}");
    }
    fs::create_dir(home.at("fresh")).unwrap();
    home.pvr("fresh", &["init", "-o", "pool"]).code(0);
    let got = document(&home.pvr("fresh", &["get", "--dry-run", "--json", &server.base]).code(0));
    assert_eq!(got["objects"]["bytes"], 20_000 + 9);
    assert!(!home.at("fresh/pool").exists());
    let posted = document(&home.pvr("r", &["post", "--json"]).code(0));
    assert_eq!(posted["objects"], app["objects"], "what was said is what was sent");
    assert!(posted["rev"].as_str().unwrap().starts_with("locals/pvr-"), "{posted}");

    home.write("r/bsp/kernel.img", "another");
    let (said, bsp) = plan("a kernel");
    assert_eq!((&bsp["reboot"]["needed"], &bsp["objects"]["bytes"]), (&json!(true), &json!(7)));
    assert!(said.out.contains("The device would have to reboot: bsp changes.\n"), "{said:?}");
    home.pvr("r", &["post"]).code(0);
    fs::remove_dir_all(home.at("r/sys")).unwrap();
    let (_, gone) = plan("a container of the system goes");
    assert_eq!(gone["reboot"]["because"], json!(["sys, which is of the system, goes"]));
}

#[test]
fn a_post_to_a_device_that_says_little_or_has_no_room() {
    let status = |free: u64| {
        let storage = json!({"total": 1_000_000, "free": free, "reserved": 50_000, "reclaimable": 12_345});
        json!({"version": "x", "storage": storage}).to_string()
    };
    for (answer, fits) in [
        (None, json!(null)),
        (Some("nonsense".to_owned()), json!(null)),
        (Some(status(900_000)), json!(true)),
        (Some(status(100_000)), json!(false)),
    ] {
        let told = answer.clone();
        let device = Device::new(&[("app/x", b"x")], move |request, _| {
            request
                .target
                .ends_with("/status")
                .then(|| told.clone().map_or(Reply::json(404, "{}"), |text| Reply::json(200, text)))
        });
        let home = Home::new();
        home.pvr("", &["clone", &device.reference(), "r"]).code(0);
        home.write("r/app/y", [7; 60_000]);
        home.pvr("r", &["add"]).code(0);
        home.pvr("r", &["commit"]).code(0);
        let asked = device.server.requests().len();
        let said = home.pvr("r", &["post", "--dry-run"]).code(0);
        let plan = document(&home.pvr("r", &["post", "--dry-run", "--json"]).code(0));
        assert_eq!(plan["disk"].get("fits").unwrap_or(&Value::Null), &fits, "{plan}");
        // It is added to a container that has no run.json.
        assert_eq!(plan["reboot"]["needed"], json!(null));
        assert_eq!(
            fits == json!(false),
            said.out.contains("does not fit") && said.out.contains("free 12345"),
            "{said:?}"
        );
        let forced = document(&home.pvr("r", &["post", "--dry-run", "--json", "--force"]).code(0));
        assert_eq!(forced["objects"]["bytes"], 60_000, "what its own state names is not sent again");
        let put = document(&home.pvr("r", &["put", "--dry-run", "--json"]).code(0));
        assert_eq!((&put["objects"], put.get("reboot")), (&plan["objects"], None));
        assert!(device.server.requests()[asked..].iter().all(|request| request.method == "GET"), "only questions");
        assert!(device.holds.lock().unwrap().posted.is_empty());
        // What a post would refuse, a dry run refuses.
        home.pvr("r", &["post", "--dry-run", "--rev", "../x"]).code(3);
        fs::remove_file(home.object(&sha(&[7; 60_000]))).unwrap();
        home.pvr("r", &["post", "--dry-run"]).code(3).says("app/y");
    }
}
