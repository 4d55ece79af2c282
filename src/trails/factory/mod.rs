//! A storage to try things with: revision 0, a bsp and one container, in real files of real formats.
//!
//! Every byte is the same on every machine, so that a state made here can be recognised elsewhere.

mod cpio;
mod squashfs;

use super::error::InstallError;
use super::install::{Install, install};
use super::{Storage, TrailsError};
use crate::state::{JsonLimits, Revision, Spec, State, Value};
use crate::store::Stage;
use std::path::Path;

/// A file of a revision to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An object with these bytes.
    Object(Vec<u8>),
    /// A JSON value, as text.
    Json(String),
}

/// Makes a storage with a small system as revision 0, running. If there is a running revision already, nothing is
/// changed; if making it was interrupted, it is finished.
pub fn make(root: &Path) -> Result<Storage, InstallError> {
    make_from(root, &files())
}

/// As [`make`], with the files of revision 0 given: state keys and contents.
pub fn make_from(root: &Path, files: &[(&str, Content)]) -> Result<Storage, InstallError> {
    let storage = Storage::create(root)?;
    storage.sweep()?;
    if storage.current()?.is_some() {
        return Ok(storage);
    }
    let mut sealed = Vec::new();
    let mut document = crate::state::Object::new();
    document.insert("#spec".to_owned(), Value::String(crate::state::document::KNOWN_SPECS[0].to_owned()));
    for (key, content) in files {
        let value = match content {
            Content::Json(text) => crate::state::parse::parse_strict(text.as_bytes(), &JsonLimits::default())
                .map_err(|e| invalid(e.into()))?,
            Content::Object(bytes) => {
                let mut writer = storage.store().begin(None, Some(bytes.len() as u64))?;
                writer.write_all(bytes)?;
                let object = writer.finish()?;
                let id = object.id().to_string();
                sealed.push(object);
                Value::String(id)
            }
        };
        document.insert((*key).to_owned(), value);
    }
    let state = State::from_value(Value::Object(document), Spec::Known).map_err(invalid)?;
    storage.store().publish(sealed, Stage::Yes)?;
    let job =
        Install { rev: &Revision::FACTORY, state: &state, commit_msg: Some("Factory revision"), make_current: true };
    install(&storage, job)?;
    Ok(storage)
}

fn invalid(source: crate::state::StateError) -> InstallError {
    TrailsError::State { name: Revision::FACTORY.into(), source: Box::new(source) }.into()
}

/// What `serve` starts with where there is no device.
fn files() -> Vec<(&'static str, Content)> {
    let object = Content::Object;
    let json = |text: &str| Content::Json(text.to_owned());
    let init = b"#!/bin/sh\n# A stand-in for Pantavisor's init.\nexec /bin/sh\n";
    let module = noise(3, 4 << 10);
    let root = squashfs::image(&[
        ("hello.txt", b"A container that serves this file.\n"),
        ("index.html", b"<!doctype html>\n<title>web</title>\n<p>It works.\n"),
        ("init", b"#!/bin/sh\nexec httpd -f -h /\n"),
    ]);
    vec![
        ("bsp/build.json", json(r#"{"branch":"factory","platform":"demo","target":"demo"}"#)),
        ("bsp/kernel.img", object(noise(1, 256 << 10))),
        ("bsp/modules.squashfs", object(squashfs::image(&[("demo.ko", &module), ("modules.dep", b"demo.ko:\n")]))),
        ("bsp/pantavisor", object(cpio::archive(&[("init", 0o100_755, init), ("etc", 0o040_755, b"")]))),
        ("bsp/run.json", json(r#"{"initrd":"pantavisor","linux":"kernel.img","modules":"modules.squashfs"}"#)),
        ("bsp/src.json", json(r##"{"#spec":"bsp-manifest-src@1","pvr":""}"##)),
        ("web/lxc.container.conf", object(LXC_CONFIG.as_bytes().to_vec())),
        ("web/root.squashfs", object(root)),
        (
            "web/run.json",
            json(
                r##"{"#spec":"service-manifest-run@1","config":"lxc.container.conf","drivers":{"manual":[],"optional":[],
                "required":[]},"name":"web","root-volume":"root.squashfs","storage":{"lxc-overlay":{"persistence":
                "boot"}},"type":"lxc","volumes":[]}"##,
            ),
        ),
        (
            "web/src.json",
            json(r##"{"#spec":"service-manifest-src@1","args":{},"config":{},"template":"builtin-lxc-docker"}"##),
        ),
    ]
}

const LXC_CONFIG: &str = "lxc.tty.max = 8
lxc.pty.max = 1024
lxc.cgroup.devices.allow = a
lxc.rootfs.path = overlayfs:/volumes/web/root.squashfs:/volumes/web/lxc-overlay/upper
lxc.init.cmd = /init
lxc.namespace.keep = user  net  ipc
lxc.mount.auto = proc  sys:rw  cgroup
";

/// Bytes that don't compress and are the same everywhere: xorshift32.
fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trails::{RevisionName, fsck};

    #[test]
    fn the_system_is_whole_runs_and_is_the_same_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let storage = make(&dir.path().join("pvroot")).unwrap();
        let zero = RevisionName::from(Revision::FACTORY);
        assert_eq!(storage.current().unwrap(), Some(zero.clone()));
        assert!(storage.is_done(&zero) && storage.dir(&zero).join(".pv/pv-kernel.img").exists());
        assert_eq!(fsck(&storage, 2).unwrap().findings, []);
        let sha = storage.state(&zero).unwrap().unwrap().sha().unwrap();
        let again = make(&dir.path().join("again")).unwrap();
        assert_eq!(again.state(&zero).unwrap().unwrap().sha().unwrap(), sha);
        // Once more on the same folder changes nothing.
        let before = crate::state::clock::modified(&std::fs::metadata(storage.dir(&zero)).unwrap());
        make(storage.root()).unwrap();
        assert_eq!(crate::state::clock::modified(&std::fs::metadata(storage.dir(&zero)).unwrap()), before);
    }
}
