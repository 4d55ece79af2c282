//! A new revision: `POST post-url` (`hub.md` B4).

use std::time::Duration;

use super::follow::FollowedAt;
use super::record::{self, PostRecord};
use super::rest::{self, Call, shown};
use super::{Remote, RemoteError};
use crate::net::{Method, Url};
use crate::state::canonical::to_canonical;
use crate::state::{Object, ObjectId, State, Value, escape};

/// How long the answer may take: the endpoint checks every object and makes the revision durable first.
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(600);

/// How the new revision is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostRev {
    /// Nothing is said.
    Omitted,
    /// A number; -1 leaves it to the endpoint.
    Number(i64),
    /// A name, `locals/<name>`.
    Named(String),
}

impl PostRev {
    /// As `--rev` has it: a number (0 says nothing, as today) or a name.
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(0) => Self::Omitted,
            Ok(number) => Self::Number(number),
            Err(_) if text.is_empty() => Self::Omitted,
            Err(_) => Self::Named(text.to_owned()),
        }
    }
}

/// What is posted.
#[derive(Debug)]
pub struct Post<'a> {
    /// The state.
    pub state: &'a State,
    /// Why.
    pub commit_msg: Option<&'a str>,
    /// How it is to be called.
    pub rev: PostRev,
    /// Further members of the document.
    pub envelope: Object,
}

/// What came of it. The texts are shown to people, and escaped already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The revision's name.
    pub rev: String,
    /// Sha256 of the state, as the endpoint has it.
    pub state_sha: String,
    /// Which device.
    pub trail_id: String,
    /// Where to follow the revision.
    pub(super) followed_at: FollowedAt,
}

impl Remote {
    /// Posts a state. Not repeated by itself: a post that broke may have been carried out.
    ///
    /// [`RemoteError::Missing`] lists objects that have to be sent first.
    pub fn post(&self, post: &Post<'_>) -> Result<Posted, RemoteError> {
        let mut document = post.envelope.clone();
        if let Some(message) = post.commit_msg {
            document.insert("commit-msg".to_owned(), message.into());
        }
        match &post.rev {
            PostRev::Omitted => {}
            PostRev::Number(number) => drop(document.insert("rev".to_owned(), (*number).into())),
            PostRev::Named(name) => drop(document.insert("rev".to_owned(), name.as_str().into())),
        }
        document.insert(self.json_key.clone(), post.state.to_value());
        let body = to_canonical(&Value::Object(document))?;
        let url = &self.post;
        let call = Call::send(Method::Post, url, body.as_bytes()).patience(WAIT_FOR_ANSWER).once();
        let response = match self.session.call(call) {
            Err(error) if error.may_have_arrived() => {
                return Err(RemoteError::PostBroken { source: Box::new(error) });
            }
            result => result?,
        };
        if response.status() != 200 {
            return Err(self.session.refusal(url, response));
        }
        let own_sha = post.state.sha()?;
        posted(rest::json(url, response)?, &own_sha, url)
            .ok_or_else(|| RemoteError::Answer { url: shown(url), why: "without a usable rev".to_owned() })
    }
}

/// `rev` may be a number, -1 with `revlocal` beside it, or a name.
fn posted(record: PostRecord, own_sha: &ObjectId, url: &Url) -> Option<Posted> {
    let rev = record::text(&record.rev);
    let rev = match rev.as_deref() {
        None | Some("-1") => record::text(&record.revlocal)?,
        Some(rev) => rev.to_owned(),
    };
    let shown = |text: Option<String>| text.map(|text| escape(&text).into_owned());
    Some(Posted {
        rev: escape(&rev).into_owned(),
        state_sha: shown(record::text(&record.state_sha)).unwrap_or_else(|| own_sha.to_string()),
        trail_id: shown(record::text(&record.trail_id)).unwrap_or_else(|| "(not given)".to_owned()),
        followed_at: FollowedAt::new(url, &rev, record.events_url.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_as_flags_have_them() {
        for (text, rev) in [
            ("-1", PostRev::Number(-1)),
            ("5", PostRev::Number(5)),
            ("0", PostRev::Omitted),
            ("", PostRev::Omitted),
            ("locals/x", PostRev::Named("locals/x".to_owned())),
            ("5x", PostRev::Named("5x".to_owned())),
        ] {
            assert_eq!(PostRev::parse(text), rev);
        }
    }

    #[test]
    fn answers_to_a_post() {
        let own = ObjectId::from_bytes([0xab; 32]);
        let own_sha = own.to_string();
        let url = Url::parse("http://x/steps").unwrap();
        let table = [
            ("{\"rev\":7,\"state-sha\":\"cd\",\"trail-id\":\"dev1\"}", Some(("7", "cd", "dev1"))),
            (
                "{\"rev\":-1,\"revlocal\":\"locals/x\",\"state-sha\":\"cd\",\"trail-id\":\"d\"}",
                Some(("locals/x", "cd", "d")),
            ),
            ("{\"rev\":\"locals/x\"}", Some(("locals/x", own_sha.as_str(), "(not given)"))),
            ("{\"rev\":\"a\\nb\",\"trail-id\":\"\\u001b\"}", Some(("a\\nb", own_sha.as_str(), "\\u{1b}"))),
            ("{\"rev\":-1}", None),
            ("{\"rev\":null}", None),
            ("{}", None),
        ];
        for (text, expected) in table {
            let got = posted(serde_json::from_str(text).unwrap(), &own, &url);
            let got = got.as_ref().map(|p| (p.rev.as_str(), p.state_sha.as_str(), p.trail_id.as_str()));
            assert_eq!(got, expected, "{text}");
        }
    }
}
