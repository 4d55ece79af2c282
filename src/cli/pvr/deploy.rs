//! `pvr deploy`.

use serde::Serialize;

use super::context::{Context, clean};
use super::failure::Failure;
use super::report;
use super::show::{self, Progress};
use super::working::Working;
use crate::cli::secureboot;
use crate::remote::Observer;
use crate::repo::{Deploy, DeployStep, Deployed, Overlay, Place, Reference, Run, Source, Untracked};
use crate::state::{PartSelection, StatePath, escape};
use crate::trails::{Checks, Verity};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Replace the state of the folder, or its parts, by each given one; without, each is merged into it
    #[arg(short, long)]
    nomerge: bool,
    /// Remove all files of the folder that no state names; without, only those of earlier deploys
    #[arg(long)]
    clean: bool,
    /// Check that the volumes of dm-verity are what their manifests say; if one is not, nothing is deployed
    #[arg(long)]
    verity_check: bool,
    /// Deploy only a state whose signatures this policy takes: disabled, lenient, audit, strict or hardened [default:
    /// lenient with --cacerts, disabled without]
    #[arg(long, value_name = "P")]
    policy: Option<String>,
    /// The certificates (PEM) that signatures may be by
    #[arg(long, value_name = "FILE")]
    cacerts: Option<PathBuf>,
    #[command(flatten)]
    oem: secureboot::Oem,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Say what was done as one JSON document
    #[arg(long)]
    json: bool,
    /// The folder; then repositories as for get, each with #part,-part behind it [default: the current folder's]
    #[arg(value_name = "DIR [REPO…]")]
    args: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let [folder, sources @ ..] = args.args.as_slice() else {
        return Err(Failure::coded(101, "Deploy needs at least 1 argument. See --help."));
    };
    let say = |line: &str| if args.json { Ok(()) } else { show::say(&format!("{line}\n")) };
    let failed = |step, error: &dyn std::fmt::Display| Failure::coded(code(step), error);
    let own = context.cwd.join(".pvr");
    if sources.is_empty() && !own.join("json").is_file() {
        let text = "Deploy to have a repository as second argument or be run from inside a local pvr working copy. See --help.";
        return Err(Failure::coded(102, text));
    }
    let demands = secureboot::given(
        args.policy.as_deref(),
        args.cacerts.as_deref().map(|file| context.cwd.join(file)),
        args.oem.maker(&context.cwd).as_ref(),
    )
    .map_err(|error| failed(DeployStep::Target, &format!("{error:#}")))?;
    say("Starting deployment ...")?;
    let overlay = if args.nomerge { Overlay::Replace } else { Overlay::Merge };
    let untracked = if args.clean { Untracked::Remove } else { Untracked::Keep };
    let run = if args.dry_run { Run::Dry } else { Run::Really };
    let target = clean(&context.cwd.join(folder));
    let pool = context.config_pool()?;
    let mut deploy = Deploy::open(&target, &pool, overlay, untracked, context.limits, run)
        .map_err(|error| failed(DeployStep::Target, &error))?
        .demanding(demands);
    if args.verity_check {
        deploy = deploy.with_checks(Checks { verity: Verity::Check });
    }
    // Today's program says so of every folder.
    say("... initializing deploy repository ...")?;
    if sources.is_empty() {
        let text = own.to_string_lossy().into_owned();
        say(&format!("   - deploying single {}", escape(&text)))?;
        let reference = Reference { place: Place::Local(own), parts: PartSelection::all(), names: Vec::new(), text };
        take(context, &mut deploy, &reference, &reference.text, args.json)?;
    }
    for text in sources {
        let reference = context.reference(text).map_err(|error| Failure::coded(7, error))?;
        let remembered = fixed_up(&reference.text);
        say(&format!("   - deploying {}", escape(&remembered)))?;
        take(context, &mut deploy, &reference, &remembered, args.json)?;
    }
    let mut unheard = Ok(());
    let mut step = |step| {
        let line = match step {
            DeployStep::Cleanup => "... Cleanup repo ...",
            DeployStep::Files => "... deploying hardlinks ...",
            DeployStep::BootLinks => "... deploying .pv/ links...",
            DeployStep::Target | DeployStep::Source => return,
        };
        if unheard.is_ok() {
            unheard = say(line);
        }
    };
    let working = Working::begin("deploying");
    let deployed = deploy.finish(&mut step).map_err(|(step, error)| failed(step, &error))?;
    drop(working);
    unheard?;
    if args.json {
        return report::json(&Document::of(&deployed));
    }
    if args.dry_run {
        return show::print(&would(&deployed));
    }
    say(&format!("Deployment finished. Now now available at: {}", escape(folder)))
}

