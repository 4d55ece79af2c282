//! `pvr sig update`.

use super::Group;
use super::keys::Signer;
use super::made::{self, Made};
use crate::cli::pvr::context::Context;
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::{report, show};
use crate::repo::{Repo, Status, signatures};
use crate::sig::glob::Glob;
use crate::sig::jws::Document;
use crate::sig::payload::Selection;
use crate::state::{Object, StatePath};

const CODE: u8 = 126;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Which signatures, by their name or a pattern for their file [default: all in _sigs]
    #[arg(value_name = "NAME|GLOB.json")]
    names: Vec<String>,
}

pub(super) fn run(context: &Context, group: &Group, args: &Args) -> Result<(), Failure> {
    made::check(group, args.flags, CODE)?;
    let repo = context.repo();
    let given = |name: &String| match name.strip_suffix(".json") {
        // A file may be named from anywhere.
        Some(_) => repo.key_of(name).map_or_else(|| name.clone(), |key| key.as_str().to_owned()),
        None => format!("_sigs/{name}.json"),
    };
    let patterns: Vec<String> = match args.names.as_slice() {
        [] => vec!["_sigs/*.json".to_owned()],
        names => names.iter().map(given).collect(),
    };
    let globs = patterns.iter().map(|pattern| Glob::parse(pattern)).collect::<Result<Vec<_>, _>>();
    let globs = globs.map_err(|error| Failure::coded(CODE, error))?;
    let state = repo.signed_state().map_err(|error| Failure::coded(CODE, error))?;
    let wanted = signatures(&state).map(|(key, _)| key).filter(|key| globs.iter().any(|glob| glob.matches(key)));
    let wanted: Vec<StatePath> = wanted.filter_map(|key| StatePath::parse(key).ok()).collect();
    let (run, mut changes, mut signatures) = (args.flags.run(), Status::default(), Vec::new());
    if !wanted.is_empty() {
        let signer = Signer::read(context, group, CODE)?;
        for key in &wanted {
            let done = again(&repo, &state, &signer, group, key).and_then(|(text, made)| {
                let written = repo.write_signature(key, &text, run, &mut changes);
                written.map_err(|error| Failure::coded(CODE, format!("{key}: {error}")))?;
                Ok((text, made))
            });
            if !args.flags.dry_run {
                let word = if done.is_ok() { "DONE" } else { "ERROR" };
                show::tell(&format!("Updating pvs signature @ {key} [{word}]"));
            }
            let (text, made) = done?;
            group.also(context, &text, run, CODE)?;
            signatures.push(made);
        }
    }
    made::print(args.flags, &changes, &signatures, &[])
}

/// Signs what a signature covers by now.
fn again(
    repo: &Repo,
    state: &Object,
    signer: &Signer,
    group: &Group,
    key: &StatePath,
) -> Result<(String, Made), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::coded(CODE, format!("{key}: {error}"));
    let bytes = repo.signature_file(key).map_err(|error| failed(&error))?;
    let bytes = bytes.ok_or_else(|| failed(&"it is not in the working tree"))?;
    let old = Document::parse(&bytes, &crate::state::JsonLimits::default()).map_err(|error| failed(&error))?;
    let patterns = old.header.patterns;
    let selection = Selection::of(state, &patterns).map_err(|error| failed(&error))?;
    if selection.selected.iter().any(|selected| selected == key.as_str()) {
        return Err(failed(
            &"it covers itself, and can never be right once it is committed\nmake it anew with sig add, which leaves it out",
        ));
    }
    let payload = selection.payload(state).map_err(|error| failed(&error))?;
    let new = Document::sign(&signer.key, &patterns, signer.x5c.as_deref(), payload.as_bytes());
    let new = new.map_err(|error| failed(&error))?;
    let text = new.write(group.with_payload.then_some(payload.as_bytes()));
    Ok((text, Made::new(key, &new, selection)))
}
