//! `pvr sig ls`.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Group, check, keys};
use crate::cli::pvr::context::Context;
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::show;
use crate::cli::secureboot;
use crate::repo::{Repo, signatures};
use crate::sig::base64;
use crate::sig::jws::{Document, JwsError};
use crate::sig::verify::{VerifyError, verify};
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, StatePath, escape};

const CODE: u8 = 13;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the signatures as well [env: PVR_SIG_LS_WITH_SIGS]
    #[arg(short = 's', long, alias = "with-sig")]
    with_sigs: bool,
    /// Show what a device makes of all signatures of the committed state, and which keys it selects otherwise than pvr
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    oem: secureboot::Oem,
    /// Taken for scripts, and means nothing
    #[arg(short, long, value_name = "PART", hide = true)]
    part: Option<String>,
    /// Which signatures, by their name or their file [default: all of the committed state]
    #[arg(value_name = "NAME|FILE.json")]
    names: Vec<String>,
}

/// What is printed. The order of the members is that of today's program.
#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    protected: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    excluded: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    notseen: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sigs: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    protected: String,
    signature: String,
}

pub(super) fn run(context: &Context, group: &Group, args: &Args) -> Result<(), Failure> {
    if args.device {
        return check::ls_device(context, group, &args.oem);
    }
    let repo = context.repo();
    let trust = keys::trust(context, group)?;
    let at = group.time()?;
    let state = repo.signed_state().map_err(|error| Failure::coded(CODE, error))?;
    let wanted = wanted(&repo, &state, &args.names)?;
    if wanted.is_empty() {
        show::tell("WARNING: the committed state has no signatures: nothing is protected");
    }
    let mut summary = Summary::default();
    for key in &wanted {
        let document = document(&repo, &state, key, &context.limits)?;
        let verified = verify(&state, &document, &trust, at).map_err(|error| match error {
            VerifyError::Wrong { .. } | VerifyError::NoKey(_) => Failure::coded(CODE, format!("{error}\nin {key}")),
            error => Failure::coded(CODE, error),
        })?;
        if args.with_sigs {
            summary.sigs.push(Shown {
                payload: group.with_payload.then(|| base64::url(verified.payload.as_bytes())),
                protected: document.protected,
                signature: base64::url(&document.signature),
            });
        }
        summary.protected.extend(verified.selection.selected);
        summary.excluded.extend(verified.selection.excluded);
        summary.notseen.extend(verified.selection.not_seen);
    }
    summary.excluded.retain(|key| !summary.protected.contains(key));
    summary.notseen.retain(|key| !summary.protected.contains(key) && !summary.excluded.contains(key));
    show::print(&format!("{}\n", spell(&summary)?))
}

/// The signatures that are asked for.
fn wanted(repo: &Repo, state: &Object, names: &[String]) -> Result<Vec<StatePath>, Failure> {
    if names.is_empty() {
        return Ok(signatures(state).filter_map(|(key, _)| StatePath::parse(key).ok()).collect());
    }
    let path = |name: &String| {
        let path = if name.ends_with(".json") { name.clone() } else { format!("_sigs/{name}.json") };
        repo.key_of(&path).ok_or_else(|| {
            let path = escape(&path);
            Failure::coded(
                CODE,
                format!("{path} is no file of this working copy: a signature is a part of what it signs"),
            )
        })
    };
    names.iter().map(path).collect()
}

/// A signature as it lies in the working tree. That the committed one is another is worth a word.
fn document(repo: &Repo, state: &Object, key: &StatePath, limits: &JsonLimits) -> Result<Document, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::coded(CODE, error);
    let missing = || Failure::coded(125, format!("ERROR: signature file does not exist with name {key}"));
    let bytes = repo.signature_file(key).map_err(|error| failed(&error))?.ok_or_else(missing)?;
    let value = parse_strict(&bytes, limits).map_err(|error| failed(&format!("{key}: {error}")))?;
    if state.get(key.as_str()).is_some_and(|committed| *committed != value) {
        show::tell(&format!("WARNING: {key} of the working tree is verified; the committed one is another"));
    }
    Document::from_value(&value).map_err(|error| match error {
        JwsError::NoSpec | JwsError::Spec => failed(&error),
        error => failed(&format!("{key}: {error}")),
    })
}

/// JSON as today's program writes it: four blanks, and what HTML acts upon escaped. That only stands in strings.
fn spell(summary: &Summary) -> Result<String, Failure> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, format);
    summary.serialize(&mut writer).map_err(|error| Failure::coded(CODE, error))?;
    let mut text = String::with_capacity(out.len());
    for c in String::from_utf8_lossy(&out).chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    Ok(text)
}
