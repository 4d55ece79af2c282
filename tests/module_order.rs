//! The order of the modules: imports point downwards only.
//!
//! Reads the source as text, not through a compiler: comments, strings and literals are passed over, `use` trees are
//! expanded, `crate::…`, `super::…` and `pvr_agent::…` are resolved to the top-level module that they name. A second
//! test feeds the checker snippets that break each rule, so that a checker that sees nothing can't pass.
use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom. A module may import from the lines below its own.
const LEVELS: &[&[&str]] = &[
    &["cli", "endpoint"],
    &["device"],
    &["repo", "pvtx", "app", "hub"],
    &["remote", "pvctrl", "trails"],
    &["sig", "dm", "store", "net"],
    &["state"],
];

/// The only imports within one level.
const SIDEWAYS: &[(&str, &str)] = &[("cli", "endpoint")]; // a command starts the server

/// Crates that only some modules may name: everything else is plain synchronous Rust.
const CONFINED: &[(&str, &[&str])] = &[
    ("tokio", &["endpoint", "net"]),
    ("hyper", &["endpoint", "net"]),
    ("hyper_util", &["endpoint", "net"]),
    ("tokio_util", &["endpoint", "net"]),
    ("axum", &["endpoint"]),
    ("rustls", &["endpoint", "net"]),
    ("tokio_rustls", &["endpoint"]),
    ("webpki", &["net"]),
];

const MAX_LINES: usize = 599;
const MAX_MAIN_LINES: usize = 65;

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

/// Everything that is wrong with one file. `path` is relative to `src/`.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let tokens = tokens(text);
    let lines = text.lines().count();
    let limit = if path == "main.rs" { MAX_MAIN_LINES } else { MAX_LINES };
    if lines > limit {
        wrong.push(format!("{path}: {lines} lines, at most {limit}"));
    }
    if tokens.iter().any(|token| token == "unsafe") {
        wrong.push(format!("{path}: unsafe"));
    }
    let home = home(path);
    let module = home.first().map_or("", String::as_str);
    if module.is_empty() {
        return wrong; // the library's root and main name everything
    }
    let Some(own) = level(module) else {
        wrong.push(format!("{path}: {module} has no place in the order"));
        return wrong;
    };
    for name in imported(&tokens, &home) {
        match level(&name) {
            _ if name == module => {}
            Some(other) if other > own => {}
            Some(_) if SIDEWAYS.contains(&(module, &name)) => {}
            Some(_) => wrong.push(format!("{path}: {module} imports {name}, which is not below it")),
            // A macro or a type at the root: nothing of ours lives there.
            None => wrong.push(format!("{path}: {name} has no place in the order")),
        }
    }
    for (name, homes) in CONFINED {
        if tokens.iter().any(|token| token == name) && !homes.contains(&module) {
            wrong.push(format!("{path}: {module} names {name}"));
        }
    }
    wrong
}

/// The module path of a file: `a/b.rs` and `a/b/mod.rs` are both `a::b`.
fn home(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(String::from).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The top-level modules that the tokens of a file name.
fn imported(tokens: &[String], home: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut here = home.to_vec();
    let mut depth = 0;
    let mut inline: Vec<usize> = Vec::new(); // the brace depth at which an inline module ends
    let mut at = 0;
    while at < tokens.len() {
        let word = |offset: usize| tokens.get(at + offset).map_or("", String::as_str);
        match word(0) {
            "mod" if word(2) == "{" => {
                here.push(word(1).into());
                inline.push(depth);
                depth += 1;
                at += 3;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    here.pop();
                }
            }
            "crate" | "super" | "self" | "pvr_agent" if word(1) == "::" => {
                let mut paths = Vec::new();
                at = tree(tokens, at, &mut Vec::new(), &mut paths);
                found.extend(paths.iter().filter_map(|path| resolve(path, &here)));
                continue;
            }
            // A tree without a common root: `use {crate::a, crate::b};` needs no case of its own, its parts are met.
            _ => {}
        }
        at += 1;
    }
    found.sort();
    found.dedup();
    found
}

/// Expands the path or use tree that begins at `at`; returns where it ends.
fn tree(tokens: &[String], mut at: usize, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) -> usize {
    let base = prefix.len();
    while let Some(token) = tokens.get(at) {
        if token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token != "}") {
                at = if tokens[at] == "," { at + 1 } else { tree(tokens, at, prefix, out) };
            }
            prefix.truncate(base);
            return at + 1;
        }
        prefix.push(token.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    out.push(prefix.clone());
    prefix.truncate(base);
    // `as name` belongs to the path, and is no import.
    if tokens.get(at).is_some_and(|token| token == "as") { at + 2 } else { at }
}

/// The top-level module that a path leads to from the module `here`; none if it stays inside.
fn resolve(path: &[String], here: &[String]) -> Option<String> {
    let mut at = here.to_vec();
    let mut rest = path.iter().peekable();
    while let Some(part) = rest.peek() {
        match part.as_str() {
            "crate" | "pvr_agent" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
            }
            _ => break,
        }
        rest.next();
    }
    let top = at.first().or(rest.peek().copied())?;
    // Everything of the root at once names nothing in particular; the library's root holds only modules.
    (top != "*").then(|| top.clone())
}

