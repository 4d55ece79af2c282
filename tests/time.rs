//! What time the program takes it to be, in what it answers, and when it takes a file to be from.
mod black_box;

use black_box::agent::{self, Server};
use black_box::seed::Seed;
use black_box::{http, sha256};
use pvr_agent::state::clock;
use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

/// On big-endian MIPS, seconds and nanoseconds had become one number: the year 244379829875.
#[test]
fn it_is_now() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let server = Server::start(root.path());
    let before = clock::seconds(clock::now());
    let url = format!("{}/objects/{}", server.base, sha256(b"a kernel of the tests\n"));
    let record = http::get(&url);
    let possible = before..=clock::seconds(clock::now());
    let now = agent::member(&record, 200, "now").expect("the time");
    assert!(possible.contains(&now.parse().expect("seconds")), "{now} is not in {possible:?}");
    let date = record.header("date").expect("a date");
    let mut dates = possible.map(|seconds| clock::http_date(UNIX_EPOCH + Duration::from_secs(seconds)));
    assert!(dates.any(|possible| possible == date), "{record}");
}

/// Where the standard library keeps 32 bits of it, it came out as 1903.
#[test]
fn a_file_may_be_from_after_2038() {
    let root = tempfile::tempdir().expect("a folder");
    Seed::factory(root.path());
    let folder = File::open(root.path().join("trails/0")).expect("the revision");
    let late = UNIX_EPOCH + Duration::from_secs(2_208_988_800);
    folder.set_modified(late).expect("set its time");
    let server = Server::start(root.path());
    let steps = http::get(&format!("{}/steps", server.base)).json();
    assert_eq!(steps[0]["date"], "2040-01-01T00:00:00Z", "{steps}");
}
