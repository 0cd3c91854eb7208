//! Near ties that `f32` cannot tell apart: decided as `f64` does, and wrongly once tiles are taken for exact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use ndarray::{Array1, Array2, Axis, concatenate};
use tilefold::Device;
use tilefold::distance::Metric;
use tilefold::neighbours::{Params, Radius, RadiusParams, count_within, nearest, within};

use crate::neighbours::{SCREENED, value, wide};
use crate::support::backends::on_every_backend;
use crate::support::cases::uniform;

on_every_backend!(near_ties_are_decided_in_f64, near_ties_fail_without_bound);

const COUNT: usize = 5;

/// Points that differ by less than a tile's products err, and queries for which its values nearly vanish, so that they
/// have nothing but those errors. Both stand mirrored too: the centre of the data stays the origin.
pub struct NearTies {
    pub points: Array2<f32>,
    pub queries: Array2<f32>,
}

impl NearTies {
    fn new(depth: usize, seed: u64) -> Self {
        Self::apart(depth, 3e-7, seed)
    }

    /// The same with points that differ by so much in each feature.
    pub fn apart(depth: usize, noise: f64, seed: u64) -> Self {
        let base = uniform(1, depth, 1.0, seed).row(0).to_owned();
        let length = base.dot(&base);
        let noise = uniform(150, depth, noise, seed + 1);
        let points = Array2::from_shape_fn((150, depth), |(row, column)| base[column] + noise[[row, column]]);
        let mut queries = uniform(30, depth, 1.0, seed + 2);
        for mut query in queries.outer_iter_mut() {
            // Half of the base, and something at right angles to it.
            let along: f32 = query.dot(&base) / length;
            let right = &query - &(&base * along);
            query.assign(&(&base * 0.5 + right));
        }
        let mirrored = |rows: &Array2<f32>| concatenate![Axis(0), *rows, rows.mapv(|value| -value)];
        Self { points: mirrored(&points), queries: mirrored(&queries) }
    }

    /// For each query all points with their values, best first.
    fn ranked(&self, metric: Metric) -> Vec<Vec<(f64, u32)>> {
        let (points, queries) = (wide(self.points.view()), wide(self.queries.view()));
        let sign = if metric == Metric::InnerProduct { -1.0 } else { 1.0 };
        let of = |query: Array1<f64>| {
            let values = points.outer_iter().map(|row| value(metric, &query.to_vec(), &row.to_vec()));
            let mut all: Vec<(f64, u32)> = values.zip(0..).collect();
            all.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1)));
            all
        };
        queries.outer_iter().map(|query| of(query.to_owned())).collect()
    }

    /// How many queries have other nearest points than the formula in `f64`.
    pub fn wrong_nearest(&self, device: &Device, metric: Metric, recheck: bool) -> usize {
        let params = with_recheck(Params::new(metric, COUNT), recheck);
        let found = nearest(device, self.points.view(), self.queries.view(), &params).unwrap();
        let ranked = self.ranked(metric);
        let is_wrong = |(row, all): &(usize, &Vec<(f64, u32)>)| {
            let expected: Vec<u32> = all.iter().take(COUNT).map(|&(_, index)| index).collect();
            found.indices.row(*row).to_vec() != expected
        };
        ranked.iter().enumerate().filter(is_wrong).count()
    }

    /// How many queries have other points within the radius of their 40th nearest, or another count of them. That
    /// radius lies halfway to the next.
    fn wrong_within(&self, device: &Device, metric: Metric, recheck: bool) -> usize {
        let ranked = self.ranked(metric);
        let radii: Vec<f64> = ranked.iter().map(|all| f64::midpoint(all[39].0, all[40].0)).collect();
        let params = RadiusParams::new(metric, Radius::Each(radii)).sorted(true);
        let params = with_recheck(params, recheck);
        let found = within(device, self.points.view(), self.queries.view(), &params);
        let counted = count_within(device, self.points.view(), self.queries.view(), &params).unwrap();
        let counts_wrong = counted.counts.iter().filter(|&&count| count != 40).count();
        // Without the bound, counting and filling may differ, and that is told as an error.
        let Ok(found) = found else { return counts_wrong };
        let is_wrong = |(row, all): &(usize, &Vec<(f64, u32)>)| {
            let mut expected: Vec<u32> = all.iter().take(40).map(|&(_, index)| index).collect();
            let own = found.offsets[*row] as usize..found.offsets[*row + 1] as usize;
            let mut got = found.indices[own].to_vec();
            expected.sort_unstable();
            got.sort_unstable();
            got != expected
        };
        ranked.iter().enumerate().filter(is_wrong).count().max(counts_wrong)
    }
}

/// Parameters that a test can spoil.
pub trait Spoiled: Sized {
    fn spoiled(self) -> Self;
}

#[cfg(feature = "test-hooks")]
impl Spoiled for Params {
    fn spoiled(self) -> Self {
        self.without_bound()
    }
}

#[cfg(feature = "test-hooks")]
impl Spoiled for RadiusParams {
    fn spoiled(self) -> Self {
        self.without_bound()
    }
}

#[cfg(not(feature = "test-hooks"))]
impl<T> Spoiled for T {
    fn spoiled(self) -> Self {
        self
    }
}

pub fn with_recheck<P: Spoiled>(params: P, recheck: bool) -> P {
    if recheck { params } else { params.spoiled() }
}

fn near_ties_are_decided_in_f64(device: &Device) {
    for depth in [24, 150] {
        let ties = NearTies::new(depth, depth as u64);
        for metric in SCREENED {
            assert_eq!(ties.wrong_nearest(device, metric, true), 0, "{metric}, {depth} columns");
            assert_eq!(ties.wrong_within(device, metric, true), 0, "{metric}, {depth} columns");
        }
    }
}

/// The check above must be able to fail: without the bound the errors of `f32` decide. Matrix units see many of these points
/// as equal and list them all; `neighbours_matrix.rs` has ties for them.
fn near_ties_fail_without_bound(device: &Device) {
    if cfg!(not(feature = "test-hooks")) {
        return;
    }
    let device = &device.clone().with_matrix_units(false);
    for depth in [24, 150] {
        let ties = NearTies::new(depth, depth as u64);
        for metric in SCREENED {
            let nearest = ties.wrong_nearest(device, metric, false);
            let within = ties.wrong_within(device, metric, false);
            println!("{metric}, {depth} columns: {nearest} and {within} of 60 are wrong without the bound");
            match device.name().as_str() {
                "reference" => assert_eq!(nearest.max(within), 0, "the reference has no bound to do without"),
                _ => assert!(nearest > 10 && within > 10, "{metric}: only {nearest} and {within} are wrong"),
            }
        }
    }
}
