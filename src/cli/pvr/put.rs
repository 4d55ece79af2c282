//! `pvr put`, and `push`.

use super::context::Context;
use super::failure::Failure;
use super::show::{self, Progress};
use crate::remote::Resend;
use crate::repo::{Place, RepoError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Send objects again that the other side has
    #[arg(short, long)]
    force: bool,
    /// Device, URL, user/device or another repository's .pvr [default: where it was put before]
    #[arg(value_name = "TARGET")]
    target: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let repo = context.repo();
    let failed = |error: RepoError| Failure::coded(4, error);
    let remembered;
    let text = match args.target.as_slice() {
        [_, _, ..] => return Err(Failure::coded(2, "Push can have at most 1 argument. See --help.")),
        [text] if !text.is_empty() => text,
        _ => {
            remembered = repo.config().map_err(failed)?.default_put_url;
            if remembered.is_empty() {
                return Err(failed(RepoError::NoDefault));
            }
            &remembered
        }
    };
    let reference = context.reference(text).map_err(|error| failed(error.into()))?;
    match &reference.place {
        Place::Local(path) => {
            let mut copied = |key: &crate::state::StatePath, cached: bool| {
                show::tell(&format!("{} [OK{}]", show::label(key), if cached { " cache" } else { "" }));
            };
            repo.put_local(path, &mut copied).map(drop).map_err(failed)
        }
        Place::Remote(url) => {
            let remote = context.discover(url).map_err(failed)?;
            let resend = if args.force { Resend::Force } else { Resend::No };
            repo.put(&remote, &reference.text, resend, &Progress::new(), &mut show::synched).map_err(failed)
        }
    }
}
