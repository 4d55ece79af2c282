//! `pvr-agent serve` as a process: what it prints, where it listens, how it ends, what it takes.

#[path = "support/port.rs"]
mod port;
mod program;
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Client, make_storage, sha};

struct Process {
    child: Child,
    lines: Vec<String>,
    address: SocketAddr,
}

/// Starts the program in `dir` and reads what it prints until it listens.
fn serve(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Process {
    serve_logging_to(Stdio::null(), dir, args, env)
}

fn serve_logging_to(log: Stdio, dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Process {
    let mut command = program::command();
    command.arg("serve").args(args).current_dir(dir).stdout(Stdio::piped()).stderr(log);
    command.env_remove("PVR_AGENT_LISTEN").env_remove("PVR_AGENT_PORT").envs(env.iter().copied());
    let mut child = command.spawn().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line.starts_with("stand-alone") || line.starts_with("warning")) {
            break;
        }
    }
    let url = lines.iter().find_map(|line| line.strip_prefix("URL: http://")).unwrap_or_else(|| panic!("{lines:?}"));
    let address = url.split('/').next().unwrap().parse().unwrap();
    Process { child, lines, address }
}

/// A connection that waits as long for an answer as an emulated program may take.
fn connect(process: &Process) -> Client {
    let client = Client::connect(process.address);
    client.stream.set_read_timeout(Some(program::patience(Duration::from_secs(20)))).unwrap();
    client
}

impl Process {
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// In KiB; of an emulated program nothing is known.
    fn memory(&self, field: &str) -> Option<u64> {
        if program::emulated() {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        Some(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe takes 64 KiB, some 600 lines: after those, whoever wrote the next one stood still, and with it the server.
#[test]
fn a_log_that_nobody_reads_stops_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let (_nobody_reads, log) = std::io::pipe().unwrap();
    let process = serve_logging_to(log.into(), dir.path(), &["--port", "0"], &[]);
    let mut client = connect(&process);
    for _ in 0..3_000 {
        assert_eq!(client.request("GET", "steps/0/progress", &[], b"").status, 200);
    }
}

#[test]
fn without_a_storage_it_makes_one_and_says_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let process = serve(dir.path(), &["--port", "0"], &[]);
    let root = dir.path().canonicalize().unwrap().join("pvroot");
    assert_eq!(process.lines[0], format!("storage: {}", root.display()));
    let url = format!("http://{}/cgi-bin/pvr", process.address);
    assert_eq!(process.lines[1], format!("URL: {url}"));
    assert!(process.lines[2].ends_with(&format!("/pvr-agent pvr clone {url}")), "{}", process.lines[2]);
    assert!(process.lines[3].contains("pvr clone "), "{}", process.lines[3]);
    assert!(process.lines[4].starts_with("stand-alone"));
    let state = connect(&process).request("GET", "json", &[], b"");
    assert_eq!(state.status, 200);
    assert!(state.json().as_object().unwrap().keys().any(|key| key.starts_with("bsp/")));
}

#[test]
fn where_it_listens_is_said_by_flag_environment_state_and_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make_storage(&dir.path().join("pvroot"));
    let held = [port::bound(), port::bound(), port::bound()];
    let [by_flag, by_env, by_file] = [0, 1, 2].map(|at: usize| held[at].1.port());
    let (by_flag, by_env) = (by_flag.to_string(), by_env.to_string());
    let env = ("PVR_AGENT_PORT", by_env.as_str());
    let process = serve(dir.path(), &["--port", &by_flag], &[env]);
    assert_eq!(process.address.port().to_string(), by_flag);
    drop(process);
    let process = serve(dir.path(), &[], &[env]);
    assert_eq!(process.address.port().to_string(), by_env);

    let config = format!(r#"{{"httpd":{{"listen":"127.0.0.1","port":"{by_file}"}}}}"#);
    let state = support::factory_state().replacen(
        "\"app/empty\"",
        &format!("\"_config/pvr-sdk/etc/pvr-sdk/config.json\":{config},\"app/empty\""),
        1,
    );
    assert_eq!(connect(&process).post(&format!("{{\"state\":{state}}}")).status, 200);
    drop(process);
    let process = serve(dir.path(), &[], &[]);
    assert_eq!(process.address.port(), by_file);
    drop(process);

    let wide = serve(dir.path(), &["--listen", "0.0.0.0", "--port", "0"], &[]);
    let status = connect(&wide).request("GET", "status", &[], b"").json();
    assert_eq!(status["warnings"].as_array().unwrap().len(), 1, "{status}");
    drop(wide);

    for bad in
        [&["--port", "http"][..], &["--listen", "nowhere"], &["--storage", "/nonexistent"], &["--public-url", "x"]]
    {
        let mut command = program::command();
        let output = command.arg("serve").args(bad).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{bad:?}");
    }
}

#[test]
fn one_signal_lets_an_upload_finish_and_two_do_not() {
    for twice in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        make_storage(&dir.path().join("pvroot"));
        let mut process = serve(dir.path(), &["--port", "0"], &[]);
        let mut client = connect(&process);
        client.begin_upload(&sha(b"abcdef"), 6);
        client.send("abc");
        let asked = Instant::now();
        process.signal("-TERM");
        while std::net::TcpStream::connect(process.address).is_ok() {
            assert!(asked.elapsed() < program::patience(Duration::from_secs(5)), "the signal was not heard");
            std::thread::sleep(Duration::from_millis(20));
        }
        if twice {
            process.signal("-INT");
        } else {
            client.send("def");
            assert_eq!(client.response("PUT").status, 200);
            drop(client);
        }
        let code = process.child.wait().unwrap().code();
        assert_eq!(code, Some(i32::from(twice)));
        assert!(asked.elapsed() < program::patience(Duration::from_secs(9)), "it did not wait until its time was up");
    }
}

#[test]
fn memory_does_not_grow_with_what_flows_through() {
    let dir = tempfile::tempdir().unwrap();
    make_storage(&dir.path().join("pvroot"));
    let started = Instant::now();
    let process = serve(dir.path(), &["--port", "0"], &[]);
    assert_eq!(connect(&process).request("GET", "", &[], b"").status, 200);
    println!("start to first answer: {:?}, idle VmRSS {:?} KiB", started.elapsed(), process.memory("VmRSS"));
    std::thread::scope(|scope| {
        let server = &process;
        for i in 0..5u8 {
            scope.spawn(move || {
                let bytes: Vec<u8> = (0..16 << 20).map(|n: u32| (n >> 8) as u8 ^ i).collect();
                let blob = format!("objects/{}/blob", sha(&bytes));
                let mut client = connect(server);
                assert_eq!(client.request("PUT", &blob, &[], &bytes).status, 200);
                assert!(client.request("GET", &blob, &[], b"").body == bytes);
            });
        }
    });
    let peak = process.memory("VmHWM");
    println!("after 80 MiB in and out over 5 connections: VmHWM {peak:?} KiB");
    assert!(peak.is_none_or(|peak| peak < 32 << 10), "{peak:?} KiB: what flows through was kept");
}

#[test]
fn eight_readers_of_a_large_state_each_had_it_in_memory_twice() {
    let dir = tempfile::tempdir().unwrap();
    make_storage(&dir.path().join("pvroot"));
    let process = serve(dir.path(), &["--port", "0"], &[]);
    // The size that there may be, and half of the values.
    let numbers = "1234567890123456789012345678901,".repeat(64_000);
    let state = format!("{{\"#spec\":\"pantavisor-service-system@1\",\"a/x.json\":[{numbers}0]}}");
    let put = |body: &[u8]| connect(&process).request("PUT", "json", &[], body).status;
    assert_eq!(put(state.as_bytes()), 200);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(connect(&process).request("GET", "json", &[], b"").body, state.as_bytes());
                assert_eq!(connect(&process).request("GET", "status", &[], b"").status, 200);
            });
        }
    });
    // 2 MiB of text are some 9 as a tree. One is in memory for readers, and one for a post; sixteen would be 144 MiB. How much more there is
    // differs by how many threads were busy at once: 51 to 82 MiB.
    println!("after eight readers of a large state: VmHWM {:?} KiB", process.memory("VmHWM"));
    let peak = process.memory("VmHWM");
    assert!(peak.is_none_or(|peak| peak < 96 << 10), "{peak:?} KiB");
}

