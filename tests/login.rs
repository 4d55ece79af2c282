//! Who is let in, who is asked for what, and who gets which token. The real binary, scripted servers, a terminal.

#[path = "client/device.rs"]
mod device;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;
#[path = "client/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use device::Device;
use pvr::{Home, Ran};
use server::{Reply, Request, Server};
use terminal::Terminal;

const REALM: &str = "pantahub services";

fn challenge(endpoint: &str) -> Reply {
    let value = format!("JWT realm=\"{REALM}\", ph-aeps=\"{endpoint}\"");
    Reply::json(401, "{\"Error\":\"Not Authorized\"}").with("WWW-Authenticate", value)
}

fn own(request: &Request) -> String {
    format!("http://{}/auth", request.header("host").unwrap())
}

/// `POST /auth/login`: anybody gets `ANON`, `me` with `secret` gets `MINE`.
fn login(request: &Request) -> Option<Reply> {
    if request.line() != "POST /auth/login" {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let token = match (body["username"].as_str().unwrap(), body["password"].as_str().unwrap()) {
        ("me", "secret") => "MINE",
        (anybody, password) if anybody == password && anybody.ends_with(":/anon") => "ANON",
        _ => return Some(Reply::json(401, "wrong")),
    };
    Some(Reply::json(200, format!("{{\"token\":\"{token}\"}}")))
}

fn token(request: &Request) -> &str {
    request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// A device that lets `allowed` read and `MINE` write, and wants logins on its own server.
fn guarded(allowed: &'static [&'static str]) -> Device {
    Device::new(&[("x", b"x")], move |request, _| {
        let writes = request.method == "POST";
        let enough = if writes { token(request) == "MINE" } else { allowed.contains(&token(request)) };
        // Signed addresses need no token.
        let signed = request.target.ends_with("/blob");
        login(request).or_else(|| (!enough && !signed).then(|| challenge(&own(request))))
    })
}

fn at(home: &Home, args: &[&str]) -> Terminal {
    Terminal::start(home.command(&home.at(""), args, &[]))
}

fn auth_json(home: &Home) -> PathBuf {
    home.at("../home/.pvr/auth.json")
}

/// Keeps a token.
fn keep(home: &Home, endpoint: &str, token: &str) {
    fs::create_dir_all(home.at("../home/.pvr")).unwrap();
    let text = format!(
        "{{\"spec\":\"1\",\"tokens\":{{\"{endpoint} realm={REALM}\":\
         {{\"Name\":\"\",\"access-token\":\"{token}\",\"refresh-token\":\"{token}\"}}}}}}"
    );
    fs::write(auth_json(home), text).unwrap();
}

fn sent(server: &Server, token: &str) -> usize {
    let bearer = format!("Bearer {token}");
    server.requests().iter().filter(|request| request.header("authorization") == Some(&bearer)).count()
}

#[test]
fn reading_takes_an_anonymous_login_and_writing_a_named_one() {
    let device = guarded(&["ANON", "MINE"]);
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "r"]).code(0);
    assert_eq!(device.server.asked("POST /auth/login").len(), 1);
    let kept = fs::read_to_string(auth_json(&home)).unwrap();
    assert!(kept.contains("\"access-token\": \"ANON\""), "{kept}");
    assert_eq!(fs::metadata(auth_json(&home)).unwrap().permissions().mode() & 0o777, 0o600);
    home.write("r/y", "y");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    // Nobody to ask, then somebody.
    home.pvr("r", &["post"]).code(3).says("a login is needed at http://127.0.0.1").says("pvr login");
    assert_eq!(device.server.asked("POST /auth/login").len(), 1, "nothing is tried with no name");
    let mut terminal = Terminal::start(home.command(&home.at("r"), &["post"], &[]));
    terminal.answer(1, "Username: ", "me\n", true);
    terminal.answer(1, "Password: ", "secret\n", false);
    let ran =
        terminal.end().code(0).says(&format!("*** Login @ http://{}/auth (realm={REALM}) ***", device.reference()));
    assert!(!ran.err.contains("secret"), "{ran:?}");
    assert_eq!(device.holds.lock().unwrap().posted.len(), 1);
    // It is kept, and nobody is asked again.
    home.pvr("r", &["post"]).code(0);
}

