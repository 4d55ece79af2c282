//! Signatures as the program looks at them on every target: `pvr sig check` beside the recorded verdicts of a device,
//! `pvr sig ls --device`, and what an endpoint and a deploy with a policy take and refuse.

mod black_box;
mod verdicts;

use black_box::agent::{self, Server};
use black_box::seed::{self, Seed};
use black_box::{http, rounds, sha256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use verdicts::{Case, MODES, cases, folder, header, members, signature, text};

fn pvr(cwd: &Path, args: &[&str]) -> Output {
    let mut command = agent::command();
    // Nothing of whoever runs the tests.
    command.arg("pvr").args(args).current_dir(cwd).env("PVR_CONFIG_DIR", cwd.join("config"));
    command.output().expect("run pvr")
}

fn trust() -> String {
    folder().join("trust.crt").to_str().expect("UTF-8").to_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_says_what_the_device_said() {
    let root = tempfile::tempdir().expect("a folder");
    // What docs/differences.md names is for device_verdict; here it is about the program.
    let differing = ["393", "408", "409", "410", "411", "414", "560"];
    let cases: Vec<Case> = cases().into_iter().filter(|case| !differing.contains(&case.number())).collect();
    let step = cases.len().div_ceil(rounds(cases.len(), 40));
    let (mut taken, mut refused) = (0, 0);
    for (at, case) in cases.iter().enumerate().filter(|(at, _)| at % step == 0) {
        let mode = MODES[at / step % MODES.len()];
        let file = root.path().join("state.json");
        fs::write(&file, &case.state).expect("write the state");
        let output =
            pvr(root.path(), &["sig", "check", "--policy", mode, "--cacerts", &trust(), "--json", "state.json"]);
        let verdict: Value =
            serde_json::from_str(&stdout(&output)).unwrap_or_else(|err| panic!("{}: {err}: {output:?}", case.name));
        assert_eq!(verdict["device"], *case.verdict[mode], "{} {mode}", case.name);
        let accepted = case.verdict[mode] == "accepted";
        assert_eq!(
            (code(&output), &verdict["accepted"]),
            (i32::from(!accepted), &Value::Bool(accepted)),
            "{} {mode}",
            case.name
        );
        if accepted { taken += 1 } else { refused += 1 }
    }
    assert!(taken >= 10 && refused >= 5, "{taken} {refused}");
}

/// A repository whose committed state this is.
fn repository(root: &Path, state: &str) {
    fs::create_dir_all(root.join(".pvr")).expect("make .pvr");
    fs::write(root.join(".pvr/json"), state).expect("write the state");
    fs::write(root.join(".pvr/config"), r#"{"ObjectsDir":""}"#).expect("write the config");
}

#[test]
fn check_of_the_committed_state() {
    let root = tempfile::tempdir().expect("a folder");
    repository(root.path(), &Case::numbered("437").state);
    let good = pvr(root.path(), &["sig", "--cacerts", &trust(), "check", "--policy", "strict"]);
    assert_eq!(code(&good), 0, "{}", stderr(&good));
    assert!(stdout(&good).contains("_sigs/app1.json: RS256 by CN=rsa < CN=test-ca: good\n"), "{}", stdout(&good));

    // Nothing says whom the device trusts.
    let unknown = pvr(root.path(), &["sig", "check"]);
    assert_eq!((code(&unknown), stdout(&unknown).as_str()), (2, ""));
    assert!(stderr(&unknown).contains("--cacerts"), "{}", stderr(&unknown));
    assert_eq!(code(&pvr(root.path(), &["sig", "check", "--policy", "disabled"])), 0);
    for wrong in [
        &["sig", "check", "--policy", "Strict", "--cacerts", &trust()][..],
        &["sig", "check", "--cacerts", "nowhere.pem"],
        &["sig", "check", "--cacerts", ".pvr/json"],
        &["sig", "check", "--cacerts", "_system_"],
        &["sig", "check", "--cacerts", &trust(), "nowhere.json"],
    ] {
        let output = pvr(root.path(), wrong);
        assert_eq!(code(&output), 2, "{wrong:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{wrong:?}");
    }

    // Which keys, and why.
    repository(root.path(), &Case::numbered("555").state);
    let uncovered = pvr(root.path(), &["sig", "check", "--policy", "strict", "--cacerts", &trust()]);
    assert_eq!(code(&uncovered), 1);
    assert!(stdout(&uncovered).contains("refused: app3/x: no good signature covers it\n"), "{}", stdout(&uncovered));
    assert_eq!(code(&pvr(root.path(), &["sig", "check", "--cacerts", &trust()])), 0, "lenient");

    let empty = root.path().join("empty");
    fs::create_dir(&empty).expect("make a folder");
    assert_eq!(code(&pvr(&empty, &["sig", "check", "--cacerts", &trust()])), 2, "no repository");
}

#[test]
fn ls_for_a_device_names_the_patterns_that_make_the_difference() {
    let root = tempfile::tempdir().expect("a folder");
    // `**` is everything to pvr, and nothing to a device.
    repository(root.path(), &Case::numbered("446").state);
    let output = pvr(root.path(), &["sig", "--cacerts", &trust(), "ls", "--device"]);
    assert_eq!(code(&output), 13, "{}", stderr(&output));
    let shown: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(shown["modes"]["disabled"], "accepted");
    assert_eq!(shown["modes"]["lenient"], "bad-signature");
    let about: BTreeMap<&str, &Value> = shown["disagreements"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["key"].as_str().expect("a key"), one))
        .collect();
    assert_eq!(about.len(), 16, "{:?}", about.keys());
    assert_eq!(about["a/x"]["patterns"], serde_json::json!(["**"]));
    assert_eq!((&about["a/x"]["pvr"], &about["a/x"]["device"]), (&"included".into(), &"not-seen".into()));

    repository(root.path(), &Case::numbered("437").state);
    let output = pvr(root.path(), &["sig", "--cacerts", &trust(), "ls", "--device"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let shown: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&shown["modes"]["strict"], &shown["disagreements"]), (&"accepted".into(), &serde_json::json!([])));
}

const CONTAINER: &[u8] = b"a root file system of the tests\n";

/// A state with one container, and signatures that cover all of it.
fn signed() -> String {
    let object = format!("\"{}\"", sha256(CONTAINER));
    let mut state = members(&[
        ("app/root.squashfs", object.as_str()),
        ("app/run.json", r#"{"name":"app"}"#),
        ("app/src.json", "{}"),
    ]);
    let covered = ["#spec", "app/root.squashfs", "app/run.json"];
    let signed = signature(&state, &header(&["#spec", "app/**"], &["app/src.json"]), &covered);
    state.insert("_sigs/app.json".to_owned(), signed);
    text(&state)
}

/// The server has said something like this at its start. What it prints arrives a moment after it serves.
fn said(server: &Server, what: &str) {
    for _ in 0..500 {
        if server.log().contains(what) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what} is not in {}", server.log());
}

#[test]
fn an_endpoint_installs_nothing_that_its_policy_refuses() {
    let root = tempfile::tempdir().expect("a folder");
    let storage = root.path().join("storage");
    Seed::factory(&storage);
    let good = signed();
    let changed = good.replacen(r#"{"name":"app"}"#, r#"{"name":"bad"}"#, 1);
    let unsigned = {
        let value: Value = serde_json::from_str(&good).expect("JSON");
        let mut members = value.as_object().expect("an object").clone();
        members.remove("_sigs/app.json");
        Value::Object(members).to_string()
    };
    let more = good.replacen(r##"{"#spec""##, &format!(r##"{{"#a":"{}","#spec""##, sha256(CONTAINER)), 1);
    // What each policy takes.
    for (policy, takes) in [
        (None, ["good", "changed", "unsigned", "more"].as_slice()),
        (Some("disabled"), &["good", "changed", "unsigned", "more"]),
        (Some("lenient"), &["good", "unsigned", "more"]),
        (Some("audit"), &["good", "unsigned", "more"]),
        (Some("strict"), &["good"]),
        (Some("hardened"), &["good"]),
    ] {
        let trust = trust();
        let flags: Vec<&str> = policy.iter().flat_map(|policy| ["--secureboot", policy, "--trust", &trust]).collect();
        let server = Server::start_with(&storage, &flags);
        let shown = policy.unwrap_or("disabled");
        said(&server, &format!("signatures: {shown}"));
        let status = http::get(&format!("{}/status", server.base)).json();
        assert_eq!(status["secureboot"], shown);
        server.upload(CONTAINER).expect("upload");
        for (name, state) in [("good", &good), ("changed", &changed), ("unsigned", &unsigned), ("more", &more)] {
            let before = seed::visible(&storage);
            let rev = format!("locals/{shown}-{}-{name}", policy.is_some());
            let answer = server.post(state, Some(&rev)).expect("an answer");
            if takes.contains(&name) {
                assert_eq!(answer.status, 200, "{shown} {name}: {answer}");
                continue;
            }
            assert_eq!(answer.status, 422, "{shown} {name}: {answer}");
            let body = answer.json();
            assert_eq!((&body["reason"], &body["code"]), (&"refused-signatures".into(), &422.into()), "{answer}");
            assert_eq!((&body["verdict"]["policy"], &body["verdict"]["accepted"]), (&shown.into(), &false.into()));
            let about = body["verdict"]["refusals"][0]["key"].as_str().expect("a key");
            let want = match name {
                "changed" => "_sigs/app.json",
                "more" => "#a",
                _ => "#spec",
            };
            assert_eq!(about, want, "{shown} {name}: {answer}");
            assert!(body["hint"].is_string() && body["error"].as_str().expect("a text").contains(shown), "{answer}");
            let put =
                http::ask(&format!("{}/json", server.base), "PUT", agent::JSON, state.as_bytes()).expect("an answer");
            assert_eq!((put.status, &put.json()["reason"]), (422, &"refused-signatures".into()), "{put}");
            assert_eq!(seed::visible(&storage), before, "{shown} {name}");
        }
    }
    agent::assert_clean(&storage, "posts of all kinds");
}

#[test]
fn what_the_configuration_of_an_endpoint_says() {
    let root = tempfile::tempdir().expect("a folder");
    let storage = root.path().join("storage");
    Seed::factory(&storage);
    let config = root.path().join("config.json");
    let write = |text: &str| fs::write(&config, text).expect("write the configuration");
    let flags = ["--config", config.to_str().expect("UTF-8")];
    write(&format!(r#"{{"httpd":{{"trust":"{}"}}}}"#, trust()));
    let server = Server::start_with(&storage, &flags);
    assert_eq!(http::get(&format!("{}/status", server.base)).json()["secureboot"], "lenient");
    drop(server);
    write(&format!(r#"{{"httpd":{{"secureboot":"strict","trust":"{}"}}}}"#, trust()));
    let server = Server::start_with(&storage, &flags);
    assert_eq!(http::get(&format!("{}/status", server.base)).json()["secureboot"], "strict");
    drop(server);
    // A flag wins.
    let server = Server::start_with(&storage, &[&flags[..], &["--secureboot", "hardened"]].concat());
    assert_eq!(http::get(&format!("{}/status", server.base)).json()["secureboot"], "hardened");
    drop(server);
    // What cannot be served as it is asked for isn't served at all.
    let storage = storage.to_str().expect("UTF-8");
    for (text, more, word) in [
        ("{}", &["--secureboot", "strict"][..], "whom to trust"),
        ("{}", &["--trust", "/nowhere.pem"], "/nowhere.pem"),
        ("{}", &["--trust", flags[1]], "no certificate"),
        ("{}", &["--secureboot", "enforce"], "enforce"),
        (r#"{"httpd":{"secureboot":"strict"}}"#, &[], "whom to trust"),
        (r#"{"httpd":{"trust":"trust.pem"}}"#, &[], "absolute"),
    ] {
        write(text);
        let args = [&["serve", "--storage", storage, "--port", "0"], &flags[..], more].concat();
        let output = agent::run(&args);
        assert_ne!(code(&output), 0, "{more:?}");
        assert!(stderr(&output).contains(word) && output.stdout.is_empty(), "{more:?}: {}", stderr(&output));
    }
}

/// Whoever can post could open a device to a network by it.
#[test]
fn a_state_opens_a_device_to_a_network_only_if_somebody_vouches_for_that() {
    const KEY: &str = "_config/pvr-sdk/etc/pvr-sdk/config.json";
    let root = tempfile::tempdir().expect("a folder");
    let wide = r#"{"httpd":{"listen":"0.0.0.0"}}"#;
    let state = |include: &[&str], exclude: &[&str], payload: &[&str]| {
        let mut state = members(&[(KEY, wide), ("a/run.json", "{}")]);
        if !include.is_empty() {
            let signed = signature(&state, &header(include, exclude), payload);
            state.insert("_sigs/config.json".to_owned(), signed);
        }
        text(&state)
    };
    let covered = state(&["#spec", "_config/**"], &[], &["#spec", KEY]);
    let other = covered.replacen("0.0.0.0", "::", 1);
    assert_ne!(other, covered);
    let (trust, none) = (trust(), state(&[], &[], &[]));
    let lenient = &["--trust", &trust][..];
    for (number, (state, flags, counts)) in [
        (&covered, &[][..], true),
        (&covered, lenient, true),
        (&other, &[], true),
        (&other, lenient, false),
        (&none, &[], true),
        (&none, lenient, false),
        (&none, &["--trust", &trust, "--secureboot", "audit"], false),
        (&none, &["--trust", &trust, "--secureboot", "disabled"], true),
        (&state(&["#spec", "a/**"], &[], &["#spec", "a/run.json"]), lenient, false),
        // To a device it is as good as signed; here it is not.
        (&state(&["#spec"], &["_config/**"], &["#spec"]), lenient, false),
    ]
    .into_iter()
    .enumerate()
    {
        let storage = root.path().join(number.to_string());
        Seed::factory(&storage);
        assert_eq!(Server::start(&storage).post(state, None).expect("an answer").status, 200, "{number}");
        let warnings = |more: &[&str]| {
            let server = Server::start_with(&storage, &[flags, more].concat());
            http::get(&format!("{}/status", server.base)).json()["warnings"].to_string()
        };
        let said = warnings(&[]);
        assert_eq!(said.contains("whoever reaches"), counts, "{number}: {said}");
        assert_eq!(said.contains("which does not count: no good signature covers"), !counts, "{number}: {said}");
        // What somebody has said on the device itself counts without.
        assert!(!warnings(&["--listen", "127.0.0.1"]).contains("does not count"), "{number}");
    }
}

/// A device trusts the certificates of its maker beside its own, for what is neither `bsp` nor the maker's own folder.
#[test]
fn what_the_maker_of_a_device_may_sign_is_taken_everywhere() {
    let root = tempfile::tempdir().expect("a folder");
    let storage = root.path().join("storage");
    Seed::factory(&storage);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys/root.pem");
    let (own, maker) = (own.to_str().expect("UTF-8"), trust());
    let good = signed();
    let of_bsp = {
        let mut state = members(&[("bsp/run.json", "{}")]);
        let signed = signature(&state, &header(&["#spec", "bsp/**"], &[]), &["#spec", "bsp/run.json"]);
        state.insert("_sigs/bsp.json".to_owned(), signed);
        text(&state)
    };
    let source = root.path().join("source");
    let pool = root.path().join("config/objects");
    fs::create_dir_all(&pool).expect("make the pool");
    fs::write(pool.join(sha256(CONTAINER)), CONTAINER).expect("write the object");
    // The signer is called p256.
    for (name, state, taken) in
        [(None, &good, false), (Some("p256"), &good, true), (Some("app"), &good, false), (Some("p256"), &of_bsp, false)]
    {
        let flags = |file| name.map_or(Vec::new(), |name| vec!["--oem-name", name, file, maker.as_str()]);
        let serve = [&["--secureboot", "strict", "--trust", own][..], &flags("--oem-trust")].concat();
        let server = Server::start_with(&storage, &serve);
        server.upload(CONTAINER).expect("upload");
        let answer = server.post(state, Some("locals/maker")).expect("an answer");
        assert_eq!(answer.status, if taken { 200 } else { 422 }, "{name:?}: {answer}");
        drop(server);

        repository(&source, state);
        let policy = ["--policy", "strict", "--cacerts", own];
        let deploy = [&["deploy"], &policy[..], &flags("--oem-cacerts"), &["out", "source/.pvr"]].concat();
        let output = pvr(root.path(), &deploy);
        assert_eq!(code(&output), if taken { 0 } else { 6 }, "{name:?}: {}", stderr(&output));
        let check = [&["sig", "check"], &policy[..], &flags("--oem-cacerts")].concat();
        assert_eq!(code(&pvr(&source, &check)), i32::from(!taken), "{name:?}");
        let ls = [&["sig", "--cacerts", own, "ls", "--device"], &flags("--oem-cacerts")[..]].concat();
        assert_eq!(code(&pvr(&source, &ls)), if taken { 0 } else { 13 }, "{name:?}");
    }
    let config = root.path().join("config.json");
    let said =
        format!(r#"{{"httpd":{{"secureboot":"strict","trust":"{own}","oem-name":"p256","oem-trust":"{maker}"}}}}"#);
    fs::write(&config, said).expect("write the configuration");
    let server = Server::start_with(&storage, &["--config", config.to_str().expect("UTF-8")]);
    assert_eq!(server.post(&good, Some("locals/by-file")).expect("an answer").status, 200);
    drop(server);
    for wrong in [&["--oem-name", "p256"][..], &["--oem-trust", &maker], &["--oem-name", "p256", "--oem-trust", "/no"]]
    {
        let args = [&["serve", "--storage", storage.to_str().expect("UTF-8"), "--port", "0", "--trust", own], wrong];
        let output = agent::run(&args.concat());
        assert!(code(&output) != 0 && stderr(&output).contains("oem-") | stderr(&output).contains("/no"), "{output:?}");
    }
}

#[test]
fn a_deploy_is_held_to_a_policy() {
    let root = tempfile::tempdir().expect("a folder");
    let source = root.path().join("source");
    let pool = root.path().join("config/objects");
    fs::create_dir_all(&pool).expect("make the pool");
    fs::write(pool.join(sha256(CONTAINER)), CONTAINER).expect("write the object");
    repository(&source, &signed());
    let deploy = |more: &[&str]| -> Output {
        let args = [&["deploy"], more, &["out", "source/.pvr"]].concat();
        pvr(root.path(), &args)
    };
    let out = root.path().join("out");
    let trust = trust();
    for policy in ["strict", "hardened"] {
        let output = deploy(&["--policy", policy, "--cacerts", &trust]);
        assert_eq!(code(&output), 0, "{policy}: {}", stderr(&output));
        assert!(out.join("app/root.squashfs").is_file());
        fs::remove_dir_all(&out).expect("remove what was deployed");
    }
    repository(&source, &signed().replacen(r#""app/src.json":{}"#, r#""app/src.json":{},"app2/run.json":{}"#, 1));
    for (more, taken, word) in [
        (&["--cacerts", &trust][..], true, ""),
        (&["--policy", "disabled"], true, ""),
        (&["--policy", "strict", "--cacerts", &trust], false, "app2/run.json: no good signature covers it"),
        (&["--policy", "strict", "--cacerts", &trust, "--dry-run"], false, "app2/run.json"),
        (&["--policy", "strict"], false, "whom to trust"),
        (&["--policy", "x", "--cacerts", &trust], false, "there is no policy"),
    ] {
        let output = deploy(more);
        assert_eq!(code(&output) == 0, taken, "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{more:?}: {}", stderr(&output));
        assert_eq!(out.exists(), taken, "{more:?}");
        if taken {
            fs::remove_dir_all(&out).expect("remove what was deployed");
        }
    }
    let exit = deploy(&["--policy", "strict", "--cacerts", &trust]);
    assert_eq!(code(&exit), 6, "as for every state that cannot be had");
}
