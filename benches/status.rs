//! `pvr status` of a tree that has not changed, beside reading all of it.
//!
//!     cargo bench --bench status                                    10,000 files, 1 GiB
//!     BENCH_FILES=1000 BENCH_MIB=64 cargo bench --bench status      less
//!
//! Beside it: `sha256sum` of the same files, and our own `--no-index`, which hashes with the processor's instructions. Files
//! are in the page cache, so that it is not the disk that is measured. Every figure is the median of five runs in turns.
mod common;

use common::{Better, Noise, milliseconds, pvr, row, runs, settle, shell, took};
use std::{fs, io, thread, time::Duration};

/// Files that are younger are read again.
const SETTLE: Duration = Duration::from_millis(2500);

fn main() -> io::Result<()> {
    let (files, mib) = (common::knob("BENCH_FILES", 10_000), common::knob("BENCH_MIB", 1024));
    let work = common::workplace("status")?;
    let (home, tree) = (work.join("home"), work.join("tree"));
    fs::create_dir_all(&home)?;
    let each = ((mib << 20) / files).max(8);
    let block = Noise::new().bytes(each.next_multiple_of(8));
    for number in 0..files {
        let mark = (number as u64).to_le_bytes();
        let pieces = [&mark[..], &block[8..]];
        common::write(&tree.join(format!("folder{}/file{number}", number / 100)), pieces.into_iter())?;
    }
    for args in [&["init"][..], &["add", "."], &["commit"]] {
        took(pvr(&tree, &home, args))?;
    }
    thread::sleep(SETTLE);
    took(pvr(&tree, &home, &["status"]))?;
    let index = fs::metadata(tree.join(".pvr/index"))?.len();
    settle(&work)?;

    let [mut again, mut whole, mut peer] = [const { Vec::new() }; 3];
    for _ in 0..runs() {
        again.push(milliseconds(took(pvr(&tree, &home, &["status"]))?));
        whole.push(milliseconds(took(pvr(&tree, &home, &["--no-index", "status"]))?));
        let hash = "find . -path ./.pvr -prune -o -type f -print0 | xargs -0 sha256sum";
        peer.push(milliseconds(took(shell(&tree, hash))?));
    }
    fs::remove_dir_all(&work)?;

    println!("{files} files, {mib} MiB, index of {index} bytes, median of {} runs, {}", runs(), common::machine());
    println!();
    common::head("ms");
    row(Better::Less, "second `status`", &again, "`sha256sum` of all files", &peer, "at least 20");
    row(Better::Less, "second `status`", &again, "`pvr --no-index status`", &whole, "at least 20");
    Ok(())
}
