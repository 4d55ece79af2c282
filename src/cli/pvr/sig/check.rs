//! `pvr sig check`: whether a device would take a state, and `pvr sig ls --device`: what it makes of the signatures.
//!
//! Exit codes: 0 it would, 1 it would not, 2 that cannot be told.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use super::Group;
use crate::cli::pvr::context::Context;
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::{report, show};
use crate::cli::secureboot;
use crate::sig::device::compare::{Disagreement, disagreements};
use crate::sig::device::{Answer, Clock, Policy, Trust, Verdict, verify};
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mode of the device: disabled, lenient, audit or strict; or hardened, which also refuses what strict lets
    /// through
    #[arg(long, value_name = "P", default_value = "lenient")]
    policy: String,
    /// The certificates that the device trusts (PEM), and its own public key; as before the command
    #[arg(short, long, value_name = "FILE")]
    cacerts: Option<String>,
    #[command(flatten)]
    oem: secureboot::Oem,
    /// The clock is right: certificates may be out of their dates (hardened). The same as --at with the time it is
    #[arg(long)]
    clock_is_right: bool,
    /// Say it as one JSON document
    #[arg(long)]
    json: bool,
    /// A file with the state as it is on the device, - for standard input [default: the committed state]
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

pub(super) fn run(context: &Context, group: &Group, args: &Args) -> Result<(), Failure> {
    let untold = |error: anyhow::Error| Failure::coded(2, format!("{error:#}"));
    let policy = secureboot::policy("--policy", &args.policy).map_err(untold)?;
    let state = match &args.file {
        Some(file) => given(context, file)?,
        None => committed(context)?,
    };
    let trust = trust(context, group, args.cacerts.as_deref(), &args.oem)?;
    let clock = match args.clock_is_right || group.at.is_some() {
        true => Clock::Right(group.time()?),
        false => Clock::Unknown,
    };
    let verdict = verify(&state, &trust.clone().unwrap_or_default(), policy, clock);
    if trust.is_none() && !verdict.signatures.is_empty() {
        return Err(Failure::coded(2, nobody(context)));
    }
    let summary = match (verdict.accepted, policy) {
        (true, Policy::Hardened) => "a device takes this state, and hardened has nothing against it".to_owned(),
        (false, Policy::Hardened) => "hardened does not take this state".to_owned(),
        (true, policy) => format!("a device in {policy} takes this state"),
        (false, policy) => format!("a device in {policy} does not take this state"),
    };
    match args.json {
        true => report::json(&verdict)?,
        false => show::print(&text(&verdict, &summary))?,
    }
    if verdict.accepted { Ok(()) } else { Err(Failure::coded(1, summary)) }
}

/// What a device makes of the committed state, and where `pvr` selects something else.
#[derive(Serialize)]
struct Device {
    /// Mode → what it answers.
    modes: BTreeMap<&'static str, Answer>,
    verdict: Verdict,
    disagreements: Vec<Disagreement>,
}

pub(super) fn ls_device(context: &Context, group: &Group, oem: &secureboot::Oem) -> Result<(), Failure> {
    let state = committed(context)?;
    let trust = trust(context, group, None, oem)?;
    let verdict = |policy| verify(&state, &trust.clone().unwrap_or_default(), policy, Clock::Unknown);
    let modes = [Policy::Disabled, Policy::Lenient, Policy::Audit, Policy::Strict];
    let modes: BTreeMap<_, _> = modes.into_iter().map(|policy| (policy.name(), verdict(policy).device)).collect();
    let verdict = verdict(Policy::Strict);
    if trust.is_none() && !verdict.signatures.is_empty() {
        return Err(Failure::coded(2, nobody(context)));
    }
    let disagreements = disagreements(&state)
        .map_err(|_| Failure::coded(2, "there are too many patterns and keys to compare all of them"))?;
    let taken = modes.get(Policy::Lenient.name()) == Some(&Answer::Accepted);
    let text = serde_json::to_string(&Device { modes, verdict, disagreements });
    let text = text.map_err(|error| Failure::coded(2, error))?;
    show::print(&format!("{}\n", indented(&text)?))?;
    if taken { Ok(()) } else { Err(Failure::coded(13, "a device would not take these signatures")) }
}

