//! Archives: what an export is made of, and what an import takes. The real binary.

#[path = "client/pvr.rs"]
mod pvr;
#[path = "support/tar.rs"]
mod tar;

use std::fs;

use pvr::{Home, pool_has};
use tar::{end, entry, file, gzip, header, members, pax, sha, summed};

const SPEC: &str = "pantavisor-service-system@1";

/// A state with one object.
fn state(content: &[u8]) -> Vec<u8> {
    format!("{{\"#spec\":\"{SPEC}\",\"g.txt\":\"{}\"}}", sha(content)).into_bytes()
}

fn object(content: &[u8]) -> Vec<u8> {
    file(&format!("objects/{}", sha(content)), content)
}

/// The state, the object, the end.
fn good() -> Vec<u8> {
    [file("json", &state(b"good\n")), object(b"good\n"), end()].concat()
}

/// A repository without anything in it.
fn empty() -> Home {
    let home = Home::new();
    fs::create_dir(home.at("r")).unwrap();
    home.pvr("r", &["init"]).code(0);
    fs::create_dir_all(home.object("")).unwrap();
    home
}

/// Imports an archive that must not be taken, and looks whether anything has changed.
#[track_caller]
fn refused(home: &Home, archive: &[u8], why: &str) {
    let json = home.read("r/.pvr/json");
    home.write("x.tar", archive);
    home.pvr("r", &["import", "../x.tar"]).code(3).says(why);
    assert_eq!(home.read("r/.pvr/json"), json);
    pool_has(home, &[]);
    assert_eq!(fs::read_dir(home.at("r")).unwrap().count(), 1, "{why}");
    assert_eq!(fs::read_dir(home.at("")).unwrap().count(), 2, "{why}");
    // Neither does a get.
    home.pvr("r", &["get", "../x.tar"]).code(3).says(why);
    assert_eq!(home.read("r/.pvr/json"), json);
    pool_has(home, &[]);
}

#[test]
fn an_export_is_sorted_and_has_no_times_and_is_the_same_everywhere() {
    let noise: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files: [(&str, &[u8]); 5] =
        [("b/one", b"1"), ("a/two", b"2"), ("again", b"1"), ("noise", &noise), ("x.json", b"{\"a\": [1, null]}")];
    let (one, other) = (Home::new(), Home::new());
    for home in [&one, &other] {
        home.repo(&files);
        for file in ["../x.tar", "../x.tgz", "../x.tar.GZ"] {
            assert_eq!(home.pvr("r", &["export", file]).code(0).out, "");
        }
    }
    for file in ["x.tar", "x.tgz", "x.tar.GZ"] {
        let bytes = fs::read(one.at(file)).unwrap();
        assert!(bytes == fs::read(other.at(file)).unwrap(), "{file}");
        let members = members(&bytes);
        assert_eq!((members[0].name.as_str(), members[0].mode), ("json", 0o600));
        assert_eq!(members[0].content, one.read("r/.pvr/json").as_bytes());
        let mut names: Vec<_> =
            [&b"1"[..], b"2", &noise].iter().map(|bytes| format!("objects/{}", sha(bytes))).collect();
        names.sort();
        assert_eq!(members[1..].iter().map(|member| member.name.clone()).collect::<Vec<_>>(), names);
        for member in &members {
            assert_eq!((member.kind, member.uid, member.gid, member.time, member.owner.as_str()), (b'0', 0, 0, 0, ""));
        }
        assert!(members[1..].iter().all(|member| member.mode == 0o644 && member.name.ends_with(&sha(&member.content))));
    }
    let packed = fs::read(one.at("x.tgz")).unwrap();
    assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
}