#[test]
fn three_wrong_logins_are_enough() {
    let device = guarded(&["MINE"]);
    let home = Home::new();
    let mut terminal = at(&home, &["inspect", &device.reference()]);
    for nth in 1..=3 {
        terminal.answer(nth, "Username: ", "me\n", true);
        terminal.answer(nth, "Password: ", "wrong\n", false);
    }
    terminal.end().code(1).says("failed to Login: 401 wrong");
    assert_eq!(device.server.asked("POST /auth/login").len(), 4, "one of them anonymous");
}

#[test]
fn control_c_at_the_password_leaves_the_terminal_as_it_was() {
    let device = guarded(&["MINE"]);
    let home = Home::new();
    let mut terminal = at(&home, &["inspect", &device.reference()]);
    terminal.answer(1, "Username: ", "me\n", true);
    terminal.answer(1, "Password: ", "sec\u{3}", false);
    terminal.end().code(1).says("login cancelled");
}

#[test]
fn a_server_cannot_have_itself_given_the_token_of_another_one() {
    let hub = Server::start(|request| login(request).unwrap_or_else(|| Reply::json(404, "")));
    let endpoint = format!("http://{}/auth", hub.address);
    let named = endpoint.clone();
    let thief = Device::new(&[("x", b"x")], move |request, _| (token(request) != "HUB").then(|| challenge(&named)));
    let home = Home::new();
    keep(&home, &endpoint, "HUB");
    let ran = home.pvr("", &["inspect", &thief.reference()]).code(1);
    ran.says("which is another server: refused, because there is no terminal to ask on");
    let mut terminal = at(&home, &["inspect", &thief.reference()]);
    terminal.answer(1, "[y/N] ", "\n", true);
    terminal.end().code(1).says("which is another server: refused");
    assert_eq!((sent(&thief.server, "HUB"), hub.requests().len()), (0, 0));
    // The user may have it so, and the hub's own two servers are one.
    let mut terminal = at(&home, &["inspect", &thief.reference()]);
    terminal.answer(1, "[y/N] ", "y\n", true);
    terminal.end().code(0);
    let (api, repo) = (format!("http://{}", hub.address), format!("http://{}", thief.reference()));
    home.pvr("", &["--baseurl", &api, "--repo-baseurl", &repo, "inspect", &format!("{repo}/cgi-bin/pvr")]).code(0);
}

#[test]
fn names_in_the_environment_are_for_the_hub() {
    let device = guarded(&["MINE"]);
    let home = Home::new();
    let inspect = |base: &str| -> Ran {
        let env = [("PVR_USERNAME", "me"), ("PVR_PASSWORD", "secret"), ("PVR_BASEURL", base)];
        home.run("", &["inspect", &device.reference()], &env)
    };
    inspect("http://127.0.0.1:1").code(1).says("a login is needed");
    assert!(device.server.requests().iter().all(|request| !String::from_utf8_lossy(&request.body).contains("secret")));
    inspect(&format!("http://{}", device.reference())).code(0);
    assert_eq!(device.server.asked("POST /auth/login").len(), 2, "no anonymous one where a name is known");
}

#[test]
fn a_token_that_has_run_out_is_renewed() {
    let device = Device::new(&[("x", b"x")], |request, _| match (request.line().as_str(), token(request)) {
        ("GET /auth/login", "OLD") => Some(Reply::json(200, "{\"token\":\"NEW\"}")),
        (_, "NEW") => None,
        (line, _) if line.ends_with("/blob") => None,
        _ => Some(login(request).unwrap_or_else(|| challenge(&own(request)))),
    });
    let home = Home::new();
    keep(&home, &format!("http://{}/auth", device.reference()), "OLD");
    home.pvr("", &["clone", &device.reference(), "c"]).code(0);
    assert!(device.server.asked("POST /auth/login").is_empty());
    assert!(fs::read_to_string(auth_json(&home)).unwrap().contains("\"refresh-token\": \"NEW\""));
}

