//! The kernels of distances: which metric is performed by which, and what each is told.

use minijinja::context;

use crate::distance::blocks::Shape;
use crate::distance::metric::Metric;
use crate::distance::metric::{Form, is_root};
use crate::error::Result;
use crate::kernel::{Kernel, kernels, shared};
use crate::tile::choice::shape::{Combine, TileShape};

shared! {
    /// What `measure` and `haversine` are told.
    struct MeasureParams {
        /// Row of the window that the first workgroup starts with.
        first_row: u32,
        /// End of the rows, and rows of the Y window.
        rows: u32,
        columns: u32,
        /// Features.
        depth: u32,
        /// A value is multiplied by one after the other.
        units: [f32; 2],
        /// Largest magnitude of a value before the units.
        most: f32,
        /// Row tiles that take turns under one column tile.
        group_rows: u32,
        /// Which metric of bits.
        kind: u32,
        /// Rows of the originals that belong to a row: 2 where the second one holds what the first one leaves.
        parts: u32,
    }

    /// What `accumulate` is told.
    struct AccumulateParams {
        /// Row of the window that the first workgroup starts with.
        first_row: u32,
        /// End of the rows, and rows of the Y window.
        rows: u32,
        columns: u32,
        /// Features.
        depth: u32,
        /// What results are multiplied by.
        unit: f32,
        /// Largest result before the unit.
        most: f32,
        /// The power of Minkowski.
        power: f32,
        /// 1 where features have weights.
        weighted: u32,
    }
}

/// Tiles of `accumulate` and `haversine`: two accumulators per pair leave no registers for larger ones.
const TILES: [TileShape; 2] = [TileShape::plain(32, 32, 4, 4, 16), TileShape::plain(64, 64, 4, 4, 16)];

/// The metrics that `accumulate` performs.
const ACCUMULATED: [Metric; 10] = [
    Metric::Minkowski,
    Metric::Canberra,
    Metric::BrayCurtis,
    Metric::MultisetJaccard,
    Metric::Hamming,
    Metric::NanEuclidean,
    Metric::JensenShannon,
    Metric::KullbackLeibler,
    Metric::BitHamming,
    Metric::BitJaccard,
];

/// Which kernel performs a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKernel {
    /// The tile of products, or of plain differences.
    Measure,
    /// The loop over features with a step of the metric.
    Accumulate,
    /// Angles.
    Haversine,
}

/// The kernel of a metric.
pub(crate) fn kernel_of(metric: Metric) -> MetricKernel {
    match metric {
        Metric::Haversine => MetricKernel::Haversine,
        _ if ACCUMULATED.contains(&metric) => MetricKernel::Accumulate,
        _ => MetricKernel::Measure,
    }
}

/// The tile for a matrix of this shape, where it is not tuned.
pub(crate) fn tile(metric: Metric, shape: Shape) -> Option<TileShape> {
    let is_small = shape.rows.min(shape.columns) <= 32;
    (kernel_of(metric) != MetricKernel::Measure).then(|| TILES[usize::from(!is_small)])
}

/// Which metric of bits it is, for the kernel that performs them all.
pub(crate) fn kind(metric: Metric) -> u32 {
    match metric {
        Metric::Jaccard => 0,
        Metric::Dice => 1,
        Metric::RogersTanimoto => 2,
        Metric::RussellRao => 3,
        Metric::SokalSneath => 4,
        Metric::Yule => 5,
        _ => 6,
    }
}

/// The kernel of a metric for a shape.
pub(crate) fn kernel(metric: Metric, shape: &TileShape) -> Result<Kernel> {
    match kernel_of(metric) {
        MetricKernel::Measure => measure(metric, shape),
        MetricKernel::Accumulate => accumulate(metric, shape),
        MetricKernel::Haversine => haversine(shape),
    }
}

// Of the metrics of products: cosine distances are squared distances of unit rows; all metrics of bits have one kernel.
kernels! {
    /// The tile of products, or of plain differences.
    fn measure(metric: Metric, shape: &TileShape)
    for [
        metric in [
            Metric::SquaredEuclidean,
            Metric::Euclidean,
            Metric::InnerProduct,
            Metric::Manhattan,
            Metric::Chebyshev,
            Metric::Jaccard,
        ],
        shape in &crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Store),
    ] {
        let form = Form::of(metric);
        let root = is_root(metric);
        let (name, combine) = match (metric, form) {
            (_, Form::Expanded) if root => ("measure lengths", Combine::Dot),
            (_, Form::Expanded) => ("measure squares", Combine::Dot),
            (_, Form::Counts) => ("measure counts", Combine::Dot),
            (Metric::Manhattan, _) => ("measure manhattan", Combine::Manhattan),
            (Metric::Chebyshev, _) => ("measure chebyshev", Combine::Chebyshev),
            _ => ("measure products", Combine::Dot),
        };
        let (is_expanded, is_counted) = (form == Form::Expanded, form == Form::Counts);
        let context = context! { is_expanded, is_counted, root, ..shape.context(combine) };
        Ok(Kernel::render("distance/measure.wgsl", &[MeasureParams::WGSL], context)?.named(name))
    }

    /// The loop over features with a step of the metric.
    fn accumulate(metric: Metric, shape: &TileShape) for [metric in ACCUMULATED, shape in &TILES] {
        let passes = if metric == Metric::Minkowski { vec!["largest", "powers"] } else { vec!["sums"] };
        let is_packed = matches!(metric, Metric::BitHamming | Metric::BitJaccard);
        let context = context! { metric => metric.name(), passes, is_packed, ..shape.context(Combine::Dot) };
        Kernel::render("distance/accumulate.wgsl", &[AccumulateParams::WGSL], context)
    }

    /// Angles.
    fn haversine(shape: &TileShape) for [shape in &TILES] {
        let context = shape.context(Combine::Dot);
        Ok(Kernel::render("distance/haversine.wgsl", &[MeasureParams::WGSL], context)?.named("measure angles"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_bounds_hold_for_these_tiles() {
        for shape in TILES {
            assert!(shape.keeps_one_order() && shape.invocation_rows == 4 && shape.invocation_columns == 4);
            assert!(shape.fits(&crate::device::Limits::for_tests()), "{shape}");
        }
    }
}
