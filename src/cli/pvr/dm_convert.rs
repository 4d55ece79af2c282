//! `pvr dm-convert`.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::{report, show};
use crate::dm::{Algorithm, BlockSize, HashType, ParamError, Salt, Uuid};
use crate::repo::{Making, Volume, shown};
use crate::state::escape;

/// How trees are made.
#[derive(Debug, clap::Args)]
pub(super) struct Tree {
    /// Salt in hex, or - for none [default: that of the volume's manifest, else a random one]
    #[arg(long, value_name = "HEX")]
    salt: Option<String>,
    /// Uuid of the tree [default: that of the volume's manifest, else a random one]
    #[arg(long, value_name = "UUID")]
    uuid: Option<String>,
    /// Salt and uuid come of the volume's sha256, so that one volume has one tree wherever it is converted
    #[arg(long)]
    reproducible: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: report::Flags,
    #[command(flatten)]
    tree: Tree,
    /// sha256, sha512 or sha1 [default: as it is, else sha256]
    #[arg(long, value_name = "NAME")]
    hash: Option<String>,
    /// Bytes of a data block, a power of two from 512 to 65536 [default: as it is, else 4096]
    #[arg(long, value_name = "BYTES")]
    data_block_size: Option<String>,
    /// Bytes of a hash block [default: as it is, else 4096]
    #[arg(long, value_name = "BYTES")]
    hash_block_size: Option<String>,
    /// Hash type: 1, or 0 as Chrome OS has it [default: as it is, else 1]
    #[arg(long, value_name = "TYPE")]
    format: Option<String>,
    /// The container and the file in it; or both in one: container/volume
    #[arg(value_name = "CONTAINER VOLUME")]
    args: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    container: &'a str,
    volume: &'a str,
    dry_run: bool,
    tree: report::Changes<'a>,
    warnings: &'a [String],
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (container, volume) = match args.args.as_slice() {
        [] => return Err(Failure::coded(2, "missing arguments, see --help")),
        [both] => {
            let parted = both.split_once('/').filter(|(_, volume)| !volume.is_empty());
            parted.ok_or_else(|| Failure::coded(3, "ERROR: volume could not be found; see --help"))?
        }
        [container, volume, ..] => (container.as_str(), volume.as_str()),
    };
    let making = making(args).map_err(|error| Failure::coded(2, error))?;
    let flags = args.flags;
    if !flags.json {
        show::print(&format!("container={} volume={}\n", escape(container), escape(volume)))?;
    }
    let converted =
        Volume::new(container, volume).and_then(|volume| context.repo().dm_convert(&volume, &making, flags.run()));
    let converted = converted.map_err(|error| Failure::coded(4, error))?;
    show::warn(&converted.warnings);
    if flags.json {
        let (tree, warnings) = (report::Changes::from(&converted.changes), converted.warnings.as_slice());
        return report::json(&Document { container, volume, dry_run: flags.dry_run, tree, warnings });
    }
    if flags.dry_run {
        return report::would_write(&converted.changes);
    }
    converted.updated.iter().try_for_each(|path| show::print(&format!("- Updated {}\n", shown(path))))
}

impl Tree {
    pub(super) fn making(&self) -> Result<Making, ParamError> {
        Ok(Making {
            salt: self.salt.as_deref().map(Salt::parse).transpose()?,
            uuid: self.uuid.as_deref().map(Uuid::parse).transpose()?,
            reproducible: self.reproducible,
            ..Making::default()
        })
    }
}

fn making(args: &Args) -> Result<Making, ParamError> {
    // What is no number is a number that is nothing.
    let number = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap_or(u64::MAX));
    Ok(Making {
        algorithm: args.hash.as_deref().map(Algorithm::parse).transpose()?,
        data_block: number(&args.data_block_size).map(BlockSize::new).transpose()?,
        hash_block: number(&args.hash_block_size).map(BlockSize::new).transpose()?,
        hash_type: number(&args.format).map(HashType::new).transpose()?,
        ..args.tree.making()?
    })
}
