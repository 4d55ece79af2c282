//! Accounts: the commands, the file, and what an endpoint makes of them, by `serve` and as a CGI. The real binary.
mod black_box;
#[path = "access/place.rs"]
mod place;
mod shape;

use black_box::agent::{self, Server};
use black_box::{http, rounds, sha256};
use place::{PASSWORD, Place, access_at, bearer, challenge, logged_in, login, now, object, refused, with};
use serde_json::Value;
use shape::Shape;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[track_caller]
fn fails(output: &Output, code: i32, says: &str) {
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(code) && err.contains(says), "{says:?}: {output:?}");
}

#[test]
fn accounts_are_added_listed_and_removed() {
    let place = Place::new();
    assert!(place.done(&["ls"]).contains("everybody may do everything"));
    let listed = |place: &Place| -> Value { serde_json::from_str(&place.done(&["ls", "--json"])).expect("JSON") };
    assert_eq!((&listed(&place)["open"], listed(&place)["accounts"].as_array().map(Vec::len)), (&true.into(), Some(0)));
    assert!(!place.state().join("access.json").exists(), "looking makes nothing");
    // A dry run leaves no trace, and says the same.
    let before = place.tree();
    let dry = place.access(&["add", "ann", "--scope", "admin", "--password-file", "-", "--dry-run"], PASSWORD);
    assert_eq!(
        (dry.status.code(), text(&dry.stdout).starts_with("would have added ann in ")),
        (Some(0), true),
        "{dry:?}"
    );
    let dry = place.done(&["token", "ci", "--scope", "deploy", "--dry-run"]);
    assert!(dry.starts_with("would have added ci in ") && !dry.contains("pvra_"), "{dry}");
    assert_eq!(place.tree(), before);
    place.user("ann", "admin");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!((mode(&place.file()), mode(&place.state())), (0o600, 0o700));
    let token = place.access(&["token", "ci", "--scope", "deploy", "--expires", "30d"], "");
    let (out, err) = (text(&token.stdout), text(&token.stderr));
    assert!(out.starts_with("pvra_") && out.trim().len() == 48 && !err.contains("pvra_"), "{token:?}");
    let told: Value = serde_json::from_str(&place.done(&["token", "t", "--scope", "read", "--json"])).expect("JSON");
    assert_eq!((&told["added"], &told["scope"], &told["dry-run"]), (&"t".into(), &"read".into(), &false.into()));
    place.done(&["add", "box", "--scope", "read", "--no-password"]);
    // Neither password nor token is in the file.
    let file = std::fs::read_to_string(place.file()).expect("the file");
    assert!(!file.contains(PASSWORD) && !file.contains(out.trim()) && !file.contains("pvra_"), "{file}");
    assert!(file.contains(&sha256(out.trim().as_bytes())), "{file}");
    assert!(file.contains("\"kdf\": \"argon2id\"") && file.contains("\"memory-kib\": 4096"), "{file}");
    let accounts = listed(&place);
    let row = |at: usize| {
        let account = &accounts["accounts"][at];
        ["name", "scope", "by"].map(|key| account[key].as_str().expect("text").to_owned()).join(" ")
    };
    assert_eq!(
        (0..4).map(row).collect::<Vec<_>>(),
        ["ann admin password", "ci deploy token", "t read token", "box read certificate"]
    );
    assert!(place.done(&["ls"]).contains("ci                       deploy  by token, since "));
    // What is not so.
    fails(&place.access(&["token", "ann", "--scope", "read"], ""), 1, "there is an account 'ann'");
    fails(&place.access(&["rm", "nobody"], ""), 1, "there is no account 'nobody'");
    fails(&place.access(&["rm", "x\u{1b}"], ""), 1, "there is no account 'x\\u{1b}'");
    for name in ["", "-x", ".x", "a b", "a/b", "a%b", "é", "a\n", &"x".repeat(65)] {
        let output = place.access(&["token", "--scope", "read", "--", name], "");
        fails(&output, 2, "is no name");
    }
    for (password, says) in [("short\n", "8 to 1024"), ("\n", "8 to 1024"), (&"x".repeat(1025), "8 to 1024")] {
        fails(&place.access(&["add", "y", "--scope", "read", "--password-file", "-"], password), 2, says);
    }
    fails(&place.access(&["add", "y", "--scope", "read"], "secret secret\n"), 2, "there is no terminal");
    fails(&place.access(&["add", "y", "--scope", "owner", "--no-password"], ""), 2, "read, deploy, admin");
    fails(&place.access(&["token", "y", "--scope", "read", "--expires", "yesterday"], ""), 2, "is no time");
    fails(&place.access(&["add", "y", "--scope", "read", "--password-file", "/nowhere"], ""), 2, "/nowhere");
    assert_eq!(listed(&place), accounts, "nothing of this changed anything");
    // Made anew, it is another one.
    let id = |place: &Place, at: usize| place.accounts()["accounts"][at]["id"].as_str().expect("an id").to_owned();
    let was = id(&place, 1);
    let anew = place.done(&["token", "ci", "--scope", "deploy", "--replace"]);
    assert!(anew.trim() != out.trim() && id(&place, 1) != was);
    for name in ["ci", "t", "box"] {
        let dry = place.done(&["rm", name, "--dry-run"]);
        assert!(dry.starts_with("would have removed "), "{dry}");
        place.done(&["rm", name]);
    }
    fails(&place.access(&["rm", "ann"], ""), 1, "everybody is let in");
    place.done(&["rm", "ann", "--open"]);
    assert_eq!(listed(&place)["open"], true);
    assert!(place.file().exists(), "an empty list is not the same as none");
}

