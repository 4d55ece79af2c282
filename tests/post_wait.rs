//! `pvr post --wait`: the exit code says how the update ended; a device that restarts in the middle is waited for.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
#[path = "client/device.rs"]
mod device;
mod following;
#[path = "client/pvr.rs"]
mod pvr;
#[path = "client/server.rs"]
mod server;
mod shape;
#[path = "client/terminal.rs"]
mod terminal;

use device::{BASE, Device as Scripted};
use following::{BACKS, Back, Device, until};
use pvr::{Home, Ran};
use serde_json::{Value, json};
use server::Reply;
use shape::Shape;
use std::io::Read;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// `pvr post` on its way.
struct Post {
    child: Child,
    err: Arc<Mutex<String>>,
    readers: [JoinHandle<String>; 2],
}

impl Post {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut child = home.command(&home.at("r"), args, &[]).spawn().unwrap();
        let err = Arc::new(Mutex::new(String::new()));
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let seen = Arc::clone(&err);
        let out = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let err_reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(got @ 1..) = stderr.read(&mut piece) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..got]));
            }
            String::new()
        });
        Self { child, err, readers: [out, err_reader] }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        until(&format!("{text} is not said"), || self.err.lock().unwrap().contains(text));
    }

    fn end(mut self) -> Ran {
        let code = self.child.wait().unwrap().code();
        let [out, err] = self.readers.map(|reader| reader.join().unwrap());
        drop(err);
        let err = self.err.lock().unwrap().clone();
        Ran { code, out, err }
    }
}

/// A repository of what the device runs, with a change, committed.
fn repo(device: &Device) -> Home {
    let home = Home::new();
    home.pvr("", &["clone", &device.server.base, "r"]).code(0);
    home.write("r/app/file", "changed");
    home.pvr("r", &["add"]).code(0);
    home.pvr("r", &["commit"]).code(0);
    home
}

