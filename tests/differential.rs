//! Fits and searches of hostile data against sums of about 106 bits: no family of values is known to be easy.
//!
//! Each run draws a fixed sequence of problems; `PROPTEST_CASES=2000`, as in `scripts/test-all`, makes it 1,000 for each
//! test and backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView1, Axis};
use tilefold::Device;
use tilefold::distance::Metric;
use tilefold::kmeans::{self, Fit, Init, Params};
use tilefold::neighbours;

use crate::kmeans_bits::same_bits;
use crate::support::backends::on_every_backend;
use crate::support::cases::Draws;
use crate::support::random;
use crate::support::wide::Wide;

on_every_backend! {
    fits_agree_with_wide_sums, searches_agree_with_wide_sums, labels_of_the_tile_alone_are_found_wrong
}

/// Problems of one run, where nothing else is asked for.
const PROBLEMS: u32 = 128;
/// Units of rounding of `f64`, and of the rounding of rows to `f32`.
const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
const UNIT_OF_ROWS: f64 = 1.0 / (1_u64 << 24) as f64;

/// Rows that some arithmetic gets wrong.
struct Hostile {
    name: &'static str,
    points: Array2<f32>,
    /// Whether centring and scaling leaves every value as it is.
    is_exact: bool,
    clusters: usize,
}

