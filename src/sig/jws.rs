//! The document of a signature and its header: read strictly, written byte for byte as today's pvr writes them.
//!
//! ```text
//! {"#spec":"pvs@2","payload"?,"protected":"<base64url>","signature":"<base64url>"}
//! ```
//!
//! `protected` is a JSON object: `alg`, `jwk` (never believed), `pvs` (`include` and `exclude`, lists of patterns), `typ`
//! (`PVS`), `x5c` (certificates, the signer's first, in padded base64). What was signed is `protected` as it stands, a point,
//! and base64url of the payload. A `payload` in the document is not what is verified: that is made of the state.

use std::fmt;

use super::base64;
use super::key::{KeyError, PrivateKey};
use super::public::{Curve, Hash, Kind, PublicKey, Signature};
use crate::state::parse::{JsonLimits, parse_strict};
use crate::state::{JsonError, Value};

/// The kind of a signature, and the only one there is.
pub const SPEC: &str = "pvs@2";
/// The header's `typ`.
pub const TYP: &str = "PVS";

/// Largest header, in characters of base64.
pub const MAX_PROTECTED: usize = 256 * 1024;
/// Largest signature, in bytes: that of the largest RSA key that verifies.
pub const MAX_SIGNATURE: usize = super::public::MAX_RSA_BITS / 8;
/// Most certificates of a header.
pub const MAX_CHAIN: usize = 16;
/// Most patterns of a header.
pub const MAX_PATTERNS: usize = 4096;
/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4096;

/// What a signature is made with (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
}

impl Algorithm {
    const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
    ];

    /// The algorithm of that name. There is none that works without a key, and none with a shared one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
        }
    }

    /// The hash that belongs to it.
    pub fn hash(self) -> Hash {
        match self {
            Self::RS256 | Self::PS256 | Self::ES256 => Hash::Sha256,
            Self::RS384 | Self::PS384 | Self::ES384 => Hash::Sha384,
            Self::RS512 | Self::PS512 | Self::ES512 => Hash::Sha512,
        }
    }

    /// Whether keys of that kind are what it is for.
    pub fn fits(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::ES256, Kind::Ec(curve)) => curve == Curve::P256,
            (Self::ES384, Kind::Ec(curve)) => curve == Curve::P384,
            (Self::ES512, Kind::Ec(curve)) => curve == Curve::P521,
            (Self::ES256 | Self::ES384 | Self::ES512, _) => false,
            (_, kind) => matches!(kind, Kind::Rsa { .. }),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// This is no signature that could be verified.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwsError {
    /// Not JSON, or not a JSON object.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// JSON, but no object.
    #[error("a signature is a JSON object, not {0}")]
    NotAnObject(&'static str),
    /// It doesn't say what it is.
    #[error("ERROR: pvs signature does not have a #spec element")]
    NoSpec,
    /// It says that it is something else.
    #[error("ERROR: pvs signature must be of #spec pvs@2")]
    Spec,
    /// A member is missing or is not what it should be.
    #[error("the signature's {member} {why}")]
    Member {
        /// Which.
        member: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The same, in the header.
    #[error("the signature's header has {0}")]
    Header(&'static str),
    /// The header is no JSON object.
    #[error("the signature's header is not JSON: {0}")]
    HeaderJson(JsonError),
}

/// Which members of a state are signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    /// Those that are, unless
    pub include: Vec<String>,
    /// they are among these.
    pub exclude: Vec<String>,
}

/// What stands in `protected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg`, as it is written.
    pub alg: String,
    /// `typ`, if it is a text.
    pub typ: Option<String>,
    /// `pvs`.
    pub patterns: Patterns,
    /// `x5c`, decoded; none where there is no such member, or it is null.
    pub x5c: Option<Vec<Vec<u8>>>,
    /// Whether it names extensions that have to be understood (RFC 7515 §4.1.11). None is.
    pub critical: bool,
}

/// A signature as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// As it stands.
    pub protected: String,
    /// The same, read.
    pub header: Header,
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

impl Document {
    /// Reads the file of a signature.
    pub fn parse(bytes: &[u8], limits: &JsonLimits) -> Result<Self, JwsError> {
        Self::from_value(&parse_strict(bytes, limits)?)
    }

