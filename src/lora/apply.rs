//! One call for a few matrices: a pool made, used and dropped.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::factors::{Adapter, Factors};
use super::module::Module;
use super::pool::{Group, Pool, PoolParams};
use super::routes::Routes;
use super::values::{Precision, Scalar};
#[cfg(feature = "gpu")]
use crate::device::{Backend, Gpu};
use crate::device::{Device, Prediction};
use crate::error::{Error, Result};
use crate::memory::{self, area};

/// Name of the one module.
const MODULE: &str = "module";
/// Elements of the longest page.
const LONGEST_PAGE: usize = 1024;

/// What [`apply`] reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The device in words.
    pub device: String,
}

/// Updates the rows of y by the low-rank updates that their routes name:
///
/// ```text
/// y[row, j] += sum over routes (slot, s) of the row: s * scale * sum_i (sum_d x[row, d] A[i, d]) B[j, i]
/// ```
///
/// x is `[rows, inputs]`, y `[rows, outputs]`, the factors of slot `i` are `slots[i]`; any mix of ranks. See
/// [`Step::apply`](super::Step::apply) for what holds of the result. The factors are brought to the device and dropped
/// again: who applies them more than once keeps them in a [`Pool`].
///
/// ```
/// use ndarray::array;
/// use tilefold::lora::{Factors, Routes, apply};
///
/// let double = Factors::new(array![[1.0_f32, 0.0]].view(), array![[2.0_f32]].view(), 1.0)?;
/// let negate = Factors::new(array![[0.0_f32, 1.0]].view(), array![[-1.0_f32]].view(), 1.0)?;
/// let x = array![[1.0_f32, 10.0], [2.0, 20.0], [3.0, 30.0]];
/// let mut y = array![[0.5_f32], [0.5], [0.5]];
/// let routes = Routes::of_slots([Some(0), Some(1), None]);
/// apply(&tilefold::Device::cpu(), &[&double, &negate], &routes, x.view(), y.view_mut())?;
/// assert_eq!(y, array![[2.5], [-19.5], [0.5]]);
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where sizes disagree, [`Error::Parameter`] for a slot beyond the last, device errors: one loss of
/// the device and a few failures of its memory are survived, and where `auto` chose it the CPU goes on. y then is as it was.
pub fn apply<X: Scalar, Y: Scalar>(
    device: &Device,
    slots: &[&Factors],
    routes: &Routes,
    x: ArrayView2<'_, X>,
    mut y: ArrayViewMut2<'_, Y>,
) -> Result<Applied> {
    let (inputs, outputs) = (x.ncols(), y.ncols());
    for (slot, factors) in slots.iter().enumerate() {
        if (factors.inputs(), factors.outputs()) != (inputs, outputs) {
            let expected =
                format!("{inputs} inputs and {outputs} outputs, the columns of x and y, for slot {slot}");
            let got = format!("{} inputs, {} outputs", factors.inputs(), factors.outputs());
            return Err(Error::shape("slots", expected, got));
        }
    }
    routes.check(slots.len())?;
    for (name, (rows, columns)) in [("x", x.dim()), ("y", y.dim())] {
        if rows != routes.rows() {
            let expected = format!("{} x {columns}, the rows of the routes", routes.rows());
            return Err(Error::shape(name, expected, format!("{rows} x {columns}")));
        }
    }
    if slots.is_empty() || inputs == 0 || outputs == 0 {
        // No update can name a slot, and none changes a row.
        return Ok(Applied { device: device.resolve(&Prediction { flops: 0.0, upload_bytes: 0.0 }).name() });
    }
    let flops = |row: usize| -> f64 {
        let ranks = routes.of_row(row).iter().map(|route| slots[route.slot as usize].rank());
        2.0 * (inputs + outputs) as f64 * ranks.sum::<usize>() as f64
    };
    let activations = x.len() * size_of::<X>() + 2 * y.len() * size_of::<Y>();
    let predicted = Prediction {
        flops: (0..routes.rows()).map(flops).sum(),
        upload_bytes: (4 * padded_elements(slots) + activations) as f64,
    };
    // An attempt that fails leaves y as it was.
    let attempt = |device: &Device| {
        memory::ask("y as it is updated", &[area::<Y>(y.nrows(), y.ncols())])?;
        let mut updated = y.to_owned();
        pooled(device, slots, routes, x, updated.view_mut()).map(|()| updated)
    };
    let backend = device.resolve(&predicted);
    let (updated, device) = match backend {
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => {
            let on_gpu = |gpu: &Gpu, _| attempt(&device.with_gpu(gpu));
            device.on_gpu_or_cpu(gpu, on_gpu, || attempt(&device.without_gpu()))?
        }
        #[cfg(feature = "gpu")]
        Backend::Cpu(_) => (attempt(&device.without_gpu())?, backend.name()),
        _ => (attempt(device)?, backend.name()),
    };
    y.assign(&updated);
    Ok(Applied { device })
}

