//! Which endpoint a request is for, and who may use it.

use super::answer::Answer;
use super::request::{Body, Gone, Head, Outcome};
use super::{Caller, Shared, commands, meta, objects, parts, steps};

/// An endpoint with a name in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Object,
    Step,
    Progress,
    CommitMessage,
    Meta,
    Container,
    Daemon,
    Driver,
}

const MAX_PARTS: usize = 10;

pub fn answer(head: &Head, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    let target = head.target.as_str();
    let (caller, defects) = {
        let state = shared.state();
        (state.config.caller.clone(), state.config.defects)
    };
    let path: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
    if defects.crashes && path.iter().any(|part| part.len() >= 3000) {
        return Ok(Outcome::Close);
    }
    let one = |answer| Ok(Outcome::Answers(vec![answer]));
    let plain = target.split(['?', '#']).next().unwrap_or(target);
    if let Some(methods) = plain_methods(plain) {
        let read = body.all()?;
        if !methods.contains(&head.method.as_str()) {
            return one(Answer::error(400, "Method not supported for this endpoint"));
        }
        match caller {
            Caller::Unknown => return one(Answer::error(500, "Internal Error")),
            Caller::Container(_) if plain != "/signal" => {
                return one(Answer::error(403, "Request not sent from a mgmt platform"));
            }
            _ => {}
        }
        return match plain {
            "/commands" => Ok(Outcome::Answers(commands::command(&read, shared))),
            "/signal" => Ok(Outcome::Answers(commands::signal(&read))),
            "/storage/gc" => one(commands::collect(shared)),
            "/objects" => one(objects::list(shared)),
            "/steps" => one(steps::list(shared)),
            "/user-meta" | "/device-meta" => one(meta::list(shared, plain == "/user-meta")),
            _ => one(parts::info(shared, plain)),
        };
    }
    let found = if path.len() > MAX_PARTS { None } else { pattern(target, &path, &head.method) };
    let Some((kind, methods)) = found else {
        body.all()?;
        return one(Answer::unknown(target));
    };
    let refusal = match caller {
        Caller::Unknown => Some(Answer::error(500, "Internal error, unknown caller")),
        Caller::Container(_) if shadowed(kind, &head.method) => {
            Some(Answer::error(400, "Method not supported for this endpoint"))
        }
        _ if !methods.contains(&head.method.as_str()) => {
            Some(Answer::error(400, "Method not supported for this endpoint"))
        }
        Caller::Container(_) => Some(Answer::error(403, "Request not sent from mgmt platform")),
        Caller::Privileged => None,
    };
    if let Some(refusal) = refusal {
        body.all()?;
        let single = caller == Caller::Unknown && matches!(kind, Pattern::Meta | Pattern::Daemon);
        let twice = matches!(head.method.as_str(), "PUT" | "POST" | "HEAD") && defects.double_replies && !single;
        let second = Answer::unknown(target).behind(&refusal);
        return Ok(Outcome::Answers(if twice { vec![refusal, second] } else { vec![refusal] }));
    }
    let last = target.rsplit('/').next().unwrap_or_default();
    match kind {
        Pattern::Object if head.method == "PUT" => objects::put(last, body, shared),
        Pattern::Object => one(objects::get(last, shared)),
        Pattern::Step if head.method == "PUT" => steps::put(target, body, shared),
        Pattern::Step => one(steps::get(&path, shared)),
        Pattern::Progress => one(steps::progress(&path, shared)),
        Pattern::CommitMessage => steps::commit_message(target, &path, body, shared),
        Pattern::Meta => meta::change(path[0] == "user-meta", last, &head.method, body, shared),
        Pattern::Container => parts::container(last, body, shared),
        Pattern::Daemon => parts::daemon(last, body, shared),
        Pattern::Driver => {
            body.all()?;
            one(Answer::ok())
        }
    }
}

/// The methods of an endpoint without a name in its path.
fn plain_methods(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "/containers" | "/groups" | "/objects" | "/steps" | "/user-meta" | "/device-meta" | "/buildinfo"
        | "/drivers" | "/config" | "/config2" | "/xconnect-graph" | "/daemons" | "/wakelocks" => &["GET"],
        "/drivers/load" | "/drivers/unload" => &["PUT"],
        "/signal" | "/commands" | "/storage/gc" => &["POST"],
        _ => return None,
    })
}

type Found = (Pattern, &'static [&'static str]);

/// The endpoint that takes the method; else the first that has the path.
fn pattern(target: &str, path: &[&str], method: &str) -> Option<Found> {
    let trailing = target.ends_with('/');
    let commit_message: Found = (Pattern::CommitMessage, &["PUT"]);
    let progress: Found = (Pattern::Progress, &["GET"]);
    let step: Found = (Pattern::Step, &["PUT", "GET"]);
    let candidates: Vec<Found> = match path {
        ["objects", _] if !trailing => vec![(Pattern::Object, &["PUT", "GET"])],
        ["steps", "locals"] => vec![(Pattern::Step, &["GET"])],
        ["steps", "locals", "commitmsg"] => vec![commit_message, step],
        ["steps", "locals", "progress"] => vec![step, progress],
        ["steps", "locals", _] => vec![step],
        ["steps", "locals", _, "progress"] | ["steps", _, "progress"] => vec![progress],
        ["steps", "locals", _, "commitmsg"] | ["steps", _, "commitmsg"] => vec![commit_message],
        ["steps", _] => vec![(Pattern::Step, &["GET"])],
        ["user-meta" | "device-meta", _] if !trailing => vec![(Pattern::Meta, &["PUT", "DELETE"])],
        ["containers", _] if !trailing => vec![(Pattern::Container, &["PUT"])],
        ["daemons", _] if !trailing => vec![(Pattern::Daemon, &["PUT"])],
        ["drivers", _, "load" | "unload"] => vec![(Pattern::Driver, &["PUT"])],
        _ => Vec::new(),
    };
    let takes = candidates.iter().copied().find(|(_, methods)| methods.contains(&method));
    takes.or(candidates.first().copied())
}

/// Where several endpoints share a path, the last that does not fit says what is wrong.
fn shadowed(kind: Pattern, method: &str) -> bool {
    match kind {
        Pattern::Meta => method == "DELETE",
        Pattern::Step => method == "PUT",
        Pattern::Object => method == "GET",
        _ => false,
    }
}
