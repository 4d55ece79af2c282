//! A power cut at every moment of posts, commits, imports, deploys and transactions.
//!
//! They run on an ext4 whose disk is a file of a file system of our own (`support/fuse`), which keeps a log of what is written
//! and when the kernel wants it durable. Afterwards that log is replayed onto the disk as it was, up to each flush; what came
//! between that one and the next may or may not have reached a disk, so for each there is a second image with some of those
//! blocks, by chance. Each image is mounted, and:
//!
//! - every object that has a name is what its name says, every revision is whole, no state names what is not there;
//! - what had been reported as done before the next flush is there, and nothing is half of anything;
//! - every repository opens, and after a start of the server `fsck` finds nothing and nothing unfinished is left.
//!
//! It is run so:
//!
//!     cargo test --test power_cuts               a few images, evenly spread
//!     PVR_SEED=… PVR_ROUNDS=100 cargo test …     all
//!
//! It has a `main` of its own, which runs it where mounts are its own (`unshare`), so that none is left, however it ends.
mod black_box;
#[path = "power_cuts/mod.rs"]
mod cuts;
#[path = "support/fuse/mod.rs"]
mod fuse;
#[path = "support/place/mod.rs"]
mod place;
#[path = "support/tar.rs"]
mod tar;

use std::process::Command;

/// The argument of the process that may mount.
const WITHIN: &str = "within";

fn main() {
    // What cargo hands to every test binary is meant for others.
    if std::env::args().nth(1).as_deref() == Some(WITHIN) {
        return cuts::all();
    }
    if let Err(why) = cuts::possible() {
        return black_box::skip("power_cuts", &why);
    }
    let own = std::env::current_exe().expect("this program");
    let mut within = Command::new("unshare");
    within.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(own).arg(WITHIN);
    let status = within.status().expect("run unshare");
    assert!(status.success(), "power_cuts: {status}");
}
