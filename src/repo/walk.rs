//! What lies in a working tree.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::error::{Context, RepoError};

/// One thing that is not a folder.
#[derive(Debug)]
pub(super) struct Found {
    /// Path below the root with `/` between; `None` where it is not UTF-8.
    pub(super) path: Option<String>,
    /// The same for people, whatever bytes it has.
    pub(super) shown: String,
    /// Of a regular file, or of the one that a link leads to.
    pub(super) file: Option<Metadata>,
}

/// Everything below `root` but `.pvr` and `.pv`, in byte order. A folder is entered only if it is one itself: through a
/// link to a folder, a tree would reach outside, or into itself.
pub(super) fn walk(root: &Path) -> Result<Vec<Found>, RepoError> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), Some(String::new()), String::new())];
    while let Some((folder, path, shown)) = folders.pop() {
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let name = entry.file_name();
            let at_root = path.as_deref() == Some("");
            if at_root && (name == ".pvr" || name == ".pv") {
                continue;
            }
            let below =
                |base: &str, name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
            let path = path.as_deref().and_then(|base| Some(below(base, name.to_str()?)));
            let shown = below(&shown, &name.to_string_lossy());
            let kind = entry.file_type().on("look at", &entry.path())?;
            if kind.is_dir() {
                folders.push((entry.path(), path, shown));
                continue;
            }
            // Of what is no link, the folder knows the way without the whole path.
            let metadata = if kind.is_symlink() { fs::metadata(entry.path()) } else { entry.metadata() };
            let file = match metadata {
                Ok(metadata) => Some(metadata).filter(Metadata::is_file),
                // A link that leads nowhere, or round in circles.
                Err(_) if kind.is_symlink() => None,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).on("look at", &entry.path()),
            };
            found.push(Found { path, shown, file });
        }
    }
    found.sort_by(|a, b| a.shown.cmp(&b.shown));
    Ok(found)
}
