//! `pvr remoteinfo` and `pvr stepinfo`: what an endpoint says about itself, and about its step.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::net::Url;
use crate::repo::{Place, ReferenceError, RepoError};
use crate::state::canonical::to_canonical;
use crate::state::parse::parse_strict;
use crate::state::pretty::{Style, pretty};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The canonical form, on one line
    #[arg(short, long)]
    canonical: bool,
    /// Device, URL or user/device [default: where the repository came from]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The document behind `.pvrremote`.
    Remote,
    /// The step of its state.
    Step,
}

pub(super) fn run(context: &Context, args: &Args, about: About) -> Result<(), Failure> {
    let failed = |error: RepoError| Failure::coded(1, error);
    let remote = context.discover(&address(context, args.repo.first())?).map_err(failed)?;
    let text = match about {
        About::Step => {
            let step = remote.step(&context.limits).map_err(|error| failed(error.into()))?;
            if args.canonical { to_canonical(&step) } else { pretty(&step, Style::TABS) }
                .map_err(|error| failed(error.into()))?
        }
        About::Remote if args.canonical => {
            let bytes = serde_json::to_vec(remote.record()).map_err(|error| Failure::coded(1, error))?;
            let value = parse_strict(&bytes, &context.limits).map_err(|error| Failure::coded(1, error))?;
            to_canonical(&value).map_err(|error| failed(error.into()))?
        }
        About::Remote => {
            let mut bytes = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            remote
                .record()
                .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
                .map_err(|error| Failure::coded(1, error))?;
            // Outside of strings, JSON has none of these.
            let text = String::from_utf8_lossy(&bytes).replace('&', "\\u0026");
            text.replace('<', "\\u003c").replace('>', "\\u003e")
        }
    };
    show::print(&format!("{text}\n"))
}

/// Where to ask: what was given, or what is remembered.
fn address(context: &Context, given: Option<&String>) -> Result<Url, Failure> {
    let remembered;
    let text = match given.filter(|text| !text.is_empty()) {
        Some(text) => text,
        None => {
            let config = context.repo().config().map_err(|error| Failure::coded(1, error))?;
            let known = [config.default_get_url, config.default_put_url, config.default_post_url];
            remembered =
                known.into_iter().find(|url| !url.is_empty()).ok_or_else(|| Failure::coded(1, RepoError::NoDefault))?;
            &remembered
        }
    };
    let reference = context.remote_reference(text).map_err(|error| Failure::coded(7, error))?;
    match reference.place {
        Place::Remote(url) => Ok(url),
        Place::Local(_) => Err(Failure::coded(7, ReferenceError::Neither)),
    }
}
