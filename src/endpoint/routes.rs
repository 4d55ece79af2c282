//! The table of everything that can be asked for. The router reads it, and so does what describes it (`openapi`).
//!
//! A path is below `/cgi-bin/`, unless it begins with `/`. `{rev}` in it is a revision, which may have two segments; `{sha256}` names an
//! object. What can be had by GET can be asked about by HEAD. What is read takes the scope `read`, what changes something `deploy`, unless
//! it says otherwise.

use super::access::Scope;
use super::route::{Found, Route, RouteError};

/// One method of one path.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it is called, once in the table.
    pub(super) id: &'static str,
    /// What it does.
    pub(super) says: &'static str,
    pub(super) query: &'static [Query],
    /// What has to come with it.
    pub(super) body: Option<Content>,
    /// What it answers, and with what.
    pub(super) answers: &'static [(u16, Content)],
    /// How it refuses, beside the ways that all have.
    pub(super) refusals: &'static [u16],
    /// What whoever asks has to be allowed; `None`: anybody may.
    pub(super) needs: Option<Scope>,
    pub(super) route: fn(Found) -> Result<Route, RouteError>,
}

/// A parameter.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    /// Its JSON schema.
    pub(super) schema: &'static str,
    pub(super) required: bool,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Nothing,
    /// JSON of a schema that the document has.
    Json(&'static str),
    /// The same as a document, or one after the other as server-sent events.
    Stream(&'static str),
    Text,
    Bytes,
}

use Content::{Bytes, Json, Nothing, Stream, Text};

const fn entry(method: &'static str, path: &'static str, id: &'static str, says: &'static str) -> Entry {
    let route = |_: Found| Err(RouteError::NotFound);
    let needs = Some(if matches!(method.as_bytes(), b"GET") { Scope::Read } else { Scope::Deploy });
    Entry { method, path, id, says, query: &[], body: None, answers: &[], refusals: &[], needs, route }
}

impl Entry {
    /// The same by another method.
    const fn by(self, method: &'static str, id: &'static str) -> Self {
        Self { method, id, ..self }
    }

    const fn query(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }

    const fn takes(self, body: Content) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn answers(self, answers: &'static [(u16, Content)]) -> Self {
        Self { answers, ..self }
    }

    const fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }

    /// For whoever may that; `None`: for anybody.
    const fn needs(self, needs: Option<Scope>) -> Self {
        Self { needs, ..self }
    }

    const fn is(self, route: fn(Found) -> Result<Route, RouteError>) -> Self {
        Self { route, ..self }
    }
}

const SIZE: &[Query] = &[Query {
    name: "size",
    says: "how many bytes the object has, as its announcement said; a chunked body needs it",
    schema: r#"{"type":"integer","minimum":0}"#,
    required: false,
}];

const EMPTY: &[Query] = &[Query {
    name: "empty",
    says: "begin with nothing instead of the running state",
    schema: r#"{"type":"boolean","default":false}"#,
    required: false,
}];

const PART: &[Query] = &[Query {
    name: "part",
    says: "a package, a key or a folder, as for pvtx remove",
    schema: r#"{"type":"string","minLength":1}"#,
    required: true,
}];

const NEW_REV: &[Query] = &[Query {
    name: "rev",
    says: "the name, locals/<name>; without, locals/pvtx-<unix time>-<8 hex digits>-<0..999>",
    schema: r#"{"type":"string"}"#,
    required: false,
}];

