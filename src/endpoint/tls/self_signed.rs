//! A key and a certificate that nobody vouches for, for a desk: clients are told to trust just this one.
//!
//! | file | mode | what |
//! |---|---|---|
//! | `pvr-agent.key` | 0600 | PKCS#8, ECDSA on P-256, PEM |
//! | `pvr-agent.crt` | 0644 | X.509 v3, signed with that key, PEM |
//!
//! The certificate is valid from 1970 to 9999: the clock of a device is often wrong, and whoever trusts the
//! certificate trusts it by its bytes. It says that it is no authority, so trusting it means to trust nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::{TlsFileError, TlsFiles, der};
use crate::repo::shown;

const CERT: &str = "pvr-agent.crt";
const KEY: &str = "pvr-agent.key";

/// Encoded arcs of the identifiers that are used.
mod id {
    pub const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
}

/// The files in `folder`; what is missing is made, for this machine, `listen` and `more`.
pub fn files(folder: &Path, listen: IpAddr, more: &[String]) -> Result<TlsFiles, TlsFileError> {
    let on = |verb, path: &Path| {
        let path = shown(path);
        move |source| TlsFileError::Make { verb, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(on("create", folder))?;
    // Two programs that start at the same time make one pair.
    let lock = File::open(folder).map_err(on("open", folder))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| on("lock", folder)(error.into()))?;
    let files = TlsFiles { cert: folder.join(CERT), key: folder.join(KEY) };
    let there = |path: &Path| path.try_exists().map_err(on("look at", path));
    match (there(&files.key)?, there(&files.cert)?) {
        (true, true) => return Ok(files),
        (false, true) => return Err(TlsFileError::NoKeyForCertificate { cert: shown(&files.cert) }),
        (false, false) => write(&files.key, 0o600, &der::pem("PRIVATE KEY", &new_key()?))?,
        (true, false) => {}
    }
    let bytes = fs::read(&files.key).map_err(on("read", &files.key))?;
    let key = match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(PrivateKeyDer::Pkcs8(key)) => key,
        _ => return Err(TlsFileError::NotOurKey { key: shown(&files.key) }),
    };
    let names = Names::of_this_machine(listen, more);
    let certificate = certificate(key.secret_pkcs8_der(), &names);
    let certificate = certificate.ok_or_else(|| TlsFileError::NotOurKey { key: shown(&files.key) })?;
    write(&files.cert, 0o644, &der::pem("CERTIFICATE", &certificate))?;
    lock.sync_all().map_err(on("sync", folder))?;
    Ok(files)
}

/// A pair that is only in memory: the certificate and its PKCS#8 key, both DER.
pub fn in_memory(listen: IpAddr) -> Result<(Vec<u8>, Vec<u8>), TlsFileError> {
    let key = new_key()?;
    let certificate = certificate(&key, &Names::of_this_machine(listen, &[])).ok_or(TlsFileError::NoRandom)?;
    Ok((certificate, key))
}

fn new_key() -> Result<Vec<u8>, TlsFileError> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    Ok(key.map_err(|_| TlsFileError::NoRandom)?.as_ref().to_vec())
}

/// Writes a file that appears whole, under its name, with its mode.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), TlsFileError> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    let make = || {
        // Left behind by somebody who was interrupted: nobody else is here now.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    make().map_err(|source| TlsFileError::Make { verb: "write", path: shown(path), source })
}

