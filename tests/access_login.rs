//! The client half: our own `pvr` against an endpoint with accounts. By prompts on a terminal, by tokens, by what it has kept.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "access/place.rs"]
mod place;
#[path = "client/pvr.rs"]
mod pvr;
mod shape;
#[path = "client/terminal.rs"]
mod terminal;

use black_box::agent::{self, Server};
use place::{Forge, PASSWORD, Place, now};
use pvr::Home;
use shape::Shape;
use std::fs;
use terminal::Terminal;

/// What is kept for the endpoint.
fn kept(home: &Home) -> serde_json::Value {
    let path = home.at("../home/.pvr/auth.json");
    fs::read(path).map_or(serde_json::Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"))
}

fn keep(home: &Home, server: &Server, token: &str) {
    fs::create_dir_all(home.at("../home/.pvr")).expect("a folder");
    let entry = serde_json::json!({"Name": "", "access-token": token, "refresh-token": token});
    let key = format!("{}/auth realm=pantahub services", server.base);
    let text = serde_json::json!({"spec": "1", "tokens": {key: entry}}).to_string();
    fs::write(home.at("../home/.pvr/auth.json"), text).expect("write auth.json");
}

fn typed(terminal: &mut Terminal, nth: usize, name: &str, password: &str) {
    terminal.answer(nth, "Username: ", &format!("{name}\n"), true);
    terminal.answer(nth, "Password: ", &format!("{password}\n"), false);
}

#[test]
fn a_name_and_a_password_are_asked_for_and_then_it_just_works() {
    for shape in Shape::all("a_name_and_a_password_are_asked_for") {
        let place = Place::new();
        place.user("ann", "deploy");
        let (server, home) = (place.serve(shape), Home::new());
        let mut terminal = Terminal::start(home.command(&home.at(""), &["clone", &server.base, "r"], &[]));
        typed(&mut terminal, 1, "ann", PASSWORD);
        let ran =
            terminal.end().code(0).says(&format!("*** Login @ {}/auth (realm=pantahub services) ***", server.base));
        assert!(!ran.err.contains(PASSWORD), "{ran:?}");
        assert_eq!(home.read("r/bsp/kernel.img"), "a kernel of the tests\n");
        // What is kept is enough to post, and to clone again: nobody is asked.
        home.write("r/app/new", "something new");
        home.pvr("r", &["add"]).code(0);
        home.pvr("r", &["commit"]).code(0);
        home.pvr("r", &["post"]).code(0);
        home.pvr("", &["clone", &server.base, "again"]).code(0);
        assert_eq!(home.read("again/app/new"), "something new");
        // Until the account is gone.
        place.token("other", "read");
        place.done(&["rm", "ann"]);
        home.pvr("", &["clone", &server.base, "third"]).code(7).says("a login is needed");
        agent::assert_clean(&place.store(), shape.name());
    }
}

#[test]
fn three_wrong_passwords_are_enough() {
    let place = Place::new();
    place.user("ann", "read");
    let (server, home) = (place.serve(Shape::Serve), Home::new());
    let mut terminal = Terminal::start(home.command(&home.at(""), &["inspect", &server.base], &[]));
    for nth in 1..=3 {
        typed(&mut terminal, nth, "ann", "not the password");
    }
    terminal.end().code(1).says("failed to Login: 401");
    let mut terminal = Terminal::start(home.command(&home.at(""), &["inspect", &server.base], &[]));
    typed(&mut terminal, 1, "ann", PASSWORD);
    terminal.end().code(0);
}

#[test]
fn a_token_in_the_environment_is_for_scripts() {
    let place = Place::new();
    let (read, deploy) = (place.token("r", "read"), place.token("d", "deploy"));
    let (server, home) = (place.serve(Shape::Serve), Home::new());
    let run = |folder: &str, token: &str, args: &[&str]| home.run(folder, args, &[("PVR_ACCESSTOKEN", token)]);
    run("", &read, &["clone", &server.base, "r"]).code(0);
    home.write("r/app/new", "something new");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    run("r", &read, &["post"]).code(3).says("403");
    run("r", &deploy, &["post"]).code(0);
    run("", "pvra_none", &["clone", &server.base, "x"]).code(7).says("401");
    run("", &place::logged_in_anew(&place, &server), &["inspect", &server.base]).code(0);
    let forge = Forge::of(&place.state());
    run("", &forge.jwt("r", now() - 20_000, now() - 1), &["inspect", &server.base]).code(1).says("401");
    assert_eq!(kept(&home), serde_json::Value::Null, "what is given is not kept");
}

#[test]
fn a_token_that_has_run_out_is_renewed_for_a_day() {
    let place = Place::new();
    place.user("ann", "read");
    let (server, home) = (place.serve(Shape::Serve), Home::new());
    let forge = Forge::of(&place.state());
    let hour = 3600;
    keep(&home, &server, &forge.jwt("ann", now() - 5 * hour, now() - hour));
    home.pvr("", &["inspect", &server.base]).code(0);
    let key = format!("{}/auth realm=pantahub services", server.base);
    let anew = kept(&home)["tokens"][&key]["access-token"].as_str().expect("a token").to_owned();
    assert_eq!(place::with(&server, &anew, "GET", "json", b"").status, 200);
    keep(&home, &server, &forge.jwt("ann", now() - 25 * hour, now() - hour));
    home.pvr("", &["inspect", &server.base]).code(1).says("a login is needed");
    let mut terminal = Terminal::start(home.command(&home.at(""), &["inspect", &server.base], &[]));
    typed(&mut terminal, 1, "ann", PASSWORD);
    terminal.end().code(0).says("is no longer valid");
}

#[test]
fn login_whoami_and_logout_at_a_device() {
    let place = Place::new();
    place.user("ann", "read");
    let (server, home) = (place.serve(Shape::Serve), Home::new());
    let status = format!("{}/auth/auth_status", server.base);
    let mut terminal = Terminal::start(home.command(&home.at(""), &["login", &status], &[]));
    typed(&mut terminal, 1, "ann", PASSWORD);
    terminal.end().code(0).says("LoggedIn Successfully!").says("\"scopes\": \"read\"");
    let endpoint = format!("{}/auth", server.base);
    assert_eq!(home.pvr("", &["whoami"]).code(0).err, format!("ann(prn:pvr-agent:accounts:/ann) at {endpoint}\n"));
    // A login begins anew.
    home.pvr("", &["login", &status]).code(4).says("a login is needed");
    let mut terminal = Terminal::start(home.command(&home.at(""), &["login", &status], &[]));
    typed(&mut terminal, 1, "ann", PASSWORD);
    terminal.end().code(0);
    assert_eq!(home.pvr("", &["logout", &server.base]).code(0).err, format!("Logged out of {endpoint}\n"));
    assert_eq!(home.pvr("", &["whoami"]).code(0).err, "");
    home.pvr("", &["logout", &server.base]).code(0).says("Not logged in at ");
}

/// The password of an account is asked for without being shown, twice.
#[test]
fn a_password_is_typed_twice_and_never_shown() {
    let place = Place::new();
    let home = Home::new();
    let start = || {
        let mut command = agent::command();
        command.args(["access", "add", "ann", "--scope", "read", "--storage"]).arg(place.store());
        Terminal::start(command)
    };
    let mut terminal = start();
    terminal.answer(1, "Password for ann: ", "one password\n", false);
    terminal.answer(1, "Once more: ", "another one\n", false);
    terminal.end().code(2).says("two different passwords");
    assert!(!place.file().exists());
    let mut terminal = start();
    terminal.answer(1, "Password for ann: ", "sec\u{3}", false);
    terminal.end().code(2).says("cancelled");
    let mut terminal = start();
    terminal.answer(1, "Password for ann: ", &format!("{PASSWORD}\n"), false);
    terminal.answer(1, "Once more: ", &format!("{PASSWORD}\n"), false);
    let ran = terminal.end().code(0);
    assert!(!ran.err.contains(PASSWORD), "{ran:?}");
    place::logged_in(&place.serve(Shape::Serve), "ann");
    drop(home);
}
