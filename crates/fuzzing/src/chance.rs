//! Chance with a seed.
//!
//! Must never be used for secrets.

/// A xorshift generator.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Starts with a seed above zero.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// A number below `limit`, which is above zero.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