#[test]
fn what_is_exported_can_be_imported_got_merged_and_cloned() {
    let home = Home::new();
    home.repo(&[("a/x", b"x"), ("a/y.json", b"{\"n\": 10000000000000000001}"), ("b/z", b"")]);
    home.pvr("r", &["export", "../x.tgz"]).code(0);
    let json = home.read("r/.pvr/json");
    for (name, args) in [("i", ["import", "../x.tgz"]), ("g", ["get", "../x.tgz"]), ("m", ["merge", "../x.tgz"])] {
        fs::create_dir(home.at(name)).unwrap();
        home.pvr(name, &["init", "-o", &format!("../pool-{name}")]).code(0);
        home.pvr(name, &args).code(0);
        assert_eq!(home.read(&format!("{name}/.pvr/json")), json, "{name}");
        home.pvr(name, &["checkout"]).code(0);
        assert_eq!(home.read(&format!("{name}/a/x")), "x");
        assert_eq!(home.pvr(name, &["status"]).code(0).out, "", "{name}");
        home.pvr(name, &["fsck"]).code(0);
    }
    home.pvr("", &["clone", "-o", "pool", "x.tgz", "c"]).code(0);
    assert_eq!(home.read("c/.pvr/json"), json);
    assert_eq!(home.pvr("", &["inspect", "-c", "x.tgz"]).code(0).out, json + "\n");
    assert_eq!(home.pvr("c", &["status"]).code(0).out, "");
}

#[test]
fn parts_are_exported() {
    let home = Home::new();
    home.repo(&[("app/x", b"x"), ("app2/y", b"y"), ("b/z", b"z")]);
    for (args, names) in [
        (vec!["-p", "app"], vec![b"x"]),
        (vec!["--parts", "app,b/z"], vec![b"x", b"z"]),
        (vec!["-p", "app2", "-p", "b"], vec![b"y", b"z"]),
        (vec!["-p", "none"], vec![]),
    ] {
        let args = [vec!["export"], args, vec!["../p.tar"]].concat();
        home.pvr("r", &args).code(0);
        let members = members(&fs::read(home.at("p.tar")).unwrap());
        let mut want: Vec<String> = names.iter().map(|content| format!("objects/{}", sha(&content[..]))).collect();
        want.sort();
        assert_eq!(members[1..].iter().map(|member| member.name.clone()).collect::<Vec<_>>(), want, "{args:?}");
        assert!(String::from_utf8_lossy(&members[0].content).contains(SPEC));
    }
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let home = Home::new();
    home.repo(&[("a", b"a"), ("b", &[7; 300_000])]);
    home.write("out/x.tgz", "before");
    let damaged = home.object(&sha(&[7; 300_000]));
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[299_999] = 8;
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, &bytes).unwrap();
    for file in ["../out/x.tgz", "../out/new.tar"] {
        home.pvr("r", &["export", file]).code(3).says("missing from").says("(b)");
    }
    // To a stream, all is looked at first.
    let ran = home.pvr("r", &["export", "-"]).code(3);
    assert_eq!(ran.out, "");
    assert_eq!(home.read("out/x.tgz"), "before");
    assert_eq!(fs::read_dir(home.at("out")).unwrap().count(), 1);
    fs::remove_file(&damaged).unwrap();
    home.pvr("r", &["export", "../out/x.tgz"]).code(3).says("(b)");
    assert_eq!(home.read("out/x.tgz"), "before");
}

#[test]
fn leftovers_of_an_export_that_died_are_removed_by_the_next_one_to_the_same_file() {
    let home = Home::new();
    home.repo(&[("a", b"a")]);
    for (name, stays) in [
        (".x.tgz.0123456789abcdef.part", false),
        (".x.tgz.0123456789abcde.part", true),
        (".y.tgz.0123456789abcdef.part", true),
        ("x.tgz.0123456789abcdef.part", true),
    ] {
        home.write(name, "");
        home.pvr("r", &["export", "../x.tgz"]).code(0);
        assert_eq!(home.at(name).exists(), stays, "{name}");
    }
}

