//! What `run.json` says of a volume.
//!
//! | member | |
//! |---|---|
//! | `root-volume`, `modules`, `modules_<kernel>`, `firmware` | a file, or `dm:` and a file |
//! | `volumes` | a list of such |

use crate::state::{Object, Value};

/// Makes a volume one of dm-verity wherever it is named; says whether it is.
pub(super) fn convert(members: &mut Object, volume: &str) -> bool {
    let verity = format!("dm:{volume}");
    let mut named = false;
    let mut convert = |value: &mut Value| {
        if value.as_str().is_some_and(|text| text == volume || text == verity) {
            *value = Value::String(verity.clone());
            named = true;
        }
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("volumes", Value::Array(volumes)) => volumes.iter_mut().for_each(&mut convert),
            ("root-volume" | "modules" | "firmware", value) => convert(value),
            (name, value) if name.starts_with("modules_") => convert(value),
            _ => {}
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::JsonLimits;
    use crate::state::canonical::to_canonical;
    use crate::state::parse::parse_strict;

    #[test]
    fn every_member_that_names_the_volume_is_converted() {
        for (before, named, after) in [
            (r#"{"root-volume":"a"}"#, true, r#"{"root-volume":"dm:a"}"#),
            (r#"{"root-volume":"dm:a"}"#, true, r#"{"root-volume":"dm:a"}"#),
            (
                r#"{"modules_6.1":"a","volumes":["b","a",7,"a"]}"#,
                true,
                r#"{"modules_6.1":"dm:a","volumes":["b","dm:a",7,"dm:a"]}"#,
            ),
            (
                r#"{"firmware":"a","modules":"a","volumes":["a"]}"#,
                true,
                r#"{"firmware":"dm:a","modules":"dm:a","volumes":["dm:a"]}"#,
            ),
            (
                r#"{"linux":"a","root-volume":["a"],"volumes":"a"}"#,
                false,
                r#"{"linux":"a","root-volume":["a"],"volumes":"a"}"#,
            ),
        ] {
            let Ok(Value::Object(mut members)) = parse_strict(before.as_bytes(), &JsonLimits::default()) else {
                panic!("{before}");
            };
            assert_eq!(convert(&mut members, "a"), named, "{before}");
            assert_eq!(to_canonical(&Value::Object(members)).unwrap(), after);
        }
    }
}
