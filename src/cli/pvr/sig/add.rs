//! `pvr sig add`.

use std::collections::BTreeSet;

use super::Group;
use super::keys::Signer;
use super::made::{self, Made};
use crate::cli::pvr::context::Context;
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::{report, show};
use crate::repo::Status;
use crate::sig::glob::Glob;
use crate::sig::jws::Document;
use crate::sig::payload::Selection;
use crate::sig::sign::{About, DEFAULT_EXCLUDE, DEFAULT_INCLUDE};
use crate::state::{Object, escape};

/// How everything ends that is not a wrong use of flags.
const CODE: u8 = 127;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Sign this part of the state, and its configuration
    #[arg(short, long, value_name = "PART")]
    part: Option<String>,
    /// Sign each of these parts with a signature of its own: names with commas between them, or patterns
    #[arg(long, value_name = "PARTS", action = clap::ArgAction::Append)]
    parts: Vec<String>,
    /// Sign what --include and --exclude select, under this name
    #[arg(short, long, value_name = "NAME")]
    raw: Option<String>,
    /// What is covered; again for more [default: **]
    #[arg(short, long, value_name = "GLOB", action = clap::ArgAction::Append)]
    include: Vec<String>,
    /// What is not; again for more [default: src.json]
    #[arg(short, long, value_name = "GLOB", action = clap::ArgAction::Append)]
    exclude: Vec<String>,
    /// Leave out _config/PART
    #[arg(short, long)]
    noconfig: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(super) fn run(context: &Context, group: &Group, args: &Args) -> Result<(), Failure> {
    let part = args.part.as_deref().filter(|name| !name.is_empty());
    let raw = args.raw.as_deref().filter(|name| !name.is_empty());
    let usage = |text: &str| Failure::coded(5, format!("ERROR: {text}; see --help"));
    match (part, raw, args.parts.is_empty()) {
        (None, None, true) => return Err(usage("no part nor raw name provided")),
        (Some(_), Some(_), _) => return Err(usage("part and raw flag cannot be used at same time")),
        (None, None, false) | (Some(_), None, true) | (None, Some(_), true) => {}
        _ => return Err(usage("parts cannot be used together with part or raw")),
    }
    made::check(group, args.flags, CODE)?;
    let failed = |error: &dyn std::fmt::Display| Failure::coded(CODE, error);
    let repo = context.repo();
    let signer = Signer::read(context, group, CODE)?;
    let state = repo.signed_state().map_err(|error| failed(&error))?;
    let config = !args.noconfig;
    let names = parts(&state, &args.parts)?;
    let abouts: Vec<About<'_>> = match (part, raw) {
        (Some(name), _) => vec![About::Part { name, config }],
        (_, Some(name)) => vec![About::Raw { name }],
        _ => names.iter().map(|name| About::Part { name, config }).collect(),
    };
    let or = |given: &[String], otherwise: &str| {
        if given.is_empty() { vec![otherwise.to_owned()] } else { given.to_vec() }
    };
    let (include, exclude) = (or(&args.include, DEFAULT_INCLUDE), or(&args.exclude, DEFAULT_EXCLUDE));
    // All of them are made before the first is written.
    let (mut files, mut signatures, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for about in &abouts {
        let key = about.key().map_err(|error| failed(&error))?;
        let patterns = about.patterns(&include, &exclude).map_err(|error| failed(&error))?;
        let selection = Selection::of(&state, &patterns).map_err(|error| failed(&error))?;
        if selection.selected.is_empty() {
            warnings.push(format!("{key} covers nothing: no key of the committed state fits, and devices refuse it"));
        }
        let payload = selection.payload(&state).map_err(|error| failed(&error))?;
        let document = Document::sign(&signer.key, &patterns, signer.x5c.as_deref(), payload.as_bytes());
        let document = document.map_err(|error| failed(&error))?;
        let text = document.write(group.with_payload.then_some(payload.as_bytes()));
        signatures.push(Made::new(&key, &document, selection));
        files.push((key, text));
    }
    show::warn(&warnings);
    let (run, mut changes) = (args.flags.run(), Status::default());
    for (key, text) in &files {
        repo.write_signature(key, text, run, &mut changes).map_err(|error| failed(&error))?;
    }
    files.iter().try_for_each(|(_, text)| group.also(context, text, run, CODE))?;
    made::print(args.flags, &changes, &signatures, &warnings)
}

/// The parts of the state that are named: its top-level folders but `_sigs`, `_config` and the like.
fn parts(state: &Object, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let folders = state.keys().filter_map(|key| key.split_once('/')).map(|(folder, _)| folder);
    let parts: BTreeSet<&str> = folders.filter(|folder| !folder.starts_with('_')).collect();
    let mut found = BTreeSet::new();
    for name in wanted.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        let glob = Glob::parse(name).map_err(|error| Failure::coded(CODE, error))?;
        let fit: Vec<_> = parts.iter().filter(|part| **part == name || glob.matches(part)).collect();
        if fit.is_empty() {
            return Err(Failure::coded(CODE, format!("the committed state has no part \"{}\"", escape(name))));
        }
        found.extend(fit.into_iter().map(|part| (*part).to_owned()));
    }
    Ok(found.into_iter().collect())
}
