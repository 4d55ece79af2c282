//! Errors as clients see them, apart from what the log says.
//!
//! ```json
//! {"error":"<what, on what, why>","code":422,"reason":"missing-objects","hint":"<what to do>",
//!  "request-id":"5f0e6a1c-12","missing":[{"key":"app/root.squashfs","sha256":"…"}]}
//! ```
//!
//! `reason` is a word that stays, for programs. The log has the cause under the same id; for failures of the
//! device itself it is the only place that has it. A 401 or 403 always carries `WWW-Authenticate` and nothing is
//! ever answered with a redirect: today's client loops or crashes on either (`hub.md` A1, B1).

use hyper::StatusCode;
use hyper::header::{ALLOW, CONNECTION, CONTENT_RANGE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::access::Scope;
use super::headers;
use super::limits::Limit;
use super::reply::{self, Reply};
use super::route::RouteError;
use crate::device::DeviceError;
use crate::state::{StateError, escape};

/// A request that is not granted.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    reason: &'static str,
    message: String,
    hint: Option<String>,
    cause: Option<String>,
    details: Map<String, Value>,
    headers: Vec<(hyper::header::HeaderName, HeaderValue)>,
    /// What the caller would have to be allowed.
    wants: Option<Scope>,
    limit: Option<Limit>,
}

#[derive(Serialize)]
struct Wire<'a> {
    error: &'a str,
    code: u16,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(rename = "request-id")]
    request_id: &'a str,
    #[serde(flatten)]
    details: &'a Map<String, Value>,
}

impl ApiError {
    /// `message` says what failed, on what and why; `reason` is its stable word.
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            hint: None,
            cause: None,
            details: Map::new(),
            headers: Vec::new(),
            wants: None,
            limit: None,
        }
    }

    /// The device failed. Clients learn that and the request's id; the cause is for the log.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the device failed to do this")
            .hint("the log of the device has the cause under the request-id")
            .cause(cause)
    }

    /// What the client can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What only the log says.
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// One more member of the answer.
    pub fn detail(mut self, name: &str, value: Value) -> Self {
        self.details.insert(name.to_owned(), value);
        self
    }

    /// `Allow` of a 405.
    pub fn allow(mut self, methods: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(methods) {
            self.headers.push((ALLOW, value));
        }
        self
    }

    /// `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// `Content-Range` of a 416.
    pub fn content_range(mut self, size: u64) -> Self {
        if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
            self.headers.push((CONTENT_RANGE, value));
        }
        self
    }

    /// Whoever asks is known, and may not do what takes this. A client that sees it asks for another login at once.
    pub fn wants(mut self, scope: Scope) -> Self {
        self.wants = Some(scope);
        self
    }

    /// The connection must not be used again.
    pub fn close(mut self) -> Self {
        self.headers.push((CONNECTION, HeaderValue::from_static("close")));
        self
    }

    /// It is because of this limit: it is counted, and the connection is not used again.
    pub fn past(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self.close()
    }

    /// The limit that it is because of, if it is because of one.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Its word.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the log says.
    pub fn log_text(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {cause}", self.reason),
            None => format!("{}: {}", self.reason, self.message),
        }
    }

    /// The body of the answer.
    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        let wire = Wire {
            error: &self.message,
            code: self.status.as_u16(),
            reason: self.reason,
            hint: self.hint.as_deref().or_else(|| usual_hint(self.reason)),
            request_id,
            details: &self.details,
        };
        // Strings and numbers have no way not to serialise.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// The answer. `challenge` is what `WWW-Authenticate` says where one is due.
    pub fn into_reply(self, request_id: &str, challenge: &str) -> Reply {
        let mut reply = reply::json_text(self.status, self.to_json(request_id));
        headers::secure(reply.headers_mut());
        for (name, value) in self.headers {
            reply.headers_mut().insert(name, value);
        }
        if matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let error = self.wants.map(|scope| format!(", error=\"insufficient_scope\", scope=\"{scope}\""));
            let value = HeaderValue::try_from(format!("{challenge}{}", error.unwrap_or_default()))
                .unwrap_or_else(|_| HeaderValue::from_static("JWT realm=\"pantahub services\""));
            reply.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        reply
    }
}

