//! Every system call that changes files, made to fail in turn.
//!
//! Each scenario is a command, or a server with what it is asked. It is run once undisturbed, and all calls that it makes on
//! files are points. Then it is run again for each of them and each way to fail: `EIO`, `ENOSPC`, `EINTR`, half of the bytes
//! written, and an end of the process after the call. The same with a kernel that lacks what newer ones have. After each:
//!
//! - an error is one: no panic, nothing that hangs, and everything as it was before;
//! - a success is one: everything as it has to be;
//! - whatever ended there, the state is the old or the new one; every object that has a name is what its name says; what was
//!   there opens, and `fsck` finds nothing once something has started;
//! - the same once more succeeds, and leaves nothing unfinished.
//!
//! It is run so:
//!
//!     cargo test --test faults                 a few of all, evenly spread
//!     FAULTS=commit cargo test --test faults   all of the scenarios that are called so
//!     FAULT_CALLS=sync cargo test …            and of the calls
//!
//! It has a `main` of its own, because it is also the program that stands before the one that is traced.
#[cfg(target_arch = "x86_64")]
mod black_box;
#[cfg(target_arch = "x86_64")]
#[path = "faults/mod.rs"]
mod every;
#[cfg(target_arch = "x86_64")]
#[path = "support/place/mod.rs"]
mod place;
#[cfg(target_arch = "x86_64")]
#[path = "support/tar.rs"]
mod tar;
#[cfg(target_arch = "x86_64")]
#[path = "support/tracer/mod.rs"]
mod tracer;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("faults: SKIPPED, its table of system calls is that of x86-64");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == tracer::BECOME => tracer::become_traced(&args.collect::<Vec<_>>()),
        // What cargo hands to every test binary is meant for others.
        _ => every::all(),
    }
}
