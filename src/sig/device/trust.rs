//! Whom a device believes: its trust store, its own key, the store of its maker (`storage.md` §6.3).

use crate::sig::cert::Certificate;
use crate::sig::pem;
use crate::sig::public::PublicKey;

/// Most certificates in a store: twice what browsers trust.
const MAX_ANCHORS: usize = 512;

/// Anchors and keys.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pub(super) anchors: Vec<Certificate>,
    pub(super) key: Option<PublicKey>,
    pub(super) oem: Option<Oem>,
    skipped: usize,
}

/// The maker of a device may sign what is neither `bsp` nor its own folder.
#[derive(Debug, Clone)]
pub(super) struct Oem {
    pub(super) name: String,
    pub(super) anchors: Vec<Certificate>,
}

/// A text holds nothing that could be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Neither certificate nor key.
    #[error("it holds no certificate and no public key that could be used (PEM)")]
    Nothing,
    /// More than one key: a device has one.
    #[error("it holds more than one public key, and a device has one")]
    ManyKeys,
    /// A key that is of no use.
    #[error("its public key cannot be used: {0}")]
    Key(#[from] crate::sig::public::PublicKeyError),
    /// Too many certificates.
    #[error("it holds more than {MAX_ANCHORS} certificates")]
    TooMany,
}

impl Trust {
    /// Reads a PEM text. Its certificates are the store (`ca-certificates.crt`), a public key is the one that verifies
    /// signatures without certificates (`pub.pem`).
    pub fn from_pem(text: &str) -> Result<Self, TrustError> {
        let (anchors, skipped) = anchors(text)?;
        let mut key = None;
        for block in pem::blocks(text) {
            let found = match block.label.as_str() {
                "PUBLIC KEY" => PublicKey::from_spki(&block.bytes)?,
                "RSA PUBLIC KEY" => PublicKey::from_pkcs1(&block.bytes)?,
                _ => continue,
            };
            if key.replace(found).is_some() {
                return Err(TrustError::ManyKeys);
            }
        }
        if anchors.is_empty() && key.is_none() {
            return Err(TrustError::Nothing);
        }
        Ok(Self { anchors, key, oem: None, skipped })
    }

    /// The maker's name (`PV_OEM_NAME`), and the certificates of its store.
    pub fn with_oem(mut self, name: &str, text: &str) -> Result<Self, TrustError> {
        let (anchors, skipped) = anchors(text)?;
        if anchors.is_empty() {
            return Err(TrustError::Nothing);
        }
        self.oem = Some(Oem { name: name.to_owned(), anchors });
        self.skipped += skipped;
        Ok(self)
    }

    /// How many certificates were passed over, because they are none or of no use.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// How many certificates are trusted.
    pub fn anchors(&self) -> usize {
        self.anchors.len() + self.oem.as_ref().map_or(0, |oem| oem.anchors.len())
    }
}

/// Certificates that can vouch for others, and how many there are besides.
fn anchors(text: &str) -> Result<(Vec<Certificate>, usize), TrustError> {
    let all = pem::blocks(text).into_iter().filter(|block| block.label == "CERTIFICATE").count();
    if all > MAX_ANCHORS {
        return Err(TrustError::TooMany);
    }
    let mut found = Certificate::from_pem(text);
    found.retain(super::chain::is_readable);
    let skipped = all - found.len();
    Ok((found, skipped))
}