/// What to do about what comes from several places, or has nothing else to say.
fn usual_hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "state-too-large" => "PVR_AGENT_MAX_STATE_BYTES sets the limit",
        "wrong-sha256" | "wrong-length" => "send the object again",
        "busy" => "try again later",
        "login-needed" => "pvr login, or send a token",
        _ => return None,
    })
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        let message = error.to_string();
        match error {
            RouteError::NotFound => Self::new(StatusCode::NOT_FOUND, "not-found", message)
                .hint("a client begins at /cgi-bin/pvr/.pvrremote"),
            RouteError::BadPath(_) => Self::new(StatusCode::BAD_REQUEST, "bad-path", message),
            RouteError::BadObjectName => Self::new(StatusCode::BAD_REQUEST, "bad-object-name", message),
            RouteError::NotAllowed(allow) => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message).allow(&allow)
            }
            RouteError::UnknownMethod => Self::new(StatusCode::NOT_IMPLEMENTED, "unknown-method", message),
        }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Findings(findings) => {
                let list = serde_json::to_value(&findings).unwrap_or_default();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-state", "the state has keys that cannot be used")
                    .hint("nothing was changed; findings names every key and why")
                    .detail("findings", list)
            }
            other => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-state", other.to_string()).hint("nothing was changed")
            }
        }
    }
}

