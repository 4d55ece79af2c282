//! A stream of answers, as RFC 9112 has them, and nothing else.

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What is wrong with it as an answer of the endpoint.
    pub fn wrong(&self, bodiless: bool) -> Option<String> {
        if self.status == 500 {
            return Some("the device failed".to_owned());
        }
        // That an object is there already is told with its record.
        if self.status < 400 || bodiless || self.header("pantahub-object-type").is_some() {
            return None;
        }
        let error: serde_json::Value = match serde_json::from_slice(&self.body) {
            Ok(error) => error,
            Err(why) => return Some(format!("an error that is not JSON: {why}")),
        };
        let says = ["error", "reason", "request-id"].iter().all(|name| error[name].is_string());
        (error["code"] != self.status || !says).then(|| format!("an error that does not explain itself: {error}"))
    }
}

/// All answers on a connection that has ended. `bodiless`: the first one is to a HEAD. Interim answers are passed over.
pub fn parse(mut bytes: &[u8], bodiless: bool) -> Result<Vec<Answer>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let without_body = bodiless && found.is_empty();
        let (answer, rest) = one(bytes, without_body)?;
        bytes = rest;
        if answer.status >= 200 {
            found.push(answer);
        }
    }
    Ok(found)
}

fn one(bytes: &[u8], bodiless: bool) -> Result<(Answer, &[u8]), String> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("a head without its end")?;
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let head = std::str::from_utf8(head).map_err(|_| "a head that is not text")?;
    if head.chars().any(|c| c.is_control() && c != '\r' && c != '\n') {
        return Err(format!("a head with control characters: {head:?}"));
    }
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).ok_or_else(|| format!("a bad status line: {head:?}"))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("a bad header line: {line:?}"))?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name.is_empty() || !name.bytes().all(token) || line.contains(['\r', '\n']) {
            return Err(format!("a bad header line: {line:?}"));
        }
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if bodiless || status < 200 || matches!(status, 204 | 304) {
        return Ok((answer, body));
    }
    let length = answer.header("content-length").map(str::parse::<usize>);
    match (length, answer.header("transfer-encoding")) {
        (Some(Ok(length)), None) => {
            let (body, rest) = body.split_at_checked(length).ok_or_else(|| format!("a cut body: {answer:?}"))?;
            answer.body = body.to_vec();
            Ok((answer, rest))
        }
        (None, Some("chunked")) => {
            let rest = chunks(body, &mut answer.body).ok_or("bad chunks")?;
            Ok((answer, rest))
        }
        _ => Err(format!("a body without one end: {:?}", answer.headers)),
    }
}

/// `HTTP/1.1 404 Not Found`
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let (code, _reason) = rest.split_once(' ')?;
    code.parse().ok().filter(|status| (100..600).contains(status))
}

fn chunks<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        let (chunk, rest) = bytes[end + 2..].split_at_checked(size)?;
        body.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(bytes);
        }
    }
}
