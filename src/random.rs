//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as
//! 1, 2, 3*, SC 2011). A draw is a function of (seed, stream, index) alone, so it does not depend on the device, the
//! number of threads, or what was drawn before.

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// 128 random bits for one counter under one key.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (a, b) = (MULTIPLIERS[0] * u64::from(counter[0]), MULTIPLIERS[1] * u64::from(counter[2]));
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// One family of draws: a seed and a stream number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    seed: u64,
    stream: u64,
}

impl Stream {
    /// The draws of `stream` under `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream }
    }

    /// 64 random bits.
    pub fn bits(&self, index: u64) -> u64 {
        let counter = [index as u32, (index >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        let words = philox(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        u64::from(words[0]) | u64::from(words[1]) << 32
    }

    /// A number in [0, 1), a multiple of 2^-53.
    pub fn unit(&self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws one after the other: each call takes the next numbers of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    stream: Stream,
    index: u64,
}

impl Draws {
    /// The draws of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self { stream: Stream::new(seed, purpose), index: 0 }
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.index += 1;
        self.stream.unit(self.index - 1)
    }

    /// Uniform among `0..count`; 0 where `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        // The high half of a 128-bit product: a bias below 2^-64 times the count.
        self.index += 1;
        ((u128::from(self.stream.bits(self.index - 1)) * u128::from(count)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the Random123 library.
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox(pi, [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn units_are_below_one_and_spread() {
        let stream = Stream::new(7, 1);
        let mean =
            (0..10_000).map(|i| stream.unit(i)).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>()
                / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
