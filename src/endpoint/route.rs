//! Method and path of a request, parsed once into a type.
//!
//! What there is stands in one table ([`ROUTES`](super::routes::ROUTES)), from which the document of the API is made as well: what is not
//! in it is neither answered nor described. Everything lives below `/cgi-bin`. A path is split at `/` first and its segments are
//! then percent-decoded, so an encoded slash is never a separator. A query plays no part here.

use hyper::Method;

use super::routes::{Entry, ROUTES};
use crate::state::id::ObjectId;

/// The path below which the protocol of `pvr` is.
pub const BASE: &str = "/cgi-bin/pvr";

/// A revision as a path names it, not yet looked up: `0`, `locals/x`, `current`, or the escaped name of a
/// folder that somebody else made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevText(pub String);

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET .pvrremote`, of the current revision or of another.
    Remote(Option<RevText>),
    /// `GET json`, `GET steps/<rev>/json`: the state.
    State(Option<RevText>),
    /// `PUT json`: a state to install.
    PutState,
    /// `GET objects`.
    Objects,
    /// `POST objects`: announces an object.
    Announce,
    /// `GET objects/<sha>`: its record.
    Object(ObjectId),
    /// `GET`, `HEAD objects/<sha>/blob`.
    Blob(ObjectId),
    /// `PUT objects/<sha>/blob`.
    PutBlob(ObjectId),
    /// `GET steps`.
    Steps,
    /// `POST steps`: a new revision.
    PostStep,
    /// `GET steps/<rev>`; without a revision, `GET` of the base: the current one.
    Step(Option<RevText>),
    /// `GET steps/<rev>/progress`.
    Progress(RevText),
    /// `GET steps/<rev>/events`; without a revision, `GET events`: the current one.
    Events(Option<RevText>),
    /// `GET status`.
    Status,
    /// `POST` of pvtx `begin`.
    Begin,
    /// `PUT` of pvtx `add`: a package.
    Add,
    /// `PUT` of pvtx `remove`.
    Remove,
    /// `GET` of pvtx `show`.
    Show,
    /// `POST` of pvtx `commit`.
    Commit,
    /// `POST` of pvtx `abort`.
    Abort,
    /// `POST` of pvtx `run`.
    Run,
    /// `GET` of pvtx `status`.
    Became,
    /// `GET` of logs.
    Logs,
    /// `GET` of openapi.json.
    OpenApi,
    /// `POST auth/login`.
    Login,
    /// `GET auth/login`: a new token for an old one.
    Renew,
    /// `GET auth/auth_status`.
    AuthStatus,
    /// `GET /metrics`.
    Metrics,
}

/// Why a request line is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// 404
    #[error("there is nothing at this path")]
    NotFound,
    /// 400
    #[error("the path is malformed: {0}")]
    BadPath(&'static str),
    /// 400
    #[error("an object is named by 64 lower-case hexadecimal digits")]
    BadObjectName,
    /// 405 with `Allow`
    #[error("this method is not possible here")]
    NotAllowed(String),
    /// 501
    #[error("this method is not known")]
    UnknownMethod,
}

/// What stands in a path where a template has a name.
#[derive(Debug, Default)]
pub(super) struct Found {
    rev: Option<String>,
    object: Option<String>,
}

impl Found {
    /// The revision, where the template may have one.
    pub(super) fn rev(self) -> Option<RevText> {
        self.rev.map(RevText)
    }

    /// The revision of a template that has one.
    pub(super) fn one(self) -> Result<RevText, RouteError> {
        self.rev().ok_or(RouteError::NotFound)
    }

    /// The object of a template that has one.
    pub(super) fn object(self) -> Result<ObjectId, RouteError> {
        ObjectId::parse(&self.object.unwrap_or_default()).map_err(|_| RouteError::BadObjectName)
    }
}

impl Route {
    /// Parses method and path (without query).
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        Self::find(method, path).map(|(_, route)| route)
    }

    /// The same, with its row of the table.
    pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Entry, Self), RouteError> {
        const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
        if !KNOWN.contains(&method.as_str()) {
            return Err(RouteError::UnknownMethod);
        }
        // What can be asked for can be asked about.
        let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
        let segments = segments(path)?;
        let mut allowed = String::new();
        for entry in ROUTES {
            let Some(found) = found(entry.path, &segments) else { continue };
            if entry.method == asked {
                return (entry.route)(found).map(|route| (entry, route));
            }
            let more = if entry.method == "GET" { "GET, HEAD" } else { entry.method };
            allowed.push_str(if allowed.is_empty() { "" } else { ", " });
            allowed.push_str(more);
        }
        Err(if allowed.is_empty() { RouteError::NotFound } else { RouteError::NotAllowed(allowed) })
    }
}

/// The decoded segments below `/cgi-bin`; of what is beside it, all of them, behind an empty one.
fn segments(path: &str) -> Result<Vec<String>, RouteError> {
    if path == super::routes::METRICS {
        return Ok(path.split('/').map(str::to_owned).collect());
    }
    let below = path.strip_prefix("/cgi-bin/").ok_or(RouteError::NotFound)?;
    // One slash at the end is how the client writes `objects/`.
    let below = below.strip_suffix('/').unwrap_or(below);
    if below.is_empty() {
        return Err(RouteError::NotFound);
    }
    below.split('/').map(decode).collect()
}

/// What a template's names stand for, if the path is one of it. `{rev}` is one segment, or `locals` and one more. A local revision
/// may be called `json`: the segment behind `locals` is always its name.
fn found(template: &str, segments: &[String]) -> Option<Found> {
    let mut found = Found::default();
    let mut rest = segments.iter();
    for part in template.split('/') {
        let segment = rest.next()?;
        match part {
            "{rev}" if segment == "locals" => found.rev = Some(format!("locals/{}", rest.next()?)),
            "{rev}" => found.rev = Some(segment.clone()),
            "{sha256}" => found.object = Some(segment.clone()),
            part if part == segment => {}
            _ => return None,
        }
    }
    rest.next().is_none().then_some(found)
}

/// Percent-decodes one segment, which then is no path trick: not empty, not `.` or `..`, no slash, no NUL.
fn decode(segment: &str) -> Result<String, RouteError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(RouteError::BadPath("an incomplete percent escape"));
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|d| d as u8);
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(RouteError::BadPath("a bad percent escape"));
        };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    let text = String::from_utf8(bytes).map_err(|_| RouteError::BadPath("it is not UTF-8"))?;
    match text.as_str() {
        "" => Err(RouteError::BadPath("an empty segment")),
        "." | ".." => Err(RouteError::BadPath("a segment '.' or '..'")),
        _ if text.contains(['/', '\0']) => Err(RouteError::BadPath("a slash or NUL in a segment")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::access::Scope;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn id() -> ObjectId {
        ObjectId::parse(SHA).unwrap()
    }

    fn rev(text: &str) -> Option<RevText> {
        Some(RevText(text.to_owned()))
    }

    #[test]
    fn every_row_of_the_table() {
        let blob = format!("/cgi-bin/pvr/objects/{SHA}/blob");
        let object = format!("/cgi-bin/pvr/objects/{SHA}");
        let step_blob = format!("/cgi-bin/pvr/steps/0/objects/{SHA}/blob");
        let rows: Vec<(&str, &str, Route)> = vec![
            ("GET", "/cgi-bin/pvr/.pvrremote", Route::Remote(None)),
            ("HEAD", "/cgi-bin/pvr/.pvrremote", Route::Remote(None)),
            ("GET", "/cgi-bin/.pvrremote", Route::Remote(None)),
            ("GET", "/cgi-bin/pvr/steps/0/.pvrremote", Route::Remote(rev("0"))),
            ("GET", "/cgi-bin/pvr/steps/locals/x/.pvrremote", Route::Remote(rev("locals/x"))),
            ("GET", "/cgi-bin/pvr", Route::Step(None)),
            ("GET", "/cgi-bin/pvr/", Route::Step(None)),
            ("GET", "/cgi-bin/pvr/json", Route::State(None)),
            ("PUT", "/cgi-bin/pvr/json", Route::PutState),
            ("GET", "/cgi-bin/pvr/steps/0/json", Route::State(rev("0"))),
            ("GET", "/cgi-bin/pvr/steps/current/json", Route::State(rev("current"))),
            ("GET", "/cgi-bin/pvr/steps/locals/json/json", Route::State(rev("locals/json"))),
            ("GET", "/cgi-bin/pvr/steps/locals/json", Route::Step(rev("locals/json"))),
            ("GET", "/cgi-bin/pvr/objects", Route::Objects),
            ("GET", "/cgi-bin/pvr/objects/", Route::Objects),
            ("POST", "/cgi-bin/pvr/objects", Route::Announce),
            ("POST", "/cgi-bin/pvr/objects/", Route::Announce),
            ("GET", &object, Route::Object(id())),
            ("GET", &blob, Route::Blob(id())),
            ("HEAD", &blob, Route::Blob(id())),
            ("PUT", &blob, Route::PutBlob(id())),
            ("GET", &step_blob, Route::Blob(id())),
            ("GET", "/cgi-bin/pvr/steps", Route::Steps),
            ("POST", "/cgi-bin/pvr/steps", Route::PostStep),
            ("POST", "/cgi-bin/pvr/steps/", Route::PostStep),
            ("GET", "/cgi-bin/pvr/steps/7", Route::Step(rev("7"))),
            ("GET", "/cgi-bin/pvr/steps/a%5Cu%7B1b%7D", Route::Step(rev("a\\u{1b}"))),
            ("GET", "/cgi-bin/pvr/steps/7/progress", Route::Progress(RevText("7".into()))),
            ("GET", "/cgi-bin/pvr/events", Route::Events(None)),
            ("GET", "/cgi-bin/pvr/steps/locals/events/events", Route::Events(rev("locals/events"))),
            ("HEAD", "/cgi-bin/pvr/steps/7/events", Route::Events(rev("7"))),
            ("GET", "/cgi-bin/pvr/status", Route::Status),
            ("GET", "/metrics", Route::Metrics),
        ];
        for (method, path, want) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, path), Ok(want), "{method} {path}");
        }
    }

    #[test]
    fn what_takes_which_scope() {
        for entry in ROUTES {
            let below = entry.path.replace("{rev}", "0").replace("{sha256}", SHA);
            let method = Method::from_bytes(entry.method.as_bytes()).unwrap();
            let below = if below.starts_with('/') { below } else { format!("/cgi-bin/{below}") };
            let (found, _) = Route::find(&method, &below).unwrap();
            let needs = found.needs;
            let want = match (entry.method, entry.path) {
                (_, "/metrics") => Some(Scope::Admin),
                (_, "pvr/auth/login") => None,
                ("GET", "logs") => Some(Scope::Deploy),
                ("GET", _) => Some(Scope::Read),
                _ => Some(Scope::Deploy),
            };
            assert_eq!(needs, want, "{method} {below}");
        }
    }

    #[test]
    fn what_is_refused() {
        use RouteError::*;
        let upper = format!("/cgi-bin/pvr/objects/{}", SHA.to_uppercase());
        let long = format!("/cgi-bin/pvr/objects/{SHA}0");
        let blob = format!("/cgi-bin/pvr/objects/{SHA}/blob");
        let rows: Vec<(&str, &str, RouteError)> = vec![
            ("GET", "/", NotFound),
            ("GET", "*", NotFound),
            ("GET", "", NotFound),
            ("GET", "/cgi-bin/pvrx", NotFound),
            ("GET", "/cgi-bin/metrics", NotFound),
            ("GET", "/metrics/", NotFound),
            ("GET", "/pvr/status", NotFound),
            ("POST", "/metrics", NotAllowed("GET, HEAD".into())),
            ("GET", "/cgi-bin/pvr/nothing", NotFound),
            ("GET", "/cgi-bin/pvr/steps/locals", NotFound),
            ("GET", "/cgi-bin/pvr/steps/0/json/more", NotFound),
            ("GET", "/cgi-bin/pvr//json", BadPath("an empty segment")),
            ("GET", "/cgi-bin/pvr/../json", BadPath("a segment '.' or '..'")),
            ("GET", "/cgi-bin/pvr/steps/%2e%2e/json", BadPath("a segment '.' or '..'")),
            ("GET", "/cgi-bin/pvr/steps/locals/..%2fx", BadPath("a slash or NUL in a segment")),
            ("GET", "/cgi-bin/pvr/steps/%00", BadPath("a slash or NUL in a segment")),
            ("GET", "/cgi-bin/pvr/steps/%ff", BadPath("it is not UTF-8")),
            ("GET", "/cgi-bin/pvr/steps/%4", BadPath("an incomplete percent escape")),
            ("GET", "/cgi-bin/pvr/steps/%+1", BadPath("a bad percent escape")),
            ("GET", &upper, BadObjectName),
            ("GET", &long, BadObjectName),
            ("PUT", "/cgi-bin/pvr/objects/x/blob", BadObjectName),
            ("DELETE", &blob, NotAllowed("GET, HEAD, PUT".into())),
            ("POST", "/cgi-bin/pvr/json", NotAllowed("GET, HEAD, PUT".into())),
            ("PUT", "/cgi-bin/pvr/steps/0/json", NotAllowed("GET, HEAD".into())),
            ("PATCH", "/cgi-bin/pvr/steps", NotAllowed("GET, HEAD, POST".into())),
            ("OPTIONS", "/cgi-bin/pvr/status", NotAllowed("GET, HEAD".into())),
            ("POST", "/cgi-bin/pvr/steps/7/events", NotAllowed("GET, HEAD".into())),
            ("BREW", "/cgi-bin/pvr/status", UnknownMethod),
            ("get", "/cgi-bin/pvr/status", UnknownMethod),
        ];
        for (method, path, want) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, path), Err(want), "{method} {path}");
        }
    }
}