/// Elements of all factors, each rank vector filled up to a whole page of the longest kind.
fn padded_elements(slots: &[&Factors]) -> usize {
    let padded = |factors: &Factors| {
        let vector = factors.inputs().next_multiple_of(LONGEST_PAGE)
            + factors.outputs().next_multiple_of(LONGEST_PAGE);
        factors.rank() * vector + factors.shard_elements()
    };
    slots.iter().map(|factors| padded(factors)).sum::<usize>() + LONGEST_PAGE
}

/// Applies the batch with a pool that holds exactly these adapters.
fn pooled<X: Scalar, Y: Scalar>(
    device: &Device,
    slots: &[&Factors],
    routes: &Routes,
    x: ArrayView2<'_, X>,
    mut y: ArrayViewMut2<'_, Y>,
) -> Result<()> {
    let (pool, names) = pool_of(device, slots, x.ncols(), y.ncols())?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_single = (0..routes.rows()).all(|row| routes.of_row(row).len() <= 1);
    match pool.lease(&names) {
        Err(Error::TooLarge { .. }) if is_single && slots.len() > 1 => {
            // They do not lie beside each other in the device's bindings. No row needs two of them.
            drop(pool);
            let (low, high) = slots.split_at(slots.len() / 2);
            pooled(device, low, &part_of(routes, 0..low.len())?, x, y.view_mut())?;
            pooled(device, high, &part_of(routes, low.len()..slots.len())?, x, y)
        }
        lease => lease?.step(routes)?.apply(0, x, &mut [y]),
    }
}

/// A pool that holds exactly these adapters of one module, and their names in the order of the slots.
pub(crate) fn pool_of(
    device: &Device,
    slots: &[&Factors],
    inputs: usize,
    outputs: usize,
) -> Result<(Pool, Vec<String>)> {
    let is_wide = slots.iter().any(|factors| factors.precisions().contains(&Precision::F32));
    let module = Module { name: MODULE.into(), inputs, outputs };
    let mut params = PoolParams::new(vec![Group::new(MODULE, vec![module])])
        .weights(if is_wide { Precision::F32 } else { Precision::F16 })
        .most_resident(slots.len())
        .budget_bytes(4 * padded_elements(slots) as u64);
    let lengths = slots.iter().flat_map(|factors| factors.shard_lengths());
    if let Some(elements) = lengths.map(|length| 1 << length.trailing_zeros()).min() {
        params = params.page_elements(elements.clamp(16, LONGEST_PAGE));
    }
    let pool = Pool::new(device, params)?;
    let names: Vec<String> = (0..slots.len()).map(|slot| slot.to_string()).collect();
    for (name, factors) in names.iter().zip(slots) {
        pool.register(name, Adapter::single(MODULE, Factors::clone(factors)))?;
    }
    Ok((pool, names))
}

/// The routes to `slots`, counted from the first of them.
fn part_of(routes: &Routes, slots: Range<usize>) -> Result<Routes> {
    let mut part = Routes::new();
    for row in 0..routes.rows() {
        let own = routes.of_row(row).iter().filter(|route| slots.contains(&(route.slot as usize)));
        let of_row: Vec<(u32, f32)> =
            own.map(|route| (route.slot - slots.start as u32, route.scale)).collect();
        part.push_scaled(&of_row)?;
    }
    Ok(part)
}
