//! One REST call: token, retries, limits, and what an unwelcome answer is made into.

use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::RemoteError;
use super::error::StatusError;
use super::record::{self, ErrorRecord};
use crate::net::{Client, HeaderValue, Method, NetError, Request, Response, Url};
use crate::state::{ObjectId, escape};

/// Largest JSON record that is read. A step record of the hub holds a whole state twice.
const MAX_RECORD: usize = 8 * 1024 * 1024;
/// What is shown of an error's body that is not JSON.
const MAX_SHOWN: usize = 600;
/// Failures in a row before a call is given up.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A bearer token that can stand in a header.
#[derive(Clone)]
pub struct AccessToken(HeaderValue);

impl AccessToken {
    /// The token, if it is not empty and can stand in a header.
    pub fn parse(token: &str) -> Option<Self> {
        let token = Some(token.trim()).filter(|token| !token.is_empty())?;
        HeaderValue::parse(&format!("Bearer {token}")).map(Self)
    }
}

/// Keeps tokens out of debug output.
impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

/// Counts failures in a row, and waits longer after each.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    timeouts: u32,
}

impl Patience {
    /// After a failure: waits and says whether to try again. A wait for an answer that never came was long enough
    /// already to be repeated just once.
    pub(super) fn again(&mut self, error: &RemoteError) -> bool {
        if !error.is_transient() {
            return false;
        }
        if matches!(error, RemoteError::Net { source: NetError::Timeout { .. }, .. }) {
            self.timeouts += 1;
        }
        self.failures += 1;
        if self.failures >= TRIES || self.timeouts >= 2 {
            return false;
        }
        thread::sleep((FIRST_WAIT * 2u32.pow(self.failures - 1)).min(LONGEST_WAIT));
        true
    }

    /// Something substantial got through: failures are counted anew.
    pub(super) fn renew(&mut self) {
        *self = Self::default();
    }
}

/// Client and token. The token goes only to the server that the user named: a server must not be able to have it
/// sent elsewhere by handing out addresses (`hub.md` D2).
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    token: Option<(AccessToken, Origin)>,
}

/// Scheme, host and port.
type Origin = (crate::net::Scheme, String, u16);

fn origin(url: &Url) -> Origin {
    (url.scheme(), url.host().to_owned(), url.port())
}

impl Session {
    pub(super) fn new(client: Client, token: Option<AccessToken>, endpoint: &Url) -> Self {
        Self { client, token: token.map(|token| (token, origin(endpoint))) }
    }

    fn with_token<'a>(&self, request: Request<'a>, url: &Url) -> Request<'a> {
        match &self.token {
            Some((token, home)) if *home == origin(url) => request.header("Authorization", token.0.clone()),
            _ => request,
        }
    }

    /// A call that changes nothing when it is repeated.
    pub(super) fn call(&self, method: Method, url: &Url, json: Option<&[u8]>) -> Result<Response, RemoteError> {
        let mut patience = Patience::default();
        loop {
            let mut request = self.with_token(Request::new(method, url), url);
            if let Some(json) = json {
                request = request.header("Content-Type", json_type()).bytes(json);
            }
            match self.client.send(request).map_err(|source| net(method, url, source)) {
                Err(error) if patience.again(&error) => {}
                result => return result,
            }
        }
    }

    /// A call that must not be repeated.
    pub(super) fn call_once(&self, url: &Url, json: &[u8], wait: Duration) -> Result<Response, RemoteError> {
        let request = self.with_token(Request::new(Method::Post, url), url);
        let request = request.header("Content-Type", json_type()).bytes(json).patience(wait).once();
        self.client.send(request).map_err(|source| net(Method::Post, url, source))
    }

    /// What an answer with another status than the one needed is made into.
    pub(super) fn refusal(&self, url: &Url, response: Response) -> RemoteError {
        if response.status() == 503
            && let Some(seconds) = response.header("retry-after").and_then(|value| value.trim().parse().ok())
        {
            return RemoteError::NotReady { seconds };
        }
        let (status, missing) = self.status(url, response);
        if missing.is_empty() { RemoteError::Status(status) } else { RemoteError::Missing { ids: missing, status } }
    }

    /// Reads what an unwelcome answer says, and which objects it calls missing.
    pub(super) fn status(&self, url: &Url, response: Response) -> (StatusError, Vec<ObjectId>) {
        let (code, reason) = (response.status(), escape(response.reason()).into_owned());
        let location = response.header("location").map(|to| format!("redirects to {}", escape(to)));
        // The list of missing objects may be long; a body that cannot be read is not worth a second error.
        let body = response.into_bytes(MAX_RECORD).unwrap_or_default();
        let (mut lines, missing) = explain(&body);
        lines.extend(location);
        if code == 401 || code == 403 {
            lines.push(match &self.token {
                None => "it wants a login: give --access-token, or PVR_ACCESSTOKEN".to_owned(),
                Some((_, home)) if *home != origin(url) => {
                    format!("the access token was not sent there: it is for {}:{} only", home.1, home.2)
                }
                Some(_) => "it does not accept this access token".to_owned(),
            });
        }
        (StatusError { code, reason, lines }, missing)
    }
}

