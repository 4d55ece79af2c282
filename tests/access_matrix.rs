//! The whole matrix: every route × every method × every kind of caller. What each may is written down here and compared with the
//! description of the API; each cell is asked for and has to be answered as it is written, and what is refused must not leave a
//! file, nor take one away.
mod black_box;
#[path = "access/place.rs"]
mod place;
mod shape;

use black_box::agent::Server;
use black_box::http::{Conn, Response};
use black_box::per_cent;
use place::{Forge, PASSWORD, access_at, bearer, challenge, logged_in, now};
use serde_json::Value;
use shape::Shape;
use shape::device::{Back, Device, kernel};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What a method of a path takes; `None`: nothing. And how it answers whoever may, asked with a body of `{}`.
type Row = (&'static str, &'static [(&'static str, Option<Scope>, &'static [u16])]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Read,
    Deploy,
    Admin,
}

use Scope::{Admin, Deploy, Read};

const OK: &[u16] = &[200];

const ROUTES: &[Row] = &[
    (".pvrremote", &[("GET", Some(Read), OK)]),
    ("pvr/.pvrremote", &[("GET", Some(Read), OK)]),
    ("pvr", &[("GET", Some(Read), OK)]),
    ("pvr/status", &[("GET", Some(Read), OK)]),
    ("pvr/events", &[("GET", Some(Read), OK)]),
    ("pvr/auth/login", &[("POST", None, OK), ("GET", None, &[200, 401])]),
    ("pvr/auth/auth_status", &[("GET", Some(Read), OK)]),
    ("pvr/json", &[("GET", Some(Read), OK), ("PUT", Some(Deploy), &[422])]),
    ("pvr/objects", &[("GET", Some(Read), OK), ("POST", Some(Deploy), &[400])]),
    ("pvr/objects/{sha256}", &[("GET", Some(Read), OK)]),
    ("pvr/objects/{sha256}/blob", &[("GET", Some(Read), OK), ("PUT", Some(Deploy), &[422])]),
    ("pvr/steps", &[("GET", Some(Read), OK), ("POST", Some(Deploy), &[422])]),
    ("pvr/steps/{rev}", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/.pvrremote", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/json", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/progress", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/events", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/objects", &[("GET", Some(Read), OK), ("POST", Some(Deploy), &[400])]),
    ("pvr/steps/{rev}/objects/{sha256}", &[("GET", Some(Read), OK)]),
    ("pvr/steps/{rev}/objects/{sha256}/blob", &[("GET", Some(Read), OK), ("PUT", Some(Deploy), &[422])]),
    ("pvtx/begin", &[("POST", Some(Deploy), &[409])]),
    ("pvtx/add", &[("PUT", Some(Deploy), OK), ("POST", Some(Deploy), OK)]),
    ("pvtx/remove", &[("PUT", Some(Deploy), &[400]), ("POST", Some(Deploy), &[400]), ("DELETE", Some(Deploy), &[400])]),
    ("pvtx/show", &[("GET", Some(Read), OK)]),
    ("pvtx/commit", &[("POST", Some(Deploy), &[422])]),
    ("pvtx/abort", &[("POST", Some(Deploy), OK)]),
    ("pvtx/run", &[("POST", Some(Deploy), &[400, 404])]),
    ("pvtx/status", &[("GET", Some(Read), OK)]),
    ("pvtx/steps", &[("GET", Some(Read), OK)]),
    ("logs", &[("GET", Some(Deploy), &[200, 404])]),
    ("openapi.json", &[("GET", Some(Read), OK)]),
    (METRICS, &[("GET", Some(Admin), OK)]),
];

/// For a server, and not for the programs of one. Whoever is on the device needs no account for them, so all come from elsewhere.
const METRICS: &str = "/metrics";

/// What `{rev}` stands for.
const REVISIONS: [&str; 2] = ["0", "locals/one"];

/// Whose body is read.
const READ: &[(&str, &str)] = &[
    ("PUT", "pvr/json"),
    ("POST", "pvr/objects"),
    ("PUT", "pvr/objects/{sha256}/blob"),
    ("POST", "pvr/steps"),
    ("POST", "pvr/steps/{rev}/objects"),
    ("PUT", "pvr/steps/{rev}/objects/{sha256}/blob"),
    ("PUT", "pvtx/add"),
    ("POST", "pvtx/add"),
];

/// Of `place::PASSWORD`.
const LOGIN: &str = r#"{"username":"read","password":"correct horse battery"}"#;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Nobody,
    Holder(Scope),
    /// By a token that was made once, and not by a login.
    Made(Scope),
    Expired,
    Forged,
    /// With the highest scope that is not enough.
    WrongScope,
    ForeignHost,
    ReboundHost,
    ForeignOrigin,
    TwoLengths,
    /// More is declared than comes.
    ShortBody,
}