fn take(context: &Context, deploy: &mut Deploy, reference: &Reference, uri: &str, quiet: bool) -> Result<(), Failure> {
    let progress = Progress::beside(quiet);
    let observer: &dyn Observer = &progress;
    let mut copied = |key: &StatePath, cached: bool| {
        show::note(&format!("{} [OK{}]", show::label(key), if cached { " cache" } else { "" }));
    };
    let mut take = |source: &Source<'_>| deploy.take(source, uri, &reference.parts, observer, &mut copied);
    let taken = match &reference.place {
        Place::Local(path) => {
            let _working = Working::begin("getting");
            take(&Source::Local(path))
        }
        Place::Remote(url) => context.discover(url).and_then(|remote| take(&Source::Remote(&remote))),
    };
    let warnings = taken.map_err(|error| Failure::coded(code(DeployStep::Source), error))?;
    show::warn(&warnings);
    Ok(())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    target: &'a str,
    sources: &'a [String],
    dry_run: bool,
    objects: report::Objects,
    files: report::Files,
    state: report::Changes<'a>,
    /// Names in `.pv/`.
    boot: &'a [String],
    /// Untracked files that stay, and all files that go.
    kept: &'a [String],
    removed: &'a [String],
    warnings: &'a [String],
}

impl<'a> Document<'a> {
    fn of(deployed: &'a Deployed) -> Self {
        let Deployed { added, reused, bytes, linked, copied, json, .. } = deployed;
        Self {
            target: &deployed.target,
            sources: &deployed.sources,
            dry_run: deployed.dry_run,
            objects: report::Objects { added: added.clone(), reused: *reused, linked: 0, bytes: *bytes },
            files: report::Files { linked: *linked, copied: *copied, json: *json },
            state: (&deployed.changes).into(),
            boot: &deployed.boot,
            kept: &deployed.kept,
            removed: &deployed.removed,
            warnings: &deployed.warnings,
        }
    }
}

/// Today's exit codes.
fn code(step: DeployStep) -> u8 {
    match step {
        DeployStep::Target => 5,
        DeployStep::Source => 6,
        DeployStep::Files => 8,
        DeployStep::Cleanup => 9,
        DeployStep::BootLinks => 10,
    }
}

/// A reference as today's program writes it: `/` and `#` of the selection as escapes (`cli.md` §6).
fn fixed_up(text: &str) -> String {
    match text.split_once('#') {
        Some((body, parts)) if !text.contains("://") => {
            format!("{body}#{}", parts.replace('#', "%23").replace('/', "%2F"))
        }
        _ => text.to_owned(),
    }
}

fn would(deployed: &Deployed) -> String {
    let mut text = report::Changes::from(&deployed.changes).lines();
    let groups =
        [("would link .pv/", &deployed.boot), ("would keep ", &deployed.kept), ("would remove ", &deployed.removed)];
    for (what, names) in groups {
        names.iter().for_each(|name| text.push_str(&format!("{what}{}\n", escape(name))));
    }
    let Deployed { added, reused, linked, copied, json, .. } = deployed;
    let bytes = deployed.bytes.map_or_else(String::new, |bytes| format!(" ({bytes} bytes)"));
    text + &format!("Would deploy {linked} hardlinks, {copied} copies and {json} JSON files\n")
        + &format!("{} objects{bytes} would come into the pool, {reused} are there\n", added.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_remembered_as_recorded() {
        for (text, remembered) in [
            ("src/.pvr", "src/.pvr"),
            ("../app1.tgz#app1,_config/app1", "../app1.tgz#app1,_config%2Fapp1"),
            ("a/.pvr#-app1/,app1#x", "a/.pvr#-app1%2F,app1%23x"),
            ("http://h/x#a/b", "http://h/x#a/b"),
        ] {
            assert_eq!(fixed_up(text), remembered);
        }
    }
}
