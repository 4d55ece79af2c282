//! One REST call: token, retries, limits, and what an unwelcome answer is made into.

use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::RemoteError;
use super::auth::{Access, Need, Next};
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
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(HeaderValue);

impl AccessToken {
    /// The token, if it is not empty and can stand in a header.
    pub fn parse(token: &str) -> Option<Self> {
        let token = Some(token.trim()).filter(|token| !token.is_empty())?;
        HeaderValue::parse(&format!("Bearer {token}")).map(Self)
    }

    /// The value of an `Authorization` header.
    pub(super) fn value(&self) -> HeaderValue {
        self.0.clone()
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

/// One REST call.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    method: Method,
    url: &'a Url,
    json: Option<&'a [u8]>,
    need: Need,
    wait: Option<Duration>,
    once: bool,
}

impl<'a> Call<'a> {
    /// Something is read.
    pub(super) fn get(url: &'a Url) -> Self {
        Self { method: Method::Get, url, json: None, need: Need::Read, wait: None, once: false }
    }

    /// A document is sent, which changes nothing more when it is sent again.
    pub(super) fn send(method: Method, url: &'a Url, json: &'a [u8]) -> Self {
        Self { method, url, json: Some(json), need: Need::Write, wait: None, once: false }
    }

    /// What it is for, where the method does not say.
    pub(super) fn need(self, need: Need) -> Self {
        Self { need, ..self }
    }

    /// How long the answer may take.
    pub(super) fn patience(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    /// Must not be repeated unless it was refused.
    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }
}

/// Client and tokens. The user's token goes only to the server that the user named: a server must not be able to have it
/// sent elsewhere by handing out addresses (`hub.md` D2). What was got by logging in goes where it was got for.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    access: Access,
    /// Who gets the user's token.
    home: Vec<String>,
}

impl Session {
    pub(super) fn new(client: Client, access: &Access, endpoint: &Url) -> Self {
        Self { client, home: access.auth.same_server(endpoint), access: access.clone() }
    }

    /// The same, with other limits on its waits.
    pub(super) fn waiting(&self, patience: crate::net::Patience) -> Self {
        Self { client: self.client.clone().waiting(patience), ..self.clone() }
    }

    /// The token for this address, if it gets one.
    fn token(&self, url: &Url) -> Option<AccessToken> {
        match &self.access.token {
            Some(token) => Some(token).filter(|_| self.home.contains(&url.origin())).cloned(),
            None => self.access.auth.held(url),
        }
    }

    /// Makes a call: again after failures of the network, unless it must not be repeated, and after a login where one is
    /// wanted. Any other answer is returned, whatever its status.
    pub(super) fn call(&self, call: Call<'_>) -> Result<Response, RemoteError> {
        let mut patience = Patience::default();
        loop {
            let token = self.token(call.url);
            let mut request = Request::new(call.method, call.url);
            if let Some(token) = &token {
                request = request.header("Authorization", token.value());
            }
            if let Some(json) = call.json {
                request = request.header("Content-Type", json_type()).bytes(json);
            }
            if let Some(wait) = call.wait {
                request = request.patience(wait);
            }
            if call.once {
                request = request.once();
            }
            let response = match self.client.send(request).map_err(|source| net(call.method, call.url, source)) {
                Err(error) if !call.once && patience.again(&error) => continue,
                result => result?,
            };
            if !matches!(response.status(), 401 | 403) || self.access.token.is_some() {
                return Ok(response);
            }
            let refusal = (response.status(), response.header("www-authenticate"));
            match self.access.auth.refused(&self.client, call.url, refusal, token.as_ref(), call.need)? {
                Next::Again => {}
                Next::Leave => return Ok(response),
            }
        }
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
            lines.push(match (&self.access.token, self.token(url)) {
                (None, None) => "it wants a login: give --access-token, or PVR_ACCESSTOKEN".to_owned(),
                (None, Some(_)) => "this login may not do that".to_owned(),
                (Some(_), None) => {
                    format!("the access token was not sent there: it is for {} only", self.home.join(" and "))
                }
                (Some(_), Some(_)) => "it does not accept this access token".to_owned(),
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
    let bytes = record_bytes(response).map_err(|source| net(Method::Get, url, source))?;
    serde_json::from_slice(&bytes).map_err(|error| RemoteError::Answer {
        url: shown(url),
        why: if bytes.is_empty() {
            "with nothing".to_owned()
        } else {
            format!("with bad JSON: {}", escape(&error.to_string()))
        },
    })
}

/// Reads an answer's body, if it is no longer than a record may be.
pub(super) fn record_bytes(response: Response) -> Result<Vec<u8>, NetError> {
    response.into_bytes(MAX_RECORD)
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
