//! `pvcurl`: what of `curl` scripts on a device use on the control socket (`pvctrl.md` §6).
//!
//! Options and exit codes are today's: 0 for any answer, whatever its status, 1 where there is none or the command line is
//! wrong; without arguments, or with `-h`, the usage and 0. Requests and answers are in no file, so any number of them can be under
//! way, and bodies are streamed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::net::{Client, HeaderValue, Method, Patience, Request, Url};
use crate::state::{escape, escape_text};

const USAGE: &str = "\
Usage: pvcurl [OPTIONS] --unix-socket PATH URL

  -X METHOD                 the method; without, GET, POST with data, PUT with a file
  -H, --header LINE         one more header
  --data, --data-binary TEXT
                            the body; of several, the last
  -T, --upload-file FILE    the body, from a file
  --unix-socket PATH        the socket
  --connect-timeout N       seconds in which something has to happen [default: 5]
  --max-time N              ignored
  -o FILE                   the answer goes into a file
  -w FORMAT                 print this behind it; %{http_code} is the status
  -i                        the answer's head, too
  -s, --no-progress-meter   say nothing of failures; there is no meter
  -v                        show the heads of both
";

/// A command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    method: Option<Method>,
    headers: Vec<(String, String)>,
    data: Option<String>,
    upload: Option<PathBuf>,
    socket: Option<PathBuf>,
    wait: Option<u64>,
    output: Option<PathBuf>,
    format: Option<String>,
    head: bool,
    silent: bool,
    verbose: bool,
    url: Option<String>,
}

/// Runs `pvcurl`; the arguments are those behind its name.
pub fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if words.is_empty() || words.iter().any(|word| word == "-h" || word == "--help") {
        // To a closed pipe or a full disk: there is nobody left to tell.
        io::stdout().write_all(USAGE.as_bytes()).ok();
        return ExitCode::SUCCESS;
    }
    let (asked, told) = match parse(words.into_iter()) {
        Ok(asked) => (asked.silent, exchange(asked)),
        Err(why) => (false, Err(why)),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            if !asked {
                eprintln!("ERROR: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{} needs a value", escape(&word)));
        match word.as_str() {
            "-X" => asked.method = Some(method(&value()?)?),
            "-H" | "--header" => asked.headers.push(header(&value()?)?),
            "--data" | "--data-binary" => asked.data = Some(value()?),
            "-T" | "--upload-file" => asked.upload = Some(value()?.into()),
            "--unix-socket" => asked.socket = Some(value()?.into()),
            "--connect-timeout" => {
                let text = value()?;
                asked.wait = Some(text.parse().map_err(|_| format!("'{}' is no number of seconds", escape(&text)))?);
            }
            "--max-time" => drop(value()?),
            "-o" => asked.output = Some(value()?.into()),
            "-w" => asked.format = Some(value()?.trim_matches(['\'', '"']).to_owned()),
            "-i" => asked.head = true,
            "-s" => asked.silent = true,
            "-v" => asked.verbose = true,
            "--no-progress-meter" => {}
            option if option.starts_with('-') => return Err(format!("{} is not an option", escape(option))),
            url => asked.url = Some(url.to_owned()),
        }
    }
    Ok(asked)
}

fn method(text: &str) -> Result<Method, String> {
    let all = [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
    ];
    let known = all.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, method)| method).ok_or_else(|| format!("the control socket has no method {}", escape(text)))
}

fn header(line: &str) -> Result<(String, String), String> {
    let token =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let (name, value) = line.split_once(':').map_or(("", ""), |(name, value)| (name.trim(), value.trim()));
    if token(name) { Ok((name.to_owned(), value.to_owned())) } else { Err(format!("'{}' is no header", escape(line))) }
}