#[test]
fn the_folder_of_the_state_is_found_as_serve_finds_it() {
    let place = Place::new();
    let state = tempfile::tempdir().expect("a folder");
    let below = state.path().join("below");
    let output = access_at("--state-dir", &below, &["token", "a", "--scope", "read"], "");
    assert!(output.status.success() && below.join("access.json").exists(), "{output:?}");
    let mut command = agent::command();
    command.args(["access", "ls", "--json"]).env("PVR_AGENT_STATE_DIR", &below);
    let listed: Value = serde_json::from_slice(&command.output().expect("run").stdout).expect("JSON");
    assert_eq!(listed["accounts"][0]["name"], "a");
    let served = Server::start_with(&place.store(), &["--state-dir", &below.to_string_lossy()]);
    refused(&with(&served, "", "GET", "json", b""), 401, "login-needed");
    assert_eq!(with(&place.serve(Shape::Serve), "", "GET", "json", b"").status, 200);
}

#[test]
fn many_commands_at_once_lose_nothing_and_nobody_reads_half_a_file() {
    let place = Place::new();
    place.token("first", "read");
    let (each, over) = (rounds(50, 5), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::SeqCst) {
                assert!(place.accounts()["accounts"].as_array().is_some_and(|all| !all.is_empty()));
                reads += 1;
            }
            reads
        });
        let adders: Vec<_> = (0..4)
            .map(|n| {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..each {
                        place.token(&format!("t{n}-{round}"), "read");
                        if round % 2 == 1 {
                            place.done(&["rm", &format!("t{n}-{}", round - 1)]);
                        }
                    }
                })
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().expect("an adder"));
        over.store(true, Ordering::SeqCst);
        println!("{each} rounds of 4, {} reads", reader.join().expect("the reader"));
    });
    let left = place.accounts()["accounts"].as_array().expect("accounts").len();
    assert_eq!(left, 1 + 4 * (each - each / 2));
}

#[test]
fn a_command_that_is_killed_leaves_the_old_or_the_new() {
    let place = Place::new();
    place.token("first", "read");
    let mut dice = black_box::Dice::new("a_command_that_is_killed");
    let (mut known, begun) = (1, std::time::Instant::now());
    place.token("timed", "read");
    place.done(&["rm", "timed"]);
    // How long one takes here and now.
    let takes = begun.elapsed().as_micros() as u64 / 2;
    for round in 0..rounds(200, 10) {
        let mut command = agent::command();
        command.args(["access", "token", &format!("t{round}"), "--scope", "read", "--storage"]).arg(place.store());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run pvr-agent");
        std::thread::sleep(Duration::from_micros(dice.below(takes * 2)));
        let _ = child.kill();
        child.wait().expect("wait");
        let now = place.accounts()["accounts"].as_array().expect("accounts").len();
        assert!(now == known || now == known + 1, "{now} after {known}");
        known = now;
        if known > 200 {
            break;
        }
    }
    place.token("last", "read");
    assert!(!place.state().join("access.json.new").exists());
    println!("{} of them came to their end", known - 1);
}