/// The one place where what the device says becomes a status.
impl From<DeviceError> for ApiError {
    fn from(error: DeviceError) -> Self {
        use DeviceError as E;
        match error {
            E::NoSuchRevision(name) => {
                Self::new(StatusCode::NOT_FOUND, "no-such-revision", format!("there is no revision {}", escape(&name)))
                    .hint("GET steps lists them")
            }
            E::NoCurrent => {
                Self::new(StatusCode::NOT_FOUND, "no-current-revision", "no revision is current here").hint("post one")
            }
            E::NoSuchObject(id) => {
                Self::new(StatusCode::NOT_FOUND, "no-such-object", format!("there is no intact object {id}"))
                    .hint("if it is wanted, upload it (again): announce it with POST objects first")
            }
            E::Missing(list) => {
                let missing = list.iter().map(|(key, id)| json!({"key": key.as_str(), "sha256": id.to_string()}));
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "missing-objects",
                    format!("{} objects of the state are not here, or not intact", list.len()),
                )
                .hint("upload those under missing and post again")
                .detail("missing", missing.collect())
            }
            E::Verity(findings) => {
                let list = serde_json::to_value(&findings).unwrap_or_default();
                let message = "dm-verity volumes of the state are not what their manifests say";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-verity", message)
                    .hint("nothing was changed; findings names every manifest and why. pvr dm-apply makes the trees again")
                    .detail("findings", list)
            }
            E::Exists(name) => Self::new(
                StatusCode::CONFLICT,
                "revision-exists",
                format!("revision {name} exists with another state, and has been run or is a rollback point"),
            )
            .hint("choose another name with --rev locals/<name>"),
            E::Running(name) => Self::new(
                StatusCode::CONFLICT,
                "revision-running",
                format!("revision {name} is running and cannot be changed"),
            )
            .hint("choose another name with --rev locals/<name>"),
            E::Damaged(name) => Self::new(
                StatusCode::CONFLICT,
                "revision-damaged",
                format!("revision {name} has this state, but its files are not what the state says"),
            )
            .hint("choose another name with --rev locals/<name>; pvr-agent fsck names the files"),
            E::Untrusted(verdict) => {
                let message = format!(
                    "the signatures of the state are not what this device demands ({}): {}",
                    verdict.policy,
                    verdict.lines().join("; ")
                );
                let verdict = serde_json::to_value(verdict.shortened()).unwrap_or_default();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused-signatures", message)
                    .hint("nothing was installed; verdict says which keys and why, and so does pvr sig check")
                    .detail("verdict", verdict)
            }
            E::Full(cause) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "no-space",
                "there is not enough space on the device for this",
            )
            .hint("pvr-agent gc removes what no revision needs, and with --rollbacks N all but N rollback points")
            .cause(cause),
            E::NoRoom { need, free, reclaimable } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "no-space",
                format!("there is not enough space on the device for this: {need} bytes are needed, {free} are free"),
            )
            .hint("pvr-agent gc removes what no revision needs, and with --rollbacks N all but N rollback points")
            .detail("need", need.into())
            .detail("free", free.into())
            .detail("reclaimable", reclaimable.into()),
            E::Updating(rev) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "update-running",
                format!("revision {} is being installed or tested", escape(&rev)),
            )
            .hint("try again when it is done: GET steps/<rev>/progress")
            .retry_after(30),
            error @ E::NotYet(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "upload-running", error.to_string()).retry_after(30)
            }
            E::Busy(cause) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "pantavisor-busy", "Pantavisor is doing something else")
                    .hint("try again; a revision that was installed meanwhile has not been run")
                    .retry_after(30)
                    .cause(cause)
            }
            E::Unreachable(cause) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "pantavisor-unreachable", "Pantavisor does not answer")
                    .hint("around an update it is deaf for some seconds: try again")
                    .retry_after(5)
                    .cause(cause)
            }
            E::NoRollback(text) => Self::new(StatusCode::CONFLICT, "no-rollback", text),
            E::NotAlone => Self::new(StatusCode::CONFLICT, "not-alone", error.to_string()),
            E::Refused(text) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused-by-pantavisor", text),
            E::Daemon(text) => Self::new(StatusCode::BAD_GATEWAY, "pantavisor-failed", text),
            E::WrongHash(text) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong-sha256", text),
            E::WrongSize(text) => Self::new(StatusCode::BAD_REQUEST, "wrong-length", text),
            E::TooLong(text) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text),
            E::PackageTooLarge(text) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text)
                .hint("the transaction is as it was")
                .past(Limit::PackageSize),
            E::NoLog(_) => Self::new(StatusCode::NOT_FOUND, "no-such-log", error.to_string()),
            // Worded as today's program does.
            E::NoTransaction => Self::new(StatusCode::BAD_REQUEST, "no-transaction", "No active transaction.")
                .hint("begin one: POST /cgi-bin/pvtx/begin")
                .detail("transaction", Value::Null),
            E::TransactionActive => Self::new(StatusCode::CONFLICT, "transaction-active", error.to_string())
                .hint("end it: POST /cgi-bin/pvtx/commit or abort"),
            E::TransactionElsewhere => Self::new(StatusCode::CONFLICT, "transaction-elsewhere", error.to_string())
                .hint("end it with pvtx on the device, or POST /cgi-bin/pvtx/abort"),
            E::BadPackage(text) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-package", text).hint("the transaction is as it was")
            }
            E::NoPart => Self::new(StatusCode::BAD_REQUEST, "no-part", "no part is named").hint("remove?part=<part>"),
            E::BadRevision(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-rev", error.to_string())
                .hint("locals/<name>, with 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit"),
            E::BadState(text, findings) if findings.is_empty() => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-state", text).hint("nothing was changed")
            }
            E::BadState(_, findings) => StateError::Findings(findings).into(),
            E::Failed(cause) => Self::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_errors_did_not_say_what_to_do() {
        for reason in ["state-too-large", "wrong-sha256", "wrong-length", "busy", "login-needed"] {
            let error = ApiError::new(StatusCode::BAD_REQUEST, reason, "it failed");
            let value: Value = serde_json::from_slice(&error.to_json("id")).unwrap();
            assert!(value["hint"].is_string(), "{value}");
            let value: Value = serde_json::from_slice(&error.hint("mine").to_json("id")).unwrap();
            assert_eq!(value["hint"], "mine");
        }
    }
}
