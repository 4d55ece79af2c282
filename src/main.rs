//! The one binary. What it is, its name and its first argument decide.

use std::env;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("pvr") => pvr_agent::cli::pvr::run(env::args_os().skip(1)),
        Some("pvtx") => pvr_agent::cli::pvtx::run(env::args_os().skip(1)),
        Some("pvcontrol") => pvr_agent::cli::pvcontrol::run(env::args_os().skip(1)),
        Some("pvcurl") => pvr_agent::cli::pvcurl::run(env::args_os().skip(1)),
        _ => pvr_agent::cli::run(env::args_os()),
    }
}