#[test]
fn an_export_to_a_link_or_a_device_writes_where_it_leads() {
    let home = Home::new();
    home.repo(&[("a", b"a")]);
    home.write("real.tar", "before");
    std::os::unix::fs::symlink("real.tar", home.at("link.tar")).unwrap();
    home.pvr("r", &["export", "../link.tar"]).code(0);
    assert!(fs::symlink_metadata(home.at("link.tar")).unwrap().is_symlink());
    assert_eq!(members(&fs::read(home.at("real.tar")).unwrap()).len(), 2);
    home.pvr("r", &["export", "/dev/null"]).code(0);
}

#[test]
fn all_that_tar_writes_is_read() {
    let content = b"good\n";
    let name = format!("objects/{}", sha(content));
    let v7 = |block: Vec<u8>| {
        let mut block = block;
        block[257..265].fill(0);
        summed(block)
    };
    let padded = {
        let mut bytes = content.to_vec();
        bytes.resize(512, 0);
        bytes
    };
    let json = file("json", &state(content));
    let archives: Vec<(&str, Vec<u8>)> = vec![
        ("plain", good()),
        ("gzip", gzip(&good())),
        ("two gzip members", {
            let (a, b) = (good()[..700].to_vec(), good()[700..].to_vec());
            [gzip(&a), gzip(&b)].concat()
        }),
        ("one empty block", [json.clone(), object(content), vec![0; 512]].concat()),
        ("a record of zeros", [json.clone(), object(content), vec![0; 10_240]].concat()),
        (
            "folders",
            [entry("./", b'5', b""), entry("objects/", b'5', b""), json.clone(), object(content), end()].concat(),
        ),
        ("dots", [file("./json", &state(content)), file(&format!("././{name}"), content), end()].concat()),
        ("json last", [object(content), json.clone(), end()].concat()),
        ("twice", [json.clone(), object(content), object(content), end()].concat()),
        ("v7", [json.clone(), v7(header(&name, 0, 5)), padded.clone(), end()].concat()),
        ("contiguous", [json.clone(), entry(&name, b'7', content), end()].concat()),
        ("pax", [json.clone(), entry("p", b'x', &pax("mtime", "1.5")), object(content), end()].concat()),
        ("pax name", [json.clone(), entry("p", b'x', &pax("path", &name)), file("short", content), end()].concat()),
        ("pax size", [json.clone(), entry("p", b'x', &pax("size", "5")), object(content), end()].concat()),
        ("global pax", [entry("p", b'g', &pax("comment", "x")), json.clone(), object(content), end()].concat()),
        (
            "GNU name",
            [json.clone(), entry("l", b'L', format!("{name}\0").as_bytes()), file("short", content), end()].concat(),
        ),
        (
            "GNU size",
            [
                json.clone(),
                {
                    let mut block = header(&name, b'0', 0);
                    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
                    summed(block)
                },
                padded,
                end(),
            ]
            .concat(),
        ),
        ("unnamed objects", [json, object(content), object(b"other"), end()].concat()),
    ];
    for (what, archive) in archives {
        let home = empty();
        home.write("x.tgz", &archive);
        let ran = home.pvr("r", &["import", "../x.tgz"]).code(0);
        assert_eq!(ran.err, "", "{what}");
        assert_eq!(home.read("r/.pvr/json").as_bytes(), state(content), "{what}");
        pool_has(&home, &[sha(content)]);
    }
}