const COLUMNS: [Column; 14] = [
    Column::Nobody,
    Column::Holder(Scope::Read),
    Column::Holder(Scope::Deploy),
    Column::Holder(Scope::Admin),
    Column::Made(Scope::Read),
    Column::Made(Scope::Deploy),
    Column::Made(Scope::Admin),
    Column::Expired,
    Column::Forged,
    Column::WrongScope,
    Column::ForeignHost,
    Column::ReboundHost,
    Column::ForeignOrigin,
    Column::TwoLengths,
];

/// What has to come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    /// Refused with this status: nothing changes.
    Refused(u16),
    /// Let through: what the route answers.
    Let(&'static [u16]),
}

/// The expectation, out of the table.
fn want(row: &Row, method: &str, column: Column) -> Want {
    use Column::*;
    match column {
        TwoLengths => return Want::Refused(400),
        ForeignHost | ReboundHost => return Want::Refused(421),
        ForeignOrigin if !matches!(method, "GET" | "HEAD" | "OPTIONS") => return Want::Refused(403),
        _ => {}
    }
    let asked = if method == "HEAD" { "GET" } else { method };
    let Some((_, needs, answers)) = row.1.iter().find(|(name, ..)| *name == asked) else { return Want::Refused(405) };
    let Some(needs) = needs else {
        // A login by what the body says, and a new token for one of a login alone.
        let renews = matches!(column, Holder(_) | WrongScope | ForeignOrigin | ShortBody);
        return Want::Let(match asked {
            "GET" if renews => OK,
            "GET" => &[401],
            _ if column == ShortBody => &[400],
            _ => answers,
        });
    };
    match column {
        Nobody | Expired | Forged => Want::Refused(401),
        Holder(scope) | Made(scope) if scope < *needs => Want::Refused(403),
        // Nothing is less than to read, but to be nobody.
        WrongScope if *needs == Read => Want::Refused(401),
        WrongScope => Want::Refused(403),
        ShortBody if READ.contains(&(asked, row.0)) => Want::Let(&[400]),
        _ => Want::Let(answers),
    }
}

/// A device with an account of each scope, and what they hold.
struct Guarded {
    device: Device,
    state: PathBuf,
    tokens: BTreeMap<&'static str, String>,
    sha: String,
}

fn accounts_folder(device: &Device) -> PathBuf {
    if device.back == Back::Storage { device.store().join(".pvr-agent") } else { device.root.path().join("state") }
}

/// What is there, unless it has just been removed.
fn unless_gone<T>(looked: std::io::Result<T>) -> Option<T> {
    match looked {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        looked => Some(looked.expect("look")),
    }
}

