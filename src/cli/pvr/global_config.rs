//! `pvr global-config`.

use super::context::Context;
use super::failure::Failure;
use super::show;
use crate::repo::GlobalConfig;
use crate::state::escape;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to set, as Name=value; without any, all are printed
    #[arg(value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let failed = |error: crate::repo::RepoError| Failure::coded(2, error);
    let mut config = GlobalConfig::read(&context.config_dir).map_err(failed)?;
    if args.settings.is_empty() {
        return show::print(&format!("{}\n", config.pretty()));
    }
    for setting in &args.settings {
        // The last = parts them, as today.
        let (name, value) = setting
            .rsplit_once('=')
            .ok_or_else(|| Failure::coded(2, format!("{} is not NAME=VALUE", escape(setting))))?;
        if !config.set(name, value).map_err(|error| Failure::coded(2, error))? {
            show::tell(&format!("WARNING: there is no setting {}", escape(name)));
        }
    }
    config.write(&context.config_dir).map_err(failed)
}