#[test]
fn login_whoami_and_logout() {
    let hub = Server::start(|request| match (request.line().as_str(), token(request)) {
        ("GET /auth/auth_status", "MINE") => Reply::json(200, "{\"nick\":\"me\",\"prn\":\"prn:1\",\"n\":1}"),
        _ => login(request).unwrap_or_else(|| challenge(&own(request))),
    });
    let base = format!("http://{}", hub.address);
    let home = Home::new();
    let run = |args: &[&str]| {
        let env = [("PVR_USERNAME", "me"), ("PVR_PASSWORD", "secret"), ("PVR_BASEURL", base.as_str())];
        home.run("", args, &env)
    };
    let ran = run(&["whoami"]).code(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let ran = run(&["login"]).code(0);
    assert_eq!(
        ran.out,
        format!(
            "Response of GET {base}/auth/auth_status\n{{\n    \"n\": 1,\n    \"nick\": \"me\",\n    \"prn\": \"prn:1\"\n}}\n\
             LoggedIn Successfully!\n"
        )
    );
    assert_eq!(run(&["whoami"]).code(0).err, format!("me(prn:1) at {base}/auth\n"));
    assert_eq!(run(&["logout"]).code(0).err, format!("Logged out of {base}/auth\n"));
    assert_eq!(run(&["logout"]).code(0).err, format!("Not logged in at {base}/auth\n"));
    assert_eq!(run(&["whoami"]).code(0).err, "");
    // A token that is no good is said to be none.
    keep(&home, &format!("{base}/auth"), "OLD");
    run(&["whoami"]).code(2).says(&format!("nobody at {base}/auth"));
    // Only a 200 is a login.
    let absent = Server::start(|_| Reply::json(404, "{}"));
    let ran = home.pvr("", &["login", &format!("http://{}/x", absent.address)]).code(4).says("404");
    assert!(!ran.out.contains("Successfully"), "{ran:?}");
}

#[test]
fn a_given_token_goes_to_the_destination_of_a_copy_alone() {
    let source = Device::plain(&[("a/x.json", b"1"), ("b/x.json", b"2")]);
    let destination = Device::plain(&[("a/old.json", b"0")]);
    let home = Home::new();
    let from = format!("{}#a", source.reference());
    home.pvr("", &["-a", "T", "fastcopy", &from, &destination.reference()]).code(0);
    assert_eq!((sent(&source.server, "T"), sent(&destination.server, "T")), (0, 3));
    let posted = destination.holds.lock().unwrap().posted.remove(0);
    assert!(posted.contains("\"a/x.json\":1") && !posted.contains("old") && !posted.contains("b/x"), "{posted}");
}

#[test]
fn a_proxy_is_asked_and_traces_hold_no_secrets() {
    let proxy = Server::start(|request| match request.method.as_str() {
        "CONNECT" => Reply::Raw(b"HTTP/1.1 407 No\r\n\r\n".to_vec()),
        _ => Reply::json(200, "{\"json-get-url\":\"/j?k=KEY\",\"objects-endpoint\":\"/o\",\"post-url\":\"/p\"}"),
    });
    let address = proxy.address.to_string();
    let home = Home::new();
    let env = [("PVR_HTTP_PROXY", address.as_str())];
    let ran = home.run("", &["-a", "SECRET", "--debug", "remoteinfo", "http://nowhere.example/r?q=KEY"], &env).code(0);
    assert_eq!(proxy.requests()[0].target, "http://nowhere.example/r/.pvrremote?q=KEY");
    assert_eq!(proxy.requests()[0].header("host"), Some("nowhere.example"));
    assert!(ran.err.contains("> GET http://nowhere.example/r/.pvrremote?…\n"), "{ran:?}");
    assert!(!ran.err.contains("SECRET") && !ran.err.contains("KEY"), "{ran:?}");
    if pvr::has_tls() {
        home.run("", &["remoteinfo", "https://nowhere.example/r"], &env).code(1).says("answered 407 to CONNECT");
        assert_eq!(proxy.asked("CONNECT")[0].target, "nowhere.example:443");
    }
    home.pvr("", &["--http-proxy", "https://x", "status"]).code(1).says("ERROR: http-proxy not a valid url\n");
}

#[test]
fn nothing_is_drawn_over_a_question() {
    let device = guarded(&["ANON", "MINE"]);
    let home = Home::new();
    home.pvr("", &["clone", &device.reference(), "r"]).code(0);
    // There is nothing to send, so that the question comes while the answer to the post is waited for.
    let env = [("TERM", "xterm"), ("PVR_PROGRESS_AFTER", "0")];
    let mut terminal = Terminal::start(home.command(&home.at("r"), &["post"], &env));
    terminal.answer(1, "Username: ", "", true);
    // Several times as long as it takes to draw.
    std::thread::sleep(std::time::Duration::from_millis(900));
    let screen = terminal.screen();
    assert!(screen.contains("waiting for the answer"), "{screen:?}");
    assert!(!screen.rsplit("Username: ").next().unwrap().contains('\u{1b}'), "{screen:?}");
    terminal.answer(1, "Username: ", "me\n", true);
    terminal.answer(1, "Password: ", "secret\n", false);
    terminal.end().code(0).says("Successfully posted Revision");
}

/// It was refused as a password in a URL.
#[test]
fn a_password_of_a_proxy_goes_to_the_proxy_and_to_nobody_else() {
    let coded = "Basic dTpwQHNz";
    let is_right = move |request: &server::Request| request.header("proxy-authorization") == Some(coded);
    let proxy = Server::start(move |request| match request.method.as_str() {
        _ if !is_right(request) => Reply::json(407, "{}"),
        "CONNECT" => Reply::Raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        _ => Reply::json(200, "{\"json-get-url\":\"/j\",\"objects-endpoint\":\"/o\",\"post-url\":\"/p\"}"),
    });
    let home = Home::new();
    let address = format!("http://u:p%40ss@{}", proxy.address);
    for env in [("PVR_HTTP_PROXY", address.as_str()), ("http_proxy", address.as_str())] {
        let ran = home.run("", &["--debug", "remoteinfo", "http://nowhere.example/r"], &[env]).code(0);
        assert!(!ran.err.contains("dTpw") && !ran.err.contains("p@ss") && !ran.err.contains("p%40ss"), "{ran:?}");
    }
    home.run("", &["--http-proxy", &proxy.address.to_string(), "remoteinfo", "http://nowhere.example/r"], &[])
        .code(1)
        .says("407");
    if pvr::has_tls() {
        // The tunnel is opened, and then there is nobody who speaks TLS.
        let before = proxy.requests().len();
        home.run("", &["remoteinfo", "https://nowhere.example/r"], &[("https_proxy", address.as_str())]).code(1);
        assert!(proxy.requests()[before..].iter().all(|request| request.method == "CONNECT" && is_right(request)));
        assert!(proxy.requests().len() > before);
    }
    let device = Device::plain(&[]);
    home.run("", &["remoteinfo", &device.reference()], &[("http_proxy", address.as_str())]).code(0);
    assert!(device.server.requests().iter().all(|request| request.header("proxy-authorization").is_none()));
}

#[test]
fn put_replaces_the_state_there_or_in_another_repository() {
    let device = Device::new(&[], |request, holds| {
        (request.line() == "PUT /cgi-bin/pvr/json").then(|| {
            let state = String::from_utf8(request.body.clone()).unwrap();
            holds.lock().unwrap().state.clone_from(&state);
            Reply::json(200, state)
        })
    });
    let home = Home::new();
    home.repo(&[("x", b"x"), ("a.json", b"{\"b\":1}")]);
    home.pvr("r", &["push", &device.reference()]).code(0);
    assert_eq!(device.holds.lock().unwrap().state, home.read("r/.pvr/json"));
    fs::create_dir(home.at("other")).unwrap();
    home.pvr("other", &["init", "--objects", "pool"]).code(0);
    home.pvr("r", &["put", "../other/.pvr"]).code(0);
    assert_eq!(home.read("other/.pvr/json"), home.read("r/.pvr/json"));
    home.pvr("other", &["checkout"]).code(0);
    assert_eq!(home.read("other/x"), "x");
    home.pvr("r", &["put", ".."]).code(4);
    let objects = format!("http://{}/cgi-bin/pvr/objects", device.reference());
    device.holds.lock().unwrap().objects.clear();
    home.pvr("r", &["putobjects", &objects]).code(0);
    assert_eq!(device.holds.lock().unwrap().objects.len(), 1);
}