#[test]
fn hostile_archives_change_nothing() {
    let (content, name) = (b"good\n", format!("objects/{}", sha(b"good\n")));
    let json = || file("json", &state(content));
    let with = |what: Vec<u8>| [json(), object(content), what, end()].concat();
    let pax_file = |records: Vec<u8>| with([entry("p", b'x', &records), file("y", b"12345")].concat());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (with(file("../x", b"x")), "leads elsewhere"),
        (with(file("/etc/x", b"x")), "leads elsewhere"),
        (with(file("a/../../x", b"x")), "leads elsewhere"),
        (with(file("objects/../x", b"x")), "leads elsewhere"),
        (with(entry("../d", b'5', b"")), "leads elsewhere"),
        (pax_file(pax("path", "../x")), "leads elsewhere"),
        (with([entry("l", b'L', b"/x\0"), file("y", b"")].concat()), "leads elsewhere"),
        (with(entry("a", b'1', b"")), "a hardlink"),
        (with(entry("a", b'2', b"")), "a symbolic link"),
        ([json(), entry(&name, b'2', b""), end()].concat(), "a symbolic link"),
        ([entry("json", b'2', b""), object(content), end()].concat(), "a symbolic link"),
        (with(entry("a", b'3', b"")), "a device"),
        (with(entry("a", b'4', b"")), "a device"),
        (with(entry("a", b'6', b"")), "a FIFO"),
        (with(entry("a", b'S', b"")), "a sparse file"),
        (with(entry("a", b'Z', b"")), "not known"),
        (with(entry("a", b'5', b"x")), "folder with content"),
        (pax_file(pax("GNU.sparse.major", "1")), "a sparse file"),
        (pax_file(pax("size", "4")), "another size"),
        (pax_file(pax("size", "99999999")), "another size"),
        (pax_file(pax("size", "-1")), "no number"),
        (pax_file(pax("size", "99999999999999999999999")), "no number"),
        (pax_file(b"9 path=x".to_vec()), "none"),
        (pax_file(b"99999999999999999999 path=x\n".to_vec()), "none"),
        (pax_file(b"path=x\n".to_vec()), "none"),
        (with([entry("p", b'g', &pax("path", "json")), file("y", b"")].concat()), "all files alike"),
        (with([entry("p", b'x', &vec![b'a'; 70_000]), file("y", b"")].concat()), "larger than 64 KiB"),
        (with([entry("l", b'L', &vec![b'a'; 70_000]), file("y", b"")].concat()), "larger than 64 KiB"),
        (with(json()), "two files named json"),
        (with(file("./json", b"{}")), "two files named json"),
        ([object(content), end()].concat(), "no json"),
        (end(), "no json"),
        (vec![], "cut off"),
        (b"neither".to_vec(), "cut off"),
        (vec![b'x'; 4096], "not a tar archive"),
        ([json(), file(&name, b"evil\n"), end()].concat(), "is damaged"),
        ([json(), file(&name, b""), end()].concat(), "is damaged"),
        (
            [json(), file(&format!("objects/{}", sha(b"good\n").to_uppercase()), content), end()].concat(),
            "missing from",
        ),
        ([json(), file(&format!("a/{name}"), content), end()].concat(), "missing from"),
        ([file("json", b"{\"#spec\":\"x\",\"../x\":{}}"), end()].concat(), "not a state"),
        ([file("json", b"{\"../x.json\":{}}"), end()].concat(), "not a state"),
        ([file("json", b"{\"a\":\"../../victim\"}"), end()].concat(), "not a state"),
        ([file("json", b"[]"), end()].concat(), "not a state"),
        ([file("json", b"{\"a.json\":1,\"a.json\":2}"), end()].concat(), "not a state"),
        ([header("json", b'0', 3 << 20), vec![b' '; 3 << 20], end()].concat(), "the limit is"),
        ([good(), b"more".to_vec()].concat(), "behind its end"),
        ([good(), file("json", b"{}")].concat(), "behind its end"),
        ([json(), header(&name, b'0', u64::MAX >> 31)].concat(), ""),
        ([gzip(&good()), b"garbage".to_vec()].concat(), ""),
        (
            {
                let mut bytes = gzip(&good());
                let at = bytes.len() - 5;
                bytes[at] ^= 1;
                bytes
            },
            "gzip",
        ),
        (
            {
                let mut bytes = good();
                bytes[600] ^= 1;
                bytes
            },
            "",
        ),
    ];
    let home = empty();
    for (archive, why) in cases {
        refused(&home, &archive, why);
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let content: Vec<u8> = (0..3000_u32).map(|n| (n % 251) as u8).collect();
    let tar = [file("json", &state(&content)), object(&content), object(b"unnamed"), end()].concat();
    let home = empty();
    let blocks = tar.len() / 512;
    assert!(blocks > 12);
    for block in 0..blocks - 1 {
        refused(&home, &tar[..block * 512], "");
        refused(&home, &tar[..block * 512 + 511], "");
    }
    let packed = gzip(&tar);
    for length in (0..packed.len()).step_by(packed.len() / 40) {
        refused(&home, &packed[..length], "");
    }
    home.write("x.tar", &tar[..tar.len() - 512]);
    home.pvr("r", &["import", "../x.tar"]).code(0);
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let json = file("json", &state(b"good\n"));
    let zeros = 300 << 20;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut write = |bytes: &[u8]| std::io::Write::write_all(&mut bomb, bytes).unwrap();
    write(&json);
    write(&header("objects/zeros", b'0', zeros));
    (0..zeros >> 20).for_each(|_| write(&vec![0; 1 << 20]));
    write(&object(b"good\n"));
    write(&end());
    let bomb = bomb.finish().unwrap();
    let home = empty();
    refused(&home, &bomb, "PVR_AGENT_MAX_RATIO");
    home.run("r", &["import", "../x.tar"], &[("PVR_AGENT_MAX_RATIO", "1100")]).code(0).says("left out");
}

