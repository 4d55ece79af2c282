//! What the boot loader has been told, and what it finds of a revision.
//!
//! `boot/uboot.txt` holds `pv_rev=<rev>` and `pv_try=<rev>`, separated and padded with NULs; other loaders have the
//! same variables in `grubenv` and `rpiab.txt`, on lines (`storage.md` §1).
//!
//! In `.pv/` of a revision the loader finds its files under fixed names, hardlinks to objects (`storage.md` §3):
//!
//! ```text
//! pantavisor.fit                                 bsp/<fit>
//! rpiboot.img | rpiboot.img.gz                   bsp/<rpiab>
//! pv-kernel.img  pv-initrd.img  pv-fdt.dtb       bsp/<linux>  bsp/<initrd>  bsp/<fdt>
//! pv-initrd.img.<i>                              bsp/<addons[i]>
//! ```

use super::name::RevisionName;
use crate::state::{Entry, ObjectId, State, Value};
use crate::store::{Absent, Context, StoreError};
use std::collections::BTreeMap;
use std::path::Path;

const FILES: [&str; 3] = ["uboot.txt", "grubenv", "rpiab.txt"];

/// Which revisions the boot loader would start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootLoader {
    /// `pv_rev`: started if nothing is being tried.
    pub rev: Option<RevisionName>,
    /// `pv_try`: being tried.
    pub trying: Option<RevisionName>,
}

impl BootLoader {
    /// Reads what is in the storage's `boot/`.
    pub(super) fn read(root: &Path) -> Result<Self, StoreError> {
        let mut found = Self::default();
        for file in FILES {
            let path = root.join("boot").join(file);
            if let Some(bytes) = std::fs::read(&path).absent_ok().on("read", &path)? {
                found.take(&bytes);
            }
        }
        Ok(found)
    }

    fn take(&mut self, bytes: &[u8]) {
        for variable in bytes.split(|b| matches!(b, 0 | b'\n' | b'\r')) {
            if let Some(rev) = variable.strip_prefix(b"pv_rev=") {
                self.rev = RevisionName::of_path(rev);
            } else if let Some(rev) = variable.strip_prefix(b"pv_try=") {
                self.trying = RevisionName::of_path(rev);
            }
        }
    }

    /// Whether it would start this revision.
    pub fn names(&self, name: &RevisionName) -> bool {
        [&self.rev, &self.trying].into_iter().any(|rev| rev.as_ref() == Some(name))
    }
}

/// The names in `.pv/` and their objects. What `bsp/run.json` names and the state doesn't have is left out: the
/// daemon refuses such a revision when it is to be run, and says so better.
pub(super) fn boot_links(state: &State) -> BTreeMap<String, ObjectId> {
    let object = |file: &str| match state.get(file) {
        Some(Entry::Object(id)) => Some(*id),
        _ => None,
    };
    boot_files(state).into_iter().filter_map(|(name, file)| Some((name, object(&file)?))).collect()
}

/// The names in `.pv/` that a state gets.
pub fn boot_link_names(state: &State) -> Vec<String> {
    boot_links(state).into_keys().collect()
}

/// The keys that `bsp/run.json` wants in `.pv/` and that are no objects of the state: it would not boot.
pub fn absent_boot_files(state: &State) -> Vec<String> {
    let absent = |file: &String| !matches!(state.get(file), Some(Entry::Object(_)));
    let mut files: Vec<_> = boot_files(state).into_values().filter(absent).collect();
    files.sort();
    files.dedup();
    files
}

/// Whether a file in `.pv/` is one that is made for the boot loader.
pub fn is_boot_link(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["pantavisor.fit", "rpiboot.img", "rpiboot.img.gz", "pv-kernel.img", "pv-initrd.img", "pv-fdt.dtb"];
    let addon = |name: &str| name.strip_prefix("pv-initrd.img.").is_some_and(|i| i.parse::<usize>().is_ok());
    NAMES.contains(&name) || addon(name)
}

