//! The endpoint in each shape: `pvr-agent serve`, and `pvr-agent cgi` under web servers that are really started.
//!
//! | shape | is there |
//! |---|---|
//! | `serve` | always |
//! | busybox httpd, lighttpd | where these are installed; `.ci/run` installs them |
//! | nginx with fcgiwrap | the same, at full weight (`PVR_ROUNDS=100`) |
//!
//! Each on a storage or on a control socket: `device`.
//!
//! The folder of programs and the configurations are those of `cgi/`, with other paths and ports.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

#[path = "../support/control/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "the daemon of the tests keeps this machine's time")]
pub mod control;
pub mod device;

use super::black_box::agent::{self, Server};
use super::black_box::{per_cent, program, skip};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Variables of the programs that a web server runs.
pub type Settings<'a> = &'a [(&'a str, &'a Path)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Serve,
    Busybox,
    Lighttpd,
    Nginx,
}

impl Shape {
    /// Those that can be started here.
    pub fn all(test: &str) -> Vec<Self> {
        let wanted = [Self::Serve, Self::Busybox, Self::Lighttpd, Self::Nginx];
        let wanted = wanted.into_iter().filter(|shape| *shape != Self::Nginx || per_cent() == 100);
        wanted.filter(|shape| shape.is_here(test)).collect()
    }

    /// Those that are a web server.
    pub fn cgi(test: &str) -> Vec<Self> {
        Self::all(test).into_iter().filter(|shape| *shape != Self::Serve).collect()
    }

    /// As the documentation calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Busybox => "busybox httpd",
            Self::Lighttpd => "lighttpd",
            Self::Nginx => "nginx",
        }
    }

    fn is_here(self, test: &str) -> bool {
        let needs: &[&str] = match self {
            Self::Serve => &[],
            Self::Busybox => &["busybox"],
            Self::Lighttpd => &["lighttpd"],
            Self::Nginx => &["nginx", "fcgiwrap"],
        };
        let lacks = needs.iter().find(|name| find(name).is_none());
        if let Some(lacks) = lacks {
            skip(&format!("{test} ({})", self.name()), &format!("there is no {lacks}"));
        }
        lacks.is_none()
    }

    /// Whether it lets `Range` through.
    pub fn ranges(self) -> bool {
        self != Self::Busybox
    }

    /// Whether it lets `If-None-Match` through.
    pub fn validators(self) -> bool {
        self != Self::Busybox
    }

    /// Whether a connection serves one request after the other.
    pub fn keeps_open(self) -> bool {
        self != Self::Busybox
    }

    /// Whether the program hears of an upload before all of it has come.
    pub fn passes_on_at_once(self) -> bool {
        matches!(self, Self::Serve | Self::Busybox)
    }

    /// How many may connect at the same moment: busybox httpd has nine wait, and resets the others.
    pub fn at_once(self) -> usize {
        if self == Self::Busybox { 8 } else { 64 }
    }

    /// Starts it on a storage.
    pub fn start(self, storage: &Path) -> Server {
        if self == Self::Serve {
            return Server::start(storage);
        }
        self.start_on(&[("PVR_AGENT_STORAGE", storage)])
    }

    /// Starts a web server whose programs have these variables.
    pub fn start_on(self, settings: Settings) -> Server {
        // Between asking for a free port and using it, somebody else may have taken it.
        let started = (0..5).find_map(|_| self.try_start(settings));
        started.unwrap_or_else(|| panic!("{} did not start", self.name()))
    }

    fn try_start(self, settings: Settings) -> Option<Server> {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        // A worker that is nobody has to reach it.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("open the folder");
        programs(&root.join("cgi-bin"));
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
        let mut children = match self {
            Self::Serve => unreachable!("is no web server"),
            Self::Busybox => vec![busybox(root, port, settings)],
            Self::Lighttpd => vec![lighttpd(root, port, settings)],
            Self::Nginx => vec![fcgiwrap(root, settings), nginx(root, port, settings)],
        };
        let base = format!("http://127.0.0.1:{port}/cgi-bin/pvr");
        let deadline = Instant::now() + Duration::from_secs(10);
        // nginx listens before what runs its programs does, and has a 502 for who asks then.
        let runs = || self != Self::Nginx || UnixStream::connect(root.join("fcgi.sock")).is_ok();
        while !children.iter().any(|child| listens(child, port)) || !runs() {
            let ended = children.iter_mut().any(|child| child.try_wait().expect("look at the server").is_some());
            if ended || Instant::now() > deadline {
                for child in &mut children {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Server::behind(children, base, folder))
    }
}

/// Whether it is this process that listens on the port: somebody else may have got it first.
fn listens(child: &Child, port: u16) -> bool {
    let (port, listening) = (format!(":{port:04X}"), "0A");
    let sockets = fs::read_to_string("/proc/net/tcp").expect("the sockets");
    let inodes: Vec<String> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() > 9 && row[1].ends_with(&port) && row[3] == listening)
        .map(|row| format!("socket:[{}]", row[9]))
        .collect();
    let held = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    held.filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|to| inodes.iter().any(|inode| to == Path::new(inode)))
}

