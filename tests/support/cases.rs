//! Made-up data, equal on every machine: all draws come from a counter-based generator with a printed seed.

use ndarray::Array2;

/// Sizes around the boundaries of tiles, workgroups and cache panels: one below, at, one above.
pub const TAILS: [usize; 16] = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257];

/// Random draws; the n-th one depends on (seed, n) alone.
#[derive(Debug, Clone)]
pub struct Draws {
    seed: u64,
    counter: u64,
}

impl Draws {
    /// A generator. The seed is printed, which shows where the test fails; `TILEFOLD_SEED` replaces it.
    pub fn new(seed: u64) -> Self {
        let replaced = std::env::var("TILEFOLD_SEED").ok().and_then(|text| text.parse().ok());
        let seed = replaced.unwrap_or(seed);
        println!("seed {seed}");
        Self { seed, counter: 0 }
    }

    /// 64 random bits: the finalizer of SplitMix64 (Steele, Lea, Flood 2014) over the counter, twice.
    pub fn bits(&mut self) -> u64 {
        self.counter += 1;
        mix(mix(self.seed).wrapping_add(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..end; the bias, below end / 2^64, does not matter to a test.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A shape of one product: rows of X, rows of Y, columns of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of X.
    pub rows: usize,
    /// Rows of Y.
    pub others: usize,
    /// Columns of both.
    pub depth: usize,
}

/// Every size of [`TAILS`] on each axis in turn, the two other axes odd and small, then a few with all three uneven:
/// every boundary is met at a cost that software adapters bear.
pub fn tail_shapes() -> Vec<Shape> {
    let on_each_axis = TAILS.into_iter().flat_map(|size| {
        [
            Shape { rows: size, others: 5, depth: 7 },
            Shape { rows: 7, others: size, depth: 5 },
            Shape { rows: 5, others: 7, depth: size },
        ]
    });
    let uneven = [(65, 63, 129), (129, 65, 17), (127, 129, 33), (1, 1, 1)];
    on_each_axis.chain(uneven.map(|(rows, others, depth)| Shape { rows, others, depth })).collect()
}

/// Points scattered around centres, with what they were made from.
#[derive(Debug, Clone)]
pub struct Blobs {
    /// One point per row.
    pub points: Array2<f32>,
    /// The blob that each point was drawn from.
    pub labels: Vec<usize>,
    /// One centre per row, before rounding to f32.
    pub centers: Array2<f64>,
}

/// How blobs are made.
#[derive(Debug, Clone, Copy)]
pub struct BlobsShape {
    /// Number of points.
    pub rows: usize,
    /// Number of features.
    pub columns: usize,
    /// Number of blobs.
    pub clusters: usize,
    /// Standard deviation of each blob; centres are uniform in a cube with edge 20.
    pub spread: f64,
    /// Added to every feature: what centring has to take off again.
    pub offset: f64,
}

/// Gaussian blobs of nearly equal size, in shuffled order.
pub fn blobs(shape: BlobsShape, seed: u64) -> Blobs {
    let sizes = (0..shape.clusters).map(|blob| (shape.rows + blob) / shape.clusters).collect::<Vec<_>>();
    blobs_of_sizes(shape, &sizes, seed)
}

/// Gaussian blobs of given sizes, which sum to `shape.rows`, in shuffled order.
pub fn blobs_of_sizes(shape: BlobsShape, sizes: &[usize], seed: u64) -> Blobs {
    assert_eq!(sizes.iter().sum::<usize>(), shape.rows, "sizes must sum to the rows");
    let mut draws = Draws::new(seed);
    let centers = Array2::from_shape_simple_fn((sizes.len(), shape.columns), || {
        draws.unit() * 20.0 - 10.0 + shape.offset
    });
    let mut labels =
        sizes.iter().enumerate().flat_map(|(blob, &size)| vec![blob; size]).collect::<Vec<usize>>();
    for last in (1..labels.len()).rev() {
        labels.swap(last, draws.below(last + 1));
    }
    let points = Array2::from_shape_fn((shape.rows, shape.columns), |(row, column)| {
        (centers[(labels[row], column)] + shape.spread * draws.normal()) as f32
    });
    Blobs { points, labels, centers }
}

/// Sizes that fall off like 1 / rank, each at least 1, summing to `total`: few large clusters and many small ones.
pub fn power_law_sizes(total: usize, clusters: usize) -> Vec<usize> {
    assert!(clusters >= 1 && total >= clusters, "each of {clusters} clusters needs a point of {total}");
    let weight = |rank: usize| 1.0 / (rank + 1) as f64;
    let sum: f64 = (0..clusters).map(weight).sum();
    let spare = total - clusters;
    let mut sizes =
        (0..clusters).map(|rank| 1 + (spare as f64 * weight(rank) / sum) as usize).collect::<Vec<_>>();
    // What rounding down left over goes to the largest.
    sizes[0] += total - sizes.iter().sum::<usize>();
    sizes
}

/// Uniform noise in [-scale, scale): no structure, so most rows are nearly tied.
pub fn uniform(rows: usize, columns: usize, scale: f64, seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    Array2::from_shape_simple_fn((rows, columns), || ((2.0 * draws.unit() - 1.0) * scale) as f32)
}

/// Rows drawn from `distinct` rows, each of which comes at least once where there are rows enough.
pub fn duplicates(rows: usize, columns: usize, distinct: usize, seed: u64) -> Array2<f32> {
    let originals = uniform(distinct, columns, 1.0, seed);
    let mut draws = Draws::new(seed ^ 0xd1ff);
    let chosen =
        (0..rows).map(|row| if row < distinct { row } else { draws.below(distinct) }).collect::<Vec<_>>();
    originals.select(ndarray::Axis(0), &chosen)
}

/// Points and centroids with exact ties.
#[derive(Debug, Clone)]
pub struct Ties {
    /// The points 0, 1, ..., `cells` in each of the first two columns, 0 elsewhere.
    pub points: Array2<f32>,
    /// The even ones of the same grid.
    pub centroids: Array2<f32>,
}

/// A grid of whole numbers and its even points as centroids: a point with one odd coordinate lies exactly between two
/// centroids, with two between four, and all arithmetic is exact in f32. `cells` is even.
pub fn ties(cells: usize, columns: usize) -> Ties {
    assert!(cells.is_multiple_of(2) && columns >= 2, "an even grid in two columns at least");
    let grid = |step: usize| {
        let side = cells / step + 1;
        Array2::from_shape_fn((side * side, columns), |(row, column)| match column {
            0 => (row / side * step) as f32,
            1 => (row % side * step) as f32,
            _ => 0.0,
        })
    };
    Ties { points: grid(1), centroids: grid(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: BlobsShape = BlobsShape { rows: 1000, columns: 3, clusters: 7, spread: 0.01, offset: 1e4 };

    #[test]
    fn draws_depend_on_the_seed_alone() {
        let take = |seed| (0..4).scan(Draws::new(seed), |draws, _| Some(draws.bits())).collect::<Vec<_>>();
        assert_eq!(take(5), take(5));
        assert_ne!(take(5), take(6));
        assert_eq!(uniform(9, 4, 2.0, 1), uniform(9, 4, 2.0, 1));
    }

    #[test]
    fn draws_have_the_moments_that_they_claim() {
        let mut draws = Draws::new(1);
        let normal = (0..20_000).map(|_| draws.normal()).collect::<Vec<_>>();
        let mean = normal.iter().sum::<f64>() / 2e4;
        let variance = normal.iter().map(|value| value * value).sum::<f64>() / 2e4;
        // Four standard errors of each.
        assert!(mean.abs() < 0.029 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        let mut counts = [0; 5];
        (0..20_000).for_each(|_| counts[draws.below(5)] += 1);
        assert!(counts.iter().all(|&count: &i32| (count - 4000).abs() < 230), "{counts:?}");
    }

    #[test]
    fn tail_shapes_meet_every_boundary_on_every_axis() {
        let shapes = tail_shapes();
        for size in TAILS {
            assert!(shapes.iter().any(|shape| shape.rows == size));
            assert!(shapes.iter().any(|shape| shape.others == size));
            assert!(shapes.iter().any(|shape| shape.depth == size));
        }
        assert!(shapes.iter().all(|shape| shape.rows * shape.others * shape.depth < 1_000_000));
    }

    #[test]
    fn blobs_lie_around_their_centres() {
        let made = blobs(SHAPE, 3);
        assert_eq!((made.points.dim(), made.centers.dim()), ((1000, 3), (7, 3)));
        for (row, &label) in made.points.outer_iter().zip(&made.labels) {
            for (&got, &center) in row.iter().zip(made.centers.row(label)) {
                assert!((f64::from(got) - center).abs() < 0.07, "{got} {center}");
            }
        }
        let mut sizes = [0; 7];
        made.labels.iter().for_each(|&label| sizes[label] += 1);
        assert!(sizes.iter().all(|size| (142..=143).contains(size)), "{sizes:?}");
        assert!(!made.labels.is_sorted(), "the order must be shuffled");
    }

    #[test]
    fn power_law_sizes_sum_and_fall() {
        for (total, clusters) in [(1000, 7), (7, 7), (1, 1), (100_000, 1000)] {
            let sizes = power_law_sizes(total, clusters);
            assert_eq!((sizes.iter().sum::<usize>(), sizes.len()), (total, clusters));
            assert!(sizes.is_sorted_by(|left, right| left >= right) && *sizes.last().unwrap() >= 1);
        }
        let sizes = power_law_sizes(1000, 7);
        let made = blobs_of_sizes(SHAPE, &sizes, 3);
        assert_eq!(made.labels.iter().filter(|&&label| label == 0).count(), sizes[0]);
        assert!(sizes[0] > 6 * sizes[6]);
    }

    #[test]
    fn duplicates_hold_every_original() {
        let rows = duplicates(50, 3, 4, 9);
        let mut distinct = rows.outer_iter().map(|row| row.mapv(f32::to_bits).to_vec()).collect::<Vec<_>>();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn ties_are_exact() {
        let Ties { points, centroids } = ties(4, 3);
        assert_eq!((points.nrows(), centroids.nrows()), (25, 9));
        for point in points.outer_iter() {
            let distances = centroids
                .outer_iter()
                .map(|centroid| (&point - &centroid).mapv(|value| value * value).sum())
                .collect::<Vec<f32>>();
            let best = distances.iter().copied().fold(f32::INFINITY, f32::min);
            let nearest = distances.iter().filter(|&&distance| distance == best).count();
            let odd = point.iter().filter(|&&value| value % 2.0 == 1.0).count();
            assert_eq!(nearest, 1 << odd, "{point}");
        }
    }
}
