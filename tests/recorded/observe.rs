//! What there is to see of a step: aspects with a name, as texts in which what may differ is taken out.
//!
//! Inode numbers, the time in `checkpoint.json`, the path of the scratch folder and our own files in `.pvr`. The order of
//! lines, for commands whose order is random in the original.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Step;
use super::scratch::{Ran, Scratch, squeeze};

/// Files of `.pvr` that both programs know.
const SHARED: [&str; 4] = ["commitmsg", "config", "json", "new"];
/// Ours alone.
const OWN: [&str; 5] = [".pvr/index", ".pvr/known", ".pvr/lock", ".pvr/replaced", ".pvr/tmp"];
/// Ours alone, in a pool.
const STORE: &str = ".pvr-agent";
/// Commands that print one document: its order is no accident.
const ORDERED: [&str; 5] = ["json", "diff", "inspect", "help", "sig"];

type Aspects = BTreeMap<String, String>;

fn ordered(step: &Step, text: &str) -> String {
    if step.argv.iter().any(|word| ORDERED.contains(&word.as_str())) {
        return text.to_owned();
    }
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// `"major":"2026-11-23T03:38:35Z"` without the time.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\"major\":") {
        let (before, after) = rest.split_at(at + "\"major\":".len());
        out.push_str(before);
        let value = after.trim_start();
        match value.strip_prefix('"').and_then(|value| value.split_once('"')) {
            Some((_, tail)) => {
                out.push_str(&after[..after.len() - value.len()]);
                out.push_str("\"⟨time⟩\"");
                rest = tail;
            }
            None => rest = after,
        }
    }
    out + rest
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.into_iter().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// A line of a tree. What holds a path or a time has neither a size nor a hash that can be compared.
fn comparable(line: &str) -> Option<String> {
    let path = path_of(line);
    if path.starts_with(STORE) || OWN.iter().any(|own| path.starts_with(own)) {
        return None;
    }
    let varies = ["config", "json", "commitmsg", "new"].iter().any(|name| path.ends_with(&format!(".pvr/{name}")));
    if varies || path.ends_with("checkpoint.json") {
        let kept = line.split(' ').filter(|word| !word.starts_with("size=") && word.len() != 64);
        return Some(kept.collect::<Vec<_>>().join(" "));
    }
    Some(line.to_owned())
}

fn path_of(line: &str) -> &str {
    let words = if line.starts_with("f ") { 6 } else { 3 };
    line.splitn(words, ' ').last().unwrap_or_default()
}

pub fn recorded(step: &Step) -> Aspects {
    let mut aspects = Aspects::new();
    let rc = step.rc.map_or("does not end".to_owned(), |rc| rc.to_string());
    aspects.insert("rc".to_owned(), rc);
    aspects.insert("stdout".to_owned(), ordered(step, &timeless(&step.stdout)));
    aspects.insert("stderr".to_owned(), ordered(step, &timeless(&step.stderr)));
    for (name, text) in step.pvr.iter().flatten() {
        aspects.insert(format!(".pvr/{name}"), timeless(text));
    }
    for (path, text) in &step.files {
        aspects.insert(path.clone(), timeless(text));
    }
    if let Some(tree) = &step.tree {
        aspects.insert("tree".to_owned(), lines(tree.iter().filter_map(|line| comparable(line))));
    }
    if let Some(pool) = &step.pool {
        aspects.insert("pool".to_owned(), lines(pool.lines.iter().cloned()));
    }
    for (path, members) in &step.archives {
        aspects.insert(path.clone(), lines(members.iter().cloned()));
    }
    aspects
}

