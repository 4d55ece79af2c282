//! What is asked for.

use std::io::Read;
use std::time::Duration;

use super::Url;

/// Methods that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

impl Method {
    /// The method in a sentence.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Get => "Get",
            Self::Head => "Head",
            Self::Post => "Post",
            Self::Put => "Put",
            Self::Delete => "Delete",
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Text that can stand in a header line: visible ASCII, blanks and tabs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(Box<str>);

impl HeaderValue {
    /// The text, if it can stand in a header line.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t');
        fits.then(|| Self(text.into()))
    }

    /// A text of ours. Anything else than visible ASCII in it is dropped.
    pub fn from_static(text: &'static str) -> Self {
        Self(text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is sent along.
pub(super) enum Body<'a> {
    Empty,
    Bytes(&'a [u8]),
    Reader { length: u64, reader: &'a mut dyn Read },
}

/// Where redirects may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// Nowhere: the redirect is the answer.
    Refuse,
    /// To any http or https address, up to so many times. GET and HEAD only.
    Follow(u8),
}

/// A request that is being put together.
pub struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: Vec<(&'static str, HeaderValue)>,
    pub(super) body: Body<'a>,
    pub(super) redirects: Redirects,
    pub(super) patience: Option<Duration>,
    pub(super) once: bool,
}

impl<'a> Request<'a> {
    /// A request without body.
    pub fn new(method: Method, url: &'a Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
            redirects: Redirects::Refuse,
            patience: None,
            once: false,
        }
    }

    /// Adds a header line. Names are ours; `Host`, `Content-Length` and `Connection` are written by the client.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sends these bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &'a [u8]) -> Self {
        self.body = Body::Bytes(bytes);
        self
    }

    /// Sends `length` bytes of `reader` as they are read.
    #[must_use]
    pub fn reader(mut self, length: u64, reader: &'a mut dyn Read) -> Self {
        self.body = Body::Reader { length, reader };
        self
    }

    /// What to do about a redirect.
    #[must_use]
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// How long the answer to this request may take to begin, where that is not the client's usual limit.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Never sent twice, not even when a connection that was kept open turns out to be closed: a connection of its own.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }
}