impl Guarded {
    fn start(shape: Shape, back: Back) -> Self {
        let device = Device::start(shape, back);
        let log = device.store().join("logs/0/pantavisor");
        std::fs::create_dir_all(&log).expect("a folder");
        std::fs::write(log.join("pantavisor.log"), "a line\n").expect("a log");
        let state = accounts_folder(&device);
        let access = |args: &[&str], input: &str| {
            let output = access_at("--state-dir", &state, args, input);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        let mut tokens = BTreeMap::new();
        for (name, made) in [("read", "made-read"), ("deploy", "made-deploy"), ("admin", "made-admin")] {
            access(&["add", name, "--scope", name, "--password-file", "-"], PASSWORD);
            tokens.insert(made, access(&["token", made, "--scope", name], ""));
            tokens.insert(name, logged_in(&device.server, name));
        }
        let day = 86_400;
        tokens.insert("expired", Forge::of(&state).jwt("admin", now() - 2 * day, now() - 1));
        let admin = &tokens["admin"];
        let (signed, seal) = admin.rsplit_once('.').expect("a token");
        let turned = if seal.starts_with('A') { 'B' } else { 'A' };
        tokens.insert("forged", format!("{signed}.{turned}{}", &seal[1..]));
        let state_of = place::with(&device.server, &tokens["admin"], "GET", "json", b"").body;
        let body = format!(
            r#"{{"rev":"locals/one","on-post":"install","state":{}}}"#,
            String::from_utf8(state_of).expect("a state")
        );
        let posted = place::with(&device.server, &tokens["admin"], "POST", "steps", body.as_bytes());
        assert_eq!(posted.status, 200, "{posted}");
        Self { device, state, tokens, sha: black_box::sha256(&kernel()) }
    }

    fn token(&self, needs: Option<Scope>, column: Column) -> &str {
        let held = |scope: Scope, made: bool| match (scope, made) {
            (Scope::Read, false) => "read",
            (Scope::Deploy, false) => "deploy",
            (Scope::Admin, false) => "admin",
            (Scope::Read, true) => "made-read",
            (Scope::Deploy, true) => "made-deploy",
            (Scope::Admin, true) => "made-admin",
        };
        let name = match column {
            Column::Nobody => return "",
            Column::Holder(scope) => held(scope, false),
            Column::Made(scope) => held(scope, true),
            Column::Expired => "expired",
            Column::Forged => "forged",
            Column::WrongScope => match needs {
                Some(Scope::Read) => return "",
                Some(Scope::Admin) => "deploy",
                Some(Scope::Deploy) | None => "read",
            },
            _ => "admin",
        };
        &self.tokens[name]
    }

    /// Everything that is kept, but for how many logins have failed: each file's inode, mode and size, and when it was last changed.
    /// What a request before has left is cleared away meanwhile.
    fn tree(&self) -> BTreeMap<PathBuf, [i64; 5]> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.device.store(), self.state.clone()]);
        while let Some(folder) = folders.pop() {
            let Some(entries) = unless_gone(std::fs::read_dir(&folder)) else { continue };
            for entry in entries {
                let path = entry.expect("an entry").path();
                let Some(meta) = unless_gone(std::fs::symlink_metadata(&path)) else { continue };
                if meta.is_dir() {
                    folders.push(path.clone());
                }
                // What is in a folder is seen by its files.
                let size = if meta.is_dir() { 0 } else { meta.size() as i64 };
                let when = if meta.is_dir() { (0, 0) } else { (meta.ctime(), meta.ctime_nsec()) };
                found.insert(path, [meta.ino() as i64, i64::from(meta.mode()), size, when.0, when.1]);
            }
        }
        // What was granted before may be written down only now.
        found.retain(|path, _| !path.ends_with("logins/counters") && !path.ends_with("audit.log"));
        found
    }

    /// Whether everything is as it was, but for what a request before has left in the working folder and what has been cleared away since.
    /// And but for what is below `kept`.
    fn only_lost(&self, before: &BTreeMap<PathBuf, [i64; 5]>, kept: &str) -> bool {
        let now = self.tree();
        let working = |path: &PathBuf| path.components().any(|part| part.as_os_str() == ".pvr-agent");
        let is_kept = |path: &PathBuf| path.components().any(|part| part.as_os_str() == kept);
        let new = now.iter().filter(|(path, what)| before.get(*path) != Some(what) && !is_kept(path));
        let new: Vec<_> = new.collect();
        let lost: Vec<_> = before.keys().filter(|path| !now.contains_key(*path) && !working(path)).collect();
        if !new.is_empty() || !lost.is_empty() {
            println!("new: {new:?}, lost: {lost:?}");
        }
        new.is_empty() && lost.is_empty()
    }

    fn ask(&self, row: &Row, rev: &str, method: &str, column: Column) -> std::io::Result<Response> {
        let asked = if method == "HEAD" { "GET" } else { method };
        let needs = row.1.iter().find(|(name, ..)| *name == asked).and_then(|(_, needs, _)| *needs);
        let below = row.0.replace("{rev}", rev).replace("{sha256}", &self.sha);
        let query = if row.0 == "pvtx/commit" { "?rev=no+name" } else { "" };
        let path = if row.0 == METRICS { below } else { format!("/cgi-bin/{below}{query}") };
        let host = match column {
            Column::ForeignHost => "evil.example".to_owned(),
            // A name of somebody else's that leads here.
            Column::ReboundHost => {
                format!("127.0.0.1.evil.example:{}", self.device.server.host().split(':').nth(1).unwrap_or(""))
            }
            _ => self.device.server.host(),
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        let token = self.token(needs, column);
        if row.0 == METRICS {
            head += "X-Forwarded-For: 192.0.2.1\r\n";
        }
        if !token.is_empty() {
            head += &format!("Authorization: {}\r\n", bearer(token));
        }
        if column == Column::ForeignOrigin {
            head += "Origin: http://evil.example\r\n";
        }
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE");
        let body: &[u8] = if row.0 == "pvr/auth/login" && !reads {
            LOGIN.as_bytes()
        } else if reads {
            b""
        } else {
            b"{}"
        };
        match column {
            Column::TwoLengths => head += &format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
            Column::ShortBody => head += &format!("Content-Length: {}\r\n", body.len() + 100),
            _ if reads => {}
            _ => head += &format!("Content-Length: {}\r\n", body.len()),
        }
        let mut conn = Conn::open(&self.device.server.host())?;
        conn.raw(&[head.as_bytes(), b"Connection: close\r\n\r\n", body].concat())?;
        if column == Column::ShortBody {
            conn.socket()?.shutdown(std::net::Shutdown::Write)?;
        }
        conn.receive(method)
    }
}

