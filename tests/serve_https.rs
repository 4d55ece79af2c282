//! `pvr-agent serve` with a certificate, as a process: where it takes it from, what it prints, and that what it prints
//! works. Without TLS in the program, that it says so.

#[path = "pki/mod.rs"]
mod pki;
#[path = "client/pvr.rs"]
mod pvr;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pki::{HERE, Pki};
use pvr::{Home, has_tls, program};
use support::make_storage;

/// A running server; killed when dropped.
struct Process {
    child: Child,
    lines: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// What stands behind `start` in what it printed.
    #[track_caller]
    fn said(&self, start: &str) -> &str {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start:?} in {:?}", self.lines))
    }
}

fn command(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = program::command();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PVR_AGENT_")) {
        if !matches!(name.to_str(), Some("PVR_AGENT_BIN" | "PVR_AGENT_RUNNER")) {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--storage", "storage", "--port", "0"]).args(args).envs(env.iter().copied());
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Starts the program and reads what it prints until it listens and has nothing more to say.
fn serve(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Process {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut child = command(dir, args, env).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line.starts_with("stand-alone")) {
            break;
        }
    }
    Process { child, lines }
}

fn refused(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = command(dir, args, env).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{said}");
    said
}

#[test]
fn certificates_of_clients_take_https_and_an_authority() {
    let (_home, dir) = folder();
    let ca = dir.join("ca.crt");
    fs::write(&ca, "").unwrap();
    let ca = ca.to_str().unwrap();
    assert!(refused(&dir, &["--client-ca", ca], &[]).contains("--client-ca takes https"));
    assert!(refused(&dir, &[], &[("PVR_AGENT_CLIENT_CA", ca)]).contains("--client-ca takes https"));
    if !has_tls() {
        return;
    }
    let own = &["--tls-self-signed", "own", "--client-ca"];
    assert!(refused(&dir, &[own, &[ca][..]].concat(), &[]).contains("no certificate in it"));
    let pki = Pki::new();
    // Without accounts everybody would be let in, certificate or not.
    let authority = pki.ca();
    let with = [own, &[authority.as_str()][..]].concat();
    assert!(refused(&dir, &with, &[]).contains("there is none"));
    let mut add = program::command();
    add.args(["access", "add", "box", "--scope", "read", "--no-password", "--storage"]).arg(dir.join("storage"));
    assert!(add.status().unwrap().success());
    for name in ["box", "stranger"] {
        pki.leaf(name, HERE);
    }
    let ask = |url: &str, shows: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}"]);
        if let Some(name) = shows {
            let files = pki.files(name);
            curl.arg("--cert").arg(files.cert).arg("--key").arg(files.key);
        }
        let output = curl.arg(format!("{url}/json")).output().expect("curl is installed");
        String::from_utf8(output.stdout).unwrap()
    };
    let by_variable: (&[&str], &[(&str, &str)]) = (&own[..2], &[("PVR_AGENT_CLIENT_CA", authority.as_str())]);
    for (args, env) in [(&with[..], &[][..]), by_variable] {
        let process = serve(&dir, args, env);
        let url = process.said("URL: ");
        assert!(url.starts_with("https://"), "{url}");
        let statuses = [None, Some("box"), Some("stranger")].map(|shows| ask(url, shows));
        assert_eq!(statuses, ["401", "200", "403"], "{args:?}");
    }
}

/// A working folder with a storage.
fn folder() -> (Home, PathBuf) {
    let home = Home::new();
    let dir = home.at("");
    make_storage(&dir.join("storage"));
    (home, dir)
}

#[test]
fn a_build_without_tls_says_so() {
    if has_tls() {
        return;
    }
    let (home, dir) = folder();
    let without = "built without TLS";
    assert!(refused(&dir, &["--tls-cert", "c", "--tls-key", "k"], &[]).contains(without));
    assert!(refused(&dir, &["--tls-self-signed", "d"], &[]).contains(without));
    assert!(!dir.join("d").exists());
    let variables = [("PVR_AGENT_TLS_CERT", "c"), ("PVR_AGENT_TLS_KEY", "k")];
    assert!(refused(&dir, &[], &variables).contains(without));
    for trust in [&[][..], &["--insecure"], &["--cacert", "ca"]] {
        let ran = home.pvr("", &[trust, &["clone", "https://localhost:1/x", "c"]].concat()).code(7);
        ran.says(without).says("https");
    }
    // The flags do no harm where there is no https.
    let server = serve(&dir, &[], &[]);
    home.pvr("", &["--insecure", "--cacert", "ca", "clone", server.said("URL: "), "c"]).code(0);
}

#[test]
fn what_a_self_signed_server_prints_works_as_it_stands() {
    if !has_tls() {
        return;
    }
    let (home, dir) = folder();
    let args = ["--tls-self-signed", "made", "--host", "dev.example"];
    let first = serve(&dir, &args, &[]);
    let url = first.said("URL: ").to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let (cert, fingerprint) = first.said("certificate: ").split_once(", sha256 ").unwrap();
    assert_eq!(Path::new(cert), dir.canonicalize().unwrap().join("made/pvr-agent.crt"));
    let openssl = Command::new("openssl")
        .args(["x509", "-in", cert, "-noout", "-fingerprint", "-sha256"])
        .output()
        .expect("openssl is installed");
    assert_eq!(String::from_utf8(openssl.stdout).unwrap().trim(), format!("sha256 Fingerprint={fingerprint}"));
    for (start, target) in [("without pvr: ", "one"), ("with pvr: ", "two")] {
        let own = program::path();
        let line = first.said(start).replace(own.to_str().unwrap(), &program::shell());
        let script = format!("pvr() {{ {} pvr \"$@\"; }}\n{line} {target}", program::shell());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&dir).env("HOME", &dir);
        let output = shell.env_remove("SSL_CERT_FILE").output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        assert!(dir.join(target).join("bsp/kernel.img").is_file());
    }
    home.run("", &["clone", &url, "three"], &[("SSL_CERT_FILE", "")]).code(7).says("not from an authority");
    let fingerprint = fingerprint.to_owned();
    drop(first);
    let second = serve(&dir, &args, &[]);
    assert!(second.said("certificate: ").ends_with(&fingerprint), "{:?}", second.lines);
}