/// Identifiers and punctuation, with `::` as one token; without comments, strings, characters and numbers.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let char = chars[at];
        match char {
            '/' if get(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if get(at + 1) == '*' => {
                let mut depth = 0;
                while at < chars.len() {
                    match (get(at), get(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => at = end_of_string(&chars, at + 1),
            '\'' if get(at + 1) == '\\' => {
                at += 3; // the escaped character is passed over unseen: it may be a quote
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if get(at + 2) == '\'' => at += 3,
            '\'' => at += 1, // a lifetime
            _ if char.is_alphabetic() || char == '_' => {
                let start = at;
                while get(at).is_alphanumeric() || get(at) == '_' {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let raw = word.ends_with('r') && word.len() <= 2;
                let hashes = chars[at..].iter().take_while(|char| **char == '#').count();
                if raw && get(at + hashes) == '"' {
                    at = end_of_raw(&chars, at + hashes + 1, hashes);
                } else if word.len() == 1 && get(at) == '"' {
                    at = end_of_string(&chars, at + 1); // b"…", c"…"
                } else {
                    found.push(word);
                }
            }
            ':' if get(at + 1) == ':' => {
                found.push("::".into());
                at += 2;
            }
            _ => {
                if !char.is_whitespace() && !char.is_ascii_digit() {
                    found.push(char.into());
                }
                at += 1;
            }
        }
    }
    found
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn end_of_raw(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|char| **char == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("list src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn imports_point_downwards() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 5, "these are not all sources: {files:?}");
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
            check(&name, &fs::read_to_string(file).expect("read a source"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_can_be_broken() {
    let long = "\n".repeat(600);
    let longer_main = "\n".repeat(66);
    // path, text, what the finding says; an empty finding means that nothing is wrong
    let cases: &[(&str, &str, &str)] = &[
        ("state/json.rs", "use crate::store::Store;", "state imports store"),
        ("state/json.rs", "fn f() { crate::store::open() }", "state imports store"),
        ("state/json.rs", "use super::super::store;", "state imports store"),
        ("state/json/deep.rs", "use super::super::super::net::Client;", "state imports net"),
        ("state/mod.rs", "use super::store;", "state imports store"),
        ("state/json.rs", "mod tests { use super::super::super::trails::x; }", "state imports trails"),
        ("state/json.rs", "mod a { mod b {} } use super::super::trails;", "state imports trails"),
        ("store/mod.rs", "use crate::{state::{id, path}, trails::Storage};", "store imports trails"),
        ("store/mod.rs", "use {crate::state::id, crate::device::Device};", "store imports device"),
        ("net/mod.rs", "use crate::{self as root, remote};", "net imports remote"),
        ("remote/mod.rs", "use crate::trails::x as y;", "remote imports trails"),
        ("endpoint/mod.rs", "use crate::cli::Args;", "endpoint imports cli"),
        ("store/a.rs", "/* in /* a */ comment */ use crate::cli;", "store imports cli"),
        ("store/a.rs", "let c = '\"'; use crate::cli; let d = '\"';", "store imports cli"),
        ("store/a.rs", "let c = '\\''; use crate::cli; let d = '\\'';", "store imports cli"),
        ("store/a.rs", "let c = r#\"a\"b\"#; use crate::cli;", "store imports cli"),
        ("store/a.rs", "macro_rules! m { () => { $crate::cli::run() } }", "store imports cli"),
        ("store/a.rs", "fn f<'a>(x: &'a str) { use crate::cli; }", "store imports cli"),
        ("utils/a.rs", "", "utils has no place"),
        ("store/a.rs", "use crate::utils::x;", "utils has no place"),
        ("device/mod.rs", "async fn f() { tokio::spawn(g()); }", "device names tokio"),
        ("cli/serve.rs", "use hyper::Request;", "cli names hyper"),
        ("net/tls/session.rs", "use tokio_rustls::TlsAcceptor;", "net names tokio_rustls"),
        ("state/a.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("state/a.rs", &long, "600 lines"),
        ("main.rs", &longer_main, "66 lines"),
        // and what is right
        ("state/json.rs", "use super::id::ObjectId; use crate::state::path; use std::io;", ""),
        ("state/json.rs", "mod tests { use super::*; use crate::state::id; }", ""),
        ("trails/install.rs", "use crate::store::{ObjectStore, Sealed}; use crate::state::id;", ""),
        ("cli/serve.rs", "use crate::endpoint::serve; use crate::device::Device;", ""),
        ("endpoint/mod.rs", "use tokio::net::TcpListener; use crate::device::Device;", ""),
        ("state/a.rs", "// use crate::cli;\n/* use crate::cli; */ let a = \"use crate::cli;\";", ""),
        ("state/a.rs", "pub(crate) fn f() { let s = r\"crate::cli\"; let b = b\"unsafe\"; }", ""),
        ("state/a.rs", "#![forbid(unsafe_code)] // tokio, unsafe", ""),
        ("lib.rs", "pub mod cli; pub mod state;", ""),
        ("main.rs", "fn main() { pvr_agent::cli::main() }", ""),
    ];
    for (path, text, finding) in cases {
        let wrong = check(path, text).join("\n");
        let start = &text[..text.len().min(70)];
        if finding.is_empty() {
            assert_eq!(wrong, "", "{path}: {start}");
        } else {
            assert!(wrong.contains(finding), "{path}: {start}: expected {finding:?}, found {wrong:?}");
        }
    }
}