#[test]
fn a_damaged_file_lets_nobody_in_and_is_not_written_over() {
    let place = Place::new();
    place.user("ann", "admin");
    let token = place.token("ci", "admin");
    let good = std::fs::read(place.file()).expect("the file");
    let server = place.serve(Shape::Serve);
    assert_eq!(with(&server, &token, "GET", "json", b"").status, 200);
    let text = String::from_utf8(good.clone()).expect("text");
    let mut bad: Vec<Vec<u8>> = vec![
        b"{}".to_vec(),
        b"null".to_vec(),
        text.replace("pvr-agent-access@1", "pvr-agent-access@2").into_bytes(),
        text.replace("\"admin\"", "\"owner\"").into_bytes(),
        text.replace("\"scope\"", "\"locked\": true, \"scope\"").into_bytes(),
        text.replace("\"argon2id\"", "\"plain\"").into_bytes(),
        text.replace("\"ci\"", "\"ann\"").into_bytes(),
        text.replace("\"ci\"", "\"c i\"").into_bytes(),
        vec![b' '; 300_000],
    ];
    let step = good.len() / rounds(200, 10);
    bad.extend((0..good.len() - 2).step_by(step.max(1)).map(|end| good[..end].to_vec()));
    for (number, bytes) in bad.iter().enumerate() {
        std::fs::write(place.file(), bytes).expect("damage it");
        for token in ["", token.as_str()] {
            let answer = with(&server, token, "GET", "json", b"");
            assert_eq!(
                (answer.status, &answer.json()["reason"]),
                (500, &"access-damaged".into()),
                "{number}: {answer}"
            );
        }
        if number < 9 {
            assert_eq!(login(&server, "ann", PASSWORD).status, 500);
            fails(&place.access(&["ls"], ""), 2, "nobody is let in");
            fails(&place.access(&["token", "x", "--scope", "read"], ""), 2, "cannot be used");
            assert_eq!(&std::fs::read(place.file()).expect("the file"), bytes);
            let anew = place.serve(Shape::Serve);
            wait_until(|| anew.log().contains("warning: the accounts in"));
            assert_eq!(with(&anew, "", "GET", "json", b"").status, 500);
        }
    }
    println!("{} damaged files", bad.len());
    // One that others may read, and one that is gone.
    std::fs::write(place.file(), &good).expect("mend it");
    assert_eq!(with(&server, &token, "GET", "json", b"").status, 200);
    let mode = |mode| std::fs::set_permissions(place.file(), PermissionsExt::from_mode(mode)).expect("chmod");
    mode(0o644);
    assert_eq!(with(&server, &token, "GET", "json", b"").status, 500);
    mode(0o600);
    assert_eq!(with(&server, &token, "GET", "json", b"").status, 200);
    std::fs::remove_file(place.file()).expect("remove it");
    assert_eq!(with(&server, "", "GET", "json", b"").status, 500, "that everybody is let in, nobody has said");
}

#[test]
fn a_device_without_accounts_is_open_and_has_no_logins() {
    let place = Place::new();
    for shape in Shape::all("a_device_without_accounts_is_open") {
        let server = place.serve(shape);
        assert_eq!(login(&server, "ann", PASSWORD).status, 404);
        assert_eq!(with(&server, "x", "GET", "auth/login", b"").status, 404);
        assert_eq!(with(&server, "x", "GET", "auth/auth_status", b"").status, 404);
        let (bytes, sha) = object(shape.name());
        let record = server.announce(&sha, bytes.len()).expect("announce").json();
        assert_eq!(record["signed-puturl"], format!("{}/objects/{sha}/blob?size={}", server.base, bytes.len()));
        assert_eq!(record["signed-geturl"], format!("{}/objects/{sha}/blob", server.base));
        assert_eq!(record["expire-time"], "15");
        // Whatever somebody says of who it is.
        assert_eq!(with(&server, "x", "GET", "json", b"").status, 200);
    }
    assert!(!place.state().join("access.json").exists() && !place.state().join("logins").exists());
}

