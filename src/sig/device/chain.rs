//! Whether the certificates of a header lead to one that is trusted, as the daemon's library finds it: mbedTLS 2.28 with
//! its default profile, without dates, without key usage, without revocation (`storage.md` §6.3, §11.7).
//!
//! - The first certificate is the signer. Its issuer is looked for in the store, then among those behind it; what is
//!   before it is not looked at. No way is tried twice: the first in the store that fits and has signed counts, or the
//!   first in the header that fits.
//! - Who issues has to be a CA, and to allow for so many below it. One in the store may be of version 1.
//! - RSA has 2048 bits or more; hashes are SHA-256 to SHA-512. What is in the store is not held to that.
//! - A signer that is in the store itself and issued itself is trusted.

use crate::sig::asn1::{self, Values};
use crate::sig::cert::{Certificate, SignatureAlgorithm};
use crate::sig::public::{Kind, PublicKey};

/// Most certificates between a signer and one that is trusted.
const MAX_INTERMEDIATES: usize = 8;
const MIN_RSA_BITS: usize = 2048;

/// Extensions that the library knows: key usage, alternative name, basic constraints, extended key usage, and what
/// Netscape had.
const KNOWN: [&[u8]; 5] = [
    &[0x55, 0x1d, 15],
    &[0x55, 0x1d, 17],
    &[0x55, 0x1d, 19],
    &[0x55, 0x1d, 37],
    &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x01],
];

/// Whether the library reads a certificate at all.
pub(super) fn is_readable(cert: &Certificate) -> bool {
    let known = |oid: &[u8]| KNOWN.contains(&oid);
    cert.extensions.iter().all(|extension| !extension.critical || known(&extension.oid))
        && !matches!(cert.signature_algorithm, SignatureAlgorithm::Other(_))
        && cert.public_key().is_ok()
}

/// The certificates from the signer to one that is trusted, or why there are none.
pub(super) fn trusted<'a>(
    given: &'a [Certificate],
    anchors: &'a [Certificate],
) -> Result<Vec<&'a Certificate>, &'static str> {
    let Some((signer, _)) = given.split_first() else { return Err("there is none") };
    let mut chain = vec![signer];
    let mut at = 0;
    let mut self_issued = 0;
    has_size(signer)?;
    loop {
        let child = &given[at];
        has_hash(child)?;
        let is_signer = chain.len() == 1;
        let issued_itself = same_name(&child.issuer, &child.subject);
        if is_signer && issued_itself && anchors.contains(child) {
            return Ok(chain);
        }
        // How many intermediates are below whoever issued this one.
        let below = (chain.len() - 1).saturating_sub(self_issued);
        let anchor = anchors
            .iter()
            .find(|parent| may_issue(parent, child, parent.version < 3, below) && has_issued(parent, child));
        if let Some(anchor) = anchor {
            has_size(anchor)?;
            chain.push(anchor);
            return Ok(chain);
        }
        let behind = given[at + 1..].iter().position(|parent| may_issue(parent, child, false, below));
        let Some(behind) = behind else { return Err("nobody in the trust store has issued it, nor one in its header") };
        if chain.len() > MAX_INTERMEDIATES {
            return Err("too many certificates are between it and the trust store");
        }
        if !is_signer && issued_itself {
            self_issued += 1;
        }
        at += 1 + behind;
        let parent = &given[at];
        if !has_issued(parent, child) {
            return Err("whoever it says has issued it did not");
        }
        has_size(parent)?;
        chain.push(parent);
    }
}

/// Whether a certificate is named as the issuer of another, and may be.
fn may_issue(parent: &Certificate, child: &Certificate, old: bool, below: usize) -> bool {
    let length = parent.basic_constraints.and_then(|constraints| constraints.path_len);
    let room = length.is_none_or(|length| usize::try_from(length).is_ok_and(|length| length >= below));
    same_name(&child.issuer, &parent.subject) && (old || parent.is_ca()) && room
}

fn has_issued(parent: &Certificate, child: &Certificate) -> bool {
    parent.public_key().is_ok_and(|key| child.is_signed_by(&key))
}

fn has_hash(cert: &Certificate) -> Result<(), &'static str> {
    match cert.signature_algorithm {
        SignatureAlgorithm::Weak => Err("one of its chain is signed with SHA-1 or older"),
        _ => Ok(()),
    }
}

fn has_size(cert: &Certificate) -> Result<(), &'static str> {
    match cert.public_key().as_ref().map(PublicKey::kind) {
        Ok(Kind::Rsa { bits }) if bits < MIN_RSA_BITS => Err("a key of its chain has fewer than 2048 bits"),
        Ok(_) => Ok(()),
        Err(_) => Err("a key of its chain cannot be used"),
    }
}

/// Whether two names are the same: the same parts in the same order, texts without regard to ASCII case.
fn same_name(one: &[u8], other: &[u8]) -> bool {
    one == other || parts(one).zip(parts(other)).is_some_and(|(one, other)| one == other)
}

/// An attribute of a name: whether it begins a part, its kind, its value with its tag; texts in lower case.
type Attribute = (bool, Vec<u8>, Vec<u8>);

fn parts(name: &[u8]) -> Option<Vec<Attribute>> {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    let mut sets = Values(asn1::whole(name, asn1::SEQUENCE)?);
    let mut found = Vec::new();
    while !sets.is_empty() {
        let mut set = Values(sets.take(asn1::SET)?);
        let mut begins = true;
        while !set.is_empty() {
            let mut attribute = set.sequence()?;
            let oid = attribute.take(asn1::OID)?;
            let value = attribute.next()?;
            let text = match value.tag {
                UTF8 | PRINTABLE => [&[UTF8], value.content.to_ascii_lowercase().as_slice()].concat(),
                tag => [&[tag], value.content].concat(),
            };
            found.push((begins, oid.to_vec(), text));
            begins = false;
        }
    }
    Some(found)
}

/// A name as people read it: `CN=…, O=…`, from the first part to the last.
pub(super) fn shown(name: &[u8]) -> String {
    let Some(parts) = parts_as_written(name) else { return "?".to_owned() };
    if parts.is_empty() { "(no name)".to_owned() } else { parts.join(", ") }
}

fn parts_as_written(name: &[u8]) -> Option<Vec<String>> {
    let mut sets = Values(asn1::whole(name, asn1::SEQUENCE)?);
    let mut found = Vec::new();
    while !sets.is_empty() {
        let mut set = Values(sets.take(asn1::SET)?);
        while !set.is_empty() {
            let mut attribute = set.sequence()?;
            let label = match attribute.take(asn1::OID)? {
                [0x55, 0x04, 3] => "CN".to_owned(),
                [0x55, 0x04, 6] => "C".to_owned(),
                [0x55, 0x04, 7] => "L".to_owned(),
                [0x55, 0x04, 8] => "ST".to_owned(),
                [0x55, 0x04, 10] => "O".to_owned(),
                [0x55, 0x04, 11] => "OU".to_owned(),
                other => crate::sig::cert::dotted(other),
            };
            found.push(format!("{label}={}", String::from_utf8_lossy(attribute.next()?.content)));
        }
    }
    Some(found)
}
