//! How large and how deep a state may be, for every command alike.
//!
//! | environment | without it |
//! |---|---|
//! | `PVR_AGENT_MAX_STATE_BYTES` | 2097152: bytes of a state that comes from a wire, an archive or a device |
//! | `PVR_AGENT_MAX_JSON_DEPTH` | 512: levels of nested JSON, 1000 at most |
//!
//! One place for all commands, because what `serve` takes, `fsck`, `gc` and the next `clone` have to read. A variable
//! that is set to nothing counts as not set.

use crate::state::JsonLimits;
use anyhow::{Result, anyhow};
use std::ops::RangeInclusive;

/// The limits that hold for this process.
pub(super) fn json() -> Result<JsonLimits> {
    from(|name| std::env::var(name).ok())
}

fn from(variable: impl Fn(&str) -> Option<String>) -> Result<JsonLimits> {
    let number = |name: &str, range: RangeInclusive<usize>, otherwise: usize| match variable(name) {
        None => Ok(otherwise),
        Some(text) if text.is_empty() => Ok(otherwise),
        Some(text) => text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            anyhow!("{name} cannot be used\nset a number from {} to {}, or nothing", range.start(), range.end())
        }),
    };
    let usual = JsonLimits::default();
    Ok(JsonLimits {
        // Below the first, not even an empty state fits; the last is what a canonical form may have at all.
        bytes: number("PVR_AGENT_MAX_STATE_BYTES", 64..=crate::state::canonical::MAX_BYTES, usual.bytes)?,
        depth: number("PVR_AGENT_MAX_JSON_DEPTH", 2..=JsonLimits::MAX_DEPTH, usual.depth)?,
    })
}

#[cfg(test)]
mod tests {
    use super::from;

    #[test]
    fn what_is_no_number_in_range_is_refused_by_name() {
        let with = |name: &'static str, value: &'static str| from(move |asked| (asked == name).then(|| value.into()));
        let usual = from(|_| None).unwrap();
        assert_eq!((usual.bytes, usual.depth), (2 * 1024 * 1024, 512));
        assert_eq!(with("PVR_AGENT_MAX_STATE_BYTES", "").unwrap().bytes, usual.bytes);
        assert_eq!(with("PVR_AGENT_MAX_STATE_BYTES", "4194304").unwrap().bytes, 4 * 1024 * 1024);
        assert_eq!(with("PVR_AGENT_MAX_JSON_DEPTH", "1000").unwrap().depth, 1000);
        for (name, value) in [
            ("PVR_AGENT_MAX_STATE_BYTES", "2M"),
            ("PVR_AGENT_MAX_STATE_BYTES", "0"),
            ("PVR_AGENT_MAX_STATE_BYTES", "99999999999999999999"),
            ("PVR_AGENT_MAX_JSON_DEPTH", "1001"),
            ("PVR_AGENT_MAX_JSON_DEPTH", "-1"),
        ] {
            assert!(with(name, value).unwrap_err().to_string().starts_with(name), "{name}={value}");
        }
    }
}
