//! What there is to see of a step: aspects with a name, as texts in which what may differ is taken out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, escape};

use super::daemon::sha;
use super::stage::program::is_big_endian;
use super::stage::{Ran, Stage};
use super::{Status, Step};

type Aspects = BTreeMap<String, String>;

/// Where the recording left off.
const CUT: &str = "[recorder cut";

/// Ours alone.
const OWN: &str = "/.pvr-agent";

/// JSON in its one spelling; other texts as they are. Of both sides: where ours is not in that spelling, the step shows it.
fn canonical(text: &str) -> String {
    let value = parse_strict(text.as_bytes(), &JsonLimits { depth: 1000, ..JsonLimits::default() });
    value.ok().and_then(|value| to_canonical(&value).ok()).unwrap_or_else(|| text.to_owned())
}

/// `locals/pvtx-1795408329-1d0b95a7-315` without what chance made of it.
fn timeless(text: &str) -> String {
    let Some((before, after)) = text.split_once("locals/pvtx-") else { return text.to_owned() };
    let made = after.find(|c: char| !c.is_ascii_hexdigit() && c != '-').unwrap_or(after.len());
    let sha = after.split('-').nth(1).unwrap_or_default();
    format!("{before}locals/pvtx-⟨time⟩-{sha}-⟨chance⟩{}", &after[made..])
}

fn status(status: &Status) -> String {
    let Status { size, status, is_local, objdir, queue, count } = status;
    let objdir = squeezed(objdir);
    format!("{size} bytes: {status} {is_local} {objdir:?} {queue:?} {count}")
}

/// The kind of a file whose content is compared as a text.
fn is_text(path: &str) -> bool {
    let names = [".json", "/.status", "/json", "/.pvr/config"];
    names.iter().any(|name| path.ends_with(name))
}

/// A tree, from lines of `d MODE PATH/`, `l PATH -> TARGET`, `f MODE links=N inode#K size=N SHA PATH`.
///
/// Whether there is an empty folder for transactions is not part of it: today's program makes one even if it fails.
fn tree(lines: &[String], dir: &str) -> String {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut out = Vec::new();
    let mut lines: Vec<(&str, &str)> = lines.iter().map(|line| (path_of(line), line.as_str())).collect();
    lines.sort_unstable();
    for (path, line) in lines.into_iter().filter(|(path, _)| is_shown(path, dir)) {
        let words: Vec<&str> = line.split(' ').collect();
        out.push(match words[0] {
            "d" => format!("d {path}"),
            "l" => line.to_owned(),
            _ => {
                let same = *first.entry(words[3]).or_insert(path);
                let what = if is_text(path) { "" } else { words[5] };
                if same == path { format!("f {what} {path}") } else { format!("f {what} {path} = {same}") }
            }
        });
    }
    out.join("\n")
}

/// Whether something is neither an empty folder for transactions nor above one.
fn is_shown(path: &str, dir: &str) -> bool {
    let is_above = format!("{dir}/").starts_with(path) || path.starts_with("/var/");
    !(path.ends_with('/') && is_above)
}

fn path_of(line: &str) -> &str {
    let words = match &line[..1] {
        "d" => 3,
        "l" => return line[2..].split(" -> ").next().unwrap(),
        _ => 7,
    };
    line.splitn(words, ' ').last().unwrap()
}

pub fn recorded(step: &Step) -> Aspects {
    let mut aspects = Aspects::new();
    aspects.insert("rc".into(), step.rc.map_or("does not end".into(), |rc| rc.to_string()));
    let shown = if step.argv.first().is_some_and(|word| word == "show") {
        canonical(step.stdout.trim_end())
    } else {
        timeless(&step.stdout)
    };
    aspects.insert("stdout".into(), shown);
    aspects.insert("stderr".into(), step.stderr.clone());
    aspects.insert("current".into(), step.current.as_deref().map_or("none".into(), canonical));
    aspects.insert("status".into(), step.status.as_ref().map_or("none".into(), status));
    aspects.insert("tree".into(), tree(&step.files, &dir_of(step)));
    for (path, text) in &step.texts {
        // Not of the one that has a blank in it, on both sides.
        let text = if path.ends_with("config") { text.clone() } else { canonical(text) };
        aspects.insert(format!("text {path}"), text);
    }
    let requests: Vec<String> = step
        .requests
        .iter()
        .map(|request| {
            let line = request.head.lines().next().unwrap_or_default();
            let (method, rest) = line.split_once(' ').unwrap_or_default();
            let path = timeless(rest.rsplit_once(' ').map_or(rest, |it| it.0));
            // Of a GET there was a stray line behind the head.
            if method == "GET" {
                return format!("GET {path} 0 {}", sha(b""));
            }
            let early = request.reply.as_ref().is_some_and(|reply| reply.early);
            let whole = if early { "early" } else { &request.sha };
            format!("{method} {path} {} {whole}", length(&request.head).unwrap_or(request.bytes))
        })
        .collect();
    aspects.insert("requests".into(), requests.join("\n"));
    aspects
}

