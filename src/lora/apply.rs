//! One call for a few matrices: a pool made, used and dropped.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::factors::{Adapter, Factors};
use super::module::Module;
use super::pool::{Group, Pool, PoolParams};
use super::routes::Routes;
use super::values::{Precision, Scalar};
use crate::device::Device;
use crate::error::{Error, Result};

/// Name of the one module.
const MODULE: &str = "module";

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
/// [`Error::Shape`] where sizes disagree, [`Error::Parameter`] for a slot beyond the last, device errors.
pub fn apply<X: Scalar, Y: Scalar>(
    device: &Device,
    slots: &[&Factors],
    routes: &Routes,
    x: ArrayView2<'_, X>,
    mut y: ArrayViewMut2<'_, Y>,
) -> Result<()> {
    let (inputs, outputs) = (x.ncols(), y.ncols());
    for (slot, factors) in slots.iter().enumerate() {
        if (factors.inputs(), factors.outputs()) != (inputs, outputs) {
            let expected =
                format!("{inputs} inputs and {outputs} outputs, the columns of x and y, for slot {slot}");
            let got = format!("{} inputs, {} outputs", factors.inputs(), factors.outputs());
            return Err(Error::shape("slots", expected, got));
        }
    }
    if slots.is_empty() || inputs == 0 || outputs == 0 {
        // No update can name a slot, and none changes a row.
        return routes.check(slots.len());
    }
    routes.check(slots.len())?;
    let is_wide = slots.iter().any(|factors| factors.precisions().contains(&Precision::F32));
    let module = Module { name: MODULE.into(), inputs, outputs };
    let group = Group::new(MODULE, vec![module]);
    let mut params = PoolParams::new(vec![group])
        .weights(if is_wide { Precision::F32 } else { Precision::F16 })
        .most_resident(slots.len());
    if let Some(elements) = slots
        .iter()
        .flat_map(|factors| factors.shard_lengths())
        .map(|length| 1 << length.trailing_zeros())
        .min()
    {
        params = params.page_elements(elements.clamp(16, 1024));
    }
    // Room for all, each rank vector filled up by less than a page.
    let page = 1024;
    let vector = inputs.next_multiple_of(page) + outputs.next_multiple_of(page);
    let total: usize = slots.iter().map(|factors| factors.rank() * vector + factors.shard_elements()).sum();
    let pool = Pool::new(device, params.budget_bytes(4 * (total + page) as u64))?;
    let names: Vec<String> = (0..slots.len()).map(|slot| slot.to_string()).collect();
    for (name, factors) in names.iter().zip(slots) {
        pool.register(name, Adapter::single(MODULE, Factors::clone(factors)))?;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_single = (0..routes.rows()).all(|row| routes.of_row(row).len() <= 1);
    match pool.lease(&names) {
        Err(Error::TooLarge { .. }) if is_single && slots.len() > 1 => {
            // They do not lie beside each other in the device's bindings. No row needs two of them.
            drop(pool);
            let (low, high) = slots.split_at(slots.len() / 2);
            apply(device, low, &part_of(routes, 0..low.len())?, x, y.view_mut())?;
            apply(device, high, &part_of(routes, low.len()..slots.len())?, x, y)
        }
        lease => lease?.step(routes)?.apply(0, x, &mut [y]),
    }
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
