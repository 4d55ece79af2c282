//! Revisions: reading them, and taking in a new one. (`hub.md` B4, `pvctrl.md` §4.3)

use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Endpoint;
use super::audit::Deed;
use super::body::BodyReader;
use super::error::ApiError;
use super::guard::Base;
use super::limits::Limit;
use super::objects::bad_json;
use super::reply::{self, Reply};
use super::route::RevText;
use crate::device::{Checks, OnPost, Post, Posted, Step, Verity};
use crate::state::{Finding, JsonLimits, Object, Revision, Spec, State, Value, parse::parse_strict};

/// What `.pvrremote` calls the state in a post; and what today's client calls it where that says nothing.
const STATE_KEYS: [&str; 2] = ["state", "post"];

/// One element of `GET steps`, as the control socket lists them.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    date: &'a str,
    commitmsg: &'a str,
    progress: &'a RawValue,
}

/// `GET steps/<rev>`: the same, and what a client of the hub looks for.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    listed: Listed<'a>,
    rev: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revlocal: Option<&'a str>,
    #[serde(rename = "commit-msg")]
    commit_msg: &'a str,
    #[serde(rename = "state-sha", skip_serializing_if = "Option::is_none")]
    state_sha: Option<String>,
    #[serde(rename = "trail-id")]
    trail_id: &'a str,
}

/// The answer to a post.
#[derive(Serialize)]
struct Accepted<'a> {
    rev: i64,
    revlocal: String,
    #[serde(rename = "state-sha")]
    state_sha: String,
    #[serde(rename = "trail-id")]
    trail_id: &'a str,
    #[serde(rename = "commit-msg")]
    commit_msg: String,
    /// Where to follow what becomes of it.
    #[serde(rename = "events-url")]
    events_url: String,
    progress: Box<RawValue>,
}

impl Endpoint {
    /// `GET json`, `GET steps/<rev>/json`: canonical, as it is stored.
    pub(super) async fn state(&self, rev: Option<RevText>) -> Result<Reply, ApiError> {
        let text = self.reading(move |device| device.state_text(rev.as_ref().map(|rev| rev.0.as_str()))).await?;
        let mut reply = reply::json_text(StatusCode::OK, text);
        let format = hyper::header::HeaderValue::from_static("gibson042-canonicaljson");
        reply.headers_mut().insert("phjsonformat", format);
        Ok(reply)
    }

    /// `GET steps`.
    pub(super) async fn steps(&self) -> Result<Reply, ApiError> {
        let steps = self.looking(|device| device.steps()).await?;
        let mut list = Vec::with_capacity(steps.len());
        let texts: Vec<_> = steps.iter().map(|step| progress(step.progress.as_deref())).collect();
        for (step, progress) in steps.iter().zip(&texts) {
            list.push(listed(step, progress));
        }
        Ok(reply::json(StatusCode::OK, &list))
    }

    /// `GET steps/<rev>`, and of the base.
    pub(super) async fn step(&self, rev: Option<RevText>) -> Result<Reply, ApiError> {
        let (step, sha) = self.reading(move |device| device.step(rev.as_ref().map(|rev| rev.0.as_str()))).await?;
        let revision = Revision::parse(&step.name).ok();
        let number = revision.as_ref().and_then(Revision::number);
        let progress = progress(step.progress.as_deref());
        let record = Record {
            listed: listed(&step, &progress),
            rev: number.map_or(-1, i64::from),
            revlocal: number.is_none().then_some(&step.name),
            commit_msg: &step.commit_msg,
            state_sha: sha.map(|sha| sha.to_string()),
            trail_id: self.device().trail_id(),
        };
        Ok(reply::json(StatusCode::OK, &record))
    }

    /// `GET steps/<rev>/progress`, byte for byte.
    pub(super) async fn progress(&self, rev: RevText) -> Result<Reply, ApiError> {
        let text = self.looking(move |device| device.progress_text(&rev.0)).await?;
        Ok(reply::json_text(StatusCode::OK, text))
    }

