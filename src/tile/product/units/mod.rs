//! Tiles on matrix units, with the nearest column of each row or lists of columns: `f16` products that screen, under a bound
//! of their own.
//!
//! Rows and columns are rounded to `f16` in one power-of-two scale each, and the lengths of what the rounding took
//! away are kept ([`bound`]). What the bound does not certify goes on to the `f32` tile. Units are used only after a
//! self-test of the device has compared their products ([`self_test`]).

pub(crate) mod kernels;
pub(crate) mod self_test;
pub(crate) mod shape;

#[cfg(test)]
mod tests;

use self::self_test::Fold;
use crate::device::{Backend, Device, Gpu, MatrixUnits, Prediction};
use crate::error::Result;

/// Features below which a tile of `f16` is not worth its preparation: the padding of the depth costs more.
const LEAST_DEPTH: usize = 16;
/// Columns below which most of a tile is padding.
const LEAST_COLUMNS: usize = 32;

/// The matrix units for a search for the nearest of `columns` columns of `depth` features.
///
/// `None` if the device has none, if they failed the self-test, or if there are too few features or columns for them to
/// pay; a caller who insists gets them all the same.
pub(crate) fn units(gpu: &Gpu, depth: usize, columns: usize) -> Result<Option<MatrixUnits>> {
    let Some(units) = gpu.limits().matrix else { return Ok(None) };
    let pays = depth >= LEAST_DEPTH && columns >= LEAST_COLUMNS;
    if !pays && !gpu.insists_on_matrix_units() {
        return Ok(None);
    }
    Ok(self_test::verdict(gpu, &units, Fold::Nearest)?.is_none().then_some(units))
}

/// The matrix units for lists of columns, whose kernels have a self-test of their own; otherwise as [`units`].
pub(crate) fn units_for_lists(gpu: &Gpu, depth: usize, columns: usize) -> Result<Option<MatrixUnits>> {
    let Some(units) = units(gpu, depth, columns)? else { return Ok(None) };
    Ok(self_test::verdict(gpu, &units, Fold::Lists)?.is_none().then_some(units))
}

/// What became of the matrix units of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitsState {
    /// The device has none that this crate can use, or is not to use them.
    Absent,
    /// They passed the self-test.
    Passed(MatrixUnits),
    /// They did not, for this reason, and are not used.
    Failed(MatrixUnits, String),
}

/// The matrix units of a device after their self-test, which runs once per device and process.
///
/// # Errors
/// Those of a device that is lost or out of memory.
pub fn units_state(device: &Device) -> Result<UnitsState> {
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { return Ok(UnitsState::Absent) };
    let Some(units) = gpu.limits().matrix else { return Ok(UnitsState::Absent) };
    Ok(match self_test::verdict(gpu, &units, Fold::Nearest)? {
        None => UnitsState::Passed(units),
        Some(reason) => UnitsState::Failed(units, reason),
    })
}