/// The names in `.pv/` and the keys of their files, whether the state has those or not.
fn boot_files(state: &State) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    let Some(Entry::Json(run)) = state.get("bsp/run.json") else {
        return links;
    };
    let mut link = |name: &str, file: &str| {
        links.insert(name.to_owned(), format!("bsp/{file}"));
    };
    let file = |keys: &[&str]| keys.iter().find_map(|key| run.get(key)?.as_str().filter(|file| !file.is_empty()));
    if let Some(Value::Array(addons)) = run.get("addons") {
        for (i, addon) in addons.iter().filter_map(Value::as_str).enumerate() {
            link(&format!("pv-initrd.img.{i}"), addon);
        }
    }
    if let Some(fit) = file(&["fit"]) {
        link("pantavisor.fit", fit);
    } else if let Some(image) = file(&["rpiab"]) {
        link(if image.ends_with(".gz") { "rpiboot.img.gz" } else { "rpiboot.img" }, image);
    } else {
        // Older states say kernel and pantavisor, or nothing where the files have these very names.
        link("pv-kernel.img", file(&["linux", "kernel"]).unwrap_or("kernel.img"));
        link("pv-initrd.img", file(&["initrd", "pantavisor"]).unwrap_or("pantavisor"));
        if let Some(fdt) = file(&["fdt"]) {
            link("pv-fdt.dtb", fdt);
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;

    #[test]
    fn variables_of_boot_loaders_are_read() {
        for (bytes, rev, trying) in [
            (&b"pv_rev=0\0pv_try=locals/x\0\0\0\0"[..], Some("0"), Some("locals/x")),
            (b"pv_rev=17\0pv_try=\0", Some("17"), None),
            (b"# GRUB Environment Block\npv_rev=3\npv_try=4\n####", Some("3"), Some("4")),
            (b"pv_rev=../x\0", None, None),
            (b"", None, None),
        ] {
            let mut found = BootLoader::default();
            found.take(bytes);
            let text = |name: &Option<RevisionName>| name.as_ref().map(ToString::to_string);
            assert_eq!((text(&found.rev).as_deref(), text(&found.trying).as_deref()), (rev, trying));
        }
    }

    #[test]
    fn each_kind_of_bsp_has_its_links() {
        let names = |run: &str| {
            let objects: String = ["k", "i", "d", "f", "r", "r.gz", "kernel.img", "pantavisor", "a0", "a1"]
                .iter()
                .enumerate()
                .map(|(i, name)| format!(r#""bsp/{name}":"{i:064x}","#))
                .collect();
            let json = format!(r##"{{{objects}"bsp/run.json":{run},"#spec":"pantavisor-service-system@1"}}"##);
            let state =
                State::parse_strict(json.as_bytes(), &JsonLimits::default(), crate::state::Spec::Known).unwrap();
            let digit = |id: &ObjectId| id.as_bytes()[31];
            boot_links(&state).iter().map(|(name, id)| format!("{name}={}", digit(id))).collect::<Vec<_>>().join(" ")
        };
        for (run, links) in [
            (r#"{"linux":"k","initrd":"i"}"#, "pv-initrd.img=1 pv-kernel.img=0"),
            (r#"{"linux":"k","initrd":"i","fdt":"d"}"#, "pv-fdt.dtb=2 pv-initrd.img=1 pv-kernel.img=0"),
            (r#"{"fit":"f","linux":"k"}"#, "pantavisor.fit=3"),
            (r#"{"rpiab":"r"}"#, "rpiboot.img=4"),
            (r#"{"rpiab":"r.gz"}"#, "rpiboot.img.gz=5"),
            ("{}", "pv-initrd.img=7 pv-kernel.img=6"),
            (
                r#"{"linux":"k","initrd":"i","addons":["a0","a1"]}"#,
                "pv-initrd.img=1 pv-initrd.img.0=8 pv-initrd.img.1=9 pv-kernel.img=0",
            ),
            (r#"{"linux":"absent","initrd":7}"#, "pv-initrd.img=7"),
            ("[]", "pv-initrd.img=7 pv-kernel.img=6"),
        ] {
            assert_eq!(names(run), links, "{run}");
        }
    }
}
