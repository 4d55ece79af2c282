//! How much of everything (`PVR_ROUNDS`), what is skipped, and numbers by chance: also for tests that run no program.
#![allow(dead_code, unused_imports, reason = "every test binary uses its part of this")]

/// Per cent of the repetitions that an issue names. 5 unless `PVR_ROUNDS` says otherwise, at least 1, at most 100.
pub fn per_cent() -> usize {
    let asked = std::env::var("PVR_ROUNDS").ok().and_then(|value| value.parse().ok());
    asked.unwrap_or(5).clamp(1, 100)
}

/// `named` repetitions, scaled by `PVR_ROUNDS`, never fewer than `least`.
pub fn rounds(named: usize, least: usize) -> usize {
    (named * per_cent() / 100).max(least)
}

/// A test that needs root or a mount calls this when it can't have it. In CI (`CI_RUN=1`, set by `.ci/run`) that is a
/// failure; elsewhere the test says its name and why it is skipped.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI_RUN").is_none(), "{test} has to run here, but {why}");
    eprintln!("{test}: SKIPPED, {why}");
}

/// A small generator of numbers (xorshift), so that a failing run can be repeated from the seed that it prints.
pub struct Dice(u64);

impl Dice {
    /// Seeded from `PVR_SEED`, or from the clock; prints the seed.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("PVR_SEED").ok().and_then(|value| value.parse().ok());
        let seed = given.unwrap_or_else(|| {
            #[expect(clippy::disallowed_methods, reason = "this machine's clock")]
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_nanos() as u64) | 1
        });
        println!("{test}: PVR_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Bytes that don't compress and don't repeat.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}
