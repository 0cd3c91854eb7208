//! The kernels of distances: which metric is performed by which, and what each is told.

use minijinja::context;

use crate::device::{Binding, Kernel};
use crate::distance::blocks::Shape;
use crate::distance::metric::Metric;
use crate::distance::metric::{Form, is_root};
use crate::error::Result;
use crate::tile::choice::shape::{Combine, TileShape};
use crate::tile::product::render::render;

/// What `measure` and `haversine` are told. Mirror of `MeasureParams` in the shaders.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct MeasureParams {
    pub first_row: u32,
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub units: [f32; 2],
    pub most: f32,
    pub group_rows: u32,
    pub kind: u32,
    pub parts: u32,
}

/// What `accumulate` is told. Mirror of `AccumulateParams` in the shader.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct AccumulateParams {
    pub first_row: u32,
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub unit: f32,
    pub most: f32,
    pub power: f32,
    pub weighted: u32,
}

const EXPANDED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const PLAIN: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const WEIGHTED: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const WITH_NORMS: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];

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
        MetricKernel::Haversine => {
            let source = render("distance/haversine.wgsl", shape.context(Combine::Dot))?;
            Ok(Kernel { name: "measure angles", entry: "haversine", source, bindings: WITH_NORMS })
        }
    }
}

fn measure(metric: Metric, shape: &TileShape) -> Result<Kernel> {
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
    let source = render("distance/measure.wgsl", context)?;
    let bindings = match form {
        Form::Expanded => EXPANDED,
        Form::Counts => WITH_NORMS,
        _ => PLAIN,
    };
    Ok(Kernel { name, entry: "measure", source, bindings })
}

fn accumulate(metric: Metric, shape: &TileShape) -> Result<Kernel> {
    let is_power = metric == Metric::Minkowski;
    let passes = if is_power { vec!["largest", "powers"] } else { vec!["sums"] };
    let is_packed = matches!(metric, Metric::BitHamming | Metric::BitJaccard);
    let context = context! { metric => metric.name(), passes, is_packed, ..shape.context(Combine::Dot) };
    let source = render("distance/accumulate.wgsl", context)?;
    let bindings = if is_power { WEIGHTED } else { PLAIN };
    Ok(Kernel { name: "accumulate", entry: "accumulate", source, bindings })
}

/// Every kernel that a plan can choose, with what tells it apart.
#[cfg(feature = "test-hooks")]
pub(crate) fn kernels() -> Result<Vec<(String, Kernel)>> {
    let mut kernels = Vec::new();
    // Cosine distances are squared distances of unit rows; all metrics of bits have one kernel.
    let tuned = [
        Metric::SquaredEuclidean,
        Metric::Euclidean,
        Metric::InnerProduct,
        Metric::Manhattan,
        Metric::Chebyshev,
        Metric::Jaccard,
    ];
    for metric in tuned {
        for shape in crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Store) {
            let name = format!("{metric}, {}", shape.variant());
            kernels.push((name, measure(metric, &shape)?));
        }
    }
    for metric in ACCUMULATED.into_iter().chain([Metric::Haversine]) {
        for shape in TILES {
            let name = format!("{metric}, {}", shape.variant());
            kernels.push((name, kernel(metric, &shape)?));
        }
    }
    Ok(kernels)
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