    /// `POST steps`.
    pub(super) async fn post_step(
        &self,
        body: &mut BodyReader,
        base: &Base,
        deed: Arc<Deed>,
    ) -> Result<Reply, ApiError> {
        let around = Around { bytes: self.limits().envelope_bytes, levels: 1 };
        let posted = self.install(body, around, envelope, deed).await?;
        let accepted = Accepted {
            rev: -1,
            revlocal: posted.rev.to_string(),
            state_sha: posted.sha.to_string(),
            trail_id: self.device().trail_id(),
            commit_msg: posted.commit_msg,
            events_url: base.url(&format!("steps/{}/events", posted.rev)),
            progress: progress(Some(posted.progress.as_bytes())),
        };
        Ok(reply::json(StatusCode::OK, &accepted))
    }

    /// `PUT json`: the same without an envelope; the client wants the state back.
    pub(super) async fn put_state(&self, body: &mut BodyReader, deed: Arc<Deed>) -> Result<Reply, ApiError> {
        let around = Around { bytes: 0, levels: 0 };
        let posted = self.install(body, around, |value| Ok((None, None, None, Checks::default(), value)), deed);
        let posted = posted.await?;
        Ok(reply::json_text(StatusCode::OK, posted.state_text))
    }

    async fn install(
        &self,
        body: &mut BodyReader,
        around: Around,
        open: fn(Value) -> Opened,
        deed: Arc<Deed>,
    ) -> Result<Posted, ApiError> {
        let limits = self.limits();
        let cap = limits.state_bytes;
        let json = JsonLimits {
            bytes: cap.saturating_add(around.bytes),
            depth: limits.json_depth.saturating_add(around.levels),
        };
        // More than that is refused for what it is.
        let size = body.declared().unwrap_or(0).min(json.bytes as u64);
        self.blocking(move |device| device.check_post(size)).await.map_err(ApiError::close)?;
        let held = body.whole(json.bytes, Limit::StateBytes, self.held()).await?;
        // One at a time: revisions are installed one after the other anyway, and a parsed state is many times
        // as large as its text. The turn ends with the work, not with the client's patience.
        let turn = self.posting().acquire_owned().await.map_err(ApiError::internal)?;
        let values = JsonLimits { bytes: cap, depth: limits.json_depth }.values();
        let told = Arc::clone(&deed);
        let parse = move || -> Result<Post, ApiError> {
            let (rev, commit_msg, on_post, checks, state) = open(parse_strict(&held.bytes, &json).map_err(bad_json)?)?;
            drop(held);
            told.tell(|told| told.rev = rev.as_ref().map(Revision::to_string));
            // What is around a state has a share of its own, which is not the state's: it is read again without.
            if state.count() > values {
                let message = format!("the state has more than {values} values");
                return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-json", message).past(Limit::JsonDepth));
            }
            let state = State::from_value(state, Spec::Known)?;
            let text = state.to_canonical().map_err(|e| bad_state(e.to_string()))?;
            if text.len() > cap {
                let message = format!("the state has more than {cap} bytes");
                let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "state-too-large", message);
                return Err(error.past(Limit::StateBytes));
            }
            Ok(Post { rev, state, text, commit_msg, on_post, checks })
        };
        let device = self.shared_device();
        let work = self.disk().work(move || {
            let _turn = turn;
            let posted = parse().and_then(|post| Ok(device.post(post)?));
            if let Ok(posted) = &posted {
                deed.tell(|told| told.rev = Some(posted.rev.to_string()));
            }
            deed.came(&posted);
            posted
        });
        work.await.unwrap_or_else(|e| Err(ApiError::internal(e)))
    }
}

/// What a body may add to the state in it.
#[derive(Clone, Copy)]
struct Around {
    bytes: usize,
    levels: usize,
}

type Opened = Result<(Option<Revision>, Option<String>, Option<OnPost>, Checks, Value), ApiError>;

fn bad_state(why: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-state", why).hint("nothing was changed")
}

