//! `GET /cgi-bin/openapi.json`: what there is, as OpenAPI 3.1 has it, out of the table that the router reads.
//!
//! A `{rev}` may have two segments, which no parameter of OpenAPI may: such a path is there twice, with `{rev}` and with
//! `locals/{name}`. What bodies look like is in `schemas.json`, by the names that the table has.

use std::fmt::Write;

use hyper::StatusCode;

use super::guard::Base;
use super::reply::{self, Reply};
use super::routes::{Content, Entry, ROUTES};

/// How everything may be refused; and what takes a scope; and what changes something; and what has a body.
const ANYTHING: [u16; 5] = [400, 421, 500, 502, 503];
const SCOPED: [u16; 2] = [401, 403];
const CHANGES: [u16; 1] = [403];
const BODIES: [u16; 2] = [408, 501];

const HEAD: &str = r#""info":{"title":"pvr-agent","description":"The endpoint of a Pantavisor device: the protocol of pvr, transactions, logs. A path may end with a slash. Errors are JSON with a stable reason.","license":{"name":"Apache-2.0","identifier":"Apache-2.0"},"version":""#;

const PARAMETERS: &str = r#""parameters":{"rev":{"name":"rev","in":"path","required":true,"description":"0, 17 or current; local revisions have a path of their own","schema":{"type":"string"}},"name":{"name":"name","in":"path","required":true,"description":"the name of a local revision, behind locals/","schema":{"type":"string"}},"sha256":{"name":"sha256","in":"path","required":true,"description":"the object","schema":{"type":"string","pattern":"^[0-9a-f]{64}$"}}}"#;

/// Each way to say who one is. With any of them a scope is held, and each scope holds those before it: read, deploy, admin.
const SECURITY: &str = r#""securitySchemes":{"bearer":{"type":"http","scheme":"bearer","bearerFormat":"JWT","description":"a token of a login, or one that was made with pvr-agent access token. On a device without accounts, nothing takes any of this."},"signed":{"type":"apiKey","in":"query","name":"mac","description":"a URL that the record of an object has"},"certificate":{"type":"mutualTLS","description":"of an authority that serve --client-ca names, for an account"}}"#;

/// The answer.
pub(super) fn answer(base: &Base) -> Reply {
    reply::json_text(StatusCode::OK, document(base.origin()))
}

fn document(origin: &str) -> String {
    let mut out = format!(
        r#"{{"openapi":"3.1.0",{HEAD}{}"}},"servers":[{{"url":"{origin}"}}],"paths":{{"#,
        env!("CARGO_PKG_VERSION")
    );
    let mut comma = "";
    for (number, entry) in ROUTES.iter().enumerate() {
        if ROUTES.iter().take(number).any(|before| before.path == entry.path) {
            continue;
        }
        path(&mut out, comma, entry.path, "");
        comma = ",";
        if entry.path.contains("{rev}") {
            path(&mut out, comma, entry.path, "Local");
        }
    }
    let schemas = include_str!("schemas.json").trim_end();
    // Writing to a text has no way to fail.
    let _ = write!(
        out,
        r##"}},"components":{{{PARAMETERS},{SECURITY},"responses":{{"Error":{{"description":"It was not done, and why.","content":{{"application/json":{{"schema":{{"$ref":"#/components/schemas/Error"}}}}}}}}}},"schemas":{schemas}}}}}"##
    );
    out
}

