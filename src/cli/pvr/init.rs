//! `pvr init`.

use super::context::Context;
use super::failure::Failure;
use crate::repo::{DEFAULT_SPEC, Repo};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the objects [env: PVR_OBJECTS_DIR] [default: objects in the config folder]
    #[arg(short, long, value_name = "DIR")]
    objects: Option<String>,
    /// Kind of the state
    #[arg(short, long, default_value = DEFAULT_SPEC)]
    spec: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// Today's program says nothing and exits with 0 when there is a repository already; this one fails (`cli.md` §13.14).
pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let pool = context.pool(args.objects.as_deref())?;
    Repo::init(&context.cwd, &args.spec, &pool).map_err(|error| Failure::coded(3, error))?;
    Ok(())
}