/// As `ls` prints its summary.
fn indented(text: &str) -> Result<String, Failure> {
    use crate::state::pretty::{Style, pretty};
    let limits = crate::state::JsonLimits { bytes: text.len(), depth: 64 };
    let value = crate::state::parse::parse_strict(text.as_bytes(), &limits);
    let value = value.map_err(|error| Failure::coded(2, error))?;
    pretty(&value, Style::WORKING_TREE).map_err(|error| Failure::coded(2, error))
}

fn text(verdict: &Verdict, summary: &str) -> String {
    let mut text = String::new();
    for signature in &verdict.signatures {
        let algorithm = signature.algorithm.map_or("?", |algorithm| algorithm.name());
        let signer = match (&signature.failure, signature.chain.as_slice()) {
            (None, chain @ [_, ..]) => chain.join(" < "),
            _ => signature.signer.clone().unwrap_or_else(|| "nobody knows whom".to_owned()),
        };
        let state = if signature.failure.is_none() { "good" } else { "BAD" };
        text.push_str(&format!("{}: {algorithm} by {}: {state}\n", escape(&signature.key), escape(&signer)));
    }
    for line in verdict.lines() {
        text.push_str(&format!("refused: {line}\n"));
    }
    text + summary + "\n"
}

/// The committed state as it would be on a device.
fn committed(context: &Context) -> Result<Vec<u8>, Failure> {
    let state = context.repo().signed_state().map_err(|error| Failure::coded(2, error))?;
    let text = crate::state::canonical::to_canonical(&crate::state::Value::Object(state));
    Ok(text.map_err(|error| Failure::coded(2, error))?.into_bytes())
}

fn given(context: &Context, file: &str) -> Result<Vec<u8>, Failure> {
    let limit = context.limits.bytes as u64;
    if file != "-" {
        return secureboot::read(&context.cwd.join(file), limit).map_err(|e| Failure::coded(2, format!("{e:#}")));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::coded(2, format!("read standard input: {error}")))?;
    match bytes.len() as u64 > limit {
        true => Err(Failure::coded(2, format!("standard input has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Whom the device trusts; none where nobody said so and there is no default.
fn trust(
    context: &Context,
    group: &Group,
    given: Option<&str>,
    oem: &secureboot::Oem,
) -> Result<Option<Trust>, Failure> {
    let named = given.or(group.cacerts.as_deref());
    if let Some(system) = named.filter(|file| file.trim_matches('_') == "system") {
        let text =
            format!("{system}: a device trusts a store of its own, not that of a system\ngive its file with --cacerts");
        return Err(Failure::coded(2, text));
    }
    let untold = |error: anyhow::Error| Failure::coded(2, format!("{error:#}"));
    let default = context.config_dir.join("pvs/cacerts.default.pem");
    let file = named.map(|file| context.cwd.join(file)).or_else(|| default.is_file().then_some(default));
    let trust = file.map(|file| secureboot::trust(&file)).transpose().map_err(untold)?;
    match oem.maker(&context.cwd) {
        // A device may trust its maker alone.
        Some(maker) => maker.trusted_beside(trust.unwrap_or_default()).map(Some).map_err(untold),
        None => Ok(trust),
    }
}

fn nobody(context: &Context) -> String {
    let default = context.config_dir.join("pvs/cacerts.default.pem");
    format!(
        "nothing says whom the device trusts: there is no {}\n\
         give the certificates with --cacerts; on a device they are /etc/pantavisor/pvs/trust/ca-certificates.crt",
        crate::repo::shown(&default)
    )
}
