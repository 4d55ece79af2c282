//! Where keys and certificates come from, and what is asked before any of them is fetched.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::{Group, given};
use crate::cli::pvr::context::Context;
use crate::cli::pvr::failure::Failure;
use crate::cli::pvr::show;
use crate::net::{Method, Redirects, Request, Url};
use crate::repo::{MAX_ARCHIVE, shown, unpack_default_keys};
use crate::sig::cert::Certificate;
use crate::sig::jws::MAX_CHAIN;
use crate::sig::key::{KeyError, PrivateKey};
use crate::sig::public::PublicKey;
use crate::sig::verify::Trust;

const CERTS_URL: &str =
    "https://gitlab.com/pantacor/pv-developer-ca/-/raw/master/pvs/pvs.defaultkeys.tar.gz?inline=false";
/// Largest file of keys or certificates; the authorities of a whole system take 250 KiB.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Where systems have what they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// What to sign with.
pub(super) struct Signer {
    pub(super) key: PrivateKey,
    /// The certificates for the header, DER.
    pub(super) x5c: Option<Vec<Vec<u8>>>,
}

impl Signer {
    /// Reads what the flags name. A certificate that is not that of the key would make a signature that nobody believes.
    pub(super) fn read(context: &Context, group: &Group, code: u8) -> Result<Self, Failure> {
        let key_file = place(context, given(&group.key), "key.default.pem");
        let x5c_file = match given(&group.x5c) {
            Some("no") => None,
            chosen => Some(place(context, chosen, "x5c.default.pem")),
        };
        let wanted = [Some(&key_file), x5c_file.as_ref()];
        offer(
            context,
            group,
            wanted.into_iter().flatten().filter(|place| place.default).map(|place| place.path.as_path()),
        );
        let text = read(&key_file.path, code)?;
        let key = PrivateKey::from_pem(&text).map_err(|error| {
            let path = shown(&key_file.path);
            Failure::coded(
                code,
                match error {
                    KeyError::None => format!("No valid PEM encoded sign key found in {path}"),
                    KeyError::Encrypted | KeyError::Malformed | KeyError::Numbers => {
                        format!("Private key cannot be parsed. {path}: {error}")
                    }
                    error => format!("{path}: {error}"),
                },
            )
        })?;
        let x5c = x5c_file.map(|place| chain(&place.path, &key, code)).transpose()?;
        Ok(Self { key, x5c })
    }
}

fn chain(path: &Path, key: &PrivateKey, code: u8) -> Result<Vec<Vec<u8>>, Failure> {
    let failed = |text: String| Failure::coded(code, text);
    let certs = Certificate::from_pem(&read(path, code)?);
    let path = shown(path);
    let first = certs.first().ok_or_else(|| failed(format!("{path} holds no certificate\n--x5c no signs without")))?;
    let public = key.public().map_err(|error| failed(error.to_string()))?;
    if first.public_key().ok().as_ref() != Some(&public) {
        return Err(failed(format!(
            "the first certificate of {path} is not that of the key: nobody could verify the signature\nput the signer's certificate first, or give the key that belongs to it"
        )));
    }
    if certs.len() > MAX_CHAIN {
        return Err(failed(format!("{path} holds more than {MAX_CHAIN} certificates, which no signature may have")));
    }
    Ok(certs.into_iter().map(|cert| cert.raw).collect())
}

/// Whom to believe.
pub(super) fn trust(context: &Context, group: &Group) -> Result<Trust, Failure> {
    if let Some(file) = given(&group.pubkey) {
        return public(&super::file(context, file)).map(Trust::Keys);
    }
    if matches!(given(&group.cacerts), Some("_system_" | "_system" | "__system__")) {
        let bundle = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let found = bundle.or_else(|| SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file()));
        let none = || Failure::coded(13, "this system has no file of certificates that it trusts\nset SSL_CERT_FILE");
        return authorities(&found.ok_or_else(none)?);
    }
    let place = place(context, given(&group.cacerts), "cacerts.default.pem");
    offer(context, group, Some(&place).filter(|place| place.default).map(|place| place.path.as_path()).into_iter());
    if !place.path.exists() {
        return Err(Failure::coded(
            125,
            format!("ERROR: no certificates to trust: {} does not exist", shown(&place.path)),
        ));
    }
    authorities(&place.path)
}