#[test]
fn a_hundred_thousand_files_are_passed_over() {
    let json = file("json", &state(b"good\n"));
    let mut tar = json;
    for n in 0..100_000 {
        tar.extend(header(&format!("x{n}"), b'0', 0));
    }
    tar.extend([object(b"good\n"), end()].concat());
    let home = empty();
    home.write("x.tar", gzip(&tar));
    let ran = home.run("r", &["import", "../x.tar"], &[("PVR_AGENT_MAX_RATIO", "1100")]).code(0).says("x9 is not part");
    assert!(ran.err.contains("and so are 99990 more") && ran.err.lines().count() == 11, "{}", ran.err);
    pool_has(&home, &[sha(b"good\n")]);
}

#[test]
fn a_thousand_objects_get_their_names_together() {
    let contents: Vec<Vec<u8>> = (0..1000_u32).map(|n| n.to_string().into_bytes()).collect();
    let keys: Vec<String> =
        contents.iter().map(|c| format!("\"k{}\":\"{}\"", String::from_utf8_lossy(c), sha(c))).collect();
    let json = format!("{{\"#spec\":\"{SPEC}\",{}}}", keys.join(","));
    let all: Vec<u8> = contents.iter().flat_map(|content| object(content)).collect();
    let home = empty();
    let bad = [file("json", json.as_bytes()), all.clone(), entry("x", b'2', b""), end()].concat();
    refused(&home, &bad, "a symbolic link");
    home.write("x.tar", [file("json", json.as_bytes()), all, end()].concat());
    home.pvr("r", &["import", "../x.tar"]).code(0);
    pool_has(&home, &contents.iter().map(|content| sha(content)).collect::<Vec<_>>());
    home.pvr("r", &["fsck"]).code(0);
}

