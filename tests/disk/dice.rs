//! Chance that can be repeated, and how much of everything, for tests of the library.

/// So many of `named` repetitions as `PVR_ROUNDS` (per cent, 5 if unset) says, never fewer than `least`.
pub fn rounds(named: usize, least: usize) -> usize {
    let asked = std::env::var("PVR_ROUNDS").ok().and_then(|value| value.parse().ok());
    (named * asked.unwrap_or(5usize).clamp(1, 100) / 100).max(least)
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

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
