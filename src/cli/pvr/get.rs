//! `pvr get`.

use super::context::Context;
use super::failure::Failure;
use super::report;
use crate::repo::{How, RepoError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    /// Device, URL, user/device, an export or another repository's .pvr, with #part,-part behind it [default: where it
    /// came from]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.repo.len() > 1 {
        return Err(Failure::plain("Get can have at most 1 argument. See --help."));
    }
    take(context, args.repo.first(), args.flags, How::Replace)
}

/// `get` and `merge`.
pub(super) fn take(context: &Context, repo: Option<&String>, flags: report::Flags, how: How) -> Result<(), Failure> {
    let given = repo;
    let repo = context.repo();
    let failed = |error: RepoError| Failure::coded(3, error);
    let remembered;
    let text = match given {
        Some(text) if !text.is_empty() => text,
        _ => {
            let config = repo.config().map_err(failed)?;
            // Today's program takes the put address even after a get from elsewhere (`cli.md` §13.13).
            let known = [config.default_get_url, config.default_put_url].into_iter().find(|url| !url.is_empty());
            remembered = known.ok_or_else(|| failed(RepoError::NoDefault))?;
            &remembered
        }
    };
    let reference = context.reference(text).map_err(|error| Failure::coded(1, error))?;
    if repo.pristine().map_err(failed)?.is_none() {
        return Err(failed(RepoError::NotARepo(context.cwd.clone())));
    }
    let got = context.get(&repo, &reference, how, flags).map_err(failed)?;
    let done = format!(
        "\nImported {} objects to {}\n\n\nRun pvr checkout to checkout the changed files into the workspace.\n",
        got.fetched.objects,
        crate::repo::shown(&got.pool),
    );
    report::print(flags, Some(text), &got.pool, &got.fetched, &got.changes, &done)
}
