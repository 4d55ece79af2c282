//! The state of a transaction: one JSON object, taken apart at its top level.
//!
//! Less is demanded of it than of a state that is laid out: a package may bring a key that is no path, and a later one take
//! it away again. `deploy` and Pantavisor check the whole.

use super::claims::Claims;
use super::error::PvtxError;
use crate::state::canonical::to_canonical_within;
use crate::state::parse::parse_strict;
use crate::state::{JsonLimits, Object, StateError, Value};

/// A state and what its signatures claim.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) object: Object,
    pub(super) claims: Claims,
}

impl Document {
    /// Parses a text. `what` is where it comes from, for the message.
    pub(super) fn parse(text: &[u8], limits: &JsonLimits, what: &str) -> Result<Self, PvtxError> {
        let object =
            parse(text, limits).map_err(|source| PvtxError::State { what: what.to_owned(), source: source.into() })?;
        Self::of(object, limits)
    }

    pub(super) fn of(object: Object, limits: &JsonLimits) -> Result<Self, PvtxError> {
        let claims = Claims::of(&object, limits)?;
        Ok(Self { object, claims })
    }

    /// The spelling that is kept and sent. What could not be read again is refused.
    pub(super) fn text(self, limits: &JsonLimits) -> Result<String, PvtxError> {
        Ok(to_canonical_within(&Value::Object(self.object), limits.bytes)?)
    }
}

/// One object.
pub(super) fn parse(text: &[u8], limits: &JsonLimits) -> Result<Object, StateError> {
    match parse_strict(text, limits)? {
        Value::Object(object) => Ok(object),
        other => Err(StateError::NotAnObject(other.kind())),
    }
}
