//! A system to install, and what may happen to it.

use super::{state, upload};
use pvr_agent::state::{Revision, State};
use pvr_agent::trails::{Kind, RevisionName, Storage, fsck};
use std::fs;
use std::os::unix::fs::symlink;

pub const KERNEL: &[u8] = b"a kernel";
pub const INITRD: &[u8] = b"an initrd";
pub const ROOT: &[u8] = b"a root file system";
pub const BIND: &[u8] = b"written to by a container";

/// A system with something of every kind.
pub fn system(version: &str) -> State {
    state(
        &[("bsp/kernel.img", KERNEL), ("bsp/pantavisor", INITRD), ("app/root.squashfs", ROOT), ("app/etc.bind", BIND)],
        &[
            ("bsp/run.json", r#"{"linux":"kernel.img","initrd":"pantavisor","addons":["pantavisor"]}"#),
            ("app/run.json", &format!(r#"{{"name":"app","version":"{version}","n":1.50,"z":{{"b":1,"a":[ ]}}}}"#)),
            ("_config/app/a b.json", r#""text""#),
        ],
    )
}

pub fn upload_all(storage: &Storage) {
    for bytes in [KERNEL, INITRD, ROOT, BIND] {
        upload(storage.store(), bytes).unwrap();
    }
}

pub fn name(text: &str) -> RevisionName {
    Revision::parse(text).unwrap().into()
}

pub fn make_current(storage: &Storage, rev: &str) {
    let link = storage.trails_dir().join("current");
    let _ = fs::remove_file(&link);
    symlink(rev, link).unwrap();
}

pub fn set_progress(storage: &Storage, rev: &str, status: &str) {
    let text = format!(r#"{{"status":"{status}","status-msg":"x","progress":1,"retries":0}}"#);
    fs::write(storage.dir(&name(rev)).join(".pv/progress"), text).unwrap();
}

pub fn kinds(storage: &Storage) -> Vec<(Kind, String)> {
    fsck(storage, 3).unwrap().findings.into_iter().map(|finding| (finding.kind, finding.path)).collect()
}

pub fn boot(storage: &Storage, bytes: &[u8]) {
    fs::create_dir_all(storage.root().join("boot")).unwrap();
    fs::write(storage.root().join("boot/uboot.txt"), bytes).unwrap();
}
