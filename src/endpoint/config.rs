//! Where to listen: whoever comes first of flag, environment, running state, `/etc`, and the default.
//!
//! The file is the SDK's: `{"httpd":{"listen":"0.0.0.0","port":"12368"}}`, the port a string or a number
//! (`sdk.md`), and besides, `"tls-cert"`, `"tls-key"` and `"storage"`, absolute paths; and beside `"httpd"`, `"log":{"dir":"/…"}`.
//! In a state it is the key [`STATE_KEY`].
//! Address, port and the pair for TLS are looked up by themselves, so a state that names a port says nothing about the
//! address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::tls::TlsFiles;
use crate::state::{JsonLimits, Value, escape, parse::parse_strict};

/// The key of the SDK's configuration in a state.
pub const STATE_KEY: &str = "_config/pvr-sdk/etc/pvr-sdk/config.json";

/// The file of the SDK's configuration, unless another is named.
pub const ETC_FILE: &str = "/etc/pvr-sdk/config.json";

/// The port that clients try when only an address is given (`cli.md` §6).
pub const PORT: u16 = 12368;

/// A configuration is a few lines.
const MAX_BYTES: usize = 64 * 1024;

/// What one source says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// The address, if it says one.
    pub address: Option<IpAddr>,
    /// The port, if it says one.
    pub port: Option<u16>,
    /// Certificate and key, if it says that https is spoken.
    pub tls: Option<TlsFiles>,
    /// The storage, if it says where. What a state says of it means nothing: the state is in it.
    pub storage: Option<PathBuf>,
    /// The folder of the logs, if it says where. A state must not say what may be read of a device.
    pub logs: Option<PathBuf>,
}

/// A source says something that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("failed to read '{path}': {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A value is none.
    #[error("{origin}: {what} '{value}' cannot be used\n{hint}")]
    Value {
        /// Where it is written.
        origin: String,
        /// What it is.
        what: &'static str,
        /// What is written.
        value: String,
        /// What could be.
        hint: &'static str,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("{origin}: a TLS certificate and its key go together\ngive both, and both in one place")]
    Half {
        /// Where it is written.
        origin: String,
    },
    /// A file is no JSON.
    #[error("{origin} is no configuration: {why}")]
    Json {
        /// Where it is written.
        origin: String,
        /// Why not.
        why: String,
    },
}

impl Listen {
    /// What is said here, and where it isn't, what is said there.
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            port: self.port.or(other.port),
            tls: self.tls.or(other.tls),
            storage: self.storage.or(other.storage),
            logs: self.logs.or(other.logs),
        }
    }

    /// With the defaults for what nobody says.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.port.unwrap_or(PORT))
    }

    /// From texts: flags or the environment. Empty ones say nothing.
    pub fn from_texts(origin: &str, address: Option<&str>, port: Option<&str>) -> Result<Self, ConfigError> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            storage: None,
            logs: None,
            address: given(address).map(|text| address_of(origin, &text)).transpose()?,
            port: given(port).map(|text| port_of(origin, &text)).transpose()?,
            tls: None,
        })
    }

    /// And with this certificate and key. Empty paths say nothing.
    pub fn with_tls(self, origin: &str, cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Self, ConfigError> {
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        match (given(cert), given(key)) {
            (None, None) => Ok(self),
            (Some(cert), Some(key)) => Ok(Self { tls: Some(TlsFiles { cert, key }), ..self }),
            _ => Err(ConfigError::Half { origin: origin.to_owned() }),
        }
    }

    /// From a configuration that has been parsed.
    pub fn from_value(origin: &str, config: &Value) -> Result<Self, ConfigError> {
        let httpd = config.get("httpd");
        let text = |key| match httpd?.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.as_str().to_owned()),
            _ => None,
        };
        // Relative to what? To nothing that whoever writes the file would know.
        let path = |within: Option<&Value>, key| match within.and_then(|within| within.get(key)) {
            Some(Value::String(text)) if !text.is_empty() && !text.starts_with('/') => Err(ConfigError::Value {
                origin: origin.to_owned(),
                what: key,
                value: escape(text).into_owned(),
                hint: "give an absolute path",
            }),
            Some(Value::String(text)) => Ok(Some(PathBuf::from(text))),
            _ => Ok(None),
        };
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let (storage, logs) = (given(path(httpd, "storage")?), given(path(config.get("log"), "dir")?));
        let listen = Self::from_texts(origin, text("listen").as_deref(), text("port").as_deref())?;
        Ok(Self { storage, logs, ..listen.with_tls(origin, path(httpd, "tls-cert")?, path(httpd, "tls-key")?)? })
    }

    /// From a file.
    pub fn from_bytes(origin: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let limits = JsonLimits { bytes: MAX_BYTES, depth: 64 };
        let config = parse_strict(bytes, &limits)
            .map_err(|error| ConfigError::Json { origin: origin.to_owned(), why: error.to_string() })?;
        Self::from_value(origin, &config)
    }

    /// From a file that need not be there.
    pub fn from_file(path: &Path) -> Result<Option<Self>, ConfigError> {
        let shown = escape(&path.to_string_lossy()).into_owned();
        match std::fs::read(path) {
            Ok(bytes) => Self::from_bytes(&shown, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { path: shown, source }),
        }
    }
}

