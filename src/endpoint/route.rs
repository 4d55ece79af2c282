//! Method and path of a request, parsed once into a type.
//!
//! Everything lives below `/cgi-bin/pvr`; `/cgi-bin/.pvrremote` is there too because documentation names
//! `http://<ip>:12368/cgi-bin` as the address of a device. A path is split at `/` first and its segments are
//! then percent-decoded, so an encoded slash is never a separator. A query plays no part here.

use hyper::Method;

use crate::state::id::ObjectId;

/// The path below which everything is.
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
    NotAllowed(&'static str),
    /// 501
    #[error("this method is not known")]
    UnknownMethod,
}

/// A place, whatever the method.
enum Place {
    Remote(Option<RevText>),
    State(Option<RevText>),
    Objects,
    Object(ObjectId),
    Blob(ObjectId),
    Steps,
    Step(Option<RevText>),
    Progress(RevText),
    Events(Option<RevText>),
    Status,
}

impl Route {
    /// Parses method and path (without query).
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
        if !KNOWN.contains(&method.as_str()) {
            return Err(RouteError::UnknownMethod);
        }
        let read = method == Method::GET || method == Method::HEAD;
        let reading = |route| {
            if read { Ok(route) } else { Err(RouteError::NotAllowed("GET, HEAD")) }
        };
        match Place::parse(path)? {
            Place::Remote(rev) => reading(Self::Remote(rev)),
            Place::State(None) if method == Method::PUT => Ok(Self::PutState),
            Place::State(None) if !read => Err(RouteError::NotAllowed("GET, HEAD, PUT")),
            Place::State(rev) => reading(Self::State(rev)),
            Place::Objects if method == Method::POST => Ok(Self::Announce),
            Place::Objects if !read => Err(RouteError::NotAllowed("GET, HEAD, POST")),
            Place::Objects => Ok(Self::Objects),
            Place::Object(id) => reading(Self::Object(id)),
            Place::Blob(id) if method == Method::PUT => Ok(Self::PutBlob(id)),
            Place::Blob(_) if !read => Err(RouteError::NotAllowed("GET, HEAD, PUT")),
            Place::Blob(id) => Ok(Self::Blob(id)),
            Place::Steps if method == Method::POST => Ok(Self::PostStep),
            Place::Steps if !read => Err(RouteError::NotAllowed("GET, HEAD, POST")),
            Place::Steps => Ok(Self::Steps),
            Place::Step(rev) => reading(Self::Step(rev)),
            Place::Progress(rev) => reading(Self::Progress(rev)),
            Place::Events(rev) => reading(Self::Events(rev)),
            Place::Status => reading(Self::Status),
        }
    }
}

impl Place {
    fn parse(path: &str) -> Result<Self, RouteError> {
        if path == "/cgi-bin/.pvrremote" {
            return Ok(Self::Remote(None));
        }
        let below = path.strip_prefix(BASE).ok_or(RouteError::NotFound)?;
        let below = match below.strip_prefix('/') {
            Some(below) => below,
            None if below.is_empty() => "",
            None => return Err(RouteError::NotFound),
        };
        // One slash at the end is how the client writes `objects/`.
        let below = below.strip_suffix('/').unwrap_or(below);
        if below.is_empty() {
            return Ok(Self::Step(None));
        }
        let segments = below.split('/').map(decode).collect::<Result<Vec<String>, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [".pvrremote"] => Ok(Self::Remote(None)),
            ["json"] => Ok(Self::State(None)),
            ["events"] => Ok(Self::Events(None)),
            ["status"] => Ok(Self::Status),
            ["objects"] => Ok(Self::Objects),
            ["objects", name] => object(name).map(Self::Object),
            ["objects", name, "blob"] => object(name).map(Self::Blob),
            ["steps"] => Ok(Self::Steps),
            ["steps", rest @ ..] => Self::step(rest),
            _ => Err(RouteError::NotFound),
        }
    }

    /// `<rev>`, or `<rev>/<what>`, where `<rev>` is one segment or `locals` and one more. A local revision
    /// may be called `json`: the segment after `locals` is always its name.
    fn step(segments: &[&str]) -> Result<Self, RouteError> {
        let (rev, rest) = match segments {
            ["locals", name, rest @ ..] => (format!("locals/{name}"), rest),
            ["locals"] | [] => return Err(RouteError::NotFound),
            [name, rest @ ..] => ((*name).to_owned(), rest),
        };
        let rev = RevText(rev);
        match rest {
            [] => Ok(Self::Step(Some(rev))),
            ["json"] => Ok(Self::State(Some(rev))),
            ["progress"] => Ok(Self::Progress(rev)),
            ["events"] => Ok(Self::Events(Some(rev))),
            [".pvrremote"] => Ok(Self::Remote(Some(rev))),
            // What an object is does not depend on the revision that one looks from.
            ["objects"] => Ok(Self::Objects),
            ["objects", name] => object(name).map(Self::Object),
            ["objects", name, "blob"] => object(name).map(Self::Blob),
            _ => Err(RouteError::NotFound),
        }
    }
}

fn object(name: &str) -> Result<ObjectId, RouteError> {
    ObjectId::parse(name).map_err(|_| RouteError::BadObjectName)
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
        ];
        for (method, path, want) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, path), Ok(want), "{method} {path}");
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
            ("DELETE", &blob, NotAllowed("GET, HEAD, PUT")),
            ("POST", "/cgi-bin/pvr/json", NotAllowed("GET, HEAD, PUT")),
            ("PUT", "/cgi-bin/pvr/steps/0/json", NotAllowed("GET, HEAD")),
            ("PATCH", "/cgi-bin/pvr/steps", NotAllowed("GET, HEAD, POST")),
            ("OPTIONS", "/cgi-bin/pvr/status", NotAllowed("GET, HEAD")),
            ("POST", "/cgi-bin/pvr/steps/7/events", NotAllowed("GET, HEAD")),
            ("BREW", "/cgi-bin/pvr/status", UnknownMethod),
            ("get", "/cgi-bin/pvr/status", UnknownMethod),
        ];
        for (method, path, want) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, path), Err(want), "{method} {path}");
        }
    }
}
