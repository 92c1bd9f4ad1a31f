//! Chance from a seed.
//!
//! Must never take anything from the machine it runs on.

/// SplitMix64 (Steele, Lea, Flood 2014): each seed gives a stream of its own, the same everywhere.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The stream of one act of one seed. Acts have streams of their own, so that leaving one out
    /// does not change what the others draw.
    pub const fn new(seed: u64, act: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ act.wrapping_mul(0x9E6C_63D0_876A_3F35))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub const fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    /// True once in `odds` times.
    pub const fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// A number from 0 up to 1.
    pub const fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
