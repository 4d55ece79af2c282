//! A device as the client sees one: a state, objects, a place to post to. A script may answer first.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::server::{Reply, Request, Server};

pub const BASE: &str = "/cgi-bin/pvr";
pub const SPEC: &str = "pantavisor-service-system@1";

pub fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a device holds.
#[derive(Default)]
pub struct Holds {
    pub state: String,
    pub objects: BTreeMap<String, Vec<u8>>,
    pub posted: Vec<String>,
}

pub struct Device {
    pub server: Server,
    pub holds: Arc<Mutex<Holds>>,
}

impl Device {
    /// A device with these files; `script` may answer a request instead of it.
    pub fn new(
        files: &[(&str, &[u8])],
        script: impl Fn(&Request, &Mutex<Holds>) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let mut holds = Holds::default();
        let mut state = format!("{{\"#spec\":\"{SPEC}\"");
        for (path, bytes) in files {
            let value = if path.ends_with(".json") {
                String::from_utf8_lossy(bytes).into_owned()
            } else {
                format!("\"{}\"", sha(bytes))
            };
            state.push_str(&format!(",{}:{value}", serde_json::to_string(path).unwrap()));
            holds.objects.insert(sha(bytes), bytes.to_vec());
        }
        holds.state = state + "}";
        let holds = Arc::new(Mutex::new(holds));
        let inside = Arc::clone(&holds);
        let server = Server::start(move |request| script(request, &inside).unwrap_or_else(|| answer(request, &inside)));
        Self { server, holds }
    }

    pub fn plain(files: &[(&str, &[u8])]) -> Self {
        Self::new(files, |_, _| None)
    }

    /// What is given to `pvr clone`.
    pub fn reference(&self) -> String {
        self.server.address.to_string()
    }
}

/// How an ordinary device answers.
pub fn answer(request: &Request, holds: &Mutex<Holds>) -> Reply {
    let host = request.header("host").unwrap().to_owned();
    let base = format!("http://{host}{BASE}");
    let mut holds = holds.lock().unwrap();
    let Some(path) = request.target.strip_prefix(BASE) else { return Reply::json(404, "{}") };
    let record = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"sha256sum\":\"{id}\",\"objectname\":\"x\",\"size\":\"\",\
             \"signed-puturl\":\"{base}/objects/{id}/blob\",\"signed-geturl\":\"{base}/objects/{id}/blob\"}}"
        )
    };
    match (request.method.as_str(), path) {
        ("GET", "/.pvrremote") => Reply::json(
            200,
            format!(
                "{{\"pvr-spec\":\"pvr-pantahub-1\",\"json-get-url\":\"{base}/json\",\"json-key\":\"state\",\
                 \"objects-endpoint\":\"{base}/objects\",\"post-url\":\"{base}/steps\"}}"
            ),
        ),
        ("GET", "/json") => Reply::json(200, holds.state.clone()),
        ("POST", "/objects/") => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            let id = body["sha256sum"].as_str().unwrap();
            if holds.objects.contains_key(id) {
                return Reply::json(409, record(id)).with("Pantahub-Object-Type", "object");
            }
            Reply::json(200, record(id))
        }
        ("POST", "/steps") => {
            holds.posted.push(String::from_utf8(request.body.clone()).unwrap());
            Reply::json(
                200,
                "{\"rev\":-1,\"revlocal\":\"locals/x\",\"state-sha\":\"0123456789ab\",\"trail-id\":\"local\"}",
            )
        }
        ("PUT", path) => {
            let id = path.trim_start_matches("/objects/").trim_end_matches("/blob").to_owned();
            if sha(&request.body) != id {
                return Reply::json(400, "{\"error\":\"wrong bytes\"}");
            }
            holds.objects.insert(id, request.body.clone());
            Reply::Full(200, Vec::new(), Vec::new())
        }
        ("GET", path) => {
            let rest = path.trim_start_matches("/objects/");
            let id = rest.trim_end_matches("/blob");
            match holds.objects.get(id) {
                None => Reply::json(404, "{\"error\":\"no such object\"}"),
                Some(_) if !rest.ends_with("/blob") => Reply::json(200, record(id)),
                Some(bytes) => blob(request, id, bytes),
            }
        }
        _ => Reply::json(405, "{}"),
    }
}

/// The bytes, or those from where a range begins.
pub fn blob(request: &Request, etag: &str, bytes: &[u8]) -> Reply {
    let etag = format!("\"{etag}\"");
    let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = request.header("if-range").is_none_or(|value| value == etag);
    match start {
        Some(start) if same && start < bytes.len() => Reply::Full(
            206,
            vec![
                ("ETag".into(), etag),
                ("Content-Range".into(), format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
            ],
            bytes[start..].to_vec(),
        ),
        _ => Reply::Full(200, vec![("ETag".into(), etag)], bytes.to_vec()),
    }
}