/// Lines for people out of an error's body, and the objects it lists as missing.
fn explain(body: &[u8]) -> (Vec<String>, Vec<ObjectId>) {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if let Ok(record) = serde_json::from_str::<ErrorRecord>(text) {
        let parts = [&record.error, &record.msg, &record.hint];
        let mut parts: Vec<String> = parts.into_iter().filter_map(record::text).collect();
        // Where the log has more than the answer, this is where to look.
        if parts.last().is_some_and(|hint| hint.contains("request-id")) {
            parts.extend(record::text(&record.request_id).map(|id| format!("request-id {id}")));
        }
        let lines: Vec<String> = parts.iter().map(|text| escape(text).into_owned()).collect();
        if !lines.is_empty() {
            let ids = record.missing.iter().filter_map(|missing| ObjectId::parse(&missing.sha256).ok()).collect();
            return (lines, ids);
        }
    }
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let lines = shown.lines().filter(|line| !line.trim().is_empty()).map(|line| escape(line).into_owned()).collect();
    (lines, Vec::new())
}

/// Reads an answer's body as a record.
pub(super) fn json<T: DeserializeOwned>(url: &Url, response: Response) -> Result<T, RemoteError> {
    let bytes = response.into_bytes(MAX_RECORD).map_err(|source| net(Method::Get, url, source))?;
    serde_json::from_slice(&bytes).map_err(|error| RemoteError::Answer {
        url: shown(url),
        why: if bytes.is_empty() {
            "with nothing".to_owned()
        } else {
            format!("with bad JSON: {}", escape(&error.to_string()))
        },
    })
}

pub(super) fn json_type() -> HeaderValue {
    content_type("application/json")
}

/// A content type of ours.
pub(super) fn content_type(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

pub(super) fn net(method: Method, url: &Url, source: NetError) -> RemoteError {
    RemoteError::Net { verb: method.verb(), url: shown(url), source }
}

/// An address for people: without its query, which may be a secret.
pub(super) fn shown(url: &Url) -> String {
    let text = url.to_string();
    escape(text.split(['?', '#']).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_explained_and_escaped() {
        let id = "ab".repeat(32);
        let listed =
            format!("{{\"error\":\"e\",\"hint\":\"h\",\"missing\":[{{\"key\":\"a\",\"sha256\":\"{id}\"}},{{}}]}}");
        let table: &[(&str, &[&str], usize)] = &[
            ("", &[], 0),
            ("boom\n\nbang\n", &["boom", "bang"], 0),
            ("{\"Error\":\"x\"}", &["x"], 0),
            ("{\"error\":\"REST-ERR-1\",\"msg\":\"m\",\"code\":4}", &["REST-ERR-1", "m"], 0),
            ("{\"error\":\"\\u001b[2J\\nx\"}", &["\\u{1b}[2J\\nx"], 0),
            ("\u{1b}]0;x", &["\\u{1b}]0;x"], 0),
            ("{\"other\":1}", &["{\\\"other\\\":1}"], 0),
            (&listed, &["e", "h"], 1),
            (
                "{\"error\":\"e\",\"hint\":\"see request-id\",\"request-id\":\"a-1\"}",
                &["e", "see request-id", "request-id a-1"],
                0,
            ),
            ("{\"error\":\"e\",\"request-id\":\"a-1\"}", &["e"], 0),
        ];
        for (body, lines, missing) in table {
            let (got, ids) = explain(body.as_bytes());
            assert_eq!(
                (got.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), ids.len()),
                (*lines, *missing),
                "{body}"
            );
        }
    }

    #[test]
    fn tokens_that_cannot_stand_in_a_header_are_refused() {
        for bad in ["", "  ", "a\r\nX: y", "ü", "\0"] {
            assert!(AccessToken::parse(bad).is_none(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", AccessToken::parse("secret").unwrap()), "AccessToken(…)");
    }
}