/// Sends the request and prints the answer.
fn exchange(asked: Asked) -> Result<(), String> {
    let socket = asked.socket.ok_or("--unix-socket is missing")?;
    let address = asked.url.ok_or("there is no URL")?;
    let path = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let path = path.find('/').and_then(|slash| path.get(slash..)).unwrap_or("/");
    let url = Url::on_socket(path).ok_or_else(|| format!("'{}' is no URL", escape(&address)))?;
    let usual = match (&asked.data, &asked.upload) {
        (_, Some(_)) => Method::Put,
        (Some(_), None) => Method::Post,
        (None, None) => Method::Get,
    };
    let mut request = Request::new(asked.method.unwrap_or(usual), &url).once();
    let json = ("Content-Type".to_owned(), "application/json".to_owned());
    let has_type = asked.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    // The client writes these itself.
    let own = ["host", "content-length", "connection"];
    let headers = asked.headers.into_iter().chain((!has_type).then_some(json));
    for (name, value) in headers.filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str())) {
        let value = HeaderValue::parse(&value).ok_or("a header has characters that none can have")?;
        // As long as the process, which is as long as this request.
        request = request.header(String::leak(name), value);
    }
    let mut file = None;
    if let Some(path) = &asked.upload {
        let named = || escape(&path.to_string_lossy()).into_owned();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (meta, opened) = opened.map_err(|error| format!("cannot read '{}': {error}", named()))?;
        if !meta.is_file() {
            return Err(format!("'{}' is not a file", named()));
        }
        file = Some((meta.len(), opened));
    }
    let request = match (&mut file, &asked.data) {
        (Some((size, file)), _) => request.reader(*size, file as &mut dyn Read),
        (None, data) => request.bytes(data.as_deref().unwrap_or_default().as_bytes()),
    };
    let wait = Duration::from_secs(asked.wait.unwrap_or(5).max(1));
    let head = Arc::new(Mutex::new(String::new()));
    let (kept, verbose) = (Arc::clone(&head), asked.verbose);
    let trace = Arc::new(move |text: &str| {
        if verbose {
            eprintln!("{text}");
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        text.lines().filter_map(|line| line.strip_prefix("< ")).for_each(|line| {
            kept.push_str(line);
            kept.push_str("\r\n");
        });
    });
    let client = Client::on_socket(&socket, Patience { connect: wait, idle: wait }).traced(trace);
    let mut response = client.send(request).map_err(|error| escape_text(&error.to_string()).into_owned())?;
    let cannot_write = |error: io::Error| format!("cannot write the answer: {error}");
    let mut out: Box<dyn Write> = match &asked.output {
        Some(path) => Box::new(File::create(path).map_err(cannot_write)?),
        None => Box::new(io::stdout().lock()),
    };
    if asked.head {
        let head = head.lock().unwrap_or_else(PoisonError::into_inner);
        write!(out, "HTTP/1.1 {}\r\n", *head).map_err(cannot_write)?;
    }
    let mut piece = vec![0; 64 * 1024];
    loop {
        match response.read(&mut piece).map_err(|error| escape_text(&error.to_string()).into_owned())? {
            0 => break,
            got => out.write_all(piece.get(..got).unwrap_or_default()).map_err(cannot_write)?,
        }
    }
    out.flush().map_err(cannot_write)?;
    drop(out);
    if let Some(format) = &asked.format {
        let text = format.replace("%{http_code}", &response.status().to_string());
        io::stdout().write_all(text.as_bytes()).map_err(cannot_write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_are_todays() {
        let asked = parsed("-s -X PUT -H A:b --header C-d:e --data 1 --data-binary 2 --unix-socket /s --max-time 1 u");
        let asked = asked.unwrap();
        assert_eq!((asked.method, asked.data.as_deref(), asked.silent), (Some(Method::Put), Some("2"), true));
        assert_eq!(asked.headers, [("A".into(), "b".into()), ("C-d".into(), "e".into())]);
        assert_eq!(parsed("-w '%{http_code}' u").unwrap().format.as_deref(), Some("%{http_code}"));
        for bad in ["-k u", "--fail u", "-X", "-X BREW u", "-H a u", "-H a\u{1b}:b u", "--connect-timeout x u"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