/// A family of values: its name, whether frames keep its values, and a value by row and column.
type Family = (&'static str, bool, fn(&mut Draws, &Array2<usize>, (usize, usize)) -> f64);

/// What a row has in common with others: a cluster, a sign, a copy. Drawn before the values.
const TRAITS: usize = 3;
const BETWEEN: &str = "rows half-way between others";
/// Rows that others lie between.
const CORNERS: usize = 6;

fn families() -> [Family; 12] {
    [
        ("a lattice with many ties", true, |draws, _, _| draws.below(4) as f64 - 2.0),
        ("few distinct rows", true, |_, traits, (row, column)| {
            ((traits[[row, 0]] * 7 + column * 3) % 5) as f64
        }),
        ("codes of one and minus one", true, |draws, _, _| if draws.below(2) == 0 { 1.0 } else { -1.0 }),
        ("one-hot rows", true, |_, traits, (row, column)| {
            f64::from(u8::from(traits[[row, 1]] % 7 == column))
        }),
        ("equal rows", true, |_, _, (_, column)| column as f64 - 3.0),
        // Corners first; then midpoints, moved along a column in which corners are close together.
        (BETWEEN, true, |_, traits, (row, column)| {
            let corner = |which: usize| match column {
                0 => 2.0 * (which % 4) as f64,
                _ => 2.0 * ((which + 1) * (column + 17) * 40_503 % (1 << 20)) as f64 - f64::from(1 << 20),
            };
            let ends = if row < CORNERS { [row; 2] } else { [0, 1].map(|end| traits[[row, end]] % CORNERS) };
            let step = if column == 0 && row >= CORNERS { (traits[[row, 2]] % 5) as f64 - 2.0 } else { 0.0 };
            ends.map(corner).iter().sum::<f64>() / 2.0 + step
        }),
        ("noise", false, |draws, _, _| draws.normal()),
        ("far from the origin", false, |draws, traits, (row, _)| {
            1e7 + traits[[row, 0]] as f64 + draws.below(3) as f64
        }),
        ("columns of mixed scales", false, |draws, _, (_, column)| {
            draws.normal() * 10.0_f64.powi((column as i32 % 9 - 4) * 4)
        }),
        ("one row far away", false, |draws, _, (row, _)| if row == 0 { 1e9 } else { draws.normal() }),
        ("the smallest numbers", false, |draws, _, _| draws.normal() * 1e-41),
        ("the largest numbers", false, |draws, _, _| draws.normal() * 1e37),
    ]
}

impl Hostile {
    fn new(index: u32) -> Self {
        let mut draws = Draws::new(u64::from(index) + 1);
        let families = families();
        let (name, is_exact, value) = families[index as usize % families.len()];
        let (rows, columns) = (2 + draws.below(90), 1 + draws.below(40));
        let traits = Array2::from_shape_simple_fn((rows, TRAITS), || draws.below(1000));
        let points = Array2::from_shape_fn((rows, columns), |at| value(&mut draws, &traits, at) as f32);
        Self { name, points, is_exact, clusters: 1 + draws.below(rows.min(24)) }
    }

    /// From the first rows, with so many iterations.
    fn params(&self, max_iter: usize) -> Params {
        let first = self.points.select(Axis(0), &(0..self.clusters).collect::<Vec<_>>());
        let init = Init::Centroids(first.mapv(f64::from));
        let weights = (0..self.points.nrows()).map(|row| self.weight(row)).collect();
        Params::new(self.clusters).init(init).weights(weights).max_iter(max_iter).tol(0.0)
    }

    /// Of a row: where rows lie between others only the first centroids have any, so that centroids rest on them.
    fn weight(&self, row: usize) -> f64 {
        f64::from(u8::from(self.name != BETWEEN || row < self.clusters))
    }

    fn fit(&self, device: &Device, max_iter: usize) -> Fit {
        kmeans::fit(device, self.points.view(), &self.params(max_iter)).unwrap()
    }

    /// The largest distance of a value from another of its column.
    fn spread(&self) -> f64 {
        let of = |column: ArrayView1<f32>| {
            let wide = column.iter().map(|&value| f64::from(value));
            wide.clone().fold(f64::MIN, f64::max) - wide.fold(f64::MAX, f64::min)
        };
        self.points.columns().into_iter().map(of).fold(0.0, f64::max)
    }

    /// How much of [`Self::spread`] one value may be off where the device has seen it.
    fn unit(&self) -> f64 {
        if self.is_exact { 4.0 * UNIT } else { 2.0 * UNIT_OF_ROWS }
    }

    /// The bound on the error of a squared distance of rows, of which neither lies farther out than the spread: values are
    /// off by `unit`, their products by as much again, and so is each addition.
    fn squared_bound(&self) -> f64 {
        let (depth, spread) = (self.points.ncols() as f64, self.spread());
        4.0 * depth * (depth + 4.0) * self.unit() * spread * spread
    }
}

/// The sum of squared differences.
fn squared(x: ArrayView1<f32>, centroid: ArrayView1<f64>) -> Wide {
    let each = x.iter().zip(centroid).map(|(&x, &c)| Wide::difference(f64::from(x), c).squared());
    each.fold(Wide::ZERO, Wide::plus)
}

/// Labels are nearest, centroids are means of the labels before, inertia is the sum of squares, and the bits are those of
/// the CPU.
pub fn fits_agree_with_wide_sums(device: &Device) {
    let problems = random::cases(PROBLEMS).cases;
    let mut means = 0;
    for index in 0..problems {
        let problem = Hostile::new(index);
        let what = format!(
            "problem {index}, {}, {:?}, {} clusters",
            problem.name,
            problem.points.dim(),
            problem.clusters
        );
        let fits = [1, 2, 5].map(|max_iter| problem.fit(device, max_iter));
        for fit in &fits {
            check_fit(&problem, fit, &what);
        }
        means += check_means(&problem, &fits, &what);
        let definition = problem.fit(&Device::reference(), 5);
        assert_eq!(fits[2].labels, definition.labels, "{what}");
        if device.name() != "reference" {
            same_bits(&fits[2], &problem.fit(&Device::cpu(), 5), &what);
        }
    }
    println!("{problems} problems, {means} centroids compared with their means");
    assert!(means > problems as usize, "only {means} centroids were compared in {problems} problems");
}

fn check_fit(problem: &Hostile, fit: &Fit, what: &str) {
    let bound = problem.squared_bound();
    let Distances { inertia, farther } = Distances::of(problem, fit);
    assert!(farther <= bound, "{what}: a label is {farther:e} farther than the nearest, {bound:e} allowed");
    let allowed = problem.points.nrows() as f64 * bound + 1e-12 * inertia;
    let error = (fit.inertia - inertia).abs();
    assert!(error <= allowed, "{what}: inertia {} where {inertia} is right", fit.inertia);
}

struct Distances {
    inertia: f64,
    /// How much farther in squared distance a labelled centroid is than the nearest, at most.
    farther: f64,
}

impl Distances {
    fn of(problem: &Hostile, fit: &Fit) -> Self {
        let centroids = fit.model.centroids();
        let (mut inertia, mut farther) = (Wide::ZERO, 0.0_f64);
        for (row, (x, &label)) in problem.points.outer_iter().zip(&fit.labels).enumerate() {
            let distances: Vec<Wide> = centroids.outer_iter().map(|c| squared(x, c)).collect();
            let own = distances[label as usize];
            if problem.weight(row) > 0.0 {
                inertia = inertia.plus(own);
            }
            farther = distances.iter().fold(farther, |most, other| most.max(own.minus(*other).to_f64()));
        }
        Self { inertia: inertia.to_f64(), farther }
    }
}

/// Without the decisions in `f64` the same problems are labelled wrongly: the comparison can fail.
pub fn labels_of_the_tile_alone_are_found_wrong(device: &Device) {
    if device.name() == "reference" {
        return;
    }
    let is_wrong = |&index: &u32| {
        let problem = Hostile::new(index);
        let params = problem.params(1).without_recheck();
        let fit = kmeans::fit(device, problem.points.view(), &params).unwrap();
        !(Distances::of(&problem, &fit).farther <= problem.squared_bound())
    };
    let wrong = (0..PROBLEMS).filter(is_wrong).count();
    println!("{wrong} of {PROBLEMS} problems go wrong");
    assert!(wrong >= 5, "only {wrong} of {PROBLEMS} problems go wrong");
}

/// After the first iteration centroids are the means of the rows that it labelled so. Returns how many were compared: an
/// empty cluster takes a row away from another, so fits with one are left out.
fn check_means(problem: &Hostile, [first, second, _]: &[Fit; 3], what: &str) -> usize {
    if problem.name == BETWEEN || first.cluster_sizes.contains(&0) || second.n_iter != 2 || first.n_iter != 1
    {
        return 0;
    }
    let sizes = |labels: &[u32]| {
        (0..problem.clusters as u32).map(|k| labels.iter().filter(|&&l| l == k).count()).collect::<Vec<_>>()
    };
    let labels = first.labels.to_vec();
    for (cluster, size) in sizes(&labels).into_iter().enumerate() {
        for (column, &got) in second.model.centroids().row(cluster).iter().enumerate() {
            let rows = labels.iter().enumerate().filter(|&(_, &label)| label == cluster as u32);
            let sum = rows
                .map(|(row, _)| Wide::from(f64::from(problem.points[[row, column]])))
                .fold(Wide::ZERO, Wide::plus);
            let error = sum.minus(Wide::product(got, size as f64)).to_f64().abs() / size as f64;
            let allowed = problem.unit() * problem.spread() + 4.0 * UNIT * got.abs();
            assert!(
                error <= allowed,
                "{what}: centroid {cluster} is off by {error:e} in column {column}, {allowed:e} allowed"
            );
        }
    }
    problem.clusters
}

/// The nearest five of each row among all: no other is nearer than the last, none of the five is nearer than the one before.
pub fn searches_agree_with_wide_sums(device: &Device) {
    let problems = random::cases(PROBLEMS).cases;
    for index in 0..problems {
        let problem = Hostile::new(index);
        let (points, count) = (&problem.points, problem.points.nrows().min(5));
        let what = format!("problem {index}, {}, {:?}", problem.name, points.dim());
        let params = neighbours::Params::new(Metric::SquaredEuclidean, count);
        let found = neighbours::nearest(device, points.view(), points.view(), &params);
        let wide = points.mapv(f64::from);
        if problem.name == "the largest numbers" && found.is_err() {
            continue;
        }
        let found = found.unwrap();
        for (row, x) in points.outer_iter().enumerate() {
            let distances: Vec<Wide> = wide.outer_iter().map(|c| squared(x, c)).collect();
            let mut order: Vec<usize> = (0..distances.len()).collect();
            order.sort_by(|&a, &b| distances[a].compared(distances[b]).then(a.cmp(&b)));
            for (place, &got) in found.indices.row(row).iter().enumerate() {
                let (right, got) = (distances[order[place]], distances[got as usize]);
                // Neighbours are ranked by sums in f64 of the values as they are.
                let allowed = (points.ncols() as f64 + 4.0) * 2.0 * UNIT * right.to_f64();
                let farther = got.minus(right).to_f64();
                assert!(
                    farther <= allowed,
                    "{what}: neighbour {place} of row {row} is {farther:e} too far, {allowed:e} allowed"
                );
            }
        }
    }
}
