//! Whether a device has to restart to go from one state to another (`storage.md` §9).
//!
//! | what changes | restart |
//! |---|---|
//! | `_sigs/…`, `…/src.json`, `…/build.json` | no: the device does not read them |
//! | `bsp/…`, `#spec`, `device.json`, `groups.json`, `disks.json`, `disks_v3.json` | yes |
//! | `<container>/…`, `_config/<container>/…` of a container with `restart_policy` `system`, before or after | yes |
//! | the same, `container` | no |
//! | a container that is new with the policy `system`, or of which the policy cannot be told; what belongs to none | not known |
//!
//! The policy is that of the container's `run.json`; without one, that of its group in `device.json` or `groups.json`; without
//! these, that of Pantavisor's own groups: `container` for `app`, `system` for `data`, `root` and `platform`.

use std::collections::BTreeSet;

use crate::state::document::SPEC_KEY;
use crate::state::{Entry, State, Value};

/// Keys that are about the device as a whole.
const WHOLE: [&str; 4] = ["device.json", "disks.json", "disks_v3.json", "groups.json"];

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Yes, no, or not known.
    pub needed: Option<bool>,
    /// What it is because of, for people; escaped.
    pub because: Vec<String>,
}

/// How a container is taken from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    System,
    Container,
    Unknown,
}

impl Restart {
    /// Of a device whose state is not known.
    pub fn unknown(why: &str) -> Self {
        Self { needed: None, because: vec![why.to_owned()] }
    }

