//! Containers, daemons, and what is only said.

use super::answer::{Answer, JSON};
use super::request::{Body, Gone, Outcome};
use super::steps::too_big;
use super::{Shared, State};
use serde_json::Value;
use std::fs;

const MAX: usize = 1024;
const DAEMONS: [&str; 2] = ["hwrngd", "pv-xconnect"];

pub fn info(shared: &Shared, path: &str) -> Answer {
    let state = shared.state();
    let facts = &state.config.facts;
    let text = match path {
        "/config" => facts.config.clone(),
        "/config2" => state.user_meta.overriding(&facts.config2),
        "/buildinfo" => facts.buildinfo.clone(),
        "/wakelocks" => facts.wakelocks.clone(),
        "/xconnect-graph" => "[]".into(),
        "/drivers" => "{}".into(),
        "/drivers/load" | "/drivers/unload" => String::new(),
        "/daemons" => r#"[{"name":"hwrngd","pid":0,"respawn":true},{"name":"pv-xconnect","pid":0,"respawn":false}]"#.into(),
        "/groups" => r#"[{"name":"data","status_goal":"MOUNTED","restart_policy":"system","status":"READY"},{"name":"root","status_goal":"STARTED","restart_policy":"system","status":"READY"},{"name":"platform","status_goal":"STARTED","restart_policy":"system","status":"READY"},{"name":"app","status_goal":"STARTED","restart_policy":"container","status":"READY","auto_recovery":{"max_retries":5,"stable_timeout":30,"backoff_policy":"reboot"}}]"#.into(),
        "/containers" => containers(&state),
        _ => String::new(),
    };
    let content_type = if path == "/buildinfo" { "text/plain" } else { JSON };
    Answer { content_type, ..Answer::json(200, text) }
}

/// The containers of a state: name, what a change of it takes, whether it may do everything.
pub fn of_state(state: &[u8]) -> Vec<(String, String, bool)> {
    let Ok(Value::Object(state)) = serde_json::from_slice(state) else { return Vec::new() };
    let one = |(key, run): (&String, &Value)| {
        let name = key.strip_suffix("/run.json").filter(|name| !name.contains('/'))?;
        let policy = run.get("restart_policy").and_then(Value::as_str).unwrap_or("system");
        let roles = run.get("roles").and_then(Value::as_array);
        let mgmt = roles.is_none_or(|roles| roles.iter().any(|role| role == "mgmt"));
        Some((name.to_owned(), policy.to_owned(), mgmt))
    };
    state.iter().filter(|(key, _)| *key != "bsp/run.json").filter_map(one).collect()
}

fn running(state: &State) -> Vec<(String, String, bool)> {
    let current = state.disk.trail(&state.disk.current());
    of_state(&fs::read(current.join(".pvr/json")).unwrap_or_default())
}

fn containers(state: &State) -> String {
    let item = |(name, policy, mgmt): (String, String, bool)| {
        let roles = if mgmt { r#""mgmt""# } else { "" };
        let stopped = if policy == "container" { r#","user_stopped":"false""# } else { "" };
        format!(
            r#"{{"name":"{name}","group":"data","status":"MOUNTED","status_goal":"MOUNTED","restart_policy":"{policy}","roles":[{roles}]{stopped}}}"#
        )
    };
    let items: Vec<String> = running(state).into_iter().map(item).collect();
    format!("[{}]", items.join(","))
}

/// The body of an action, or what is answered instead.
fn action(body: &mut Body<'_>, shared: &Shared) -> Result<Result<Vec<u8>, Outcome>, Gone> {
    let bytes = body.all()?;
    let none = Answer::error(400, "No data");
    if bytes.is_empty() {
        let hangs = shared.state().config.defects.hangs_on_empty;
        return Ok(Err(if hangs { Outcome::Silence } else { Outcome::Answers(vec![none]) }));
    }
    if bytes.len() > MAX {
        return Ok(Err(Outcome::Answers(too_big(shared, none))));
    }
    Ok(Ok(bytes))
}

pub fn container(name: &str, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    let bytes = match action(body, shared)? {
        Ok(bytes) => bytes,
        Err(outcome) => return Ok(outcome),
    };
    let found = running(&shared.state()).into_iter().find(|(known, ..)| known == name);
    let word = serde_json::from_slice::<Value>(&bytes).ok();
    let word = word.as_ref().and_then(|value| value.get("action")?.as_str());
    let answer = match (found, word) {
        (None, _) => Answer::error(404, "Container not found"),
        (Some((_, policy, _)), _) if policy != "container" => {
            Answer::error(403, "Container has restart_policy 'system' and cannot be controlled via API")
        }
        (_, None) => Answer::error(400, "Missing 'action' field"),
        (_, Some("stop")) => Answer::ok(),
        (_, Some("start")) => {
            Answer::error(400, "Container must be in STOPPED, STOPPING, or RECOVERING state to start")
        }
        (_, Some("restart")) => Answer::error(400, "Container state does not allow restart"),
        _ => Answer::error(400, "Invalid action. Use 'start', 'stop', or 'restart'"),
    };
    Ok(Outcome::Answers(vec![answer]))
}

pub fn daemon(name: &str, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    if let Err(outcome) = action(body, shared)? {
        return Ok(outcome);
    }
    let known = DAEMONS.contains(&name);
    Ok(Outcome::Answers(vec![if known { Answer::ok() } else { Answer::error(404, "Daemon not found") }]))
}
