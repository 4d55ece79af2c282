//! X.509 certificates (RFC 5280 §4) as they are written: everything that whoever validates a path has to look at, and
//! nothing of what follows from it. DER is read strictly; text in names is not looked at, except the common name.

use super::asn1::{self, Value, Values};
use super::pem;
use super::public::{Hash, PublicKey, PublicKeyError, Signature};

/// Largest certificate that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most extensions of one certificate.
const MAX_EXTENSIONS: usize = 64;

/// `id-kp-codeSigning`, as an object identifier's content.
pub const EKU_CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// `anyExtendedKeyUsage`.
pub const EKU_ANY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// Bits of [`Certificate::key_usage`]: bit 0 of the extension is the highest.
pub const KEY_USAGE_DIGITAL_SIGNATURE: u16 = 1 << 15;
/// `keyCertSign`.
pub const KEY_USAGE_CERT_SIGN: u16 = 1 << 10;

/// These bytes are no certificate.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("it is no certificate: {0}")]
pub struct CertError(&'static str);

/// `basicConstraints`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether it may issue certificates.
    pub ca: bool,
    /// How many intermediate certificates may stand between it and a leaf.
    pub path_len: Option<u32>,
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The content of its object identifier.
    pub oid: Vec<u8>,
    /// Whether who doesn't know it has to refuse the certificate.
    pub critical: bool,
    /// Its value: DER.
    pub value: Vec<u8>,
}

impl Extension {
    /// Whether this module reads what it holds: subject and authority key identifier, key usage, basic constraints,
    /// extended key usage.
    pub fn is_read(&self) -> bool {
        matches!(self.oid.as_slice(), [0x55, 0x1d, 14 | 15 | 19 | 35 | 37])
    }
}

/// What a certificate is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    Rsa(Hash),
    /// RSASSA-PSS, with the same hash in its mask.
    RsaPss {
        /// Hash of message and mask.
        hash: Hash,
        /// Length of the salt.
        salt: usize,
    },
    /// ECDSA.
    Ecdsa(Hash),
    /// SHA-1 or older: known, and never accepted.
    Weak,
    /// Something else, by the content of its object identifier.
    Other(Vec<u8>),
}

/// A certificate. Equal if its bytes are.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The whole, DER.
    pub raw: Vec<u8>,
    /// What is signed, DER.
    pub tbs: Vec<u8>,
    /// 1, 2 or 3.
    pub version: u8,
    /// The content of the serial number.
    pub serial: Vec<u8>,
    /// The issuer's name, DER.
    pub issuer: Vec<u8>,
    /// The subject's name, DER.
    pub subject: Vec<u8>,
    /// The subject's last common name.
    pub common_name: Option<String>,
    /// First second of its validity, from 1970.
    pub not_before: i64,
    /// Last second of its validity, from 1970.
    pub not_after: i64,
    /// `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
    /// If there is that extension.
    pub basic_constraints: Option<BasicConstraints>,
    /// If there is that extension: see [`KEY_USAGE_CERT_SIGN`].
    pub key_usage: Option<u16>,
    /// If there is that extension: contents of object identifiers.
    pub extended_key_usage: Option<Vec<Vec<u8>>>,
    /// If there is that extension.
    pub subject_key_id: Option<Vec<u8>>,
    /// If there is that extension, with a key identifier in it.
    pub authority_key_id: Option<Vec<u8>>,
    /// All extensions, in their order.
    pub extensions: Vec<Extension>,
    /// What it is signed with.
    pub signature_algorithm: SignatureAlgorithm,
    /// The signature.
    pub signature: Vec<u8>,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Certificate {}

impl Certificate {
    /// Reads a certificate with nothing behind it.
    pub fn parse(der: &[u8]) -> Result<Self, CertError> {
        let (cert, rest) = Self::parse_prefix(der)?;
        if rest.is_empty() { Ok(cert) } else { Err(CertError("there are bytes behind it")) }
    }

