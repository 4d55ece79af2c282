//! `pvr-agent cgi`: one request of a web server.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::place;
use super::secureboot::SecureBoot;
use crate::endpoint::cgi::{self, Environment};
use crate::endpoint::log::{Format, Log};
use crate::endpoint::{Endpoint, Limits};

/// Answer one request for a web server (see cgi/README.md): #!/usr/bin/pvr-agent cgi
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What a server adds; ignored
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ignored: Vec<OsString>,
}

/// Answers the request that the environment describes.
pub fn run(_: Args) -> Result<ExitCode> {
    let Some(environment) = Environment::new(std::env::vars_os()) else {
        bail!(
            "cgi is for a web server to run, and REQUEST_METHOD is not set\nsee cgi/README.md, or use pvr-agent serve"
        );
    };
    let log = || Log::stderr(Format::Text).context("start the thread that writes the log").map(Log::only_failures);
    let answered = match endpoint(log()?) {
        Ok(endpoint) => match environment.invocation() {
            Ok(invocation) => cgi::answer(invocation, &endpoint),
            Err(error) => cgi::refuse(&environment, error, endpoint.log()),
        },
        Err(error) => cgi::refuse(&environment, cgi::no_storage(&format!("{error:#}")), &log()?),
    };
    // Who was to read the answer has gone; there is nobody to tell, and what was done is done.
    Ok(if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn endpoint(log: Log) -> Result<Endpoint> {
    let json = super::limits::json()?;
    let hosts = place::hosts(&[], None)?;
    // Nobody gives it flags: the configuration of the device says what is demanded of states.
    let (demands, _) = SecureBoot::default().demands(None)?;
    let device = place::device(None, None, json)?.demanding(demands);
    // A server that waits for more of a log may not see that its client has gone.
    let url_time = place::url_time(None)?;
    let limits = Limits { follow_time: Some(Duration::from_secs(60 * 60)), url_time, ..Limits::default() };
    Ok(Endpoint::new(device, limits.with_json(&json), hosts, log, Vec::new()))
}
