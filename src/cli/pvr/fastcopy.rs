//! `pvr fastcopy`: parts of one device's state to another device, without moving an object.

use super::context::Context;
use super::failure::Failure;
use super::show;
use super::working::Working;
use crate::net::Url;
use crate::remote::Resend;
use crate::repo::{Place, PostOptions, Reference, ReferenceError, RepoError};
use crate::trails::Verity;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Further members of the document that is posted, as a JSON object
    #[arg(short, long, value_name = "JSON")]
    envelope: Option<String>,
    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    commit_msg: Option<String>,
    /// Name of the revision: locals/<name>; -1 leaves it to the device
    #[arg(long, default_value = "-1", allow_hyphen_values = true)]
    rev: String,
    /// No object is sent, so that there is nothing to send again: accepted for scripts
    #[arg(short, long, hide = true)]
    force: bool,
    /// Keep what the destination has in these parts, and the source has not
    #[arg(long)]
    merge: bool,
    /// Device, URL or user/device, with #part,part behind it: where from, then where to
    #[arg(value_name = "SOURCE DESTINATION")]
    places: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let [source, destination] = args.places.as_slice() else {
        return Err(Failure::plain("fastcopy must have exacty 2 arguments. See --help"));
    };
    let failed = |error: RepoError| Failure::coded(3, error).also_on_stdout();
    let (source, from) = place(context, source, 7)?;
    let (destination, to) = place(context, destination, 8)?;
    let options = PostOptions {
        envelope: args.envelope.clone().filter(|envelope| !envelope.is_empty()),
        commit_msg: args.commit_msg.clone().filter(|message| !message.is_empty()),
        rev: args.rev.clone(),
        verity: Verity::Check,
        resend: Resend::No,
    };
    let (source, destination) = context.discover_both(&source, &destination).map_err(failed)?;
    let _working = Working::begin("copying");
    let posted = crate::repo::fast_copy((&source, &from), (&destination, &to), args.merge, &options, &context.limits)
        .map_err(failed)?;
    show::posted(&posted);
    Ok(())
}

fn place(context: &Context, text: &str, code: u8) -> Result<(Url, Vec<String>), Failure> {
    let Reference { place, names, .. } = context.remote_reference(text).map_err(|error| Failure::coded(code, error))?;
    match place {
        Place::Remote(url) => Ok((url, names)),
        Place::Local(_) => Err(Failure::coded(code, ReferenceError::Neither)),
    }
}
