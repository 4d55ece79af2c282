//! `pvr deploy` beside copying the same tree.
//!
//!     cargo bench --bench deploy                                     2,000 objects of 64 KiB
//!     BENCH_OBJECTS=200 BENCH_KIB=16 cargo bench --bench deploy      less
//!
//! Beside it: `cp -al`, which links and looks at nothing, and `cp -a`, which copies, both made durable by `sync -f`, as a
//! deploy is. `deploy` checks objects, links, and exchanges the whole folder at the end. The first deploy of a pool hashes
//! every object; later ones know what they have hashed. Every figure is the median of five runs in turns.
mod common;

use common::{Better, Noise, milliseconds, pvr, row, runs, settle, shell, took};
use std::{fs, io};

fn main() -> io::Result<()> {
    let (objects, kib) = (common::knob("BENCH_OBJECTS", 2_000), common::knob("BENCH_KIB", 64));
    let work = common::workplace("deploy")?;
    let (home, tree) = (work.join("home"), work.join("tree"));
    fs::create_dir_all(&home)?;
    let block = Noise::new().bytes(kib << 10);
    for number in 0..objects {
        let mark = (number as u64).to_le_bytes();
        let pieces = [&mark[..], &block[8..]];
        common::write(&tree.join(format!("container{}/object{number}", number / 100)), pieces.into_iter())?;
    }
    for args in [&["init"][..], &["add", "."], &["commit"]] {
        took(pvr(&tree, &home, args))?;
    }
    // Into a folder once, for the peers to copy.
    took(pvr(&work, &home, &["deploy", "model", "tree/.pvr"]))?;
    settle(&work)?;

    let [mut new, mut again, mut link, mut copy] = [const { Vec::new() }; 4];
    for run in 0..runs() {
        let folder = format!("deployed{run}");
        new.push(milliseconds(took(pvr(&work, &home, &["deploy", &folder, "tree/.pvr"]))?));
        again.push(milliseconds(took(pvr(&work, &home, &["deploy", &folder, "tree/.pvr"]))?));
        link.push(milliseconds(took(shell(&work, "cp -al model linked && sync -f linked"))?));
        copy.push(milliseconds(took(shell(&work, "cp -a model copied && sync -f copied"))?));
        took(shell(&work, &format!("rm -rf {folder} linked copied && sync -f .")))?;
    }
    fs::remove_dir_all(&work)?;

    println!("{objects} objects of {kib} KiB, median of {} runs, {}", runs(), common::machine());
    println!();
    common::head("ms");
    row(Better::Less, "`deploy` into a new folder", &new, "`cp -al`, `sync -f`", &link, "–");
    row(Better::Less, "`deploy` over the same", &again, "`cp -al`, `sync -f`", &link, "–");
    row(Better::Less, "`deploy` into a new folder", &new, "`cp -a`, `sync -f`", &copy, "–");
    Ok(())
}
