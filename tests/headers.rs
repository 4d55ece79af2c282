//! What every answer says to a browser: each route of the description, granted and refused, by `serve` and as a CGI; and what never
//! became a request.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found
mod black_box;
mod sdk;
mod shape;
#[path = "support/tar.rs"]
mod tar;

use black_box::http::{Conn, Response};
use black_box::sha256;
use sdk::{Back, Device};
use shape::Shape;
use std::io::{Read, Write};
use std::net::TcpStream;

const ALWAYS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// What is wrong with what an answer says to a browser.
fn missing(headers: &dyn Fn(&str) -> Option<String>, is_object: bool) -> Vec<String> {
    let mut wrong: Vec<String> = ALWAYS
        .iter()
        .filter(|(name, value)| headers(name).as_deref() != Some(value))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let policy = headers("content-security-policy").unwrap_or_default();
    let demanded = ["default-src 'none'", "frame-ancestors 'none'", "sandbox"];
    wrong.extend(demanded.iter().filter(|word| !policy.contains(**word)).map(|word| (*word).to_owned()));
    let caching = headers("cache-control").unwrap_or_default();
    let wanted = if is_object { "private, max-age=31536000, immutable" } else { "no-store" };
    if caching != wanted {
        wrong.push(format!("cache-control: {caching}"));
    }
    wrong
}

fn check(answer: &Response, what: &str) {
    let is_object = answer.header("etag").is_some() && answer.status < 400;
    let wrong = missing(&|name| answer.header(name).map(str::to_owned), is_object);
    assert!(wrong.is_empty(), "{what}: {wrong:?}: {answer}");
}

#[test]
fn the_checker_sees_what_is_missing() {
    let some = |name: &str| (name == "x-frame-options").then(|| "DENY".to_owned());
    assert_eq!(missing(&some, false).len(), 7);
    assert_eq!(missing(&|_| None, true).len(), 8);
}

/// Every path and method of the description.
fn operations(device: &Device) -> Vec<(String, String)> {
    let document = device.json("GET", "openapi.json");
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys().filter(|name| *name != "parameters") {
            all.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

#[test]
fn every_answer_of_every_route_is_no_page() {
    sdk::each("every_answer_of_every_route_is_no_page", |device| {
        let served = device.shape == Shape::Serve;
        let kernel = b"a kernel of the tests\n";
        device.server.upload(kernel).expect("upload");
        for (method, path) in operations(device) {
            // A web server hands over what is below /cgi-bin.
            if !served && !path.starts_with("/cgi-bin/") {
                continue;
            }
            // Once as it is granted, or refused for want of a body; once for an object and a revision that are not there.
            for (sha, rev) in [(sha256(kernel), "0"), (sha256(b"absent"), "nothing")] {
                let path = path.replace("{rev}", rev).replace("{name}", "x").replace("{sha256}", &sha);
                let what = format!("{}: {method} {path}", device.name());
                let mut conn = Conn::open(&device.server.host()).expect("connect");
                let length: &[(&str, &str)] =
                    if method == "GET" || method == "HEAD" { &[] } else { &[("Content-Length", "0")] };
                let answer = conn.ask(&method, &path, length, b"").unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&answer, &what);
            }
        }
        device.bare("POST", "pvtx/abort");
        for below in ["pvr/nothing", "pvr/steps/%ff", "pvtx/nothing"] {
            if !device.hands_on(below) {
                continue;
            }
            check(&device.get(below), &format!("{}: {below}", device.name()));
        }
        check(&device.bare("DELETE", "pvr/steps"), "a method that is not there");
        let foreign = device.ask("POST", "pvr/steps", &[("Origin", "http://evil.example")], b"{}");
        assert_eq!(foreign.status, 403, "{foreign}");
        check(&foreign, "a foreign page");
    });
}

#[test]
fn what_never_became_a_request_is_no_page_either() {
    let device = Device::start(Back::Storage, Shape::Serve);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (raw, status) in [
        ("nonsense\r\n\r\n", "400"),
        (long.as_str(), "431"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(device.server.host()).expect("connect");
        stream.write_all(raw.as_bytes()).expect("send");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, _) = text.split_once("\r\n\r\n").expect("a head");
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        assert!(missing(&header, false).is_empty(), "{head}");
    }
}