pub fn observed(step: &Step, scratch: &Scratch, ran: Ran, archive: &impl Fn(&[u8]) -> Vec<String>) -> Aspects {
    let text = |bytes: &[u8]| nameless(&timeless(&squeeze(&scratch.recorded(&String::from_utf8_lossy(bytes)))));
    let mut aspects = Aspects::new();
    aspects.insert("rc".to_owned(), ran.rc.map_or("does not end".to_owned(), |rc| rc.to_string()));
    let said = match step.argv.iter().map(String::as_str).next() {
        // Grows with every command.
        Some("help") if text(&ran.stdout).contains("Usage: pvr ") => "⟨help⟩".to_owned(),
        Some("--version") => text(&ran.stdout).replace(env!("CARGO_PKG_VERSION"), "⟨version⟩"),
        _ => ordered(step, &text(&ran.stdout)),
    };
    let archived = step.archives.contains_key("-");
    aspects.insert("stdout".to_owned(), if archived { String::new() } else { said });
    aspects.insert("stderr".to_owned(), ordered(step, &text(&ran.stderr)));
    let cwd = scratch.path(&step.cwd);
    if step.pvr.is_some() {
        let pvr = step.pvr_of.as_deref().map_or_else(|| cwd.join(".pvr"), |path| scratch.path(path));
        for name in SHARED {
            if let Ok(bytes) = fs::read(pvr.join(name)) {
                aspects.insert(format!(".pvr/{name}"), text(&bytes));
            }
        }
    }
    for path in step.files.keys() {
        let content = fs::read(cwd.join(path)).map_or("⟨not there⟩".to_owned(), |bytes| text(&bytes));
        aspects.insert(path.clone(), content);
    }
    if step.tree.is_some() {
        let root = step.tree_of.as_deref().map_or_else(|| cwd.clone(), |path| scratch.path(path));
        aspects.insert("tree".to_owned(), lines(tree(&root).iter().filter_map(|line| comparable(line))));
    }
    if let Some(pool) = &step.pool {
        let objects = tree(&scratch.path(&pool.path)).into_iter().filter(|line| !path_of(line).starts_with(STORE));
        aspects.insert("pool".to_owned(), lines(objects));
    }
    for path in step.archives.keys() {
        let bytes = if path == "-" { Ok(ran.stdout.clone()) } else { fs::read(cwd.join(path)) };
        let members = bytes.map_or_else(|_| vec!["⟨not there⟩".to_owned()], |bytes| archive(&bytes));
        aspects.insert(path.clone(), lines(members));
    }
    aspects
}

/// Frames of progress bars go, and the lines that stand for them without a terminal. Where a transfer fails, how far the
/// others have got is chance: then all about single objects goes.
pub fn without_transfers(today: &mut Aspects, here: &mut Aspects) {
    let failed = today["rc"] != "0" || here["rc"] != "0";
    for aspects in [today, here] {
        let keep = |aspect: &str, line: &str| match aspect {
            // Which object an answer was about that is shown whole.
            "stdout" | "stderr" if failed && line.starts_with("\t{\\\"id\\\"") => false,
            "stdout" => !line.is_empty() && !line.ends_with(" [OK]") && !line.ends_with(" [ERROR]"),
            "stderr" => {
                !failed || !(line.starts_with("Posting object info") || line.starts_with("Getting object info"))
            }
            "requests" => {
                let target = line.split(' ').nth(1).unwrap_or_default();
                !failed || !["/objects", "/up/", "/dl/"].iter().any(|part| target.contains(part))
            }
            _ => true,
        };
        for aspect in ["stdout", "stderr", "requests"] {
            let text = aspects.entry(aspect.to_owned()).or_default();
            let kept: String = text.split_inclusive('\n').filter(|line| keep(aspect, line.trim_end())).collect();
            *text = nameless(&kept);
        }
    }
}

/// The folder of a clone in the making has a random name.
fn nameless(text: &str) -> String {
    let mut parts = text.split("pvr-clone-");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("pvr-clone-⟨name⟩");
        // What has been done once stays as it is.
        out.push_str(part.trim_start_matches("⟨name⟩").trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    out
}

/// Everything below a folder, as the recordings list it.
fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, below)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = format!("{below}{}", path.file_name().unwrap().to_string_lossy());
            let metadata = fs::symlink_metadata(&path).unwrap();
            let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
            if kind.is_dir() {
                found.push(format!("d {mode:04o} {name}"));
                folders.push((path, format!("{name}/")));
            } else if kind.is_symlink() {
                found.push(format!("l {name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_fifo() {
                found.push(format!("p {mode:04o} {name}"));
            } else {
                let digest = Sha256::digest(fs::read(&path).unwrap());
                let sha: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let (links, size) = (metadata.nlink(), metadata.len());
                found.push(format!("f {mode:04o} links={links} size={size} {sha} {name}"));
            }
        }
    }
    found
}

#[test]
fn what_may_differ_is_taken_out() {
    assert_eq!(timeless("{\"major\":\"2026Z\"} {\"major\": \"x\"}"), "{\"major\":\"⟨time⟩\"} {\"major\": \"⟨time⟩\"}");
    assert_eq!(timeless("\"major\":1"), "\"major\":1");
    assert_eq!(nameless("a pvr-clone-01af /x"), "a pvr-clone-⟨name⟩ /x");
    let sha = "a".repeat(64);
    assert_eq!(comparable(&format!("f 0644 links=1 size=2 {sha} .pvr/json")).unwrap(), "f 0644 links=1 .pvr/json");
    assert_eq!(comparable(&format!("f 0644 links=1 size=2 {sha} .pvr/lock")), None);
    assert!(comparable(&format!("f 0644 links=1 size=2 {sha} a b/c")).unwrap().contains("size=2"));
}