const REV: &[Query] = &[Query { name: "rev", says: "the revision", schema: r#"{"type":"string"}"#, required: true }];

const REV_OR_CURRENT: &[Query] = &[Query {
    name: "rev",
    says: "the revision, with or without locals/",
    schema: r#"{"type":"string","default":"current"}"#,
    required: false,
}];

const FOLLOW: &[Query] = &[
    Query {
        name: "since",
        says: "the id of what is known; without, the answer comes at once",
        schema: r#"{"type":"string"}"#,
        required: false,
    },
    Query {
        name: "timeout",
        says: "seconds to wait for news, or for a stream to go on",
        schema: r#"{"type":"integer","minimum":0}"#,
        required: false,
    },
    Query {
        name: "stream",
        says: "a stream, as with Accept: text/event-stream",
        schema: r#"{"type":"boolean","default":false}"#,
        required: false,
    },
];

const LOG: &[Query] = &[
    Query {
        name: "rev",
        says: "whose log: 0, 17, locals/<name> or current",
        schema: r#"{"type":"string","default":"current"}"#,
        required: false,
    },
    Query {
        name: "source",
        says: "a container, or pantavisor itself",
        schema: r#"{"type":"string","default":"pantavisor"}"#,
        required: false,
    },
    Query {
        name: "tail",
        says: "the end of the log instead of all of it",
        schema: r#"{"type":"boolean","default":false}"#,
        required: false,
    },
    Query {
        name: "follow",
        says: "with tail: what comes, too, as it comes, without an end",
        schema: r#"{"type":"boolean","default":false}"#,
        required: false,
    },
    Query {
        name: "tailn",
        says: "with tail: lines to begin with",
        schema: r#"{"type":"integer","minimum":0,"default":10}"#,
        required: false,
    },
];

const TRANSACTION: &[(u16, Content)] = &[(200, Json("State"))];
const DONE: &[(u16, Content)] = &[(200, Json("Ok"))];
const ADD: Entry = entry(
    "PUT",
    "pvtx/add",
    "pvtxAdd",
    "Lays a package (tar, gzipped or not) or a state over that of the transaction.",
)
.takes(Bytes)
.answers(TRANSACTION)
.refuses(&[409, 413, 422, 507])
.is(|_| Ok(Route::Add));
const REMOVE: Entry = entry("PUT", "pvtx/remove", "pvtxRemove", "Removes a part from the state of the transaction.")
    .query(PART)
    .answers(TRANSACTION)
    .refuses(&[413, 422, 507])
    .is(|_| Ok(Route::Remove));

const BLOB: &[(u16, Content)] = &[(200, Bytes), (206, Bytes), (304, Nothing)];
const NEWS: &[(u16, Content)] = &[(200, Stream("Update")), (204, Nothing)];
const OBJECTS: &[(u16, Content)] = &[(200, Json("Objects"))];
const ANNOUNCED: &[(u16, Content)] = &[(200, Json("Object")), (409, Json("Object"))];

/// Where those who collect metrics look for them.
pub(super) const METRICS: &str = "/metrics";

/// See the module.
pub(super) const ROUTES: &[Entry] = &[
    entry("GET", ".pvrremote", "remoteOfHost", "The same as /cgi-bin/pvr/.pvrremote.")
        .answers(&[(200, Json("Remote"))])
        .refuses(&[404])
        .is(|_| Ok(Route::Remote(None))),
    entry("GET", "pvr/.pvrremote", "remote", "Where everything is: what a client of the device begins with.")
        .answers(&[(200, Json("Remote"))])
        .refuses(&[404])
        .is(|_| Ok(Route::Remote(None))),
    entry("GET", "pvr", "current", "The running revision.")
        .answers(&[(200, Json("Step"))])
        .refuses(&[404])
        .is(|_| Ok(Route::Step(None))),
    entry("GET", "pvr/status", "status", "What runs, and how the device is.")
        .answers(&[(200, Json("Status"))])
        .is(|_| Ok(Route::Status)),
    entry("GET", "pvr/events", "events", "How the update to the running revision goes, now or when there is news.")
        .query(FOLLOW)
        .answers(NEWS)
        .refuses(&[404])
        .is(|_| Ok(Route::Events(None))),
    entry("POST", "pvr/auth/login", "login", "Logs in. A device without accounts has no logins.")
        .takes(Json("Login"))
        .answers(&[(200, Json("Token"))])
        .refuses(&[401, 404, 413, 429])
        .needs(None)
        .is(|_| Ok(Route::Login)),
    entry("GET", "pvr/auth/login", "renewLogin", "A new token for one that a login was answered with.")
        .answers(&[(200, Json("Token"))])
        .refuses(&[401, 404])
        .needs(None)
        .is(|_| Ok(Route::Renew)),
    entry("GET", "pvr/auth/auth_status", "authStatus", "Who asks.")
        .answers(&[(200, Json("AuthStatus"))])
        .refuses(&[404])
        .is(|_| Ok(Route::AuthStatus)),
    entry("GET", "pvr/json", "state", "The running state, in canonical form.")
        .answers(&[(200, Json("State"))])
        .refuses(&[404])
        .is(|_| Ok(Route::State(None))),
    entry("PUT", "pvr/json", "putState", "Installs a state under a name that the device makes; answers with it.")
        .takes(Json("State"))
        .answers(&[(200, Json("State"))])
        .refuses(&[409, 413, 422, 507])
        .is(|_| Ok(Route::PutState)),
    entry("GET", "pvr/objects", "objects", "All objects.").answers(OBJECTS).is(|_| Ok(Route::Objects)),
    entry("POST", "pvr/objects", "announce", "Announces an object. 409: it is there, and stays for a day.")
        .takes(Json("Announcement"))
        .answers(ANNOUNCED)
        .refuses(&[413, 507])
        .is(|_| Ok(Route::Announce)),
    entry("GET", "pvr/objects/{sha256}", "object", "The record of an object.")
        .answers(&[(200, Json("Object"))])
        .refuses(&[404])
        .is(|found| Ok(Route::Object(found.object()?))),
    entry("GET", "pvr/objects/{sha256}/blob", "blob", "The bytes of an object, or a range of them.")
        .answers(BLOB)
        .refuses(&[404, 416])
        .is(|found| Ok(Route::Blob(found.object()?))),
    entry("PUT", "pvr/objects/{sha256}/blob", "putBlob", "Uploads the bytes of an object.")
        .query(SIZE)
        .takes(Bytes)
        .answers(&[(200, Nothing)])
        .refuses(&[411, 413, 422, 507])
        .is(|found| Ok(Route::PutBlob(found.object()?))),
    entry("GET", "pvr/steps", "steps", "All revisions.").answers(&[(200, Json("Steps"))]).is(|_| Ok(Route::Steps)),
    entry(
        "POST",
        "pvr/steps",
        "post",
        "Posts a revision, all of whose objects have to be there, and runs it unless told otherwise.",
    )
    .takes(Json("Post"))
    .answers(&[(200, Json("Posted"))])
    .refuses(&[409, 413, 422, 507])
    .is(|_| Ok(Route::PostStep)),
    entry("GET", "pvr/steps/{rev}", "step", "A revision.")
        .answers(&[(200, Json("Step"))])
        .refuses(&[404])
        .is(|found| Ok(Route::Step(found.rev()))),
    entry("GET", "pvr/steps/{rev}/.pvrremote", "remoteOfStep", "Where everything of a revision is.")
        .answers(&[(200, Json("Remote"))])
        .refuses(&[404])
        .is(|found| Ok(Route::Remote(found.rev()))),
    entry("GET", "pvr/steps/{rev}/json", "stateOfStep", "The state of a revision, in canonical form.")
        .answers(&[(200, Json("State"))])
        .refuses(&[404])
        .is(|found| Ok(Route::State(found.rev()))),
    entry("GET", "pvr/steps/{rev}/progress", "progress", "What has become of a revision.")
        .answers(&[(200, Json("Progress"))])
        .refuses(&[404])
        .is(|found| Ok(Route::Progress(found.one()?))),
    entry(
        "GET",
        "pvr/steps/{rev}/events",
        "eventsOfStep",
        "How the update to a revision goes, now or when there is news.",
    )
    .query(FOLLOW)
    .answers(NEWS)
    .refuses(&[404])
    .is(|found| Ok(Route::Events(found.rev()))),
    // What an object is does not depend on the revision that one looks from.
    entry("GET", "pvr/steps/{rev}/objects", "objectsOfStep", "The same as /cgi-bin/pvr/objects.")
        .answers(OBJECTS)
        .is(|_| Ok(Route::Objects)),
    entry("POST", "pvr/steps/{rev}/objects", "announceToStep", "The same as /cgi-bin/pvr/objects.")
        .takes(Json("Announcement"))
        .answers(ANNOUNCED)
        .refuses(&[413, 507])
        .is(|_| Ok(Route::Announce)),
    entry("GET", "pvr/steps/{rev}/objects/{sha256}", "objectOfStep", "The same as /cgi-bin/pvr/objects/{sha256}.")
        .answers(&[(200, Json("Object"))])
        .refuses(&[404])
        .is(|found| Ok(Route::Object(found.object()?))),
    entry(
        "GET",
        "pvr/steps/{rev}/objects/{sha256}/blob",
        "blobOfStep",
        "The same as /cgi-bin/pvr/objects/{sha256}/blob.",
    )
    .answers(BLOB)
    .refuses(&[404, 416])
    .is(|found| Ok(Route::Blob(found.object()?))),
    entry(
        "PUT",
        "pvr/steps/{rev}/objects/{sha256}/blob",
        "putBlobOfStep",
        "The same as /cgi-bin/pvr/objects/{sha256}/blob.",
    )
    .query(SIZE)
    .takes(Bytes)
    .answers(&[(200, Nothing)])
    .refuses(&[411, 413, 422, 507])
    .is(|found| Ok(Route::PutBlob(found.object()?))),
    entry("POST", "pvtx/begin", "pvtxBegin", "Begins a transaction. Answers with its state.")
        .query(EMPTY)
        .answers(TRANSACTION)
        .refuses(&[404, 409, 422, 507])
        .is(|_| Ok(Route::Begin)),
    ADD,
    ADD.by("POST", "pvtxAddByPost"),
    REMOVE,
    REMOVE.by("POST", "pvtxRemoveByPost"),
    REMOVE.by("DELETE", "pvtxRemoveByDelete"),
    entry("GET", "pvtx/show", "pvtxShow", "The state of the transaction.").answers(TRANSACTION).is(|_| Ok(Route::Show)),
    entry(
        "POST",
        "pvtx/commit",
        "pvtxCommit",
        "Makes a revision of the state, which is not run, and answers with its name.",
    )
    .query(NEW_REV)
    .answers(&[(200, Text)])
    .refuses(&[409, 413, 422, 507])
    .is(|_| Ok(Route::Commit)),
    entry("POST", "pvtx/abort", "pvtxAbort", "Ends the transaction, if there is one, as if it had never begun.")
        .answers(DONE)
        .refuses(&[507])
        .is(|_| Ok(Route::Abort)),
    entry("POST", "pvtx/run", "pvtxRun", "Has a revision run.")
        .query(REV)
        .answers(DONE)
        .refuses(&[404, 409, 422, 507])
        .is(|_| Ok(Route::Run)),
    entry("GET", "pvtx/status", "pvtxStatus", "What has become of a revision.")
        .query(REV_OR_CURRENT)
        .answers(&[(200, Json("Became"))])
        .refuses(&[404])
        .is(|_| Ok(Route::Became)),
    entry("GET", "pvtx/steps", "pvtxSteps", "All revisions, as at /cgi-bin/pvr/steps.")
        .answers(&[(200, Json("Steps"))])
        .is(|_| Ok(Route::Steps)),
    entry("GET", "logs", "logs", "The log of a container, or of pantavisor.")
        .query(LOG)
        .needs(Some(Scope::Deploy))
        .answers(&[(200, Text)])
        .refuses(&[404])
        .is(|_| Ok(Route::Logs)),
    entry("GET", "openapi.json", "openapi", "This document.")
        .answers(&[(200, Json("OpenApi"))])
        .is(|_| Ok(Route::OpenApi)),
    entry(
        "GET",
        METRICS,
        "metrics",
        "What this process has counted, for Prometheus. For administrators and this machine.",
    )
    .needs(Some(Scope::Admin))
    .answers(&[(200, Text)])
    .refuses(&[404])
    .is(|_| Ok(Route::Metrics)),
];
