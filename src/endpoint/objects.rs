//! Objects: announcing, records, the list. (`hub.md` B3)
//!
//! A record's numbers are strings, as the hub has them, and `sizeint` is one that isn't. The declared size rides
//! in `signed-puturl`, because whoever answers the upload may be another process than the one that announced it. On a device with
//! accounts, URLs are signed (`access`).

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::Endpoint;
use super::access::{Class, Links};
use super::body::BodyReader;
use super::error::ApiError;
use super::guard::Base;
use super::limits::Limit;
use super::reply::{self, Reply};
use crate::state::clock;
use crate::state::{JsonError, JsonLimits, ObjectId, Value, parse::parse_strict};

/// How long the URLs of a device without accounts are said to be good for, in minutes. They are good for ever.
const EXPIRES: u64 = 15;

#[derive(Serialize)]
struct Record {
    id: String,
    #[serde(rename = "storage-id")]
    storage_id: String,
    owner: &'static str,
    objectname: String,
    sha256sum: String,
    size: String,
    sizeint: u64,
    #[serde(rename = "mime-type")]
    mime_type: String,
    #[serde(rename = "signed-puturl")]
    put_url: String,
    #[serde(rename = "signed-geturl")]
    get_url: String,
    now: String,
    #[serde(rename = "expire-time")]
    expire_time: String,
}

impl Record {
    fn new(base: &Base, links: &Links, id: &ObjectId, name: String, mime_type: String, size: u64) -> Self {
        let now = clock::seconds(clock::now());
        Self {
            id: id.to_string(),
            storage_id: id.to_string(),
            owner: "",
            objectname: name,
            sha256sum: id.to_string(),
            size: size.to_string(),
            sizeint: size,
            mime_type,
            put_url: base.url(&links.to(Class::Put, id, size)),
            get_url: base.url(&links.to(Class::Get, id, size)),
            now: now.to_string(),
            expire_time: links.last(now).map_or(EXPIRES, |last| last / 60).to_string(),
        }
    }
}

/// What we need of an announcement; the rest of the client's record is empty or ours to say.
struct Announced {
    id: ObjectId,
    size: u64,
    name: String,
    mime_type: String,
}

#[derive(Serialize)]
struct Listed {
    sha256: String,
    size: String,
}

impl Endpoint {
    /// `POST objects`: 200 and where to put it, or 409 when it is here.
    pub(super) async fn announce(&self, body: &mut BodyReader, base: &Base, links: &Links) -> Result<Reply, ApiError> {
        let cap = self.limits().envelope_bytes;
        let announced = {
            let held = body.whole(cap, Limit::EnvelopeBytes, self.held()).await?;
            announced(&held.bytes, &JsonLimits { bytes: cap, depth: self.limits().json_depth })?
        };
        let Announced { id, size, name, mime_type } = announced;
        let here = self
            .blocking(move |device| match device.keep_object(&id, size)? {
                Some(here) => Ok(Some(here)),
                None => device.check_upload(size).map(|()| None),
            })
            .await?;
        let record = Record::new(base, links, &id, name, mime_type, here.unwrap_or(size));
        Ok(match here {
            None => reply::json(StatusCode::OK, &record),
            Some(_) => typed(reply::json(StatusCode::CONFLICT, &record)),
        })
    }

    /// `GET objects/<sha>`.
    pub(super) async fn object(&self, id: ObjectId, base: &Base, links: &Links) -> Result<Reply, ApiError> {
        let (_, size) = self.open_object(id).await?;
        let record = Record::new(base, links, &id, String::new(), "application/octet-stream".to_owned(), size);
        Ok(typed(reply::json(StatusCode::OK, &record)))
    }

    /// `GET objects`.
    pub(super) async fn objects(&self) -> Result<Reply, ApiError> {
        let all = self.looking(|device| device.objects()).await?;
        let list = all.into_iter().map(|(id, size)| Listed { sha256: id.to_string(), size: size.to_string() });
        Ok(reply::json(StatusCode::OK, &list.collect::<Vec<_>>()))
    }
}

fn typed(mut reply: Reply) -> Reply {
    reply.headers_mut().insert("pantahub-object-type", HeaderValue::from_static("object"));
    reply
}

fn announced(bytes: &[u8], limits: &JsonLimits) -> Result<Announced, ApiError> {
    let bad = |reason, message: &str| ApiError::new(StatusCode::BAD_REQUEST, reason, message);
    let record = parse_strict(bytes, limits).map_err(bad_json)?;
    let text = |key| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let id = ObjectId::parse(text("sha256sum"))
        .map_err(|_| bad("bad-object-name", "sha256sum has to be 64 lower-case hexadecimal digits"))?;
    if !matches!(text("id"), "" | "0") && text("id") != text("sha256sum") {
        return Err(bad("bad-object-name", "id and sha256sum are different"));
    }
    let size = match record.get("size") {
        Some(Value::String(size)) => decimal(size),
        Some(Value::Number(size)) => decimal(size.as_str()),
        _ => None,
    };
    let size = size.ok_or_else(|| bad("bad-size", "size has to be the number of bytes, as a string or a number"))?;
    let mime_type = match text("mime-type") {
        "" => "application/octet-stream".to_owned(),
        given => given.to_owned(),
    };
    Ok(Announced { id, size, name: text("objectname").to_owned(), mime_type })
}

/// A number of bytes: digits and nothing else.
pub(super) fn decimal(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// JSON that we don't take.
pub(super) fn bad_json(error: JsonError) -> ApiError {
    let bad = ApiError::new(StatusCode::BAD_REQUEST, "bad-json", error.to_string());
    match error {
        JsonError::TooDeep { .. } | JsonError::TooMany { .. } => bad.past(Limit::JsonDepth),
        _ => bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<(u64, String), u16> {
        let text = text.replace("SHA", SHA);
        let announced = announced(text.as_bytes(), &JsonLimits::default());
        announced.map(|a| (a.size, a.name)).map_err(|e| e.status().as_u16())
    }

    #[test]
    fn announcements() {
        for (text, want) in [
            (r#"{"id":"","objectname":"a b/c","sha256sum":"SHA","size":"9"}"#, Ok((9, "a b/c"))),
            (r#"{"sha256sum":"SHA","size":9}"#, Ok((9, ""))),
            (r#"{"id":"SHA","sha256sum":"SHA","size":"18446744073709551615"}"#, Ok((u64::MAX, ""))),
            (r#"{"id":"x","sha256sum":"SHA","size":"9"}"#, Err(400)),
            (r#"{"sha256sum":"SHA"}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":""}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":"-1"}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":"+1"}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":1.5}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":"18446744073709551616"}"#, Err(400)),
            (r#"{"sha256sum":"SHA","size":"1","size":"2"}"#, Err(400)),
            (r#"{"sha256sum":"../../etc/passwd","size":"1"}"#, Err(400)),
            (r#"{"size":"1"}"#, Err(400)),
            ("[]", Err(400)),
            ("", Err(400)),
            ("{", Err(400)),
        ] {
            assert_eq!(parse(text), want.map(|(size, name)| (size, name.to_owned())), "{text}");
        }
    }
}