#[test]
fn a_login_is_what_the_client_makes_of_it() {
    for shape in Shape::all("a_login_is_what_the_client_makes_of_it") {
        let place = Place::new();
        place.user("ann", "admin");
        let server = place.serve(shape);
        let what = shape.name();
        let answer = with(&server, "", "GET", ".pvrremote", b"");
        refused(&answer, 401, "login-needed");
        assert_eq!(challenge(&answer)["ph-aeps"], format!("{}/auth", server.base), "{what}");
        assert!(!challenge(&answer).contains_key("error"), "it would keep the client from using what it has");
        // Nobody in particular, as often as one likes.
        let anonymous = "prn:pantahub.com:auth:/anon";
        for _ in 0..30 {
            refused(&login(&server, anonymous, anonymous), 401, "bad-login");
        }
        refused(&login(&server, "ann", "wrong password"), 401, "bad-login");
        refused(&login(&server, "nobody", "wrong password"), 401, "bad-login");
        let token = logged_in(&server, "ann");
        let parts: Vec<_> = token.split('.').map(place::from_base64url).collect();
        let claims: Value = serde_json::from_slice(&parts[1]).expect("claims");
        assert_eq!(text(&parts[0]), r#"{"alg":"HS256","typ":"JWT"}"#);
        let number = |name: &str| claims[name].as_u64().expect("a number");
        assert_eq!(
            (number("exp") - number("iat"), number("iat"), claims["nick"].as_str()),
            (14_400, number("orig_iat"), Some("ann"))
        );
        assert!(number("iat").abs_diff(now()) < 60, "{claims}");
        assert_eq!(with(&server, &token, "GET", ".pvrremote", b"").status, 200, "{what}");
        let status = with(&server, &token, "GET", "auth/auth_status", b"");
        assert_eq!((&status.json()["nick"], &status.json()["scopes"]), (&"ann".into(), &"admin".into()), "{status}");
        // A new one, with the body that the client sends with its GET.
        let body: &[u8] = if shape == Shape::Lighttpd { b"" } else { b"{\"token\":\"x\"}" };
        let again = with(&server, &token, "GET", "auth/login", body).json()["token"].clone();
        let again = again.as_str().expect("a token");
        assert_eq!(with(&server, again, "GET", "json", b"").status, 200, "{what}");
        for body in ["", "{", "[]", "{\"username\":1}", "{\"username\":\"ann\",\"username\":\"ann\"}"] {
            let answer = with(&server, "", "POST", "auth/login", body.as_bytes());
            assert!(matches!(answer.status, 400 | 401), "{body}: {answer}");
        }
        assert_eq!(with(&server, "", "POST", "auth/login", &[b' '; 17_000]).status, 413);
    }
}

#[test]
fn who_logs_in_and_which_accounts_change_is_written_down() {
    for shape in Shape::all("who_logs_in_and_which_accounts_change_is_written_down") {
        let place = Place::new();
        place.user("ann", "admin");
        place.done(&["token", "ci", "--scope", "deploy"]);
        place.done(&["rm", "ci", "--dry-run"]);
        place.done(&["rm", "ci"]);
        let server = place.serve(shape);
        let anonymous = "prn:pantahub.com:auth:/anon";
        refused(&login(&server, anonymous, anonymous), 401, "bad-login");
        refused(&login(&server, "ann", "wrong password"), 401, "bad-login");
        refused(&login(&server, "no\u{1b}body", "wrong password"), 401, "bad-login");
        let token = logged_in(&server, "ann");
        assert_eq!(with(&server, &token, "GET", "json", b"").status, 200);
        let rows = [
            ("access-add", "ann", "ok"),
            ("access-add", "ci", "ok"),
            ("access-rm", "ci", "ok"),
            ("login", "ann", "refused"),
            ("login", "ann", "ok"),
        ];
        // What nobody is called is nobody who was tried: with such, strangers could push out what others did.
        let read = || std::fs::read_to_string(place.state().join("audit.log")).unwrap_or_default();
        wait_until(|| read().lines().count() >= rows.len());
        let log = read();
        assert!(!log.contains(PASSWORD) && !log.contains("wrong password") && !log.contains(&token), "{log}");
        assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let name = if line["did"] == "login" { &line["who"] } else { &line["to"] };
                [&line["did"], name, &line["result"]].map(|value| value.as_str().unwrap_or("").to_owned())
            })
            .collect();
        let wanted: Vec<_> =
            rows.iter().map(|(did, name, result)| [did, name, result].map(|s| s.to_string())).collect();
        assert_eq!(told, wanted, "{}", shape.name());
        for line in &lines {
            let by_command = line["did"] != "login";
            assert_eq!(line["from"], if by_command { "command line" } else { "127.0.0.1" }, "{line}");
        }
    }
}

#[test]
fn accounts_that_were_lost_left_the_device_open() {
    for shape in Shape::all("accounts_that_were_lost_left_the_device_open") {
        let place = Place::new();
        place.user("ann", "admin");
        std::fs::remove_file(place.file()).expect("lose it");
        let server = place.serve(shape);
        refused_with(&with(&server, "", "GET", "json", b""), 500, "access-damaged");
        fails(&place.access(&["ls"], ""), 2, "are gone");
        place.token("new", "read");
        refused(&with(&server, "", "GET", "json", b""), 401, "login-needed");
        place.done(&["rm", "new", "--open"]);
        assert_eq!(with(&server, "", "GET", "json", b"").status, 200, "{}", shape.name());
    }
}

