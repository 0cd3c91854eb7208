//! One call for a few matrices: a pool made, used and dropped.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::factors::{Adapter, Factors};
use super::module::Module;
use super::pool::{Group, Pool, PoolParams};
use super::routes::Routes;
use super::values::{Precision, Scalar};
#[cfg(feature = "gpu")]
use crate::device::Gpu;
use crate::device::{Backend, Device, Prediction};
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
/// [`Error::Shape`] where sizes disagree, [`Error::Parameter`] for a slot beyond the last, device errors: one loss of
/// the device and a few failures of its memory are survived. y then is as it was.
pub fn apply<X: Scalar, Y: Scalar>(
    device: &Device,
    slots: &[&Factors],
    routes: &Routes,
    x: ArrayView2<'_, X>,
    y: ArrayViewMut2<'_, Y>,
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
    let params = params.budget_bytes(4 * (total + page) as u64);
    let pooled = |device: &Device, y: &mut ArrayViewMut2<'_, Y>| {
        let pool = Pool::new(device, params.clone())?;
        let names: Vec<String> = (0..slots.len()).map(|slot| slot.to_string()).collect();
        for (name, factors) in names.iter().zip(slots) {
            pool.register(name, Adapter::single(MODULE, Factors::clone(factors)))?;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        pool.lease(&names)?.step(routes)?.apply(0, x, &mut [y.view_mut()])
    };
    let flops = |row: usize| -> f64 {
        let ranks = routes.of_row(row).iter().map(|route| slots[route.slot as usize].rank());
        2.0 * (inputs + outputs) as f64 * ranks.sum::<usize>() as f64
    };
    routes.check(slots.len())?;
    let activations = x.len() * size_of::<X>() + 2 * y.len() * size_of::<Y>();
    let predicted = Prediction {
        flops: (0..routes.rows()).map(flops).sum(),
        upload_bytes: (4 * total + activations) as f64,
    };
    let mut y = y;
    match device.resolve(&predicted) {
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => {
            // An attempt that fails leaves y as it was.
            let y = std::cell::RefCell::new(&mut y);
            let on_gpu = |gpu: &Gpu, _| pooled(&device.with_gpu(gpu), &mut y.borrow_mut());
            let on_cpu = || pooled(&device.without_gpu(), &mut y.borrow_mut());
            device.on_gpu_or_cpu(gpu, on_gpu, on_cpu).map(|_| ())
        }
        #[cfg(feature = "gpu")]
        Backend::Cpu(_) => pooled(&device.without_gpu(), &mut y),
        _ => pooled(device, &mut y),
    }
}