    /// Reads a member of a state.
    pub fn from_value(value: &Value) -> Result<Self, JwsError> {
        let members = value.as_object().ok_or(JwsError::NotAnObject(value.kind()))?;
        match members.get("#spec") {
            None => return Err(JwsError::NoSpec),
            Some(Value::String(spec)) if spec == SPEC => {}
            Some(_) => return Err(JwsError::Spec),
        }
        // The general form (RFC 7515 §7.2.1) with one signature says the same in other words.
        let inner = match members.get("signatures") {
            None => members,
            Some(_) if members.contains_key("protected") || members.contains_key("signature") => {
                return Err(JwsError::Member { member: "\"signatures\"", why: "stands beside another signature" });
            }
            Some(Value::Array(items)) => match items.as_slice() {
                [Value::Object(inner)] => inner,
                _ => return Err(JwsError::Member { member: "\"signatures\"", why: "holds more or less than one" }),
            },
            Some(_) => return Err(JwsError::Member { member: "\"signatures\"", why: "is no array" }),
        };
        let text = |member: &'static str, name: &str, limit: usize| match inner.get(name) {
            None => Err(JwsError::Member { member, why: "is missing" }),
            Some(Value::String(text)) if text.len() <= limit => Ok(text),
            Some(Value::String(_)) => Err(JwsError::Member { member, why: "is too long" }),
            Some(_) => Err(JwsError::Member { member, why: "is no string" }),
        };
        let protected = text("\"protected\"", "protected", MAX_PROTECTED)?;
        let signature = text("\"signature\"", "signature", MAX_SIGNATURE.div_ceil(3) * 4)?;
        let wrong = |member| move || JwsError::Member { member, why: "is no base64url" };
        let signature = base64::from_url(signature).ok_or_else(wrong("\"signature\""))?;
        let header = Header::parse(&base64::from_url(protected).ok_or_else(wrong("\"protected\""))?)?;
        Ok(Self { protected: protected.clone(), header, signature })
    }

    /// Signs: the document for this payload, without it.
    pub fn sign(
        key: &PrivateKey,
        patterns: &Patterns,
        x5c: Option<&[Vec<u8>]>,
        payload: &[u8],
    ) -> Result<Self, KeyError> {
        let header = Header {
            alg: key.algorithm().name().to_owned(),
            typ: Some(TYP.to_owned()),
            patterns: patterns.clone(),
            x5c: x5c.map(<[_]>::to_vec),
            critical: false,
        };
        let text = header.write(&key.public()?);
        let protected = base64::url(text.as_bytes());
        // What nobody would read is not signed: too many patterns, too long a chain.
        if protected.len() > MAX_PROTECTED || Header::parse(text.as_bytes()).as_ref() != Ok(&header) {
            return Err(KeyError::Header);
        }
        let signature = key.sign(&signing_input(&protected, payload))?;
        Ok(Self { protected, header, signature })
    }

    /// The canonical form, with the payload in it where one is given.
    pub fn write(&self, payload: Option<&[u8]>) -> String {
        let mut out = String::from("{\"#spec\":\"pvs@2\"");
        if let Some(payload) = payload {
            out.push_str(&format!(",\"payload\":\"{}\"", base64::url(payload)));
        }
        out.push_str(&format!(
            ",\"protected\":\"{}\",\"signature\":\"{}\"}}",
            self.protected,
            base64::url(&self.signature)
        ));
        out
    }

    /// The header's algorithm, if it is one that can be verified.
    pub fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_name(&self.header.alg)
    }

    /// Whether that key has signed that payload, with the algorithm of the header, which has to be one for such keys.
    pub fn is_signed_by(&self, key: &PublicKey, payload: &[u8]) -> bool {
        let Some(algorithm) = self.algorithm().filter(|algorithm| algorithm.fits(key.kind())) else { return false };
        if self.header.critical {
            return false;
        }
        let signature = match (key.kind(), algorithm) {
            (Kind::Ec(curve), _) => Signature::ecdsa_from_raw(&self.signature, curve),
            (_, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512) => {
                Some(Signature::RsaPss { bytes: &self.signature, salt: None })
            }
            _ => Some(Signature::RsaPkcs1(&self.signature)),
        };
        let message = signing_input(&self.protected, payload);
        signature.is_some_and(|signature| key.verify(algorithm.hash(), &message, signature))
    }
}

