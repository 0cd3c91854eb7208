//! Which rows a new centroid cannot be nearer to, seen from products alone.
//!
//! A candidate c matters to a row x only where its squared distance, summed in `f32` in some order of the features, is
//! below that of the row's nearest centroid so far. With n features, u = 2^-24 and g = exp((n + 3) u) - 1 (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, section 3.1):
//!
//! ```text
//! fl(|x - c|^2) >= |x - c|^2 (1 - g) - t        n squares of rounded differences, all at least 0, in any order
//! |x . c - p|   <= g |x| |c| + t                p: the product by fused or separate operations, in any order
//! |x - c|^2     >= |x|^2 + |c|^2 - 2 p - g (|x|^2 + |c|^2) - 2 t
//! ```
//!
//! where t = (n + 4) 2^-125 covers what underflows. So fl(|x - c|^2) >= closest is certain where
//!
//! ```text
//! p <= (|x|^2 - g |x|^2 - (closest + t) (1 + 2 g)) / 2 + (|c|^2 - g |c|^2 - 2 t) / 2
//! ```
//!
//! because (1 - g) (1 + 2 g) >= 1 for g <= 1/2. The right side is evaluated in `f64`; g is taken larger than it is by
//! more than those roundings. One product is one operation where a difference, its square and its sum are three, so
//! rows are screened before distances are measured.
//!
//! The triangle inequality (as Elkan, ICML 2003, uses it) needs no product with the row: let p be the row's nearest
//! centroid so far. From |c - p| >= 2 sqrt(closest / (1 - g) + t) follows |x - c| >= |c - p| - |x - p| >=
//! sqrt(closest / (1 - g) + t), so fl(|x - c|^2) >= closest. [`Screen::reach`] gives a lower bound on |c - p|^2,
//! [`Screen::limit`] the bound that it must pass.

use crate::kmeans::problem::row_square;
use crate::simd::{Level, level};

/// Most candidates per step; `2 + ln k` stays below it for every k that fits memory.
pub(super) const LANES: usize = 16;
/// One value per candidate.
pub(super) type Lanes = [f32; LANES];

/// Rows whose products are kept in registers together.
const GROUP: usize = 8;

/// Margins for rows of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margins {
    /// g, rounded up.
    g: f64,
    /// t.
    tiny: f64,
}

impl Margins {
    /// For rows of `columns` features. Beyond some millions nothing is certain: an infinite margin skips nothing.
    pub fn new(columns: usize) -> Self {
        let g = ((columns + 3) as f64 * 2.0_f64.powi(-24)).exp_m1() * 1.01 + 2.0_f64.powi(-40);
        let g = if g < 0.25 { g } else { f64::INFINITY };
        Self { g, tiny: (columns + 4) as f64 * 2.0_f64.powi(-125) }
    }

    /// A centroid farther than the root of this from a row's nearest one cannot be nearer to the row.
    pub fn limit(&self, closest: f32) -> f32 {
        let limit = 4.0 * f64::from(closest) * (1.0 + 2.0 * self.g) + 8.0 * self.tiny;
        (limit * (1.0 + 2.0_f64.powi(-20))) as f32
    }

    /// What the product of a row with a candidate may reach beyond the candidate's own share.
    pub fn share(&self, norm: f32, closest: f32) -> f64 {
        let Self { g, tiny } = *self;
        let (below, above) = squares_around(norm);
        0.5 * (below - g * above - (f64::from(closest) + tiny) * (1.0 + 2.0 * g))
    }

    /// A distance that was summed in one order and is at least this is not below `closest` in another order.
    pub fn near(&self, closest: f32) -> f32 {
        let near = f64::from(closest) * (1.0 + 4.0 * self.g) + 4.0 * self.tiny;
        (near * (1.0 + 2.0_f64.powi(-20))) as f32
    }
}

/// Candidates of one step, ready for products.
pub(super) struct Screen {
    margins: Margins,
    /// `[feature][candidate]`, where half of the lanes suffice.
    narrow: Vec<[f32; LANES / 2]>,
    /// Squared length of each candidate.
    squares: [f64; LANES],
    /// (|c|^2 - g |c|^2 - 2 t) / 2 of each candidate; lanes without one pass any row.
    shares: [f64; LANES],
}

/// A bound on a squared length from above, and one from below, of a row whose norm was rounded up.
///
/// `norm_above` adds 2^-20 and one rounding to `f32`: less than 2^-18 of the square.
fn squares_around(norm: f32) -> (f64, f64) {
    let above = f64::from(norm) * f64::from(norm);
    (above * (1.0 - 2.0_f64.powi(-18)), above)
}

