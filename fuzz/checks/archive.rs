//! What `pvr import` may be given: what is not taken changes nothing, what is taken leaves a canonical state, and all of its
//! objects in the pool.
//!
//! An input is an archive. Of one that begins with a 1, the checksums of its headers are set right, which no chance would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pvr_agent::repo::{Repo, Run};
use pvr_agent::state::ObjectId;
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;

/// Where files cost least.
fn memory() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// A folder of this process, used again and again.
fn folder() -> PathBuf {
    memory().join(format!("archive-fuzz-{}", std::process::id()))
}

/// Sets the checksum of each header, where one is due.
fn mend(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return;
        }
        header[SUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits: String = header[SIZE].iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
        let size = usize::from_str_radix(&digits, 8).unwrap_or(0).min(archive.len());
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// Every file below the repository but its lock, and what is in it.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with(".pvr/lock") || path.to_string_lossy().contains(".pvr-agent/") => {}
                false => drop(found.insert(path.clone(), fs::read(&path).expect("a file"))),
            }
        }
    }
    found
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let mut archive = data.to_owned();
    if let Some((b'1', rest)) = data.split_first() {
        archive = rest.to_owned();
        mend(&mut archive);
    }
    let base = folder();
    fs::remove_dir_all(&base).ok();
    let (root, file) = (base.join("r"), base.join("a.tgz"));
    fs::create_dir_all(&root).expect("a folder");
    fs::write(&file, &archive).expect("a file");
    let repo = Repo::init(&root, "pantavisor-service-system@1", "").expect("a repository");
    let before = snapshot(&root);
    let dry = repo.import(&file, Run::Dry);
    assert_eq!(snapshot(&root), before, "a dry run leaves no trace");
    let imported = repo.import(&file, Run::Really);
    assert_eq!(dry.is_ok(), imported.is_ok(), "a dry run says what the real one does");
    match imported {
        Err(error) => {
            // Names of an archive are escaped before they are shown.
            let text = error.to_string();
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert_eq!(snapshot(&root), before, "{error}");
        }
        Ok(imported) => {
            let state = repo.pristine().expect("a state that can be read").expect("a state");
            let text = fs::read_to_string(root.join(".pvr/json")).expect("a file");
            assert_eq!(state.to_canonical().as_deref(), Ok(&*text));
            for (key, id) in state.objects() {
                let object = fs::read(imported.pool.join(id.to_string())).expect("an object in the pool");
                assert_eq!(ObjectId::from_bytes(Sha256::digest(&object).into()), *id, "{}", key.as_str());
            }
            for path in snapshot(&root).into_keys().filter(|path| !before.contains_key(path)) {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let ours = path.starts_with(&imported.pool) && ObjectId::parse(&name).is_ok();
                let notes = [".pvr/replaced", ".pvr/known"].map(|name| root.join(name));
                assert!(ours || notes.contains(&path), "{}", path.display());
            }
        }
    }
    for tmp in [".pvr/tmp", ".pvr/objects/.pvr-agent/tmp"] {
        let left = fs::read_dir(root.join(tmp)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "debris in {tmp}");
    }
    fs::remove_dir_all(&base).expect("a folder");
}
