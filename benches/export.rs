//! `pvr export` beside `tar | gzip` and `tar | pigz`.
//!
//!     cargo bench --bench export                   1 GiB in 16 objects
//!     BENCH_MIB=64 cargo bench --bench export      less
//!
//! Half of the bytes don't shrink, as root file systems and kernels that are compressed already; a quarter is machine code
//! (of the program itself) and a quarter text. The peers pack the same objects with what they do unless told otherwise. They
//! neither hash nor make anything durable; an export does both. Every figure is the median of five runs in turns.
mod common;

use common::{Better, Noise, program, pvr, row, runs, settle, shell, there_is, took};
use std::path::Path;
use std::{fs, io};

const OBJECTS: usize = 16;

fn main() -> io::Result<()> {
    let mib = common::knob("BENCH_MIB", 1024).next_multiple_of(OBJECTS);
    let work = common::workplace("export")?;
    let (home, tree) = (work.join("home"), work.join("tree"));
    fs::create_dir_all(&home)?;
    fill(&tree, mib)?;
    for args in [&["init"][..], &["add", "."], &["commit"]] {
        took(pvr(&tree, &home, args))?;
    }
    let pool = "home/.pvr/objects";
    let [gzip, pigz] = ["gzip", "pigz"].map(there_is);
    settle(&work)?;

    let [mut here, mut plain, mut with_gzip, mut with_pigz, mut tar] = [const { Vec::new() }; 5];
    let rate = |time: std::time::Duration| (mib << 20) as f64 / time.as_secs_f64() / 1e6;
    let pack = |what: &str| took(shell(&work, &format!("tar -C {pool} -cf - . {what}")));
    for _ in 0..runs() {
        here.push(rate(took(pvr(&tree, &home, &["export", "../here.tgz"]))?));
        settle(&work)?;
        if gzip {
            with_gzip.push(rate(pack("| gzip > gzip.tgz")?));
            settle(&work)?;
        }
        if pigz {
            with_pigz.push(rate(pack("| pigz > pigz.tgz")?));
            settle(&work)?;
        }
        plain.push(rate(took(pvr(&tree, &home, &["export", "../here.tar"]))?));
        tar.push(rate(pack("> tar.tar && sync -d tar.tar")?));
    }
    let size = |name: &str| fs::metadata(work.join(name)).map_or(0, |file| file.len() >> 20);
    let sizes = [size("here.tgz"), size("gzip.tgz"), size("pigz.tgz")];
    fs::remove_dir_all(&work)?;

    println!("{mib} MiB in {OBJECTS} objects, median of {} runs, {}", runs(), common::machine());
    println!("packed: {} MiB here, {} with gzip, {} with pigz", sizes[0], sizes[1], sizes[2]);
    println!();
    common::head("MB/s");
    if gzip {
        row(Better::More, "`export x.tgz`", &here, "`tar \\| gzip`", &with_gzip, "at least 1");
    }
    if pigz {
        row(Better::More, "`export x.tgz`", &here, "`tar \\| pigz`", &with_pigz, "at least 1");
    }
    row(Better::More, "`export x.tar`", &plain, "`tar`, `sync -d`", &tar, "–");
    Ok(())
}

/// Objects of noise and, in every second one, of code and text.
fn fill(tree: &Path, mib: usize) -> io::Result<()> {
    let mut noise = Noise::new();
    let block = noise.bytes(1 << 20);
    let text = noise.text(1 << 20);
    let code = fs::read(program::path())?;
    for number in 0..OBJECTS {
        let mut file = Vec::new();
        for at in 0..mib / OBJECTS {
            let mark = ((number * mib + at) as u64).to_le_bytes();
            file.extend_from_slice(&mark);
            match (number % 2, number % 4) {
                (0, _) => file.extend_from_slice(&block[8..]),
                (_, 1) => file.extend_from_slice(&text[8..]),
                _ => {
                    let begin = (at << 20) % code.len();
                    file.extend(code[begin..].iter().chain(code.iter().cycle()).take((1 << 20) - 8));
                }
            }
        }
        common::write(&tree.join(format!("object{number}")), [&file[..]].into_iter())?;
    }
    Ok(())
}