fn length(head: &str) -> Option<u64> {
    head.lines().find_map(|line| line.strip_prefix("Content-length: "))?.trim().parse().ok()
}

pub fn observed(step: &Step, stage: &Stage, ran: &Ran, requests: &[String]) -> Aspects {
    let mut aspects = Aspects::new();
    aspects.insert("rc".into(), ran.rc.map_or("does not end".into(), |rc| rc.to_string()));
    let is_show = step.argv.first().is_some_and(|word| word == "show");
    let shown = if is_show { ran.stdout.trim_end().to_owned() } else { timeless(&ran.stdout) };
    aspects.insert("stdout".into(), if step.stdout.contains(CUT) { step.stdout.trim_end().to_owned() } else { shown });
    let said = ran.stderr.lines().next().unwrap_or_default();
    let said = if said.starts_with("ERROR") || said.starts_with("WARNING") {
        said.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")
    } else {
        said.to_owned()
    };
    aspects.insert("stderr".into(), said);
    let dir = stage.path(&dir_of(step));
    let current = fs::read_to_string(dir.join("current.json")).ok();
    aspects.insert("current".into(), current.unwrap_or_else(|| "none".into()));
    let bytes = fs::read(dir.join(".status")).ok();
    aspects.insert("status".into(), bytes.as_deref().map_or("none".into(), |bytes| status_of(bytes, stage)));
    let mut lines = Vec::new();
    walk(&stage.base.join("W"), stage, &mut lines);
    // Of the steps that use the folder of root.
    if step.files.iter().any(|line| path_of(line).starts_with("/var/")) {
        walk(&stage.base.join("var"), stage, &mut lines);
    }
    aspects.insert("tree".into(), tree(&lines, &dir_of(step)));
    for path in step.texts.keys() {
        let text = fs::read_to_string(stage.path(path)).unwrap_or_else(|_| "none".into());
        // Of what is no JSON of ours, only the recording has been put into its spelling.
        aspects.insert(format!("text {path}"), stage.recorded(&text));
    }
    let requests: Vec<String> = requests.iter().map(|line| timeless(line)).collect();
    aspects.insert("requests".into(), requests.join("\n"));
    aspects
}

/// Where the step keeps its transaction.
fn dir_of(step: &Step) -> String {
    let set = |name: &str| step.env.get(name).cloned();
    set("PVTXDIR").unwrap_or_else(|| match step.uid {
        Some(_) => set("HOME").unwrap_or_default() + "/.local/share/pvtx",
        None => set("PREFIX").unwrap_or_default() + "/var/cache/pvtx",
    })
}

/// Arguments that are as long as a path can be are cut by as much as this folder's name is longer.
fn squeezed(path: &str) -> String {
    if path.len() > 1000 { path.trim_end_matches('x').to_owned() + "⟨x…⟩" } else { path.to_owned() }
}

fn status_of(bytes: &[u8], stage: &Stage) -> String {
    let from = if is_big_endian() { i32::from_be_bytes } else { i32::from_le_bytes };
    let int = |at: usize| bytes.get(at..at + 4).map_or(0, |four| from(four.try_into().unwrap()));
    let path = |at: usize| {
        let field = bytes.get(at..bytes.len().min(at + 4096)).unwrap_or_default();
        stage.recorded(&String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default()))
    };
    status(&Status {
        size: bytes.len() as u64,
        status: int(0),
        is_local: int(4),
        objdir: path(8),
        queue: path(4104),
        count: int(8200) as u32,
    })
}

fn walk(folder: &Path, stage: &Stage, out: &mut Vec<String>) {
    let shown = |path: &Path| {
        let path = stage.recorded(path.to_str().unwrap());
        if path.contains([' ', '"', '\\']) { format!("\"{}\"", escape(&path)) } else { path }
    };
    out.push(format!("d 0 {}/", shown(folder)));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(OWN) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            walk(&path, stage, out);
        } else if meta.is_symlink() {
            out.push(format!(
                "l {} -> {}",
                shown(&path),
                stage.recorded(fs::read_link(&path).unwrap().to_str().unwrap())
            ));
        } else {
            let sha = if path.ends_with(".status") { "-".to_owned() } else { sha(&fs::read(&path).unwrap()) };
            out.push(format!("f 0 links=1 inode#{} size=0 {sha} {}", meta.ino(), shown(&path)));
        }
    }
}