#[test]
fn where_the_certificate_comes_from() {
    if !has_tls() {
        return;
    }
    let (home, dir) = folder();
    let pki = Pki::new();
    let [by_flag, by_env, by_file] = ["flag", "env", "file"].map(|name| pki.leaf(name, HERE));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let flags = [text(&by_flag.cert), text(&by_flag.key)];
    let flags = ["--tls-cert", &flags[0], "--tls-key", &flags[1]];
    let env = [text(&by_env.cert), text(&by_env.key)];
    let env = [("PVR_AGENT_TLS_CERT", env[0].as_str()), ("PVR_AGENT_TLS_KEY", env[1].as_str())];
    let config = serde_json::json!({"httpd": {"tls-cert": by_file.cert, "tls-key": by_file.key}}).to_string();
    fs::write(dir.join("config.json"), config).unwrap();
    let file = ["--config", "config.json"];
    for (args, env, cert) in [
        ([&flags[..], &file].concat(), &env[..], Some(&by_flag)),
        (flags.to_vec(), &[("PVR_AGENT_TLS_CERT", "/nonexistent")], Some(&by_flag)),
        (file.to_vec(), &env, Some(&by_env)),
        (file.to_vec(), &[], Some(&by_file)),
        (Vec::new(), &[("PVR_AGENT_TLS_CERT", ""), ("PVR_AGENT_TLS_KEY", "")], None),
    ] {
        let process = serve(&dir, &args, env);
        match cert {
            Some(files) => {
                let (shown, _) = process.said("certificate: ").split_once(", sha256").unwrap();
                assert_eq!(Path::new(shown), files.cert);
                assert!(!process.said("with pvr: ").contains("SSL_CERT_FILE"), "{:?}", process.lines);
            }
            None => assert!(process.said("URL: ").starts_with("http://"), "{:?}", process.lines),
        }
    }
    let process = serve(&dir, &flags, &[]);
    home.run("", &["--cacert", &pki.ca(), "clone", process.said("URL: "), "c"], &[]).code(0);

    let key = by_env.key.to_str().unwrap();
    for (args, said) in [
        (vec!["--tls-cert", flags[1]], "a TLS certificate and its key go together"),
        (vec!["--tls-cert", "nothing", "--tls-key", key], "failed to read"),
        (vec!["--tls-cert", flags[1], "--tls-key", key], "is not the one of the certificate"),
        ([&flags[..], &["--tls-self-signed", "d"]].concat(), "cannot be used with"),
    ] {
        let said_really = refused(&dir, &args, &[]);
        assert!(said_really.contains(said), "{said_really}");
    }
    assert!(refused(&dir, &[], &env[..1]).contains("the environment: a TLS certificate and its key"));
    assert!(!dir.join("d").exists());
}

/// What the state says is somebody's post: it is mended by another one, for which the endpoint has to be there.
#[test]
fn a_state_with_a_bad_certificate_is_served_over_https_all_the_same() {
    if !has_tls() {
        return;
    }
    let (home, dir) = folder();
    let pki = Pki::new();
    let files = pki.leaf("leaf", HERE);
    let later = dir.canonicalize().unwrap().join("later.crt");
    let config = serde_json::json!({"httpd": {"tls-cert": later, "tls-key": files.key}}).to_string();
    let clone = |url: &str, folder: &str, trust: &[&str]| {
        home.run("", &[trust, &["clone", url, folder]].concat(), &[("SSL_CERT_FILE", "")])
    };
    {
        let plain = serve(&dir, &[], &[]);
        clone(plain.said("URL: "), "c", &[]).code(0);
        home.write("c/_config/pvr-sdk/etc/pvr-sdk/config.json", config);
        home.pvr("c", &["add"]).code(0);
        home.pvr("c", &["commit"]).code(0);
        home.pvr("c", &["post"]).code(0);
    }
    let process = serve(&dir, &[], &[]);
    let url = process.said("URL: ");
    assert!(url.starts_with("https://"), "{:?}", process.lines);
    let soon = || Instant::now() + program::patience(Duration::from_secs(30));
    let deadline = soon();
    let why = "the running state asks for https, and its certificate cannot be served";
    while !fs::read_to_string(dir.join("log")).unwrap().contains(why) {
        assert!(Instant::now() < deadline, "the log has no word of it");
        std::thread::sleep(Duration::from_millis(20));
    }
    clone(url, "d", &["--cacert", &pki.ca()]).code(7);
    clone(url, "d", &["--insecure"]).code(0);
    fs::copy(&files.cert, later).unwrap();
    let deadline = soon();
    while clone(url, "e", &["--cacert", &pki.ca()]).code != Some(0) {
        assert!(Instant::now() < deadline, "the certificate that has come is not served");
    }
}
