//! `pvr sig` from outside: flags and their variables, what is asked before keys are fetched, what it does where others stand in
//! the way, and what it refuses.

#[path = "client/server.rs"]
mod answers;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "support/tar.rs"]
mod tar;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use answers::{Reply, Server};
use pvr::{Home, Ran};

fn vector(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys").join(name).to_str().unwrap().to_owned()
}

const FILES: [(&str, &[u8]); 6] = [
    ("app/run.json", b"{}"),
    ("app/src.json", b"{}"),
    ("_config/app/c", b"c"),
    ("bsp/kernel", b"k"),
    ("bsp2/x", b"x"),
    ("top.txt", b"t"),
];

fn repo() -> Home {
    let home = Home::new();
    home.repo(&FILES);
    home
}

/// `sig` with the key and the certificates of the recordings, as of 2027.
fn sig(home: &Home, args: &[&str]) -> Ran {
    let (key, chain, root) = (vector("rsa.key"), vector("rsa.chain.pem"), vector("root.pem"));
    let group = ["sig", "--at", "2027-01-01", "-k", &key, "-x", &chain, "-c", &root];
    home.pvr("r", &[&group, args].concat())
}

fn summary(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn one_signature_for_each_part() {
    let home = repo();
    sig(&home, &["add", "--parts", "bsp*,app"]).code(0);
    let names: Vec<_> = fs::read_dir(home.at("r/_sigs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    let all = sig(&home, &["ls"]).code(0);
    assert_eq!(
        summary(&all),
        serde_json::json!({
            "protected": ["_config/app/c", "app/run.json", "bsp/kernel", "bsp2/x"],
            "excluded": ["_sigs/app.json", "_sigs/bsp.json", "_sigs/bsp2.json", "app/src.json"],
            "notseen": ["#spec", "top.txt"],
        })
    );
    assert!(sig(&home, &["ls", "--with-sig", "app"]).code(0).out.contains("\"sigs\": ["));
    sig(&home, &["add", "--parts", "app,nosuch"]).code(127).says("no part \"nosuch\"");
    sig(&home, &["add", "--parts", "app", "--part", "app"]).code(5).says("parts cannot be used together");
    sig(&home, &["add", "--parts", "["]).code(127).says("syntax error in pattern");
}

#[test]
fn a_raw_signature_verifies_once_it_is_committed() {
    let home = repo();
    sig(&home, &["add", "--raw", "all", "--exclude", "nothing"]).code(0);
    for _ in 0..2 {
        home.pvr("r", &["add"]).code(0);
        home.pvr("r", &["commit"]).code(0);
        let listed = sig(&home, &["ls"]).code(0);
        assert_eq!(summary(&listed)["excluded"], serde_json::json!(["_sigs/all.json"]));
        assert!(summary(&listed).get("notseen").is_none());
        sig(&home, &["up"]).code(0).says("Updating pvs signature @ _sigs/all.json [DONE]");
    }
    // One as today's program makes it, which covers itself.
    let text = home.read("r/_sigs/all.json");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let header = pvr_agent::sig::base64::from_url(document["protected"].as_str().unwrap()).unwrap();
    let header = String::from_utf8(header).unwrap().replace("_sigs/all.json", "_sigs/.json");
    let protected = pvr_agent::sig::base64::url(header.as_bytes());
    home.write("r/_sigs/all.json", text.replace(document["protected"].as_str().unwrap(), &protected));
    sig(&home, &["update", "all"]).code(126).says("it covers itself").says("[ERROR]");
}

#[test]
fn everything_may_come_from_the_environment() {
    let home = repo();
    let (key, public, root) = (vector("rsa.key"), vector("rsa.pub"), vector("root.pem"));
    let sign = [
        ("PVR_SIG_KEY", key.as_str()),
        ("PVR_X5C_PATH", "no"),
        ("PVS_SIG_WITH_PAYLOAD", "true"),
        ("PVS_SIG_OUTPUT", "../o"),
    ];
    home.run("r", &["sig", "add", "-p", "app", "-n"], &sign).code(0);
    assert_eq!(home.read("o"), home.read("r/_sigs/app.json"));
    assert!(home.read("o").contains("\"payload\":\""));
    let with = [("PVR_SIG_PUBKEY", public.as_str()), ("PVR_SIG_LS_WITH_SIGS", "1"), ("PVS_SIG_WITH_PAYLOAD", "1")];
    let listed = home.run("r", &["sig", "ls", "app"], &with).code(0);
    let shown = &summary(&listed)["sigs"][0];
    let file: serde_json::Value = serde_json::from_str(&home.read("o")).unwrap();
    for member in ["payload", "protected", "signature"] {
        assert_eq!(shown[member], file[member], "what is printed is what is in the file");
    }
    assert_eq!(summary(&listed)["protected"], serde_json::json!(["app/run.json"]));
    // Set to nothing: as if it were not there.
    let nothing = ["sig", "--cacerts", "", "--output", "", "--key", "", "--at", "", "ls", "app"];
    home.run("r", &nothing, &with).code(0);
    // A flag wins.
    let wrong = [("PVR_SIG_CACERTS", root.as_str()), ("PVR_SIG_AT", "2000-01-01")];
    sig(&home, &["add", "-p", "app"]).code(0);
    home.run("r", &["sig", "ls", "app"], &wrong).code(13).says("is not valid yet");
    home.run("r", &["sig", "--at", "2027-01-01T00:00:00Z", "ls", "app"], &wrong).code(0);
    home.run("r", &["sig", "ls", "app"], &[("PVR_SIG_AT", "yesterday"), ("PVR_SIG_PUBKEY", public.as_str())])
        .code(1)
        .says("is no time such as 2027-01-01T00:00:00Z");
    let late = [("PVR_SIG_CACERTS", root.as_str()), ("PVR_SIG_AT", "2090-01-01")];
    home.run("r", &["sig", "ls", "app"], &late).code(13).says("has expired");
    // What this system trusts.
    for name in ["_system_", "_system", "__system__"] {
        let run = |bundle: &str| {
            home.run("r", &["sig", "-c", name, "--at", "2027-01-01", "ls", "app"], &[("SSL_CERT_FILE", bundle)])
        };
        run(&root).code(0);
        run(&vector("otherroot.pem")).code(13);
    }
}

#[test]
fn flags_of_the_group_stand_before_the_command() {
    let home = repo();
    let key = vector("rsa.key");
    let late = home.pvr("r", &["sig", "add", "--key", &key, "--part", "app"]).code(1);
    assert!(late.out.contains("Incorrect Usage: flag provided but not defined: -key"), "{late:?}");
    assert!(home.pvr("r", &["sig"]).code(0).out.contains("Usage: pvr sig"));
    home.pvr("r", &["sig", "nosuch"]).code(3).says("No help topic for 'nosuch'");
}

#[test]
fn output_is_replaced_whole() {
    let home = repo();
    home.write("out", "x".repeat(100_000));
    fs::set_permissions(home.at("out"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("out", home.at("link")).unwrap();
    sig(&home, &["add", "-p", "app"]).code(0);
    let key = vector("rsa.key");
    home.pvr("r", &["sig", "-k", &key, "-x", "no", "--output", "../link", "add", "-p", "app"]).code(0);
    assert_eq!(home.read("out"), home.read("r/_sigs/app.json"));
    assert!(home.at("link").is_symlink(), "it leads where it led");
    assert_eq!(fs::metadata(home.at("out")).unwrap().permissions().mode() & 0o777, 0o640);
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    let updated = home.pvr("r", &["sig", "-k", &key, "-x", "no", "--output", "-", "update"]).code(0);
    assert_eq!(updated.out, home.read("r/_sigs/app.json"));
    assert!(!home.at("r/-").exists());
    let missing = home.pvr("r", &["sig", "-k", &key, "-x", "no", "--output", "../no/such/x", "add", "-p", "app"]);
    missing.code(127).says("no/such");
    assert_eq!(fs::read_dir(home.at("")).unwrap().count(), 3, "r, out, link");
}

#[test]
fn what_stands_in_the_way() {
    let home = repo();
    fs::create_dir(home.at("elsewhere")).unwrap();
    symlink("../elsewhere", home.at("r/_sigs")).unwrap();
    sig(&home, &["add", "-p", "app"]).code(127).says("is a symbolic link");
    assert_eq!(fs::read_dir(home.at("elsewhere")).unwrap().count(), 0);
    fs::remove_file(home.at("r/_sigs")).unwrap();
    home.write("r/_sigs", "a file");
    sig(&home, &["add", "-p", "app"]).code(127).says("failed to enter");
    fs::remove_file(home.at("r/_sigs")).unwrap();
    // A signature that is a link: the link is replaced, what it leads to stays.
    fs::create_dir(home.at("r/_sigs")).unwrap();
    home.write("elsewhere/victim", "mine");
    symlink("../../elsewhere/victim", home.at("r/_sigs/app.json")).unwrap();
    sig(&home, &["add", "-p", "app"]).code(0);
    assert_eq!(home.read("elsewhere/victim"), "mine");
    assert!(!home.at("r/_sigs/app.json").is_symlink());
    // A FIFO in its place is not waited for.
    fs::remove_file(home.at("r/_sigs/app.json")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, home.at("r/_sigs/app.json"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    sig(&home, &["ls", "app"]).code(13).says("it is no file");
    // Nothing is left of all that.
    assert!(!home.at("r/.pvr/tmp").exists());
    let elsewhere = home.at("");
    home.pvr("elsewhere", &["sig", "-k", &vector("rsa.key"), "-x", "no", "add", "-p", "x"])
        .code(127)
        .says("not a pvr repository");
    assert!(!elsewhere.join("elsewhere/_sigs").exists());
}

#[test]
fn signatures_of_elsewhere() {
    let home = repo();
    sig(&home, &["add", "-p", "app"]).code(0);
    fs::copy(home.at("r/_sigs/app.json"), home.at("app.json")).unwrap();
    sig(&home, &["ls", "../app.json"]).code(13).says("is no file of this working copy");
    let inside = home.at("r/_sigs/app.json");
    sig(&home, &["ls", inside.to_str().unwrap()]).code(0);
    sig(&home, &["ls", "./_sigs/../_sigs/app.json"]).code(0);
    sig(&home, &["ls", "no\u{1b}[2J"]).code(125).says("_sigs/no\\u{1b}[2J.json");
}

#[test]
fn keys_that_are_encrypted() {
    let home = repo();
    let plain = fs::read_to_string(vector("rsa.pkcs8.key")).unwrap();
    home.write("new.key", plain.replace(" PRIVATE KEY", " ENCRYPTED PRIVATE KEY"));
    home.pvr("r", &["sig", "-k", "../new.key", "-x", "no", "add", "-p", "app"])
        .code(127)
        .says("openssl pkey -in ENCRYPTED -out PLAIN");
    home.write("big.key", vec![b'x'; 5 * 1024 * 1024]);
    home.pvr("r", &["sig", "-k", "../big.key", "-x", "no", "add", "-p", "app"]).code(127).says("more than 4 MiB");
    home.pvr("r", &["sig", "-k", "/dev/zero", "-x", "no", "add", "-p", "app"]).code(127).says("is no file of keys");
    assert!(!home.at("r/_sigs").exists());
}

/// Runs with something to say.
fn answering(home: &Home, args: &[&str], answer: &str) -> Ran {
    let mut child = home.command(&home.at("r"), args, &[]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).ok();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Ran { code: child.wait().unwrap().code(), out, err }
}

fn archive() -> Vec<u8> {
    let text = |name: &str| fs::read(vector(name)).unwrap();
    let files = [
        ("pvs/key.default.pem", text("rsa.key")),
        ("./pvs/x5c.default.pem", text("rsa.chain.pem")),
        ("pvs/cacerts.default.pem", text("root.pem")),
        ("auth.json", b"{}".to_vec()),
        ("pvs/sub/evil.default.pem", b"x".to_vec()),
        ("pvs/other.pem", b"x".to_vec()),
    ];
    let mut tar = Vec::new();
    for (name, content) in files {
        tar.extend(tar::file(name, &content));
    }
    tar.extend([0; 1024]);
    tar::gzip(&tar)
}

#[test]
fn default_keys_are_fetched_when_somebody_says_so() {
    let home = repo();
    let served = archive();
    let server = Server::start(move |_| Reply::Full(200, Vec::new(), served.clone()));
    let url = format!("http://{}/keys.tar.gz", server.address);
    let add = ["sig", "--at", "2027-01-01", "--certs-url", &url, "add", "-p", "app"];
    let pvs = home.at("../home/.pvr/pvs");
    for answer in ["", "no\n", "YES\n", "Y\n", "yes please\n", "ye\n", " yes\n", "nay\n"] {
        let ran = answering(&home, &add, answer).code(127).says("key.default.pem: no such file or directory");
        assert_eq!(ran.err.matches("Do you want to download").count(), 1);
        assert!(!pvs.exists() && server.requests().is_empty(), "{answer:?}");
    }
    let ran = answering(&home, &add, "yes\n").code(0);
    assert_eq!(ran.out, format!("Downloading certs from: \n{url}\n"));
    assert_eq!(server.requests().len(), 1);
    let mut names: Vec<_> =
        fs::read_dir(&pvs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["cacerts.default.pem", "key.default.pem", "x5c.default.pem"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&pvs), mode(&pvs.join("key.default.pem"))), (0o700, 0o600));
    assert!(!home.at("../home/.pvr/auth.json").exists());
    // Now they are there, and nobody asks.
    home.pvr("r", &["sig", "--at", "2027-01-01", "ls", "app"]).code(0);
    // Those that are there stay as they are.
    fs::write(pvs.join("x5c.default.pem"), "mine").unwrap();
    fs::remove_file(pvs.join("key.default.pem")).unwrap();
    answering(&home, &add, "y").code(127).says("x5c.default.pem holds no certificate");
    assert_eq!(fs::read_to_string(pvs.join("x5c.default.pem")).unwrap(), "mine");
}

#[test]
fn default_keys_that_cannot_be_fetched() {
    let home = repo();
    let pvs = home.at("../home/.pvr/pvs");
    for (reply, why) in [
        (Reply::Full(404, Vec::new(), Vec::new()), "the answer is 404"),
        (Reply::Full(200, Vec::new(), b"no archive".to_vec()), "WARNING"),
        (Reply::Full(200, Vec::new(), vec![0; 2 * 1024 * 1024]), "WARNING"),
        (Reply::Full(200, Vec::new(), tar::gzip(&vec![0; 64 * 1024 * 1024])), "WARNING"),
        (Reply::Raw(Vec::new()), "WARNING"),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        let server = Server::start(move |_| reply.lock().unwrap().take().unwrap_or(Reply::Raw(Vec::new())));
        let url = format!("http://{}/keys.tar.gz", server.address);
        let add = ["sig", "--certs-url", &url, "add", "-p", "app"];
        answering(&home, &add, "yes\n")
            .code(127)
            .says("could not be fetched")
            .says(why)
            .says("no such file or directory");
        let left = fs::read_dir(&pvs).map_or(0, |entries| entries.count());
        assert_eq!(left, 0);
    }
    let add = ["sig", "--certs-url", "http://", "add", "-p", "app"];
    answering(&home, &add, "yes\n").code(127).says("could not be fetched");
}
