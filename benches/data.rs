//! Points that the benches of k-means and distances share.

use ndarray::Array2;

/// Rows around `centres` points, all coordinates in [0, 1.25]; equal on every machine.
pub fn blobs(rows: usize, columns: usize, centres: usize) -> Array2<f32> {
    let mut state = 0x5eed_u64;
    let mut unit = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let centre = Array2::from_shape_simple_fn((centres, columns), &mut unit);
    Array2::from_shape_fn((rows, columns), |(row, column)| centre[(row % centres, column)] + 0.25 * unit())
}
