//! Passwords: argon2id with 4 MiB, as they are kept.
//!
//! Memory is what makes guessing dear, and a device has little: 4 MiB, six times over. What it was made with is kept beside the hash.

use std::io;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::accounts::random;
use crate::sig::base64;

const KDF: &str = "argon2id";
const MEMORY_KIB: u32 = 4096;
const PASSES: u32 = 6;
const HASH: usize = 32;
/// Nobody has more memory to give, nor time.
const MOST: (u32, u32) = (64 * 1024, 64);

/// A password that can be checked and not be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Password {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    hash: String,
}

impl Password {
    /// Hashes it. `None`: it is none.
    pub(super) fn of(password: &[u8]) -> io::Result<Option<Self>> {
        if !(8..=1024).contains(&password.len()) || password.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) {
            return Ok(None);
        }
        let salt: [u8; 16] = random()?;
        let hash = derive(password, &salt, MEMORY_KIB, PASSES).ok_or_else(|| io::Error::other("argon2 failed"))?;
        Ok(Some(Self {
            kdf: KDF.to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: base64::url(&salt),
            hash: base64::url(&hash),
        }))
    }

    /// Whether it was made in a way that is known.
    pub(super) fn is_sound(&self) -> bool {
        let long = |text: &str, bytes: usize| base64::from_url(text).is_some_and(|decoded| decoded.len() >= bytes);
        self.kdf == KDF
            && (8..=MOST.0).contains(&self.memory_kib)
            && (1..=MOST.1).contains(&self.passes)
            && long(&self.salt, 8)
            && base64::from_url(&self.hash).is_some_and(|hash| hash.len() == HASH)
    }

    /// Whether it is this one.
    pub(super) fn is(&self, password: &[u8]) -> bool {
        let (Some(salt), Some(want)) = (base64::from_url(&self.salt), base64::from_url(&self.hash)) else {
            return false;
        };
        let got = derive(password, &salt, self.memory_kib, self.passes);
        got.is_some_and(|got| bool::from(got.as_slice().ct_eq(&want)))
    }
}

/// As much work as a password of nobody's takes.
pub(super) fn work_for_nothing(password: &[u8]) {
    std::hint::black_box(derive(password, &[0; 16], MEMORY_KIB, PASSES));
}

fn derive(password: &[u8], salt: &[u8], memory_kib: u32, passes: u32) -> Option<[u8; HASH]> {
    let params = Params::new(memory_kib, passes, 1, Some(HASH)).ok()?;
    let mut memory = vec![Block::default(); params.block_count()];
    let mut hash = [0; HASH];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(password, salt, &mut hash, &mut memory).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let kept = Password::of(b"correct horse").unwrap().unwrap();
        assert!(kept.is_sound() && kept.is(b"correct horse"));
        assert!(!kept.is(b"correct horsf") && !kept.is(b"") && !kept.is(b"correct horse "));
        let again = Password::of(b"correct horse").unwrap().unwrap();
        assert!(kept.salt != again.salt && kept.hash != again.hash, "each has a salt of its own");
        for bad in [&b"seven77"[..], b"with\nbreak", &[b'x'; 1025]] {
            assert!(Password::of(bad).unwrap().is_none());
        }
        let with = |change: fn(&mut Password)| {
            let mut changed = kept.clone();
            change(&mut changed);
            changed
        };
        assert!(!with(|p| p.kdf = "argon2d".to_owned()).is_sound());
        assert!(!with(|p| p.memory_kib = 1 << 20).is_sound());
        assert!(!with(|p| p.passes = 0).is_sound());
        assert!(!with(|p| p.hash.truncate(20)).is_sound());
        assert!(!with(|p| p.passes = 5).is(b"correct horse"), "other parameters, another hash");
    }

    /// `argon2` of the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1 -l 32`.
    #[test]
    fn it_is_argon2id() {
        let hash = derive(b"password", b"somesalt", 256, 2).unwrap();
        assert_eq!(
            super::super::accounts::hex(&hash),
            "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"
        );
    }
}