impl Screen {
    /// Prepares `used` candidates, packed by feature.
    pub fn new(margins: Margins, packed: &[Lanes], used: usize) -> Self {
        let mut squares = [0.0; LANES];
        let mut shares = [f64::INFINITY; LANES];
        let mut candidate = Vec::with_capacity(packed.len());
        for lane in 0..used {
            candidate.clear();
            candidate.extend(packed.iter().map(|lanes| lanes[lane]));
            squares[lane] = row_square(&candidate);
            shares[lane] = 0.5 * (squares[lane] * (1.0 - margins.g) - 2.0 * margins.tiny);
        }
        let is_narrow = used <= LANES / 2;
        let narrow = |lanes: &Lanes| std::array::from_fn(|lane| lanes[lane]);
        let narrow = if is_narrow { packed.iter().map(narrow).collect() } else { Vec::new() };
        Self { margins, narrow, squares, shares }
    }

    /// What a candidate's product with a row may reach beyond the row's own share.
    pub fn candidate_share(&self, lane: usize) -> f64 {
        self.shares[lane]
    }

    /// Products of rows with the candidates, one lane each.
    fn products(&self, x: &[f32], packed: &[Lanes], out: &mut [Lanes]) {
        if self.narrow.is_empty() { products(x, packed, out) } else { products(x, &self.narrow, out) }
    }

    /// Lower bounds on the squared distances of the candidates to some centroids, whose squared lengths are given.
    pub fn reach(&self, centroids: &[f32], squares: &[f64], packed: &[Lanes], reach: &mut [Lanes]) {
        self.products(centroids, packed, reach);
        let margins = self.margins;
        for (reach, &square) in reach.iter_mut().zip(squares) {
            for (value, own) in reach.iter_mut().zip(&self.squares) {
                let both = square + own;
                let below = both * (1.0 - margins.g) - 2.0 * f64::from(*value) - 2.0 * margins.tiny;
                *value = (below * (1.0 - 2.0_f64.powi(-20))).max(0.0) as f32;
            }
        }
    }

    /// For each row whether some candidate may be nearer than `closest`.
    pub fn may_gain(
        &self,
        x: &[f32],
        packed: &[Lanes],
        rows: impl Iterator<Item = (f32, f32)>,
        scratch: &mut Vec<Lanes>,
        keep: &mut Vec<bool>,
    ) {
        scratch.resize(x.len() / packed.len(), [0.0; LANES]);
        self.products(x, packed, scratch);
        keep.clear();
        keep.extend(scratch.iter().zip(rows).map(|(products, (norm, closest))| {
            let share = self.margins.share(norm, closest);
            let passes = |(&product, own): (&f32, &f64)| f64::from(product) <= share + own;
            !products.iter().zip(&self.shares).fold(true, |all, pair| all & passes(pair))
        }));
    }
}

/// `out[row][lane] = sum over d of x[row, d] * packed[d][lane]`, fused where the processor fuses.
fn products<const L: usize>(x: &[f32], packed: &[[f32; L]], out: &mut [Lanes]) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f,avx512vl,fma")]
            fn run<const L: usize>(x: &[f32], packed: &[[f32; L]], out: &mut [Lanes]) {
                body::<L, true>(x, packed, out);
            }
            // SAFETY: `level` saw the processor report these features, or AVX-512F, which comes with FMA.
            unsafe { run(x, packed, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            fn run<const L: usize>(x: &[f32], packed: &[[f32; L]], out: &mut [Lanes]) {
                body::<L, true>(x, packed, out);
            }
            // SAFETY: `level` saw the processor report these features.
            unsafe { run(x, packed, out) }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => body::<L, true>(x, packed, out),
        Level::Portable => body::<L, false>(x, packed, out),
    }
}

#[inline(always)]
fn body<const L: usize, const FUSED: bool>(x: &[f32], packed: &[[f32; L]], out: &mut [Lanes]) {
    let depth = packed.len();
    let mut groups = out.chunks_exact_mut(GROUP);
    let mut rows = x.chunks_exact(GROUP * depth);
    for (out, rows) in groups.by_ref().zip(rows.by_ref()) {
        group::<L, GROUP, FUSED>(rows, packed, out);
    }
    for (out, row) in groups.into_remainder().iter_mut().zip(rows.remainder().chunks_exact(depth)) {
        group::<L, 1, FUSED>(row, packed, std::slice::from_mut(out));
    }
}

#[inline(always)]
fn group<const L: usize, const ROWS: usize, const FUSED: bool>(
    x: &[f32],
    packed: &[[f32; L]],
    out: &mut [Lanes],
) {
    let depth = packed.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * depth..(row + 1) * depth]);
    let mut sums = [[0.0_f32; L]; ROWS];
    for (d, lanes) in packed.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[d];
            for (sum, &lane) in sums.iter_mut().zip(lanes) {
                *sum = if FUSED { x.mul_add(lane, *sum) } else { *sum + x * lane };
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(&sums) {
        out[..L].copy_from_slice(sums);
    }
}
