//! `pvr dm-info`.

use super::context::Context;
use super::failure::Failure;
use super::{report, show};
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As one JSON document
    #[arg(long)]
    json: bool,
    /// A container, or container/volume [default: all that are tracked]
    #[arg(value_name = "CONTAINER[/VOLUME]")]
    which: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let which = args.which.first().map(String::as_str);
    let volumes = context.repo().dm_info(which).map_err(|error| Failure::coded(2, error))?;
    if args.json {
        return report::json(&volumes);
    }
    let mut text = String::new();
    for volume in &volumes {
        text.push_str(&format!("{}/{}\n", escape(&volume.container), escape(&volume.volume)));
        for (what, value) in [
            ("Data file", &*escape(&volume.data_device)),
            ("Hash file", &escape(&volume.hash_device)),
            ("UUID", &volume.uuid),
            ("Hash type", &volume.hash_type.to_string()),
            ("Data blocks", &volume.data_blocks.to_string()),
            ("Data block size", &volume.data_block_size.to_string()),
            ("Hash blocks", &volume.hash_blocks.to_string()),
            ("Hash block size", &volume.hash_block_size.to_string()),
            ("Hash algorithm", volume.algorithm),
            ("Salt", &volume.salt),
            ("Root hash", &volume.root_hash),
        ] {
            text.push_str(&format!("  {:<17}{value}\n", format!("{what}:")));
        }
    }
    show::print(&text)
}
