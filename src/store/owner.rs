//! Whose a file is that root makes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::process::geteuid;

/// What root makes belongs to whom the folder belongs: to an endpoint that runs as somebody else.
pub(crate) fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    if geteuid().is_root() && (owner.uid() != 0 || owner.gid() != 0) {
        fchown(file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
    }
    Ok(())
}

/// Opens a file of a working folder, 0600; one that is not there is made, and is its owner's. A link is an error: whoever may write into
/// the folder would have root make or take a file elsewhere.
pub(crate) fn open_or_make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    // Somebody else may make it at the same time.
    let file = options.create(true).truncate(false).open(path)?;
    path.parent().map_or(Ok(()), |folder| give_to_owner(&file, folder))?;
    Ok(file)
}
