//! `src.json` of an app: what it was made of (`app.md` §2).
//!
//! Indented by one blank, all lines but the first by one more; the members that today's tools know in their order, others
//! behind them. Those that they know are left out where they are empty, others stay as they are.

use crate::state::canonical::CanonicalError;
use crate::state::pretty::{Style, pretty};
use crate::state::{Object, Value};

const ENABLED: &str = "dm_enabled";
const STYLE: Style = Style { indent: " ", html: true, floats: false };
const ORDER: [&str; 21] = [
    "base",
    "name",
    "#spec",
    "template",
    "args",
    ENABLED,
    "logs",
    "exports",
    "config",
    "docker_name",
    "docker_tag",
    "docker_digest",
    "docker_ovl_digest",
    "docker_source",
    "docker_config",
    "docker_platform",
    "format_options",
    "pvr",
    "pvr_digest",
    "rootfs_url",
    "rootfs_digest",
];
/// The last of those that are known.
const LAST: &str = "persistence";

/// Notes that a volume is one of dm-verity. An error says what else is there.
pub(super) fn enable(members: &mut Object, volume: &str) -> Result<(), String> {
    let enabled = members.entry(ENABLED.to_owned()).or_insert_with(|| Value::Object(Object::new()));
    if *enabled == Value::Null {
        *enabled = Value::Object(Object::new());
    }
    match enabled {
        Value::Object(volumes) => {
            volumes.insert(volume.to_owned(), Value::Bool(true));
            Ok(())
        }
        other => Err(format!("its \"{ENABLED}\" is {}, not an object", other.kind())),
    }
}

/// The file.
pub(super) fn text(members: &Object) -> Result<String, CanonicalError> {
    let known: Vec<&str> = ORDER.into_iter().chain([LAST]).collect();
    let others = members.keys().map(String::as_str).filter(|name| !known.contains(name));
    let mut out = String::from("{");
    for name in known.iter().copied().chain(others) {
        let Some(value) = members.get(name) else { continue };
        if is_left_out(value) && name != "#spec" && known.contains(&name) {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        let (name, value) = (pretty(&Value::from(name), STYLE)?, pretty(value, STYLE)?);
        // A line break within a string is an escape.
        out.push_str(&format!("\n  {name}: {}", value.replace('\n', "\n  ")));
    }
    out.push_str("\n }");
    Ok(out)
}

/// Members that today's tools know are not written where they hold nothing.
fn is_left_out(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;
    use crate::state::parse::parse_strict;

    fn object(text: &str) -> Object {
        parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn as_today_and_with_what_today_loses() {
        let mut members =
            object(r##"{"zzz":{"a":[1]},"yyy":{},"persistence":{},"args":{"X":"<"},"#spec":"s","template":"t"}"##);
        enable(&mut members, "root").unwrap();
        enable(&mut members, "data").unwrap();
        assert_eq!(
            text(&members).unwrap(),
            "{\n  \"#spec\": \"s\",\n  \"template\": \"t\",\n  \"args\": {\n   \"X\": \"\\u003c\"\n  },\n  \
             \"dm_enabled\": {\n   \"data\": true,\n   \"root\": true\n  },\n  \"yyy\": {},\n  \
             \"zzz\": {\n   \"a\": [\n    1\n   ]\n  }\n }"
        );
        assert!(enable(&mut object(r#"{"dm_enabled":[]}"#), "root").is_err());
        enable(&mut object(r#"{"dm_enabled":null}"#), "root").unwrap();
    }
}
