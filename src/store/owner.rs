//! Whose a file is that root makes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use rustix::process::geteuid;

/// What root makes belongs to whom the folder belongs: to an endpoint that runs as somebody else.
pub(crate) fn give_to_owner(file: impl AsFd, folder: &Path) -> io::Result<()> {
    if geteuid().is_root() {
        let owner = fs::metadata(folder)?;
        if owner.uid() != 0 || owner.gid() != 0 {
            fchown(file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
        }
    }
    Ok(())
}

/// Makes a folder, and those above it, that are not there; each belongs to whom the one above it belongs.
pub(crate) fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if above(path) != path {
        make_folders(above(path), mode)?;
    }
    match make_folder(path, mode) {
        // Somebody else may make it at the same time.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a folder, which belongs to whom the one above it belongs. Where root may not give it away, it stays root's.
pub(crate) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(folder) = open(path, flags, Mode::empty()) {
        give_to_owner(&folder, above(path)).ok();
    }
    Ok(())
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file of a working folder, 0600; one that is not there is made, and is its owner's. A link is an error: whoever may write into
/// the folder would have root make or take a file elsewhere.
pub(crate) fn open_or_make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_or_make_as(options.mode(0o600), path)
}

/// The same, with the mode that the options say.
pub(crate) fn open_or_make_as(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match options.clone().create_new(true).open(path) {
        // Somebody else has made it meanwhile. What is given away is only what was made here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        made => made.inspect(|file| _ = give_to_owner(file, above(path))),
    }
}