/// Whom a certificate is for.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn of_this_machine(listen: IpAddr, more: &[String]) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        Self::of(&host, listen, more)
    }

    fn of(host: &str, listen: IpAddr, more: &[String]) -> Self {
        let mut names = Self { dns: Vec::new(), addresses: Vec::new() };
        let local = format!("{}.local", host.split('.').next().unwrap_or_default());
        for name in ["localhost", host, &local].into_iter().chain(more.iter().map(String::as_str)) {
            match name.trim_matches(['[', ']']).parse() {
                Ok(address) => names.add(address),
                Err(_) if is_dns_name(name) && !names.dns.iter().any(|known| known == name) => {
                    names.dns.push(name.to_ascii_lowercase());
                }
                Err(_) => {}
            }
        }
        names.add(Ipv4Addr::LOCALHOST.into());
        names.add(Ipv6Addr::LOCALHOST.into());
        names.add(listen.to_canonical());
        names
    }

    fn add(&mut self, address: IpAddr) {
        if !address.is_unspecified() && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// `GeneralNames` (RFC 5280 §4.2.1.6).
    fn general_names(&self) -> Vec<u8> {
        let dns = self.dns.iter().map(|name| der::value(0x82, name.as_bytes()));
        let addresses = self.addresses.iter().map(|address| match address {
            IpAddr::V4(v4) => der::value(0x87, &v4.octets()),
            IpAddr::V6(v6) => der::value(0x87, &v6.octets()),
        });
        der::value(0x30, &dns.chain(addresses).flatten().collect::<Vec<_>>())
    }
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A certificate for `names` and the key, which signs it. `None` if the key is no such key, or there is no randomness.
fn certificate(pkcs8: &[u8], names: &Names) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random).ok()?;
    let public = key.public_key().as_ref();
    let mut serial = [0; 16];
    random.fill(&mut serial).ok()?;
    // Positive, and of full length.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = der::sequence(&[&der::oid(id::ECDSA_WITH_SHA256)]);
    let host = names.dns.get(1).map_or("device", String::as_str);
    let common_name: String = format!("pvr-agent {host}").chars().take(64).collect();
    let name = der::sequence(&[&der::oid(id::COMMON_NAME), &der::value(0x0c, common_name.as_bytes())]);
    let name = der::sequence(&[&der::value(0x31, &name)]);
    // Up to 2049 years have two digits (RFC 5280 §4.1.2.5), and 9999 is for "without end".
    let validity = der::sequence(&[&der::value(0x17, b"700101000000Z"), &der::value(0x18, b"99991231235959Z")]);
    let key_info = der::sequence(&[
        &der::sequence(&[&der::oid(id::EC_PUBLIC_KEY), &der::oid(id::PRIME256V1)]),
        &der::bits(public),
    ]);
    let extension = |arcs: &[u8], critical: bool, content: &[u8]| {
        let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
        der::sequence(&[&der::oid(arcs), critical, &der::octets(content)])
    };
    let digest = Sha256::digest(public);
    let extensions = der::sequence(&[
        &extension(id::BASIC_CONSTRAINTS, true, &der::sequence(&[])),
        // digitalSignature, the first of nine bits.
        &extension(id::KEY_USAGE, true, &der::value(0x03, &[7, 0x80])),
        &extension(id::EXTENDED_KEY_USAGE, false, &der::sequence(&[&der::oid(id::SERVER_AUTH)])),
        &extension(id::SUBJECT_ALT_NAME, false, &names.general_names()),
        &extension(id::SUBJECT_KEY_IDENTIFIER, false, &der::octets(digest.get(..20)?)),
    ]);
    let content = der::sequence(&[
        &der::explicit(0, &der::value(0x02, &[2])),
        &der::value(0x02, &serial),
        &algorithm,
        &name,
        &validity,
        &name,
        &key_info,
        &der::explicit(3, &extensions),
    ]);
    let signature = key.sign(&random, &content).ok()?;
    Some(der::sequence(&[&content, &algorithm, &der::bits(signature.as_ref())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_certificate_is_for() {
        let loopback: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let with = |address: &str| [loopback.clone(), vec![address.parse().unwrap()]].concat();
        for (host, listen, more, dns, addresses) in [
            ("box", "0.0.0.0", vec![], vec!["localhost", "box", "box.local"], loopback.clone()),
            ("box.lan", "::", vec![], vec!["localhost", "box.lan", "box.local"], loopback.clone()),
            ("box.local", "::1", vec![], vec!["localhost", "box.local"], loopback.clone()),
            ("(none)", "10.0.0.1", vec![], vec!["localhost"], with("10.0.0.1")),
            ("localhost", "::ffff:10.0.0.1", vec![], vec!["localhost", "localhost.local"], with("10.0.0.1")),
            ("a_b", "127.0.0.1", vec!["x.example", "a b"], vec!["localhost", "x.example"], loopback.clone()),
        ] {
            let more: Vec<String> = more.into_iter().map(str::to_owned).collect();
            let got = Names::of(host, listen.parse().unwrap(), &more);
            assert_eq!(got.dns, dns, "{host}");
            assert_eq!(got.addresses, addresses, "{host}");
        }
    }
}