/// The folder of programs, as `cgi/README.md` has it.
fn programs(folder: &Path) {
    fs::create_dir(folder).expect("make the folder of programs");
    let script = match program::emulated() {
        false => format!("#!{} cgi\n", program::path().display()),
        true => format!("#!/bin/sh\nexec {} cgi \"$@\"\n", program::shell()),
    };
    for name in ["pvr", ".pvrremote", "pvtx", "logs", "openapi.json", "index.cgi"] {
        let path = folder.join(name);
        fs::write(&path, &script).expect("write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// A server with nothing of the caller's settings in its environment.
fn command(name: &str, log: &Path) -> Command {
    let mut command = Command::new(find(name).expect("looked for before"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PVR") {
            command.env_remove(name);
        }
    }
    let log = fs::File::create(log.join("log")).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn busybox(root: &Path, port: u16, settings: Settings) -> Child {
    let mut command = command("busybox", root);
    command.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"]).arg(root);
    command.envs(settings.iter().copied()).spawn().expect("start busybox httpd")
}

/// One of the configurations in `cgi/`, with other paths and ports.
fn configuration(text: &str, replace: &[(&str, &str)]) -> String {
    replace.iter().fold(text.to_owned(), |text, (what, with)| {
        assert!(text.contains(what), "the configuration has no {what}");
        text.replace(what, with)
    })
}

fn lighttpd(root: &Path, port: u16, settings: Settings) -> Child {
    let variables: Vec<_> = settings.iter().map(|(name, value)| format!("{name:?} => {value:?}")).collect();
    let text = configuration(
        include_str!("../../cgi/lighttpd.conf"),
        &[
            ("/srv/pvr", &root.to_string_lossy()),
            ("12368", &port.to_string()),
            ("0.0.0.0", "127.0.0.1"),
            (r#""PVR_AGENT_STORAGE" => "/storage""#, &variables.join(", ")),
            ("/var/tmp", &root.to_string_lossy()),
        ],
    );
    fs::write(root.join("lighttpd.conf"), text).expect("write the configuration");
    let mut command = command("lighttpd", root);
    command.arg("-D").arg("-f").arg(root.join("lighttpd.conf")).spawn().expect("start lighttpd")
}

fn fcgiwrap(root: &Path, settings: Settings) -> Child {
    let mut command = command("fcgiwrap", root);
    let socket = format!("unix:{}", root.join("fcgi.sock").display());
    command.args(["-c", "8", "-s", &socket]).envs(settings.iter().copied()).spawn().expect("start fcgiwrap")
}

fn nginx(root: &Path, port: u16, settings: Settings) -> Child {
    let variables: Vec<_> = settings.iter().map(|(name, value)| format!("fastcgi_param {name} {value:?};")).collect();
    let text = configuration(
        include_str!("../../cgi/nginx.conf"),
        &[
            ("/srv/pvr", &root.to_string_lossy()),
            ("listen 12368", &format!("listen 127.0.0.1:{port}")),
            ("/run/fcgiwrap.socket", &root.join("fcgi.sock").to_string_lossy()),
            ("fastcgi_param PVR_AGENT_STORAGE /storage;", &variables.concat()),
        ],
    );
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places = places.map(|name| format!("{name}_temp_path {};", root.join(name).display())).join("\n");
    let head = format!("daemon off;\nuser root;\npid {};\nevents {{}}\n", root.join("pid").display());
    let text = format!("{head}http {{\naccess_log off;\n{places}\n{text}\n}}\n");
    fs::write(root.join("nginx.conf"), text).expect("write the configuration");
    let mut command = command("nginx", root);
    let log = root.join("nginx.log");
    command.arg("-e").arg(log).arg("-c").arg(root.join("nginx.conf")).spawn().expect("start nginx")
}