    /// Reads a certificate, and gives what is behind it.
    pub fn parse_prefix(der: &[u8]) -> Result<(Self, &[u8]), CertError> {
        let mut outer = Values(der);
        let value = outer.next().filter(|value| value.tag == asn1::SEQUENCE).ok_or(CertError("no sequence"))?;
        if value.raw.len() > MAX_BYTES {
            return Err(CertError("it has more than 64 KiB"));
        }
        Ok((read(value)?, outer.0))
    }

    /// The certificates of a PEM file that can be read, in their order. Blocks with headers and of other kinds are passed over.
    pub fn from_pem(text: &str) -> Vec<Self> {
        let blocks =
            pem::blocks(text).into_iter().filter(|block| block.label == "CERTIFICATE" && block.headers.is_empty());
        blocks.filter_map(|block| Self::parse(&block.bytes).ok()).collect()
    }

    /// The key that it vouches for.
    pub fn public_key(&self) -> Result<PublicKey, PublicKeyError> {
        PublicKey::from_spki(&self.spki)
    }

    /// Whether its signature is by that key. Weak and unknown algorithms never are.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        match &self.signature_algorithm {
            SignatureAlgorithm::Rsa(hash) => key.verify(*hash, &self.tbs, Signature::RsaPkcs1(&self.signature)),
            SignatureAlgorithm::RsaPss { hash, salt } => {
                key.verify(*hash, &self.tbs, Signature::RsaPss { bytes: &self.signature, salt: Some(*salt) })
            }
            SignatureAlgorithm::Ecdsa(hash) => Signature::ecdsa_from_der(&self.signature)
                .is_some_and(|signature| key.verify(*hash, &self.tbs, signature)),
            SignatureAlgorithm::Weak | SignatureAlgorithm::Other(_) => false,
        }
    }

    /// Whether that second, from 1970, is within its validity.
    pub fn is_valid_at(&self, seconds: i64) -> bool {
        (self.not_before..=self.not_after).contains(&seconds)
    }

    /// Whether it may issue certificates, as far as its extensions say so.
    pub fn is_ca(&self) -> bool {
        self.basic_constraints.is_some_and(|constraints| constraints.ca)
    }

    /// The object identifiers of critical extensions that this module doesn't read, in their dotted form.
    pub fn unknown_critical(&self) -> impl Iterator<Item = String> {
        self.extensions.iter().filter(|extension| extension.critical && !extension.is_read()).map(|e| dotted(&e.oid))
    }
}

/// An object identifier as people write it.
pub fn dotted(oid: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc: u64 = 0;
    for byte in oid {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

fn read(value: Value<'_>) -> Result<Certificate, CertError> {
    let wrong = |what| move || CertError(what);
    let mut outer = Values(value.content);
    let tbs = outer.next().filter(|value| value.tag == asn1::SEQUENCE).ok_or_else(wrong("what is signed"))?;
    let algorithm = outer.next().filter(|value| value.tag == asn1::SEQUENCE).ok_or_else(wrong("its algorithm"))?;
    let signature = outer.bits().filter(|_| outer.is_empty()).ok_or_else(wrong("its signature"))?;

    let mut fields = Values(tbs.content);
    let version = match fields.take_if(0xa0) {
        None => 1,
        Some(explicit) => match asn1::whole(explicit, asn1::INTEGER) {
            Some([1]) => 2,
            Some([2]) => 3,
            _ => return Err(CertError("its version")),
        },
    };
    let serial =
        fields.take(asn1::INTEGER).filter(|serial| !serial.is_empty()).ok_or_else(wrong("its serial number"))?;
    let inner = fields.next().ok_or_else(wrong("its algorithm"))?;
    if inner.raw != algorithm.raw {
        return Err(CertError("its two algorithms differ"));
    }
    let issuer = name(&mut fields).ok_or_else(wrong("its issuer"))?;
    let (not_before, not_after) = validity(&mut fields).ok_or_else(wrong("its validity"))?;
    let subject = name(&mut fields).ok_or_else(wrong("its subject"))?;
    let spki = fields.next().filter(|value| value.tag == asn1::SEQUENCE).ok_or_else(wrong("its key"))?;
    // Unique identifiers of issuer and subject, which nobody uses.
    let unique = fields.take_if(0x81).is_some() | fields.take_if(0x82).is_some();
    let extensions = match fields.take_if(0xa3) {
        Some(explicit) if version == 3 => extensions(explicit).ok_or_else(wrong("its extensions"))?,
        None => Vec::new(),
        Some(_) => return Err(CertError("extensions before version 3")),
    };
    if !fields.is_empty() || (unique && version == 1) {
        return Err(CertError("fields that do not belong there"));
    }
    let mut cert = Certificate {
        raw: value.raw.to_vec(),
        tbs: tbs.raw.to_vec(),
        version,
        serial: serial.to_vec(),
        issuer: issuer.to_vec(),
        subject: subject.to_vec(),
        common_name: common_name(subject),
        not_before,
        not_after,
        spki: spki.raw.to_vec(),
        basic_constraints: None,
        key_usage: None,
        extended_key_usage: None,
        subject_key_id: None,
        authority_key_id: None,
        extensions: Vec::new(),
        signature_algorithm: signature_algorithm(algorithm.content).ok_or_else(wrong("its algorithm"))?,
        signature: signature.to_vec(),
    };
    for extension in &extensions {
        look_into(&mut cert, extension).ok_or_else(wrong("one of its extensions"))?;
    }
    cert.extensions = extensions;
    Ok(cert)
}

fn name<'a>(fields: &mut Values<'a>) -> Option<&'a [u8]> {
    fields.next().filter(|value| value.tag == asn1::SEQUENCE).map(|value| value.raw)
}