fn public(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    let about = |why: &str| Failure::coded(11, format!("ERROR: errors accessing signing key; see --help: {why}"));
    match fs::metadata(path) {
        Err(error) => return Err(about(&format!("stat {}: {}", shown(path), words(&error)))),
        Ok(metadata) if metadata.is_dir() => {
            return Err(Failure::coded(12, format!("ERROR: signing key is not a file; see --help: {}", shown(path))));
        }
        Ok(_) => {}
    }
    let found = PublicKey::from_pem(&read(path, 11)?);
    let none = format!("No valid PEM encoded verify key found {}", shown(path));
    let mut why = None;
    let keys: Vec<_> = found.into_iter().filter_map(|key| key.map_err(|error| why = Some(error)).ok()).collect();
    match (keys.is_empty(), why) {
        (false, _) => Ok(keys),
        (true, None) => Err(Failure::coded(13, none)),
        (true, Some(why)) => Err(Failure::coded(13, format!("{none}: {why}"))),
    }
}

fn authorities(path: &Path) -> Result<Trust, Failure> {
    let certs = Certificate::from_pem(&read(path, 13)?);
    if certs.is_empty() {
        show::tell("WARNING: could not append cacerts to cert pool. Disabling cert pool.");
    }
    Ok(Trust::Authorities(certs))
}

/// A file that was named, or stands in for none that was.
struct Place {
    path: PathBuf,
    default: bool,
}

fn place(context: &Context, chosen: Option<&str>, otherwise: &str) -> Place {
    match chosen {
        Some(chosen) => Place { path: super::file(context, chosen), default: false },
        None => Place { path: context.config_dir.join("pvs").join(otherwise), default: true },
    }
}

fn read(path: &Path, code: u8) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::coded(code, format!("open {}: {}", shown(path), words(&error)));
    let mut bytes = Vec::new();
    // A pipe is as good as a file, and /dev/zero has an end here too.
    fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::coded(code, format!("{} is no file of keys: it has more than 4 MiB", shown(path))));
    }
    // What stands around the blocks may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The usual error in the words that scripts know.
fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound { "no such file or directory".to_owned() } else { error.to_string() }
}

/// Asks, once, whether the developer keys shall be fetched, if one of these files is missing; fetches them if so.
fn offer<'a>(context: &Context, group: &Group, mut files: impl Iterator<Item = &'a Path>) {
    if files.all(Path::exists) {
        return;
    }
    show::tell(
        "Do you want to download the default developer keys that can be validated by pantavisor official developer builds? [yes/no]",
    );
    show::tell("(NOTE: this should be used only for development proposes because they are not secret)");
    let mut answer = String::new();
    // An answer that cannot be read is none.
    io::stdin().lock().take(1024).read_line(&mut answer).ok();
    if !matches!(answer.trim_end_matches(['\n', '\r']), "yes" | "y") {
        return;
    }
    // What fails here is said; that the file is missing, whoever needs it says.
    if let Err(why) = fetch(context, given(&group.certs_url).unwrap_or(CERTS_URL)) {
        show::tell(&format!("WARNING: the developer keys could not be fetched: {why}"));
    }
}

fn fetch(context: &Context, url: &str) -> Result<(), String> {
    show::print(&format!("Downloading certs from: \n{}\n", crate::state::escape(url))).ok();
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let request = Request::new(Method::Get, &url).redirects(Redirects::Follow(5));
    let response = context.client.send(request).map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("the answer is {} {}", response.status(), crate::state::escape(response.reason())));
    }
    let packed = response.into_bytes(MAX_ARCHIVE).map_err(|error| error.to_string())?;
    let new = unpack_default_keys(&packed, &context.config_dir).map_err(|error| error.to_string())?;
    if new.is_empty() { Err("there are none in the archive that are not here already".to_owned()) } else { Ok(()) }
}
