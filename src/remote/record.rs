//! The JSON records of the protocol (`hub.md` B1, B3, B4), as they come: optional wherever some server leaves them out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The document behind `.pvrremote`: the members that today's `remoteinfo` shows, in its order.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoteRecord {
    #[serde(rename = "pvr-spec", default)]
    pvr_spec: Value,
    #[serde(rename = "json-get-url", default)]
    pub(super) json_get_url: String,
    #[serde(rename = "json-key", default)]
    pub(super) json_key: String,
    #[serde(rename = "objects-endpoint", default)]
    pub(super) objects_endpoint: String,
    #[serde(rename = "post-url", default)]
    pub(super) post_url: String,
    #[serde(rename = "post-fields", default)]
    post_fields: Value,
    #[serde(rename = "post-fields-opt", default)]
    post_fields_opt: Value,
}

/// What is sent to announce an object. Empty strings stand where today's client sends them.
#[derive(Debug, Serialize)]
pub(super) struct Announcement<'a> {
    pub(super) id: &'static str,
    #[serde(rename = "storage-id")]
    pub(super) storage_id: &'static str,
    pub(super) owner: &'static str,
    pub(super) objectname: &'a str,
    pub(super) sha256sum: String,
    pub(super) size: String,
    #[serde(rename = "mime-type")]
    pub(super) mime_type: &'static str,
    #[serde(rename = "signed-puturl")]
    pub(super) signed_puturl: &'static str,
    #[serde(rename = "signed-geturl")]
    pub(super) signed_geturl: &'static str,
    pub(super) now: &'static str,
    #[serde(rename = "expire-time")]
    pub(super) expire_time: &'static str,
}

impl<'a> Announcement<'a> {
    pub(super) fn new(objectname: &'a str, sha256sum: String, size: u64) -> Self {
        Self {
            id: "",
            storage_id: "",
            owner: "",
            objectname,
            sha256sum,
            size: size.to_string(),
            mime_type: "application/octet-stream",
            signed_puturl: "",
            signed_geturl: "",
            now: "",
            expire_time: "",
        }
    }
}

/// What is answered about an object.
#[derive(Debug, Deserialize)]
pub(super) struct ObjectRecord {
    #[serde(rename = "signed-puturl", default)]
    pub(super) signed_puturl: String,
    #[serde(rename = "signed-geturl", default)]
    pub(super) signed_geturl: String,
    /// Text on the hub, a number elsewhere.
    #[serde(default)]
    size: Value,
}

impl ObjectRecord {
    /// The declared size. Nothing, nonsense and 0 are "not declared": servers without the figure write 0.
    pub(super) fn size(&self) -> Option<u64> {
        let size = match &self.size {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        size.filter(|size| *size > 0)
    }
}

/// The answer to a post.
#[derive(Debug, Deserialize)]
pub(super) struct PostRecord {
    #[serde(default)]
    pub(super) rev: Value,
    #[serde(default)]
    pub(super) revlocal: Value,
    #[serde(rename = "state-sha", default)]
    pub(super) state_sha: Value,
    #[serde(rename = "trail-id", default)]
    pub(super) trail_id: Value,
    #[serde(rename = "events-url", default)]
    pub(super) events_url: Value,
}

/// A step, of which only this is read, or what an endpoint that can be followed says of one (`docs/events.md`).
#[derive(Debug, Deserialize)]
pub(super) struct ProgressRecord {
    #[serde(default)]
    pub(super) id: Value,
    #[serde(default)]
    pub(super) progress: Value,
    #[serde(rename = "overtaken-by", default)]
    pub(super) overtaken_by: Value,
}

/// The body of an error, as this project's endpoint writes it; the hub has some of the fields.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorRecord {
    #[serde(default, alias = "Error")]
    pub(super) error: Value,
    #[serde(default)]
    pub(super) msg: Value,
    #[serde(default)]
    pub(super) hint: Value,
    #[serde(default, rename = "request-id")]
    pub(super) request_id: Value,
    #[serde(default)]
    pub(super) missing: Vec<MissingRecord>,
}

/// One object that the endpoint lacks.
#[derive(Debug, Deserialize)]
pub(super) struct MissingRecord {
    #[serde(alias = "id", default)]
    pub(super) sha256: String,
}

/// A member that may be text or a number, as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_spelled_as_recorded() {
        let text = serde_json::to_string(&Announcement::new("app2/bin", "ab".repeat(32), 12)).unwrap();
        let expected = format!(
            "{{\"id\":\"\",\"storage-id\":\"\",\"owner\":\"\",\"objectname\":\"app2/bin\",\"sha256sum\":\"{}\",\
             \"size\":\"12\",\"mime-type\":\"application/octet-stream\",\"signed-puturl\":\"\",\"signed-geturl\":\"\",\
             \"now\":\"\",\"expire-time\":\"\"}}",
            "ab".repeat(32)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn sizes_come_as_text_and_numbers() {
        for (record, size) in [
            ("{\"size\":\"12\"}", Some(12)),
            ("{\"size\":12}", Some(12)),
            ("{\"size\":\"0\"}", None),
            ("{\"size\":\"\"}", None),
            ("{\"size\":-1}", None),
            ("{\"size\":{}}", None),
            ("{}", None),
        ] {
            let record: ObjectRecord = serde_json::from_str(record).unwrap();
            assert_eq!(record.size(), size);
        }
    }
}
