//! JSON values as a state holds them.
//!
//! Numbers keep the text they were written with: a state's integers go beyond 64 bits and its fractions must
//! not pass through a float on their way to the canonical form. Members are held in the byte order of their
//! UTF-8 keys, which is the canonical order, so that writing a value needs no sorting.

use std::collections::BTreeMap;

/// Members of a JSON object in canonical order.
pub type Object = BTreeMap<String, Value>;

/// What an object with members counts for besides itself and them, in values: its first node has room for eleven members,
/// however few there are.
pub(super) const FIRST_NODE: usize = 4;

/// Any JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written.
    Number(Number),
    /// A string, decoded.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// The text of a JSON number. It follows the grammar of RFC 8259 §6 by construction.
///
/// Two numbers are equal when they were written alike; [`canonical`](super::canonical) makes equal quantities
/// equal texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(Box<str>);

impl Number {
    /// Takes a text that the parser has found to be a number.
    pub(super) fn from_checked(text: &str) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as an integer, where it is one that was written plainly and fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(value.to_string().into())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(value.to_string().into())
    }
}

impl Value {
    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members of an object value.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The member `key` of an object value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// How many values this counts for, with all that are in it. The parser counts alike.
    pub fn count(&self) -> usize {
        1 + match self {
            Self::Array(items) => items.iter().map(Self::count).sum(),
            Self::Object(members) if members.is_empty() => 0,
            Self::Object(members) => FIRST_NODE + members.values().map(Self::count).sum::<usize>(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 0,
        }
    }

    /// What kind of value this is, in a reader's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<Object> for Value {
    fn from(members: Object) -> Self {
        Self::Object(members)
    }
}
