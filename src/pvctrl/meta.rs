//! Metadata: what the hub says of the device, and what the device says of itself.

use std::fmt;

use serde_json::{Map, Value};

use super::{Control, ControlError, Limited, MAX_META, Segment, Sent};
use crate::net::Method;

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// `/user-meta`: what a user says. A key that is one of the configuration overrides it.
    User,
    /// `/device-meta`: what the device says.
    Device,
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user-meta",
            Self::Device => "device-meta",
        })
    }
}

impl Control {
    /// All values. One that looks like an object or a list comes as such, any other as a text.
    pub fn metadata(&self, meta: Meta) -> Result<Map<String, Value>, ControlError> {
        match self.get_json(&format!("/{meta}"))? {
            Value::Object(map) => Ok(map),
            _ => Err(ControlError::BadAnswer("metadata that is no object".to_owned())),
        }
    }

    /// Sets a value of 1 to 4096 bytes. The daemon keeps texts: what follows a NUL would be cut off.
    pub fn put_metadata(&self, meta: Meta, key: &Segment, value: &[u8]) -> Result<(), ControlError> {
        super::within(value.len(), MAX_META, Limited::Metadata)?;
        if value.contains(&0) {
            let name = String::from_utf8_lossy(value).chars().take(80).collect();
            return Err(super::NameError { name, why: "it has a NUL in it, at which the daemon would cut it" }.into());
        }
        self.send(Method::Put, &format!("/{meta}/{key}"), value)?;
        Ok(())
    }

    /// Removes a value.
    pub fn delete_metadata(&self, meta: Meta, key: &Segment) -> Result<(), ControlError> {
        let target = format!("/{meta}/{key}");
        let wait = self.waits().answer;
        self.raw(Method::Delete, &target, Sent::Nothing, wait, MAX_META)?.expect_ok(key.as_str())?;
        Ok(())
    }
}