/// What a signature is computed over (RFC 7515 §5.1).
pub fn signing_input(protected: &str, payload: &[u8]) -> Vec<u8> {
    format!("{protected}.{}", base64::url(payload)).into_bytes()
}

impl Header {
    /// Reads the JSON of a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwsError> {
        let limits = JsonLimits { bytes: MAX_PROTECTED, depth: 64 };
        let value = parse_strict(bytes, &limits).map_err(JwsError::HeaderJson)?;
        let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if value.as_object().is_none() {
            return Err(JwsError::Header("no members: it is no object"));
        }
        let pvs = value.get("pvs").and_then(Value::as_object).ok_or(JwsError::Header("no object \"pvs\""))?;
        let include = patterns(pvs.get("include"), "an \"include\" that is no list of patterns, or too long a one")?;
        let exclude = patterns(pvs.get("exclude"), "an \"exclude\" that is no list of patterns, or too long a one")?;
        let x5c = match value.get("x5c") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) if items.len() <= MAX_CHAIN => {
                let decode = |item: &Value| item.as_str().and_then(base64::from_standard);
                let chain: Option<Vec<_>> = items.iter().map(decode).collect();
                Some(chain.ok_or(JwsError::Header("an \"x5c\" with something else than base64 in it"))?)
            }
            Some(_) => return Err(JwsError::Header("an \"x5c\" that is no list of at most 16 certificates")),
        };
        Ok(Self {
            alg: text("alg").ok_or(JwsError::Header("no text \"alg\""))?,
            typ: text("typ"),
            patterns: Patterns { include, exclude },
            x5c,
            critical: value.get("crit").is_some(),
        })
    }

    /// The JSON of a header, member by member in the order of their names, as today's library has it.
    fn write(&self, key: &PublicKey) -> String {
        let list = |items: &[String]| items.iter().map(|item| string(item)).collect::<Vec<_>>().join(",");
        let mut out = format!(
            "{{\"alg\":{},\"jwk\":{},\"pvs\":{{\"include\":[{}],\"exclude\":[{}]}},\"typ\":\"{TYP}\"",
            string(&self.alg),
            jwk(key),
            list(&self.patterns.include),
            list(&self.patterns.exclude)
        );
        if let Some(chain) = &self.x5c {
            let chain: Vec<_> = chain.iter().map(|der| format!("\"{}\"", base64::standard(der))).collect();
            out.push_str(&format!(",\"x5c\":[{}]", chain.join(",")));
        }
        out.push('}');
        out
    }
}

fn patterns(value: Option<&Value>, wrong: &'static str) -> Result<Vec<String>, JwsError> {
    let text = |item: &Value| item.as_str().filter(|text| text.len() <= MAX_PATTERN).map(str::to_owned);
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MAX_PATTERNS => {
            items.iter().map(text).collect::<Option<_>>().ok_or(JwsError::Header(wrong))
        }
        Some(_) => Err(JwsError::Header(wrong)),
    }
}

/// RFC 7517 §4, RFC 7518 §6.2, §6.3.
fn jwk(key: &PublicKey) -> String {
    if let Some((n, e)) = key.rsa_numbers() {
        return format!("{{\"kty\":\"RSA\",\"n\":\"{}\",\"e\":\"{}\"}}", base64::url(&n), base64::url(&e));
    }
    let curve = match key.kind() {
        Kind::Ec(curve) => curve.jose().map_or(curve.name(), |(name, _)| name),
        Kind::Rsa { .. } => "",
    };
    let (x, y) = key.coordinates().unwrap_or_default();
    format!("{{\"kty\":\"EC\",\"crv\":\"{curve}\",\"x\":\"{}\",\"y\":\"{}\"}}", base64::url(x), base64::url(y))
}

/// A JSON string as today's library writes it: what HTML acts upon is escaped.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
