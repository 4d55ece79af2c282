//! The developer keys that today's pvr offers to download (`sig-dm.md` §1): known to everybody, for experiments.
//!
//! ```text
//! <config-dir>/pvs/<name>.default.pem    0600, the folder 0700
//! ```

use std::fs;
use std::io::Write;
use std::path::Path;

use super::archive;
use super::error::{Context, RepoError};
use super::files;
use crate::store::archive::ArchiveError;
use crate::store::make_folders;

/// Largest archive that is read, in bytes, packed and unpacked; the real one has 10 KiB.
pub const MAX_ARCHIVE: usize = 1024 * 1024;
/// Most files that are taken.
const MAX_FILES: usize = 16;

/// Takes `pvs/*.default.pem` out of an archive, and nothing else. What is there already stays. Gives the names of those that are new.
pub fn unpack_default_keys(packed: &[u8], config_dir: &Path) -> Result<Vec<String>, RepoError> {
    let folder = config_dir.join("pvs");
    let failed = |source: ArchiveError| RepoError::Archive { path: folder.clone(), source: Box::new(source) };
    let wanted = |name: &str| {
        let name = name.strip_prefix("pvs/")?.strip_suffix(".default.pem")?;
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        plain.then(|| format!("{name}.default.pem"))
    };
    let found = archive::small_files(packed, MAX_ARCHIVE as u64, |name| wanted(name).is_some()).map_err(failed)?;
    make_folders(&folder, 0o700).on("create", &folder)?;
    let mut new = Vec::new();
    for (name, bytes) in found.into_iter().take(MAX_FILES) {
        let Some(name) = wanted(&name) else { continue };
        let path = folder.join(&name);
        if path.exists() {
            continue;
        }
        let temporary = folder.join(format!(".{}", files::random_name()));
        let mut file = files::create(&temporary, 0o600)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all()).on("write", &temporary);
        if let Err(error) = written.and_then(|()| files::rename(&temporary, &path)) {
            fs::remove_file(&temporary).ok();
            return Err(error);
        }
        new.push(name);
    }
    files::sync_parent(&folder.join("x"))?;
    Ok(new)
}