#[test]
fn a_variable_that_a_flag_overrides_kept_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    make_storage(&dir.path().join("pvroot"));
    let bad = [("PVR_AGENT_PORT", "http"), ("PVR_AGENT_LISTEN", "nowhere")];
    let process = serve(dir.path(), &["--port", "0", "--listen", "127.0.0.1"], &bad);
    assert_eq!(connect(&process).request("GET", "json", &[], b"").status, 200);
    drop(process);
    // What no flag overrides has to make sense.
    for (args, variable) in [(["--port", "0"], bad[1]), (["--listen", "127.0.0.1"], bad[0])] {
        let mut command = program::command();
        let output = command.arg("serve").args(args).envs([variable]).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("'{}' cannot be used", variable.1)), "{said}");
    }
}

#[test]
fn a_port_that_was_taken_left_a_storage_behind() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = program::command();
    let output = command.args(["serve", "--port", &port]).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("choose a port with --port"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_storage_whose_making_was_cut_short_stayed_empty() {
    let dir = tempfile::tempdir().unwrap();
    let begun = ["pvroot/objects", "pvroot/trails/locals"];
    for (folders, args, status) in [
        (&begun[..1], &[][..], 200),
        (&begun, &[], 200),
        // One in a place that somebody named stays as it is.
        (&begun, &["--storage", "pvroot"], 404),
    ] {
        for folder in folders {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let process = serve(dir.path(), &[&["--port", "0"], args].concat(), &[]);
        assert_eq!(Client::connect(process.address).request("GET", "json", &[], b"").status, status, "{folders:?}");
        drop(process);
        std::fs::remove_dir_all(dir.path().join("pvroot")).unwrap();
    }
}

/// On MIPS it was the year 244,379,811,525: staged objects were older than a day at once, and no certificate was valid.
#[test]
fn the_time_was_not_that_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    make_storage(&dir.path().join("pvroot"));
    let process = serve(dir.path(), &["--port", "0"], &[]);
    let answer = Client::connect(process.address).request("GET", "steps/0", &[], b"");
    let date = answer.header("date").unwrap();
    let output = Command::new("date").args(["-u", "-d", date, "+%s"]).output().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap().trim().parse::<u64>();
    let theirs = Duration::from_secs(theirs.unwrap_or_else(|_| panic!("{date:?} is no time: {answer:?}")));
    let ours = pvr_agent::state::clock::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(ours.abs_diff(theirs) < Duration::from_secs(60), "{date}");
}