fn address_of(origin: &str, text: &str) -> Result<IpAddr, ConfigError> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        bare => bare.parse().map_err(|_| ConfigError::Value {
            origin: origin.to_owned(),
            what: "listening address",
            value: escape(text).into_owned(),
            hint: "give an IPv4 or IPv6 address of this machine, 0.0.0.0 or :: for all of them",
        }),
    }
}

fn port_of(origin: &str, text: &str) -> Result<u16, ConfigError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| ConfigError::Value {
        origin: origin.to_owned(),
        what: "port",
        value: escape(text).into_owned(),
        hint: "give a number from 0 to 65535; 0 means any that is free",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_strings_or_numbers() {
        for (text, want) in [
            (r#"{"httpd":{"listen":"0.0.0.0","port":"12368"}}"#, Some("0.0.0.0:12368")),
            (r#"{"httpd":{"listen":"::","port":80}}"#, Some("[::]:80")),
            (r#"{"httpd":{"port":"8080"}}"#, Some("127.0.0.1:8080")),
            (r#"{"httpd":{"listen":"10.0.0.1","port":""}}"#, Some("10.0.0.1:12368")),
            (r#"{"other":1}"#, Some("127.0.0.1:12368")),
            (r#"{"httpd":null}"#, Some("127.0.0.1:12368")),
            (r#"{"httpd":{"port":"http"}}"#, None),
            (r#"{"httpd":{"port":65536}}"#, None),
            (r#"{"httpd":{"port":1.5}}"#, None),
            (r#"{"httpd":{"listen":"device.example"}}"#, None),
            ("{", None),
        ] {
            let got = Listen::from_bytes("test", text.as_bytes()).ok().map(|listen| listen.address().to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn each_value_has_its_own_source() {
        let flag = Listen::from_texts("flag", None, Some("1")).unwrap();
        let env = Listen::from_texts("env", Some("10.0.0.1"), Some("2")).unwrap();
        let etc = Listen::from_texts("etc", Some("10.0.0.2"), None).unwrap();
        assert_eq!(flag.or(env).or(etc.clone()).address().to_string(), "10.0.0.1:1");
        assert_eq!(Listen::default().or(etc).address().to_string(), "10.0.0.2:12368");
        assert_eq!(Listen::from_texts("env", Some(""), Some(" ")).unwrap(), Listen::default());
    }

    #[test]
    fn a_certificate_and_its_key_come_from_one_place() {
        let pair = |at: &str| TlsFiles { cert: format!("/{at}/c").into(), key: format!("/{at}/k").into() };
        for (text, want) in [
            (r#"{"httpd":{"tls-cert":"/a/c","tls-key":"/a/k"}}"#, Some(Some(pair("a")))),
            (r#"{"httpd":{"tls-cert":"","tls-key":""}}"#, Some(None)),
            (r#"{"httpd":{"port":1}}"#, Some(None)),
            (r#"{"httpd":{"tls-cert":"/a/c"}}"#, None),
            (r#"{"httpd":{"tls-cert":"","tls-key":"/a/k"}}"#, None),
            (r#"{"httpd":{"tls-cert":"a/c","tls-key":"/a/k"}}"#, None),
        ] {
            assert_eq!(Listen::from_bytes("test", text.as_bytes()).ok().map(|listen| listen.tls), want, "{text}");
        }
        let flags = Listen::default().with_tls("flags", Some("/f/c".into()), Some("/f/k".into())).unwrap();
        let etc = Listen { tls: Some(pair("etc")), ..Listen::default() };
        assert_eq!(flags.or(etc.clone()).tls, Some(pair("f")));
        assert_eq!(Listen::default().or(etc).tls, Some(pair("etc")));
    }
}
