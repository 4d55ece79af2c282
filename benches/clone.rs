//! `pvr clone` from our endpoint beside `curl` of the same objects.
//!
//!     cargo bench --bench clone                   1 GiB in 16 objects
//!     BENCH_MIB=64 cargo bench --bench clone      less
//!
//! `curl` gets as many objects at a time as `pvr` does, at their final addresses, into files, and is done; that is the row of
//! `get`, which asks for records, hashes, makes durable and names objects. A clone also writes the files of the working
//! copy: beside it, `curl` has to check what it got, copy it and make it durable as well. Both talk to the same endpoint.
//! Every figure is the median of five runs in turns.
mod common;

use common::{Better, Noise, lay_out, pvr, row, runs, serve, settle, shell, there_is, took};
use std::path::Path;
use std::{fs, io};

const OBJECTS: usize = 16;
/// How many objects `pvr` gets at a time.
const TRANSFERS: usize = 4;

fn main() -> io::Result<()> {
    let mib = common::knob("BENCH_MIB", 1024).next_multiple_of(OBJECTS);
    if !there_is("curl") {
        return Ok(());
    }
    let work = common::workplace("clone")?;
    let host = work.join("storage");
    lay_out(&host)?;
    let (_server, host) = serve(&host)?;
    let base = format!("http://{host}/cgi-bin/pvr");
    post(&work, &base, mib)?;
    took(shell(&work, &format!("{ADDRESSES}\naddresses {base}")))?;
    settle(&work)?;

    let [mut clone, mut get, mut bare, mut whole] = [const { Vec::new() }; 4];
    let rate = |time: std::time::Duration| (mib << 20) as f64 / time.as_secs_f64() / 1e6;
    // Each begins with nothing, and leaves nothing to be written back.
    let clean = || took(shell(&work, "rm -rf home got copy clone repo && mkdir home got repo && sync -f ."));
    let curl = format!("curl -sSf --parallel --parallel-max {TRANSFERS} -K addresses");
    let home = work.join("home");
    for _ in 0..runs() {
        clean()?;
        bare.push(rate(took(shell(&work, &curl))?));
        clean()?;
        took(pvr(&work.join("repo"), &home, &["init"]))?;
        get.push(rate(took(pvr(&work.join("repo"), &home, &["get", &base]))?));
        clean()?;
        let checked = "cd got && sha256sum --quiet -c ../sums && cd .. && cp -r got copy && sync -f copy";
        whole.push(rate(took(shell(&work, &format!("{curl} && {checked}")))?));
        clean()?;
        clone.push(rate(took(pvr(&work, &home, &["clone", &base, "clone"]))?));
    }
    fs::remove_dir_all(&work)?;

    println!("{mib} MiB in {OBJECTS} objects, {TRANSFERS} at a time, median of {} runs, {}", runs(), common::machine());
    println!();
    common::head("MB/s");
    row(Better::More, "`get`", &get, "`curl`", &bare, "–");
    row(Better::More, "`clone`", &clone, "`curl`", &bare, "–");
    row(Better::More, "`clone`", &clone, "`curl`, `sha256sum -c`, `cp -r`, `sync -f`", &whole, "–");
    Ok(())
}

/// Fills the endpoint.
fn post(work: &Path, base: &str, mib: usize) -> io::Result<()> {
    let (home, tree) = (work.join("filler"), work.join("tree"));
    fs::create_dir_all(&home)?;
    let block = Noise::new().bytes(1 << 20);
    for number in 0..OBJECTS {
        let marks: Vec<[u8; 8]> = (0..mib / OBJECTS).map(|at| ((number * mib + at) as u64).to_le_bytes()).collect();
        let pieces = marks.iter().flat_map(|mark| [&mark[..], &block[8..]]);
        common::write(&tree.join(format!("object{number}")), pieces)?;
    }
    for args in [&["init"][..], &["add", "."], &["commit"], &["post", base]] {
        took(pvr(&tree, &home, args))?;
    }
    fs::remove_dir_all(&home)?;
    fs::remove_dir_all(&tree)
}

/// Where each object is, as a configuration of curl, and what they have to be.
const ADDRESSES: &str = r#"addresses() {
    curl -sSf "$1/json" | grep -oE '"[0-9a-f]{64}"' | tr -d '"' | sort -u | while read -r id; do
        url=$(curl -sSf "$1/objects/$id" | grep -oE '"signed-geturl" *: *"[^"]*"' | sed 's/.*"\(http[^"]*\)"$/\1/')
        [ -n "$url" ]
        printf 'url = "%s"\noutput = "got/%s"\n' "$url" "$id" >> addresses
        printf '%s  %s\n' "$id" "$id" >> sums
    done
    [ -s sums ]
}"#;