#[test]
fn an_object_of_the_pool_need_not_be_in_the_archive() {
    let home = Home::new();
    home.repo(&[("other", b"good\n")]);
    home.write("x.tar", [file("json", &state(b"good\n")), end()].concat());
    home.pvr("r", &["import", "../x.tar"]).code(0);
    assert_eq!(home.read("r/.pvr/json").as_bytes(), state(b"good\n"));
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let home = empty();
    home.write("x.tgz", gzip(&good()));
    let json = home.read("r/.pvr/json");
    for command in ["import", "get", "merge"] {
        let ran = home.pvr("r", &[command, "--dry-run", "../x.tgz"]).code(0);
        assert!(ran.out.starts_with("A g.txt\nWould add 1 objects (5 bytes)"), "{ran:?}");
        let ran = home.pvr("r", &[command, "--dry-run", "--json", "../x.tgz"]).code(0);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(document["dry-run"], true);
        assert_eq!(document["objects"]["added"][0], sha(b"good\n"));
        assert_eq!(document["objects"]["bytes"], 5);
        assert_eq!(document["state"]["added"][0], "g.txt");
        assert_eq!(home.read("r/.pvr/json"), json);
        pool_has(&home, &[]);
    }
    home.write(
        "bad.tgz",
        [file("json", &state(b"good\n")), file(&format!("objects/{}", sha(b"good\n")), b"evil\n"), end()].concat(),
    );
    home.pvr("r", &["import", "--dry-run", "../bad.tgz"]).code(3).says("is damaged");
    let ran = home.pvr("r", &["import", "--json", "../x.tgz"]).code(0);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&document["dry-run"], &document["objects"]["reused"]), (&false.into(), &0.into()));
    let ran = home.pvr("r", &["export", "--json", "../y.tgz"]).code(0);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&document["objects"], &document["bytes"], &document["gzip"]), (&1.into(), &5.into(), &true.into()));
}

#[test]
fn arguments_and_folders() {
    let home = empty();
    fs::create_dir(home.at("none")).unwrap();
    home.write("x.tgz", gzip(&good()));
    home.pvr("r", &["import"]).code(1).says("ERROR: repo-tarball name is required. See --help");
    home.pvr("r", &["import", ".pvr"]).code(3).says("pvr get takes");
    home.pvr("r", &["import", "nosuch"]).code(3).says("nosuch");
    home.pvr("none", &["import", "../x.tgz"]).code(3).says("not a pvr repository");
    home.pvr("none", &["export", "../y.tgz"]).code(3).says("not a pvr repository");
    home.pvr("r", &["merge", "a", "b"]).code(1).says("ERROR: Merge can have at most 1 argument. See --help.");
    home.pvr("r", &["export", "--json", "-"]).code(1).says("--json needs a file");
    assert!(!home.at("y.tgz").exists());
}

#[test]
fn fsck_finds_what_is_wrong() {
    let home = Home::new();
    home.repo(&[("a", b"a"), ("b/c", b"c")]);
    let ran = home.pvr("r", &["fsck"]).code(0);
    assert_eq!(ran.out, "2 keys, 2 objects (2 bytes, 0 of other states): clean\n");
    let replace = |id: &str, bytes: &[u8]| {
        fs::remove_file(home.object(id)).ok();
        fs::write(home.object(id), bytes).unwrap();
    };
    let report = |kind: &str, path: &str| {
        let ran = home.pvr("r", &["fsck", "--json"]).code(1);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let findings = document["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0]["kind"], kind);
        assert!(findings[0]["path"].as_str().unwrap().ends_with(path), "{findings:?}");
    };
    replace(&sha(b"c"), b"d");
    report("damaged", "b/c");
    fs::remove_file(home.object(&sha(b"c"))).unwrap();
    report("missing", "b/c");
    replace(&sha(b"c"), b"c");
    replace(&sha(b"other"), b"wrong");
    report("pool", &sha(b"other"));
    replace(&sha(b"other"), b"other");
    home.pvr("r", &["fsck"]).code(0);
    home.write("r/.pvr/new", "{");
    report("new", ".pvr/new");
    fs::remove_file(home.at("r/.pvr/new")).unwrap();
    home.write("r/.pvr/tmp/0123", "");
    report("unfinished", "0123");
    // Whoever writes next removes it.
    home.pvr("r", &["commit"]).code(0);
    home.pvr("r", &["fsck"]).code(0);
    home.write("r/.pvr/json", "{\"a\":1}");
    report("json", ".pvr/json");
    home.write("r/.pvr/config", "{");
    assert!(home.pvr("r", &["fsck"]).code(1).out.contains("config: .pvr/config: "));
    home.pvr("", &["fsck"]).code(2).says("not a pvr repository");
}