/// The last common name of a name, if it is UTF-8.
fn common_name(name: &[u8]) -> Option<String> {
    let mut sets = Values(asn1::whole(name, asn1::SEQUENCE)?);
    let mut found = None;
    while let Some(set) = sets.take(asn1::SET) {
        let mut attributes = Values(set);
        while let Some(mut attribute) = attributes.sequence() {
            if attribute.take(asn1::OID) == Some(&[0x55, 0x04, 0x03]) {
                found = attribute.next().and_then(|text| std::str::from_utf8(text.content).ok()).map(str::to_owned);
            }
        }
    }
    found
}

fn validity(fields: &mut Values<'_>) -> Option<(i64, i64)> {
    let mut times = fields.sequence()?;
    let both = (time(times.next()?)?, time(times.next()?)?);
    times.is_empty().then_some(both)
}

/// `UTCTime` or `GeneralizedTime` in the one spelling of RFC 5280 §4.1.2.5.
fn time(value: Value<'_>) -> Option<i64> {
    let digits = value.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (value.tag, digits.len()) {
        (0x17, 12) => match number(&digits[..2]) {
            year @ 50.. => (1900 + year, &digits[2..]),
            year => (2000 + year, &digits[2..]),
        },
        (0x18, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = 365 * years + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) - 719_468;
    Some(((before + (153 * months + 2) / 5 + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
}

fn extensions(explicit: &[u8]) -> Option<Vec<Extension>> {
    let mut list = Values(asn1::whole(explicit, asn1::SEQUENCE)?);
    let mut found: Vec<Extension> = Vec::new();
    while !list.is_empty() {
        let mut fields = list.sequence()?;
        let oid = fields.take(asn1::OID)?.to_vec();
        let critical = match fields.take_if(asn1::BOOLEAN) {
            None => false,
            Some([0xff]) => true,
            // DER leaves out what is the default; it is seen all the same.
            Some([0]) => false,
            Some(_) => return None,
        };
        let value = fields.take(asn1::OCTET_STRING)?.to_vec();
        let twice = found.iter().any(|other| other.oid == oid);
        if !fields.is_empty() || twice || found.len() == MAX_EXTENSIONS {
            return None;
        }
        found.push(Extension { oid, critical, value });
    }
    Some(found)
}

/// Reads what an extension holds, if it is one of those.
fn look_into(cert: &mut Certificate, extension: &Extension) -> Option<()> {
    match extension.oid.as_slice() {
        [0x55, 0x1d, 14] => cert.subject_key_id = Some(asn1::whole(&extension.value, asn1::OCTET_STRING)?.to_vec()),
        [0x55, 0x1d, 15] => {
            let bits = asn1::whole(&extension.value, asn1::BIT_STRING)?;
            let (unused, bits) = bits.split_first()?;
            if *unused > 7 || bits.len() > 2 {
                return None;
            }
            cert.key_usage = Some(bits.iter().zip([8, 0]).fold(0, |all, (byte, at)| all | u16::from(*byte) << at));
        }
        [0x55, 0x1d, 19] => {
            let mut fields = Values(asn1::whole(&extension.value, asn1::SEQUENCE)?);
            let ca = match fields.take_if(asn1::BOOLEAN) {
                None => false,
                Some([0]) => false,
                Some([0xff]) => true,
                Some(_) => return None,
            };
            let path_len = if fields.is_empty() { None } else { Some(fields.small()?) };
            if !fields.is_empty() {
                return None;
            }
            cert.basic_constraints = Some(BasicConstraints { ca, path_len });
        }
        [0x55, 0x1d, 35] => {
            let mut fields = Values(asn1::whole(&extension.value, asn1::SEQUENCE)?);
            cert.authority_key_id = fields.take_if(0x80).map(<[u8]>::to_vec);
        }
        [0x55, 0x1d, 37] => {
            let mut oids = Values(asn1::whole(&extension.value, asn1::SEQUENCE)?);
            let mut found = Vec::new();
            while !oids.is_empty() {
                found.push(oids.take(asn1::OID)?.to_vec());
            }
            cert.extended_key_usage = Some(found);
        }
        _ => {}
    }
    Some(())
}

/// PKCS#1 (RFC 8017 §A.2) and ECDSA (RFC 5758 §3.2).
fn signature_algorithm(content: &[u8]) -> Option<SignatureAlgorithm> {
    let mut fields = Values(content);
    let oid = fields.take(asn1::OID)?;
    Some(match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last] => match last {
            11 => SignatureAlgorithm::Rsa(Hash::Sha256),
            12 => SignatureAlgorithm::Rsa(Hash::Sha384),
            13 => SignatureAlgorithm::Rsa(Hash::Sha512),
            2..=5 => SignatureAlgorithm::Weak,
            10 => pss(fields).unwrap_or_else(|| SignatureAlgorithm::Other(oid.to_vec())),
            _ => SignatureAlgorithm::Other(oid.to_vec()),
        },
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => SignatureAlgorithm::Weak,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last] => match last {
            2 => SignatureAlgorithm::Ecdsa(Hash::Sha256),
            3 => SignatureAlgorithm::Ecdsa(Hash::Sha384),
            4 => SignatureAlgorithm::Ecdsa(Hash::Sha512),
            _ => SignatureAlgorithm::Other(oid.to_vec()),
        },
        _ => SignatureAlgorithm::Other(oid.to_vec()),
    })
}

/// `RSASSA-PSS-params` (RFC 4055 §3.1). What it leaves out is SHA-1.
fn pss(mut fields: Values<'_>) -> Option<SignatureAlgorithm> {
    let mut parameters = fields.sequence()?;
    let Some(hash) = parameters.take_if(0xa0) else { return Some(SignatureAlgorithm::Weak) };
    let hash = hash_of(Values(hash).sequence()?)?;
    let mut mask = Values(parameters.take_if(0xa1)?).sequence()?;
    if mask.take(asn1::OID)? != [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 8]
        || hash_of(mask.sequence()?)? != hash
    {
        return None;
    }
    let salt = match parameters.take_if(0xa2) {
        Some(salt) => asn1::small(asn1::whole(salt, asn1::INTEGER)?)?,
        None => 20,
    };
    if !matches!(parameters.take_if(0xa3), None | Some([0x02, 1, 1])) || !parameters.is_empty() {
        return None;
    }
    Some(SignatureAlgorithm::RsaPss { hash, salt: usize::try_from(salt).ok()? })
}

fn hash_of(mut algorithm: Values<'_>) -> Option<Hash> {
    match algorithm.take(asn1::OID)? {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 1] => Some(Hash::Sha256),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 2] => Some(Hash::Sha384),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 3] => Some(Hash::Sha512),
        _ => None,
    }
}
