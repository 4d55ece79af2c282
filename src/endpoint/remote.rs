//! `.pvrremote`: where everything is. (`hub.md` B1)
//!
//! The URLs are absolute, made from the name that the client itself used, and hold no percent escapes: today's
//! client prints them through a formatter that stumbles over one.

use hyper::StatusCode;
use serde::Serialize;

use super::Endpoint;
use super::error::ApiError;
use super::guard::Base;
use super::reply::{self, Reply};
use super::route::RevText;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Remote {
    pvr_spec: &'static str,
    json_get_url: String,
    json_key: &'static str,
    objects_endpoint: String,
    post_url: String,
    post_fields: [&'static str; 1],
    post_fields_opt: [&'static str; 1],
    step_get_url: String,
    status_url: String,
    events_url: String,
}

impl Endpoint {
    /// The document for the current revision, or for another one.
    pub(super) async fn remote(&self, rev: Option<RevText>, base: &Base) -> Result<Reply, ApiError> {
        let (json, step, events) = match rev {
            None => ("json".to_owned(), String::new(), "events".to_owned()),
            Some(RevText(text)) => {
                let name = self.looking(move |device| device.resolve(&text)).await?;
                // Every name resolves to letters, digits and `/._-=`: no URL needs an escape.
                (format!("steps/{name}/json"), format!("steps/{name}"), format!("steps/{name}/events"))
            }
        };
        let step_get_url = base.url(&step);
        Ok(reply::json(
            StatusCode::OK,
            &Remote {
                pvr_spec: "pvr-pantahub-1",
                json_get_url: base.url(&json),
                json_key: "state",
                objects_endpoint: base.url("objects"),
                post_url: base.url("steps"),
                post_fields: ["commit-msg"],
                post_fields_opt: ["rev"],
                step_get_url: step_get_url.trim_end_matches('/').to_owned(),
                status_url: base.url("status"),
                events_url: base.url(&events),
            },
        ))
    }
}