/// `{"commit-msg":"…"?, "on-post":"…"?, "rev":-1, "state":{…}, "verity-check":false?, …}`; members that a client adds of its
/// own accord are ignored.
fn envelope(value: Value) -> Opened {
    let Value::Object(mut members) = value else {
        return Err(bad_state(format!("a post is a JSON object, not {}", value.kind())));
    };
    let rev = rev(&members)?;
    let commit_msg = match members.remove("commit-msg") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            let why = format!("it has to be a string, not {}", other.kind());
            return Err(finding("commit-msg", why));
        }
    };
    let verity = match members.remove("verity-check") {
        None | Some(Value::Null | Value::Bool(true)) => Verity::Check,
        Some(Value::Bool(false)) => Verity::Trust,
        Some(other) => {
            return Err(finding("verity-check", format!("it has to be true or false, not {}", other.kind())));
        }
    };
    let state = STATE_KEYS.iter().find_map(|key| members.remove(*key));
    let state = state.ok_or_else(|| finding("state", "it is missing".to_owned()))?;
    let on_post = match members.remove("on-post") {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) if OnPost::parse(&word).is_some() => OnPost::parse(&word),
        Some(_) => return Err(finding("on-post", "it has to be run, run-commit or install".to_owned())),
    };
    Ok((rev, commit_msg, on_post, Checks { verity }, state))
}

fn finding(key: &str, why: String) -> ApiError {
    let list = serde_json::to_value([Finding { key: key.to_owned(), why: why.clone() }]).unwrap_or_default();
    bad_state(format!("the post has a bad member \"{key}\": {why}")).detail("findings", list)
}

/// Absent, 0 or -1: the device makes a name. A string: the name of a local revision. Nothing else.
fn rev(members: &Object) -> Result<Option<Revision>, ApiError> {
    let refuse = || {
        let message = "rev has to be absent, 0, -1 or a string locals/<name>";
        Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-rev", message)
            .hint("--rev locals/<name>, with 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit"))
    };
    match members.get("rev") {
        None => Ok(None),
        Some(Value::Number(number)) if matches!(number.as_str(), "0" | "-1" | "-0") => Ok(None),
        Some(Value::String(text)) => match Revision::parse(text) {
            Ok(rev) if rev.local_name().is_some() => Ok(Some(rev)),
            _ => refuse(),
        },
        Some(_) => refuse(),
    }
}

fn listed<'a>(step: &'a Step, progress: &'a RawValue) -> Listed<'a> {
    Listed { name: &step.name, date: &step.date, commitmsg: &step.commit_msg, progress }
}

/// A progress file as a member of something larger: itself if it is JSON, else `{}` as the daemon shows it.
fn progress(bytes: Option<&[u8]>) -> Box<RawValue> {
    let parsed = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok());
    parsed.unwrap_or_else(|| RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Option<String>, u16> {
        let value = parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap();
        envelope(value).map(|(rev, ..)| rev.map(|rev| rev.to_string())).map_err(|e| e.status().as_u16())
    }

    #[test]
    fn envelopes_and_their_revisions() {
        for (text, want) in [
            (r#"{"state":{}}"#, Ok(None)),
            (r#"{"post":{},"rev":-1}"#, Ok(None)),
            (r#"{"state":{},"rev":0,"x":{"a":1}}"#, Ok(None)),
            (r#"{"state":{},"rev":-1,"commit-msg":"é"}"#, Ok(None)),
            (r#"{"state":{},"rev":"locals/x"}"#, Ok(Some("locals/x"))),
            (r#"{"state":{},"rev":5}"#, Err(422)),
            (r#"{"state":{},"rev":-2}"#, Err(422)),
            (r#"{"state":{},"rev":1.5}"#, Err(422)),
            (r#"{"state":{},"rev":"5"}"#, Err(422)),
            (r#"{"state":{},"rev":""}"#, Err(422)),
            (r#"{"state":{},"rev":"locals/.."}"#, Err(422)),
            (r#"{"state":{},"rev":"locals/a/b"}"#, Err(422)),
            (r#"{"state":{},"rev":"locals/progressive"}"#, Err(422)),
            (r#"{"state":{},"rev":"x"}"#, Err(422)),
            (r#"{"state":{},"rev":null}"#, Err(422)),
            (r#"{"state":{},"rev":["locals/x"]}"#, Err(422)),
            (r#"{"state":{},"commit-msg":1}"#, Err(422)),
            (r#"{"state":{},"verity-check":false}"#, Ok(None)),
            (r#"{"state":{},"verity-check":0}"#, Err(422)),
            (r#"{"rev":-1}"#, Err(422)),
            ("[]", Err(422)),
            ("1", Err(422)),
        ] {
            assert_eq!(open(text), want.map(|rev| rev.map(str::to_owned)), "{text}");
        }
    }
}
