//! The part of Go's `math/rand/v2` that the benchmark draws with, bit for bit.
//!
//! Must never be used for anything new: [`crate::Chance`] is for that.

/// The generator PCG-DXSM with 128 bits of state (O'Neill 2014; Go's `rand.PCG`).
#[derive(Debug, Clone)]
pub(super) struct Pcg(u128);

const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;
const INCREMENT: u128 = 0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F;
const CHEAP_MULTIPLIER: u64 = 0xDA94_2042_E4DD_58B5;

impl Pcg {
    /// As `rand.NewPCG(first, second)`.
    pub(super) const fn new(first: u64, second: u64) -> Self {
        Self(((first as u128) << 64) | second as u128)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        let (mut high, low) = ((self.0 >> 64) as u64, self.0 as u64);
        high ^= high >> 32;
        high = high.wrapping_mul(CHEAP_MULTIPLIER);
        high ^= high >> 48;
        high.wrapping_mul(low | 1)
    }

    /// A number from 0 up to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() << 11 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Where the tail of the normal distribution begins, and the area of each of its 128 strips.
const NORMAL: (f64, f64) = (3.442_619_855_899, 9.912_563_035_262_17e-3);
/// The same of the exponential distribution with 256 strips.
const EXPONENTIAL: (f64, f64) = (7.697_117_470_131_487, 3.949_659_822_581_572e-3);

/// The strips of a falling density (Marsaglia and Tsang, "The Ziggurat Method for Generating Random
/// Variables", 2000). Go has their numbers as constants; this makes the same ones.
#[derive(Debug)]
pub(super) struct Ziggurat {
    inside: Vec<u32>,
    width: Vec<f32>,
    height: Vec<f32>,
}

impl Ziggurat {
    /// `density` is not normalised, 1 at 0, and `inverse` finds where it has a value; drawn integers
    /// lie below `range`.
    fn new(
        strips: usize,
        (tail, area): (f64, f64),
        range: f64,
        density: impl Fn(f64) -> f64,
        inverse: impl Fn(f64) -> f64,
    ) -> Self {
        let last = strips - 1;
        let (mut inside, mut width, mut height) =
            (vec![0u32; strips], vec![0f32; strips], vec![0f32; strips]);
        let base = area / density(tail);
        inside[0] = (tail / base * range) as u32;
        width[0] = (base / range) as f32;
        width[last] = (tail / range) as f32;
        height[0] = 1.0;
        height[last] = density(tail) as f32;
        let (mut edge, mut before) = (tail, tail);
        for strip in (1..last).rev() {
            edge = inverse(area / edge + density(edge));
            inside[strip + 1] = (edge / before * range) as u32;
            before = edge;
            height[strip] = density(edge) as f32;
            width[strip] = (edge / range) as f32;
        }
        Self { inside, width, height }
    }

    /// That of the normal distribution.
    pub(super) fn normal() -> Self {
        let density = |x: f64| (-0.5 * x * x).exp();
        Self::new(128, NORMAL, 2_147_483_648.0, density, |y| (-2.0 * y.ln()).sqrt())
    }

    /// That of the exponential distribution.
    pub(super) fn exponential() -> Self {
        Self::new(256, EXPONENTIAL, 4_294_967_296.0, |x: f64| (-x).exp(), |y| -y.ln())
    }

    /// Whether a point at random in this strip lies under the density there.
    fn is_under(&self, strip: usize, drawn: f64, density: f64) -> bool {
        let (low, high) = (self.height[strip], self.height[strip - 1]);
        low + drawn as f32 * (high - low) < density as f32
    }

    /// As `NormFloat64`, of the normal ziggurat.
    pub(super) fn draw_normal(&self, from: &mut Pcg) -> f64 {
        let tail = NORMAL.0;
        loop {
            let drawn = from.next();
            let (whole, strip) = ((drawn as u32).cast_signed(), (drawn >> 32 & 0x7F) as usize);
            let x = f64::from(whole) * f64::from(self.width[strip]);
            if whole.unsigned_abs() < self.inside[strip] {
                return x;
            }
            if strip == 0 {
                let beyond = loop {
                    let x = -from.unit().ln() * (1.0 / tail);
                    let y = -from.unit().ln();
                    if y + y >= x * x {
                        break x;
                    }
                };
                return if whole > 0 { tail + beyond } else { -tail - beyond };
            }
            if self.is_under(strip, from.unit(), (-0.5 * x * x).exp()) {
                return x;
            }
        }
    }

    /// As `ExpFloat64`, of the exponential ziggurat.
    pub(super) fn draw_exponential(&self, from: &mut Pcg) -> f64 {
        loop {
            let drawn = from.next();
            let (whole, strip) = (drawn as u32, usize::from((drawn >> 32) as u8));
            let x = f64::from(whole) * f64::from(self.width[strip]);
            if whole < self.inside[strip] {
                return x;
            }
            if strip == 0 {
                return EXPONENTIAL.0 - from.unit().ln();
            }
            if self.is_under(strip, from.unit(), (-x).exp()) {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last constants of Go's tables (`math/rand/v2/normal.go`, `exp.go`).
    #[test]
    fn the_strips_are_those_of_go() {
        let normal = Ziggurat::normal();
        assert_eq!(normal.inside[..4], [0x76AD_2212, 0, 0x600F_1B53, 0x6CE4_47A6]);
        assert_eq!(normal.inside[127], 0x77D6_64E5);
        assert_eq!((normal.width[0], normal.width[127]), (1.729_040_5e-9, 1.603_094_8e-9));
        assert_eq!((normal.height[1], normal.height[127]), (0.963_599_7, 0.002_669_629_2));
        let exponential = Ziggurat::exponential();
        assert_eq!(exponential.inside[..4], [0xE290_A139, 0, 0x9BEA_DEBC, 0xC377_AC71]);
        assert_eq!(exponential.inside[255], 0xE6DA_6ECF);
        let widths = (exponential.width[0], exponential.width[255]);
        assert_eq!(widths, (2.024_955_5e-9, 1.792_124_8e-9));
        assert_eq!(exponential.height[255].to_bits(), 0.000_454_134_37_f32.to_bits());
    }
}