#[test]
fn every_route_is_in_the_table_with_what_it_takes() {
    let device = Device::start(Shape::Serve, Back::Storage);
    let document: Value = place::with_at(&device.server, "-", "GET", "openapi.json").json();
    let mut there = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/cgi-bin/").unwrap_or(path).to_owned();
        if path.contains("locals/{name}") {
            continue;
        }
        for (method, says) in item.as_object().expect("methods").iter().filter(|(name, _)| *name != "parameters") {
            let needs = says["security"].as_array().expect("security").first();
            let needs = needs.map_or("-", |way| way["bearer"][0].as_str().expect("a scope")).to_owned();
            there.insert((path.clone(), method.to_uppercase(), needs));
        }
    }
    let mut written = BTreeSet::new();
    for (path, methods) in ROUTES {
        for (method, needs, _) in *methods {
            let needs = needs.map_or("-".to_owned(), |scope| format!("{scope:?}").to_lowercase());
            written.insert(((*path).to_owned(), (*method).to_owned(), needs.clone()));
            if *method == "GET" {
                written.insert(((*path).to_owned(), "HEAD".to_owned(), needs));
            }
        }
    }
    assert_eq!(written, there);
}

fn matrix(shape: Shape, back: Back, every: usize) {
    let guarded = Guarded::start(shape, back);
    let (mut cells, mut refused, mut number) = (0, 0, 0);
    let begin = |server: &Server| place::with_at(server, &guarded.tokens["admin"], "POST", "pvtx/begin");
    let rows = ROUTES.iter().filter(|row| shape == Shape::Serve || row.0 != METRICS);
    let rows = rows.flat_map(|row| REVISIONS.map(|rev| (row, rev)));
    let rows: Vec<_> = rows.filter(|(row, rev)| *rev == REVISIONS[0] || row.0.contains("{rev}")).collect();
    for (row, rev) in &rows {
        for method in METHODS {
            for column in COLUMNS.into_iter().chain([Column::ShortBody]) {
                number += 1;
                if number % every != 0 || !possible(shape, method, column) {
                    continue;
                }
                let what = format!("{} {method} {} of {rev} {column:?}", guarded.device.name(), row.0);
                let want = want(row, method, column);
                if row.0.starts_with("pvtx") && matches!(want, Want::Let(_)) {
                    begin(&guarded.device.server);
                }
                let before = guarded.tree();
                let answer = guarded.ask(row, rev, method, column).unwrap_or_else(|error| panic!("{what}: {error}"));
                match &want {
                    Want::Let(statuses) => {
                        assert!(statuses.contains(&answer.status), "{what}: not {statuses:?}: {answer}");
                        // Whoever may, and is refused for what was sent, has changed no more.
                        // Whose turn it is to send an object to the control socket is kept in files.
                        let left = answer.status < 400 || guarded.only_lost(&before, "uploads");
                        assert!(left, "{what}: it left something");
                    }
                    Want::Refused(status) => {
                        assert_eq!(answer.status, *status, "{what}: {answer}");
                        assert!(guarded.only_lost(&before, ""), "{what}: it was refused, and left something");
                        refused += 1;
                    }
                }
                if matches!(answer.status, 401 | 403) {
                    challenge(&answer);
                }
                cells += 1;
            }
        }
    }
    let of = rows.len() * METHODS.len() * (COLUMNS.len() + 1);
    println!("{}: {cells} of {of} cells, {refused} refused", guarded.device.name());
}

/// Whether the server lets our program see such a request as it came: where a body ends is for a web server to say (docs/cgi.md).
fn possible(shape: Shape, method: &str, column: Column) -> bool {
    let keeps_it = match column {
        Column::TwoLengths | Column::ShortBody => true,
        // nginx answers that method itself.
        _ => shape == Shape::Nginx && method == "TRACE",
    };
    shape == Shape::Serve || !keeps_it
}

#[test]
fn each_cell_is_as_it_is_written() {
    matrix(Shape::Serve, Back::Storage, 1);
    // What is behind an endpoint has no say in this.
    matrix(Shape::Serve, Back::Socket, if per_cent() == 100 { 1 } else { 7 });
}

#[test]
fn each_cell_is_as_it_is_written_behind_a_web_server() {
    // A program for each request takes its time.
    let every = if per_cent() == 100 { 1 } else { 11 };
    for shape in Shape::cgi("each_cell_is_as_it_is_written_behind_a_web_server") {
        matrix(shape, Back::Storage, every);
    }
}
