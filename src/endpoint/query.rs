//! What stands behind the question mark, decoded as forms are: `+` is a blank.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::error::ApiError;
use super::objects::decimal;

/// The parameters of a request. Those that nobody asks for are ignored.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Of this request.
    pub(super) fn of(head: &Parts) -> Result<Self, ApiError> {
        let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        let all = pairs.collect::<Option<Vec<_>>>();
        all.map(Self).ok_or_else(|| bad("a parameter is not UTF-8, or has a bad percent escape"))
    }

    /// The value of a parameter; one that is empty is not there, and two of one name are none.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(bad(&format!("the parameter {name} is there twice"))),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    /// Whether something is asked for.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name)? {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(bad(&format!("the parameter {name} has to be true or false"))),
        }
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let refuse = || bad(&format!("the parameter {name} has to be a number"));
        self.text(name)?.map(|text| decimal(text).ok_or_else(refuse)).transpose()
    }
}

fn bad(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad-query", message)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, u16> {
        let request = hyper::Request::builder().uri(format!("/x?{text}")).body(()).unwrap();
        Query::of(&request.into_parts().0).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn parameters_are_decoded_once() {
        let all = query("rev=locals%2Fa+b&part=%252e&=x&tail&n=7&m=-1&n2=007").unwrap();
        assert_eq!(all.text("rev").unwrap(), Some("locals/a b"));
        assert_eq!(all.text("part").unwrap(), Some("%2e"));
        assert_eq!((all.text("tail").unwrap(), all.flag("tail").unwrap()), (None, false));
        assert_eq!(
            (all.number("n").unwrap(), all.number("n2").unwrap(), all.number("x").unwrap()),
            (Some(7), Some(7), None)
        );
        assert!(all.number("m").is_err() && all.flag("n").is_err());
        assert!(query("a=1&a=2").unwrap().text("a").is_err());
        for bad in ["a=%", "a=%4", "a=%zz", "%ff=1"] {
            assert_eq!(query(bad).unwrap_err(), 400, "{bad}");
        }
    }
}
