//! `GET status`: what runs here and how the device is.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Endpoint;
use super::error::ApiError;
use super::reply::{self, Reply};
use crate::device::Confined;
use crate::state::escape;

#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    /// The running revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<String>,
    #[serde(rename = "state-sha", skip_serializing_if = "Option::is_none")]
    state_sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a RawValue>,
    backend: &'static str,
    #[serde(rename = "trail-id")]
    trail_id: &'a str,
    storage: Space,
    /// The revision that is being installed or tested, if any.
    #[serde(rename = "update-in-progress")]
    update: Option<String>,
    /// The policy that posts are held to here.
    secureboot: &'static str,
    /// What the server has given up. A program of a web server has what that has.
    #[serde(skip_serializing_if = "Option::is_none")]
    privileges: Option<&'a Confined>,
    warnings: &'a [String],
}

/// Bytes.
#[derive(Serialize)]
struct Space {
    total: u64,
    free: u64,
    /// Never given to uploads.
    reserved: u64,
    /// What a collection would set free; null while nobody can look.
    reclaimable: Option<u64>,
}

impl Endpoint {
    /// `guarded`: whether there are accounts.
    pub(super) async fn status(&self, guarded: bool) -> Result<Reply, ApiError> {
        let status = self.reading(|device| device.status()).await?;
        let progress: Option<Box<RawValue>> =
            status.progress.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mut warnings = self.warnings(guarded);
        if let (Some(running), None) = (&status.running, status.state_sha) {
            let running = escape(running);
            warnings.push(format!("the state of {running}, which runs, cannot be read: pvr-agent fsck says why"));
        }
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            running: status.running,
            state_sha: status.state_sha.map(|sha| sha.to_string()),
            progress: progress.as_deref(),
            backend: status.backend,
            trail_id: self.device().trail_id(),
            storage: Space {
                total: status.space.total,
                free: status.space.free,
                reserved: status.space.reserved,
                reclaimable: status.reclaimable,
            },
            update: status.update,
            secureboot: self.device().demands().policy().name(),
            privileges: self.confined.as_ref(),
            warnings: &warnings,
        };
        Ok(reply::json(StatusCode::OK, &report))
    }
}