fn refused_with(answer: &http::Response, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (status, Some(reason)), "{answer}");
}

#[test]
fn whoever_does_something_stands_in_the_audit_log() {
    for shape in Shape::all("whoever_does_something_stands_in_the_audit_log") {
        let place = Place::new();
        place.user("ann", "admin");
        let ci = place.token("ci", "deploy");
        let server = place.serve(shape);
        let ann = logged_in(&server, "ann");
        let (bytes, sha) = place::object("an object of ci\n");
        let record = black_box::agent::announcement("x", &sha, bytes.len() as u64);
        let announced = with(&server, &ci, "POST", "objects/", record.as_bytes());
        let url = black_box::agent::member(&announced, 200, "signed-puturl").expect("a URL");
        // Without a token: whose it is, the URL says.
        let length = bytes.len().to_string();
        let put = http::ask(&url, "PUT", &[("Content-Length", &length)], &bytes).expect("an answer");
        assert_eq!(put.status, 200, "{put}");
        let state = text(&with(&server, &ann, "GET", "json", b"").body);
        let post = |rev: &str| format!(r#"{{"rev":"{rev}","on-post":"install","state":{state}}}"#);
        assert_eq!(with(&server, &ann, "POST", "steps", post("locals/of-ann").as_bytes()).status, 200);
        assert_eq!(with(&server, &ci, "POST", "steps", post("locals/of-ci").as_bytes()).status, 200);
        let wanted = [("upload", "ci", ""), ("post", "ann", "locals/of-ann"), ("post", "ci", "locals/of-ci")];
        let read = || {
            let log = std::fs::read_to_string(place.state().join("audit.log")).unwrap_or_default();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let all = lines.map(|line| (word(&line["did"]), word(&line["who"]), word(&line["rev"])));
            all.filter(|(did, ..)| did == "upload" || did == "post").collect::<Vec<_>>()
        };
        wait_until(|| read().len() >= wanted.len());
        let wanted = wanted.map(|(did, who, rev)| (did.to_owned(), who.to_owned(), rev.to_owned()));
        assert_eq!(read(), wanted, "{}", shape.name());
    }
}

#[test]
fn what_was_handed_out_ends_with_its_account() {
    let place = Place::new();
    place.user("root", "admin");
    place.user("ann", "deploy");
    place.done(&["add", "card", "--scope", "read", "--no-password"]);
    let ci = place.token("ci", "read");
    let server = place.serve(Shape::Serve);
    let jwt = logged_in(&server, "ann");
    let forge = place::Forge::of(&place.state());
    let own = forge.jwt("ann", now(), now() + 100);
    let status = |token: &str| with(&server, token, "GET", "json", b"").status;
    assert_eq!((status(&jwt), status(&ci), status(&own)), (200, 200, 200), "the key is as it is described");
    refused(&login(&server, "card", PASSWORD), 401, "bad-login");
    refused(&login(&server, "ci", &ci), 401, "bad-login");
    // What it may do is looked up each time.
    let abort = server.base.replace("/cgi-bin/pvr", "/cgi-bin/pvtx/abort");
    let answer = http::ask(&abort, "POST", &[("Authorization", &bearer(&jwt)), ("Content-Length", "0")], b"");
    assert_eq!(answer.expect("an answer").status, 200);
    place.done(&["token", "ci", "--scope", "read", "--replace"]);
    refused(&with(&server, &ci, "GET", "json", b""), 401, "bad-token");
    place.user_again("ann", "read");
    refused(&with(&server, &jwt, "GET", "json", b""), 401, "bad-token");
    let jwt = logged_in(&server, "ann");
    let answer = with(&server, &jwt, "POST", "steps", b"{}");
    refused(&answer, 403, "insufficient-scope");
    assert_eq!(
        (challenge(&answer)["error"].as_str(), challenge(&answer)["scope"].as_str()),
        ("insufficient_scope", "deploy")
    );
    place.done(&["rm", "ann"]);
    refused(&with(&server, &jwt, "GET", "json", b""), 401, "bad-token");
    refused(&with(&server, &jwt, "GET", "auth/login", b""), 401, "expired-token");
    // A token whose time is over.
    let short = place.done(&["token", "short", "--scope", "read", "--expires", "1h"]);
    assert_eq!(status(short.trim()), 200);
    let file = std::fs::read_to_string(place.file()).expect("the file");
    let ends = place.accounts()["accounts"]
        .as_array()
        .expect("accounts")
        .iter()
        .find_map(|a| a["expires"].as_str().map(str::to_owned));
    std::fs::write(place.file(), file.replace(&ends.expect("a time"), "2001-01-01T00:00:00Z")).expect("write it");
    refused(&with(&server, short.trim(), "GET", "json", b""), 401, "expired-token");
    assert!(place.done(&["ls"]).contains("ended 2001-01-01T00:00:00Z"));
    // Once everybody is let in again, everybody is.
    for name in ["short", "ci", "card"] {
        place.done(&["rm", name]);
    }
    place.done(&["rm", "root", "--open"]);
    assert_eq!(status(""), 200);
}

#[test]
fn failed_logins_are_counted_for_all_processes_together() {
    for shape in Shape::all("failed_logins_are_counted_for_all_processes_together") {
        let place = Place::new();
        place.user("ann", "admin");
        place.user("bob", "admin");
        let (server, other) = (place.serve(shape), place.serve(Shape::Serve));
        for n in 0..5 {
            refused(&login(if n % 2 == 0 { &server } else { &other }, "ann", "wrong password"), 401, "bad-login");
        }
        for server in [&server, &other] {
            let answer = login(server, "ann", PASSWORD);
            refused(&answer, 429, "too-many-logins");
            let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
            assert!((1..=60).contains(&wait), "{answer}");
            assert_eq!(login(server, "bob", PASSWORD).status, 200, "{}: of the same address", shape.name());
            refused(&login(server, "prn:pantahub.com:auth:/anon", "x"), 401, "bad-login");
        }
        // What names and how many there were is bounded.
        for n in 0..20 {
            login(&server, &format!("user{n}"), "wrong password");
        }
        refused(&login(&server, "bob", PASSWORD), 429, "too-many-logins");
        assert_eq!(std::fs::metadata(place.state().join("logins/counters")).expect("counters").len(), 6144);
    }
}

#[test]
fn one_password_is_verified_at_a_time_and_eight_wait() {
    for shape in [Shape::Serve, Shape::Busybox]
        .into_iter()
        .filter(|shape| Shape::all("one_password_is_verified").contains(shape))
    {
        let place = Place::new();
        place.user("ann", "admin");
        let server = place.serve(shape);
        let _turn = rustix_lock(&place);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| login(&server, "ann", PASSWORD))).collect();
            // These wait; one more may, and the others are told to come again.
            wait_until(|| places_taken(&place) == 8);
            let one = scope.spawn(|| login(&server, "ann", PASSWORD));
            wait_until(|| places_taken(&place) == 9);
            for _ in 0..3 {
                let answer = login(&server, "ann", PASSWORD);
                refused(&answer, 429, "login-busy");
                assert!(answer.header("retry-after").is_some(), "{answer}");
            }
            assert_eq!(with(&server, "", "GET", "json", b"").status, 401, "{}: others are answered", shape.name());
            drop(_turn);
            all.into_iter().chain([one]).map(|login| login.join().expect("a login").status).collect()
        });
        assert_eq!(answers, [200; 9], "{}", shape.name());
        assert_eq!(places_taken(&place), 0);
    }
}

/// What whoever verifies holds.
fn rustix_lock(place: &Place) -> std::fs::File {
    let counters = std::fs::File::options().read(true).write(true).open(place.state().join("logins/counters"));
    let counters = counters.expect("the counters");
    counters.lock().expect("lock them");
    counters
}

/// How many of the nine places somebody has. The kernel is asked: a lock to try with would itself be in somebody's way.
fn places_taken(place: &Place) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = |n: usize| std::fs::metadata(place.state().join(format!("logins/wait.{n}"))).expect("a place").ino();
    let places: Vec<_> = (0..9).map(|n| format!(":{}", inode(n))).collect();
    let locks = std::fs::read_to_string("/proc/locks").expect("the locks");
    let held = locks.lines().filter(|line| line.contains("FLOCK") && !line.contains("->"));
    held.filter(|line| line.split_whitespace().any(|word| places.iter().any(|place| word.ends_with(place)))).count()
}

fn wait_until(done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < black_box::program::patience(Duration::from_secs(30)), "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