/// A path, its parameters and its methods.
fn path(out: &mut String, comma: &str, template: &str, local: &str) {
    let shown = if local.is_empty() { template.to_owned() } else { template.replace("{rev}", "locals/{name}") };
    let below = if shown.starts_with('/') { "" } else { "/cgi-bin/" };
    let _ = write!(out, r#"{comma}"{below}{shown}":{{"parameters":["#);
    let names = ["rev", "name", "sha256"].into_iter().filter(|name| shown.contains(&format!("{{{name}}}")));
    for (number, name) in names.enumerate() {
        let _ = write!(out, r##"{}{{"$ref":"#/components/parameters/{name}"}}"##, comma_before(number));
    }
    out.push(']');
    for entry in ROUTES.iter().filter(|entry| entry.path == template) {
        method(out, entry, entry.method, local, "");
        if entry.method == "GET" {
            method(out, entry, "HEAD", local, "Head");
        }
    }
    out.push('}');
}

fn method(out: &mut String, entry: &Entry, name: &str, local: &str, head: &str) {
    let tag = entry.path.split('/').next().unwrap_or_default();
    let _ = write!(
        out,
        r#","{}":{{"operationId":"{}{local}{head}","summary":"{}","tags":["{tag}"]"#,
        name.to_ascii_lowercase(),
        entry.id,
        entry.says
    );
    if !entry.query.is_empty() {
        out.push_str(r#","parameters":["#);
        for (number, query) in entry.query.iter().enumerate() {
            let _ = write!(
                out,
                r#"{}{{"name":"{}","in":"query","required":{},"description":"{}","schema":{}}}"#,
                comma_before(number),
                query.name,
                query.required,
                query.says,
                query.schema
            );
        }
        out.push(']');
    }
    out.push_str(r#","security":["#);
    if let Some(scope) = entry.needs {
        let ways: &[&str] = if entry.path.ends_with("/blob") {
            &["bearer", "certificate", "signed"]
        } else {
            &["bearer", "certificate"]
        };
        for (number, way) in ways.iter().enumerate() {
            let _ = write!(out, r#"{}{{"{way}":["{scope}"]}}"#, comma_before(number));
        }
    }
    out.push(']');
    if let Some(body) = entry.body {
        out.push_str(r#","requestBody":{"required":true"#);
        content(out, body);
        out.push('}');
    }
    out.push_str(r#","responses":{"#);
    let mut comma = "";
    for (status, answer) in entry.answers {
        let reason =
            StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let _ = write!(out, r#"{comma}"{status}":{{"description":"{reason}""#);
        if head.is_empty() {
            content(out, *answer);
        }
        out.push('}');
        comma = ",";
    }
    let changes: &[u16] = match (entry.needs, entry.method) {
        (Some(_), _) => &SCOPED,
        (None, "GET") => &[],
        (None, _) => &CHANGES,
    };
    let bodies: &[u16] = if entry.body.is_some() { &BODIES } else { &[] };
    for status in ANYTHING.iter().chain(changes).chain(bodies).chain(entry.refusals) {
        if entry.answers.iter().all(|(answered, _)| answered != status) {
            let _ = write!(out, r##","{status}":{{"$ref":"#/components/responses/Error"}}"##);
        }
    }
    out.push_str("}}");
}

fn content(out: &mut String, content: Content) {
    let _ = match content {
        Content::Nothing => Ok(()),
        Content::Json(schema) => write!(
            out,
            r##","content":{{"application/json":{{"schema":{{"$ref":"#/components/schemas/{schema}"}}}}}}"##
        ),
        Content::Stream(schema) => write!(
            out,
            r##","content":{{"application/json":{{"schema":{{"$ref":"#/components/schemas/{schema}"}}}},"text/event-stream":{{"schema":{{"type":"string"}}}}}}"##
        ),
        Content::Text => write!(out, r#","content":{{"text/plain":{{"schema":{{"type":"string"}}}}}}"#),
        Content::Bytes => write!(out, r#","content":{{"application/octet-stream":{{}}}}"#),
    };
}

fn comma_before(number: usize) -> &'static str {
    if number == 0 { "" } else { "," }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_that_is_referred_to_is_there_and_nothing_is_there_twice() {
        let text = document("http://h");
        let all = crate::state::parse::parse_strict(text.as_bytes(), &crate::state::JsonLimits::default());
        all.unwrap_or_else(|error| panic!("{error}: {text}"));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut used = BTreeSet::new();
        for reference in text.split("\"$ref\":\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
            used.insert(reference.to_owned());
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(used.contains(&format!("components/schemas/{name}")), "nobody uses {name}");
        }
        let mut ids = BTreeSet::new();
        for id in text.split("\"operationId\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(ids.insert(id), "{id}");
        }
        for entry in ROUTES {
            assert!(!entry.answers.is_empty() && !entry.says.is_empty(), "{} {}", entry.method, entry.path);
            let statuses: BTreeSet<_> = entry.refusals.iter().chain(&ANYTHING).collect();
            assert_eq!(statuses.len(), entry.refusals.len() + ANYTHING.len(), "{} {}", entry.method, entry.path);
        }
    }
}