    /// From one state to another.
    pub fn between(before: &State, after: &State) -> Self {
        let (mut yes, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        if before.spec() != after.spec() {
            yes.insert(format!("{SPEC_KEY} changes"));
        }
        let keys: BTreeSet<&str> = before.entries().chain(after.entries()).map(|(key, _)| key.as_str()).collect();
        for key in keys.into_iter().filter(|key| before.get(key) != after.get(key)) {
            let (first, rest) = key.split_once('/').unwrap_or((key, ""));
            if first == "_sigs" || rest == "src.json" || rest == "build.json" {
                continue;
            }
            if first == "bsp" || WHOLE.contains(&key) {
                yes.insert(format!("{first} changes"));
                continue;
            }
            let container = match (first, rest.split_once('/')) {
                ("_config", Some((container, _))) => container,
                _ => first,
            };
            let shown = crate::state::escape(container);
            let (known, why) = match (policy(before, container), policy(after, container)) {
                (Some(Policy::Container) | None, Some(Policy::Container)) | (Some(Policy::Container), None) => continue,
                (Some(Policy::System), None) => (true, format!("{shown}, which is of the system, goes")),
                (Some(Policy::System), _) | (Some(_), Some(Policy::System)) => {
                    (true, format!("{shown}, which is of the system, changes"))
                }
                (None, Some(Policy::System)) => (false, format!("{shown}, which is of the system, is new")),
                (None, None) => (false, format!("{} belongs to no container", crate::state::escape(key))),
                (Some(Policy::Unknown), _) | (_, Some(Policy::Unknown)) => {
                    (false, format!("{shown} has no restart_policy, and no group that has one"))
                }
            };
            if known { &mut yes } else { &mut unknown }.insert(why);
        }
        let needed = match (yes.is_empty(), unknown.is_empty()) {
            (false, _) => Some(true),
            (true, false) => None,
            (true, true) => Some(false),
        };
        Self { needed, because: if yes.is_empty() { unknown } else { yes }.into_iter().collect() }
    }
}

/// The policy of a container; none where there is no such container.
fn policy(state: &State, container: &str) -> Option<Policy> {
    let Some(Entry::Json(run)) = state.get(&format!("{container}/run.json")) else { return None };
    let own = run.get("restart_policy").and_then(named);
    let group =
        ["group", "runlevel"].into_iter().find_map(|name| run.get(name)?.as_str().filter(|text| !text.is_empty()));
    Some(own.or_else(|| of_group(state, group?)).unwrap_or(Policy::Unknown))
}

fn named(value: &Value) -> Option<Policy> {
    match value.as_str()? {
        "system" => Some(Policy::System),
        "container" => Some(Policy::Container),
        _ => None,
    }
}

fn of_group(state: &State, group: &str) -> Option<Policy> {
    let json = |key| match state.get(key) {
        Some(Entry::Json(value)) => Some(value),
        _ => None,
    };
    let groups = json("device.json").and_then(|device| device.get("groups")).or_else(|| json("groups.json"));
    let Some(groups) = groups else {
        return match group {
            "data" | "root" | "platform" => Some(Policy::System),
            "app" => Some(Policy::Container),
            _ => None,
        };
    };
    let Value::Array(groups) = groups else { return None };
    groups
        .iter()
        .find(|one| one.get("name").and_then(Value::as_str) == Some(group))?
        .get("restart_policy")
        .and_then(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JsonLimits, Spec};

    fn state(members: &str) -> State {
        let text = format!("{{\"#spec\":\"s\",{members}}}");
        State::parse_strict(text.as_bytes(), &JsonLimits::default(), Spec::Any).unwrap()
    }

    #[test]
    fn what_changes_decides() {
        let base = concat!(
            r#""bsp/run.json":{"a":1},"app/run.json":{"group":"app"},"app/x.json":1,"old/run.json":{"runlevel":"root"},"#,
            r#""own/run.json":{"group":"root","restart_policy":"container"},"bare/run.json":{},"_sigs/a.json":1,"#,
            r#""_config/app/c.json":1,"_config/old/c.json":1,"app/src.json":1,"free.json":1"#
        );
        for (from, to, needed, because) in [
            ("", "", Some(false), ""),
            (r#""app/x.json":1"#, r#""app/x.json":2"#, Some(false), ""),
            (r#""_config/app/c.json":1"#, r#""_config/app/c.json":2"#, Some(false), ""),
            (r#""_sigs/a.json":1"#, r#""_sigs/a.json":2"#, Some(false), ""),
            (r#""own/run.json":{"#, r#""own/run.json":{"x":1,"#, Some(false), ""),
            (r#""free.json":1"#, r#""free.json":1,"app2/run.json":{"group":"app"}"#, Some(false), ""),
            (r#","app/x.json":1"#, "", Some(false), ""),
            (r#""a":1"#, r#""a":2"#, Some(true), "bsp changes"),
            (
                r#""_config/old/c.json":1"#,
                r#""_config/old/c.json":2"#,
                Some(true),
                "old, which is of the system, changes",
            ),
            (r#""old/run.json":{"runlevel":"root"},"#, "", Some(true), "old, which is of the system, goes"),
            (r#"{"group":"app"}"#, r#"{"group":"root"}"#, Some(true), "app, which is of the system, changes"),
            (r#""free.json":1"#, r#""free.json":1,"device.json":{}"#, Some(true), "device.json changes"),
            (r#""free.json":1"#, r#""free.json":2"#, None, "free.json belongs to no container"),
            (r#""bare/run.json":{}"#, r#""bare/run.json":{"x":1}"#, None, "bare has no restart_policy"),
            (
                r#""free.json":1"#,
                r#""free.json":1,"n/run.json":{"group":"root"}"#,
                None,
                "n, which is of the system, is new",
            ),
        ] {
            assert!(from.is_empty() || base.contains(from), "{from}");
            let restart =
                Restart::between(&state(base), &state(&base.replacen(from, to, usize::from(!from.is_empty()))));
            assert_eq!(restart.needed, needed, "{from} → {to}: {restart:?}");
            assert!(restart.because.iter().any(|why| why.contains(because)) || because.is_empty(), "{restart:?}");
            assert_eq!(restart.because.is_empty(), needed == Some(false));
        }
    }

    #[test]
    fn groups_of_the_state_are_asked_first() {
        let groups = r#""a/run.json":{"group":"app"},"b/run.json":{"group":"g"}"#;
        let with = |more: &str| state(&format!("{groups},{more}"));
        let system =
            r#"{"groups":[{"name":"app","restart_policy":"system"},{"name":"g","restart_policy":"container"}]}"#;
        let device = with(&format!("\"device.json\":{system}"));
        assert_eq!((policy(&device, "a"), policy(&device, "b")), (Some(Policy::System), Some(Policy::Container)));
        let legacy = with(r#""groups.json":[{"name":"g","restart_policy":"system"}]"#);
        assert_eq!((policy(&legacy, "a"), policy(&legacy, "b")), (Some(Policy::Unknown), Some(Policy::System)));
        assert_eq!(policy(&state(groups), "b"), Some(Policy::Unknown));
        assert_eq!(policy(&device, "c"), None);
    }
}