/// Posts as `locals/x`, which only the test says anything of, and follows it.
fn post(device: &Device, home: &Home, more: &[&str]) -> Post {
    let mut args = vec!["post", "--rev", "locals/x", "-e", r#"{"on-post":"install"}"#];
    args.extend(more);
    args.push(&device.server.base);
    Post::start(home, &args)
}

#[test]
fn each_end_has_its_exit_code() {
    for back in BACKS {
        for (last, code) in [("DONE", 0), ("UPDATED", 0), ("WONTGO", 30), ("ERROR", 31)] {
            let device = Device::start(back);
            let home = repo(&device);
            let post = post(&device, &home, &["--wait=120"]);
            post.wait_for("locals/x: NEW 0% ");
            for status in ["TESTING", last] {
                device.say("locals/x", status);
                post.wait_for(&format!("locals/x: {status} 42% about {status} ["));
            }
            let ran = post.end().code(code).says("Successfully posted Revision locals/x (");
            let end = format!("Revision locals/x: {last} 42% about {last}\n");
            assert!(ran.err.ends_with(&end), "{back:?}: {ran:?}");
            assert_eq!(ran.out.matches("TESTING").count(), 0, "{ran:?}");
        }
    }
}

#[test]
fn the_real_course_of_an_update_is_followed() {
    let home = Home::new();
    for (on_post, last, message) in [
        ("run", "UPDATED", "Update finished, revision not set as rollback point"),
        ("run-commit", "DONE", "Update finished, revision set as rollback point"),
    ] {
        let device = Device::start(Back::Socket);
        let daemon = device.daemon.as_ref().unwrap();
        let pace = shape::control::Pace::Every(std::time::Duration::from_millis(400));
        daemon.configure(|config| config.pace = pace);
        let folder = format!("r-{on_post}");
        home.pvr("", &["clone", &device.server.base, &folder]).code(0);
        home.write(&format!("{folder}/nb/file"), "changed");
        home.pvr(&folder, &["add"]).code(0);
        home.pvr(&folder, &["commit"]).code(0);
        let envelope = format!(r#"{{"on-post":"{on_post}"}}"#);
        let ran = home.pvr(&folder, &["post", "-wait", "-e", &envelope, &device.server.base]).code(0);
        assert!(ran.err.ends_with(&format!(": {last} 100% {message}\n")), "{ran:?}");
        assert!(daemon.current().starts_with("locals/pvr-"));
    }
    // Without a Pantavisor, a post is the end of it.
    let device = Device::start(Back::Storage);
    home.pvr("", &["clone", &device.server.base, "alone"]).code(0);
    home.write("alone/app/file", "changed");
    home.pvr("alone", &["add"]).code(0);
    home.pvr("alone", &["commit"]).code(0);
    home.pvr("alone", &["post", "--wait"]).code(0).says("DONE 100%");
}

#[test]
fn time_runs_out() {
    for back in BACKS {
        let device = Device::start(back);
        let home = repo(&device);
        let ran = post(&device, &home, &["--wait=1"]).end().code(32);
        let text = "the update has not ended within 1 seconds; the last was NEW 0% Update ready to be run\n";
        assert!(ran.err.ends_with(text), "{ran:?}");
    }
    let home = Home::new();
    for bad in ["--wait=0", "--wait=86401", "--wait=soon", "--wait="] {
        home.pvr("", &["post", bad, "127.0.0.1:1"]).code(1).says("seconds");
    }
}

/// The usual way of an update: the device restarts to try it.
#[test]
fn a_device_that_restarts_is_waited_for() {
    for back in BACKS {
        for (last, code) in [("DONE", 0), ("ERROR", 31)] {
            let mut device = Device::start(back);
            let home = repo(&device);
            let post = post(&device, &home, &["--wait=120"]);
            post.wait_for("locals/x: NEW");
            device.say("locals/x", "INPROGRESS");
            post.wait_for("locals/x: INPROGRESS");
            device.server.kill();
            post.wait_for("no answer: it may be restarting");
            device.say("locals/x", "TESTING");
            device.start_again();
            post.wait_for("locals/x: TESTING");
            device.say("locals/x", last);
            post.end().code(code).says(&format!("Revision locals/x: {last} "));
        }
    }
}

#[test]
fn a_device_that_never_comes_back_is_lost_when_time_is_up() {
    let mut device = Device::start(Back::Storage);
    let home = repo(&device);
    let post = post(&device, &home, &["--wait=8"]);
    post.wait_for("locals/x: NEW");
    device.server.kill();
    let ran = post.end().code(33);
    let text =
        "Revision locals/x: no answer any more; the last was NEW 0% Update ready to be run; the update may go on\n";
    assert!(ran.err.ends_with(text), "{ran:?}");
}

/// What it said of itself the last time is not how it ended this time.
#[test]
fn a_revision_that_is_posted_again_had_ended_before_it_began() {
    let device = Device::start(Back::Socket);
    let home = repo(&device);
    let args = ["post", "--rev", "locals/x", "--wait=120", &device.server.base];
    let daemon = device.daemon.as_ref().unwrap();
    let ordered = |times: usize| until("no command comes", || daemon.commands().len() == times);
    let first = Post::start(&home, &args);
    ordered(1);
    daemon.advance();
    device.say("locals/x", "ERROR");
    first.end().code(31);
    // What was under way ends, too.
    daemon.advance();
    daemon.advance();
    until("it does not end", || !daemon.is_updating());
    daemon.say("0", "DONE", "it runs again", 100);
    device.say("locals/x", "ERROR");
    std::fs::remove_file(device.storage.join("trails/current")).unwrap();
    std::os::unix::fs::symlink("0", device.storage.join("trails/current")).unwrap();
    let again = Post::start(&home, &args);
    ordered(2);
    device.say("locals/x", "DONE");
    again.end().code(0).says("Revision locals/x: DONE");
}

#[test]
fn documents_terminals_and_quiet() {
    let device = Device::start(Back::Storage);
    let home = repo(&device);
    let args = ["post", "--json", "--rev", "locals/j", "--wait", &device.server.base];
    let ran = home.pvr("r", &args).code(0);
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}"));
    let (rev, update) = (&document["rev"], &document["update"]);
    assert_eq!((rev, &update["ended"], &update["exit-code"]), (&json!("locals/j"), &json!("DONE"), &json!(0)));
    assert_eq!(update["progress"]["status"], "DONE");
    // Of one that has not ended, too; and none without --wait.
    let more = |more: &[&str]| {
        let args: Vec<&str> = [&["post", "--json", "-e", r#"{"on-post":"install"}"#][..], more].concat();
        let ran = home.pvr("r", &args);
        (ran.code, serde_json::from_str::<Value>(&ran.out).expect("a document"))
    };
    let (code, document) = more(&["--rev", "locals/k", "--wait=1"]);
    assert_eq!((code, &document["update"]["ended"]), (Some(32), &json!("deadline")));
    assert_eq!(document["update"]["progress"]["status"], "NEW");
    assert_eq!(more(&["--rev", "locals/l"]).1.get("update"), None);

    let ran = home.pvr("r", &["--quiet", "post", "--rev", "locals/q", "--wait"]).code(0);
    assert_eq!((ran.err.lines().count(), ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("Successfully posted") && ran.err.contains("Revision locals/q: DONE"), "{ran:?}");

    let args = ["post", "--rev", "locals/t", "--wait"];
    let ran = terminal::Terminal::start(home.command(&home.at("r"), &args, &[("TERM", "xterm")])).end().code(0);
    let drawn = |text: &str| ran.err.split('\r').any(|frame| frame.starts_with(text) && frame.contains("\u{1b}[K"));
    assert!(drawn("locals/t: DONE 100%") && drawn("\u{1b}[K"), "drawn, and taken away: {:?}", ran.err);
    assert!(ran.err.contains("Revision locals/t: DONE 100%"), "{:?}", ran.err);
}

/// A device that answers a post as today's do, and says of the step what the test says.
fn old_device(step: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Scripted {
    let asked = AtomicUsize::new(0);
    Scripted::new(&[], move |request, _| {
        let step_line = format!("GET {BASE}/steps/locals/x");
        (request.line() == step_line).then(|| step(asked.fetch_add(1, Ordering::SeqCst))).flatten()
    })
}

#[test]
fn who_has_no_events_is_asked_for_the_step() {
    for (last, code) in [("DONE", 0), ("UPDATED", 0), ("WONTGO", 30), ("CANCEL", 30), ("ERROR", 31)] {
        let device = old_device(move |asked| {
            let status = ["NEW", "TESTING", last][asked.min(2)];
            let record = json!({"rev": -1, "progress": {"status": status, "status-msg": "m\u{1b}", "progress": 7}});
            Some(Reply::json(200, record.to_string()))
        });
        let home = Home::new();
        home.repo(&[("x", b"x")]);
        let ran = home.pvr("r", &["post", "--wait", &device.reference()]).code(code);
        for said in ["locals/x: NEW 7% m\\u{1b} [", "locals/x: TESTING 7%", &format!("Revision locals/x: {last} 7%")] {
            assert!(ran.err.contains(said), "{said}: {ran:?}");
        }
    }
}

#[test]
fn who_does_not_say_what_becomes_of_a_revision_cannot_be_waited_for() {
    for reply in ["404", "{\"rev\":1}", "{\"progress\":{}}", "no JSON", "[]"] {
        let device = old_device(move |_| match reply {
            "404" => Some(Reply::json(404, "{}")),
            text => Some(Reply::json(200, text)),
        });
        let home = Home::new();
        home.repo(&[("x", b"x")]);
        let ran = home.pvr("r", &["post", "--wait", &device.reference()]).code(2);
        let text = "Revision locals/x: how the update ends is not known: ";
        assert!(ran.err.contains(text) && ran.err.contains("does not say what becomes of the revision"), "{ran:?}");
        assert!(ran.err.contains("Successfully posted Revision locals/x"), "the post is done all the same: {ran:?}");
        let ran = home.pvr("r", &["post", "--wait", "--json", &device.reference()]).code(2);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&document["update"]["ended"], &document["update"]["exit-code"]), (&Value::Null, &json!(2)));
    }
}

/// A server whose places are all taken says so, and is asked in another way.
#[test]
fn nobody_is_kept_from_following_by_those_who_do() {
    let polled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polled);
    let device = Scripted::new(&[], move |request, _| {
        let host = request.header("host").unwrap().to_owned();
        if request.line() == format!("POST {BASE}/steps") {
            let events = format!("http://{host}{BASE}/e");
            let answer =
                json!({"rev": -1, "revlocal": "locals/x", "state-sha": "ab", "trail-id": "t", "events-url": events});
            return Some(Reply::json(200, answer.to_string()));
        }
        let query = request.line().strip_prefix(&format!("GET {BASE}/e"))?.to_owned();
        if query.starts_with("?since=1d&timeout=") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Some(Reply::json(503, "{}").with("Retry-After", "5"));
        }
        assert_eq!(query, "");
        let status = if counted.load(Ordering::SeqCst) < 2 { "TESTING" } else { "DONE" };
        Some(Reply::json(200, json!({"id": "1d", "progress": {"status": status}}).to_string()))
    });
    let home = Home::new();
    home.repo(&[("x", b"x")]);
    let ran = home.pvr("r", &["post", "--wait", &device.reference()]).code(0).says("Revision locals/x: DONE");
    assert!(!ran.err.contains("no answer"), "{ran:?}");
    assert_eq!(polled.load(Ordering::SeqCst), 2);
}

#[test]
fn web_servers_that_run_the_program_are_followed_through() {
    for shape in Shape::cgi("web_servers_are_followed_through") {
        for (back, last, code) in [(Back::Storage, "WONTGO", 30), (Back::Socket, "DONE", 0)] {
            let device = Device::with(back, shape);
            let home = repo(&device);
            let post = post(&device, &home, &["--wait=120"]);
            post.wait_for("locals/x: NEW");
            device.say("locals/x", "TESTING");
            post.wait_for("locals/x: TESTING");
            device.say("locals/x", last);
            post.end().code(code);
        }
    }
}
