//! Recording, replaying, judging.

mod check;
mod facts;
mod replay;
mod work;

use crate::black_box::{Dice, per_cent, program, rounds};
use crate::fuse::Fuse;
use crate::place::Place;
use facts::Facts;
use replay::{Cut, Images};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const SIZE: u64 = 48 << 20;
/// How often everything is done, of which the cuts are.
const CYCLES: usize = 6;
const IMAGES: usize = 1000;
const FEWEST: usize = 40;

/// Whether this machine can do it.
pub fn possible() -> Result<(), String> {
    if program::emulated() {
        return Err("the program is emulated: what it writes was shown without".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root, to mount".to_owned());
    }
    File::options().read(true).write(true).open("/dev/fuse").map_err(|error| format!("/dev/fuse: {error}"))?;
    Ok(())
}

/// An empty ext4, as bytes. What it would write by itself later is written at once.
fn empty_disk(place: &Place) -> Vec<u8> {
    let path = place.beside("empty");
    File::create(&path).and_then(|file| file.set_len(SIZE)).expect("make a file");
    let options = ["-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    run(Command::new("mkfs.ext4").args(options).arg(&path));
    let bytes = fs::read(&path).expect("read the disk");
    fs::remove_file(&path).expect("remove it");
    bytes
}

fn run(command: &mut Command) {
    try_run(command).unwrap_or_else(|why| panic!("{why}"));
}

fn try_run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", crate::place::said(&output))) }
}

/// A disk in a file, mounted on a folder. Taken away when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(disk: &Path, folder: &'a Path) -> Result<Self, String> {
        try_run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(disk).arg(folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(why) = try_run(Command::new("umount").arg(self.0)) {
            assert!(std::thread::panicking(), "{why}");
        }
    }
}

pub fn all() {
    let begun = Instant::now();
    let mut dice = Dice::new("power_cuts");
    let place = Place::new();
    fs::create_dir_all(place.live()).expect("a folder");
    let empty = empty_disk(&place);
    let (log, facts) = record(&place, empty.clone(), &mut dice);
    let recorded = begun.elapsed();

    let images = Images::new(&log);
    let cuts = images.cuts(facts.begun);
    let wanted = rounds(IMAGES, FEWEST);
    assert!(cuts.len() >= wanted, "{} cuts only", cuts.len());
    // At full weight all of them.
    let wanted = if per_cent() == 100 { cuts.len() } else { wanted };
    let first = dice.below((cuts.len() / wanted) as u64) as usize;
    let chosen = (0..wanted).map(|at| cuts[first + at * (cuts.len() - first) / wanted]);

    let mut disk = replay::Disk::new(&images, empty, place.beside("cut"));
    let (mut findings, mut after, mut lost, mut kept) = (Vec::new(), 0, 0, 0);
    for cut in chosen {
        let made = disk.make(cut, &mut dice);
        (after, lost, kept) = (after + usize::from(cut.some), lost + made.lost, kept + made.kept);
        let found = judge(&place, disk.path(), &facts, images.moment(cut));
        findings.extend(found.into_iter().map(|finding| format!("{cut:?}: {finding}")));
    }
    println!(
        "power_cuts: {} writes and {} flushes recorded in {recorded:?}; {wanted} of {} images mounted, {after} of them with some \
         of what came after the last flush ({kept} blocks of {}); {} facts; {} findings, in {:?}",
        images.writes(),
        images.flushes(),
        cuts.len(),
        kept + lost,
        facts.count(),
        findings.len(),
        begun.elapsed()
    );
    findings.iter().for_each(|finding| println!("FOUND {finding}"));
    assert!(findings.is_empty(), "{} findings", findings.len());
}

/// Does everything on a disk; what was written to it, and what was reported.
fn record(place: &Place, empty: Vec<u8>, dice: &mut Dice) -> (Vec<crate::fuse::Entry>, Facts) {
    let folder = place.beside("fuse");
    fs::create_dir(&folder).expect("a folder");
    let fuse = Fuse::mount(&folder, empty).expect("mount the file");
    let live = place.live();
    let mounted = Mounted::new(&fuse.file(), &live).expect("mount the disk");
    let facts = work::run(place, &|| fuse.position(), rounds(CYCLES, 2), dice);
    drop(mounted);
    (fuse.log(), facts)
}

fn judge(place: &Place, disk: &Path, facts: &Facts, moment: usize) -> Vec<String> {
    let live = place.live();
    match Mounted::new(disk, &live) {
        Ok(_mounted) => check::all(place, facts, moment),
        Err(why) => vec![why],
    }
}

/// For messages.
impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after flush {}{}", self.flush, if self.some { ", and some" } else { "" })
    }
}
