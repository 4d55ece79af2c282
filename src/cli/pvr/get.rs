//! `pvr get`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::repo::RepoError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Device, URL, user/device or another repository's .pvr, with #part,-part behind it [default: where it came from]
    #[arg(value_name = "REPO")]
    repo: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let repo = context.repo();
    let failed = |error: RepoError| Failure::coded(3, error);
    let remembered;
    let text = match args.repo.as_slice() {
        [_, _, ..] => return Err(Failure::plain("Get can have at most 1 argument. See --help.")),
        [text] if !text.is_empty() => text,
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
    let got = context.get(&repo, &reference).map_err(failed)?;
    show::print(&format!(
        "\nImported {} objects to {}\n\n\nRun pvr checkout to checkout the changed files into the workspace.\n",
        got.objects,
        crate::repo::shown(&got.pool),
    ))
}
