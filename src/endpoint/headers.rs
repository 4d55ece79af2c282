//! What every answer says to a browser, whatever is in it: that it is no page, belongs to no other page, and tells nobody of itself.
//!
//! All answers go through here, those of `serve`, of a CGI, and those that never became a request (`refusal`). The web page of a
//! device, which is to run its own scripts, sets a policy of its own before.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Name and value; what an answer has set by itself stays.
pub(super) const ALL: [(&str, &str); 6] = [
    // What is sent as text or as bytes is not looked into for something else.
    ("x-content-type-options", "nosniff"),
    // Nothing that somebody has put into an object or a log loads, runs or sends anything.
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox",
    ),
    // What older browsers know of frames.
    ("x-frame-options", "DENY"),
    // Paths name revisions and objects, which are nobody else's business.
    ("referrer-policy", "no-referrer"),
    // No foreign page shows an object as its picture, or finds out by that whether there is one.
    ("cross-origin-resource-policy", "same-origin"),
    // States change, and who may read them does. Objects, which don't change, say otherwise.
    ("cache-control", "no-store"),
];

/// Adds them.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in ALL {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
}
