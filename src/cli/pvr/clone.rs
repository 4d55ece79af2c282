//! `pvr clone`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::context::{Context, clean};
use super::failure::Failure;
use super::working::Working;
use super::{report, show};
use crate::repo::{self, CheckoutAs, DEFAULT_SPEC, How, Place, Reference, RepoError, Step};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the objects [env: PVR_OBJECTS_DIR] [default: objects in the config folder]
    #[arg(short, long, value_name = "DIR")]
    objects: Option<String>,
    /// JSON files in canonical form [env: PVR_CANONICAL_JSON]
    #[arg(short, long)]
    canonical: bool,
    /// Kind of the state where only parts are cloned
    #[arg(short, long, default_value = DEFAULT_SPEC)]
    spec: String,
    /// Say what was done as one JSON document
    #[arg(long)]
    json: bool,
    /// Device, URL, user/device or another repository's .pvr, with #part,-part behind it; then the new folder
    #[arg(value_name = "REPO [DIR]")]
    args: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (text, target) = match args.args.as_slice() {
        [] => return Err(Failure::coded(2, "clone needs need repository argument. See --help")),
        [text] => (text, None),
        [text, target, ..] => (text, Some(target)),
    };
    let reference = context.reference(text).map_err(|error| Failure::coded(20, error))?;
    let reference = absolute(reference, text);
    let target = match target {
        Some(target) => PathBuf::from(target),
        None => PathBuf::from(default_target(&reference, text)),
    };
    let target = clean(&context.cwd.join(target));
    let pool = context.pool(args.objects.as_deref())?;
    let checkout_as = if args.canonical { CheckoutAs::Canonical } else { CheckoutAs::Pretty };
    let flags = report::Flags { dry_run: false, json: args.json };
    let (mut got, mut working) = (None, None);
    let fill = |repo: &repo::Repo| {
        got = Some(context.get(repo, &reference, How::Replace, flags).map_err(|error| Failed(7, error))?);
        working = Some(Working::begin("checking out"));
        Ok(())
    };
    let failed = |step, error| Failed(code(step), error);
    repo::clone(&target, &args.spec, &pool, context.limits, checkout_as, fill, failed)
        .map_err(|Failed(code, error)| Failure::coded(code, error))?;
    drop(working);
    if let (true, Some(got)) = (args.json, &got) {
        let state = repo::Repo::at(&target).with_json_limits(context.limits).pristine_or_empty();
        let state = state.map_err(|error| Failure::coded(8, error))?;
        let files = report::Files { linked: 0, copied: state.objects().count(), json: state.json().count() };
        return report::json(&Document {
            source: &reference.text,
            target: &target.to_string_lossy(),
            pool: &pool,
            objects: (&got.fetched).into(),
            files,
            state: (&got.changes).into(),
            warnings: &got.fetched.warnings,
        });
    }
    show::say(&format!("Successfully cloned: {}\n", repo::shown(&target)))
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    source: &'a str,
    target: &'a str,
    pool: &'a str,
    objects: report::Objects,
    files: report::Files,
    state: report::Changes<'a>,
    warnings: &'a [String],
}

/// An error and the code of the step that it happened in.
struct Failed(u8, RepoError);

impl From<RepoError> for Failed {
    fn from(error: RepoError) -> Self {
        Self(7, error)
    }
}

fn code(step: Step) -> u8 {
    match step {
        Step::Folder => 4,
        Step::Init => 6,
        Step::Checkout => 8,
        Step::Rename => 9,
    }
}

/// A path as it is remembered has to mean the same from within the new folder.
fn absolute(mut reference: Reference, text: &str) -> Reference {
    if let Place::Local(path) = &reference.place {
        let path = clean(path);
        if let Some(body) = path.to_str() {
            reference.text = match text.split_once('#') {
                Some((_, parts)) => format!("{body}#{parts}"),
                None => body.to_owned(),
            };
        }
        reference.place = Place::Local(path);
    }
    reference
}

/// The last part of the path; for a bare device, what was written.
fn default_target(reference: &Reference, text: &str) -> String {
    let body = text.split('#').next().unwrap_or_default();
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match &reference.place {
        Place::Local(path) if path.ends_with(".pvr") => path.parent().and_then(last),
        Place::Local(path) => last(path),
        Place::Remote(url) if body.contains('/') => last(Path::new(url.path())).or_else(|| Some(url.host().to_owned())),
        Place::Remote(_) => Some(body.to_owned()),
    };
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "pvr".to_owned())
}
