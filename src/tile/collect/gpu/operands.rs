//! Rows and columns of a search for lists, brought to the device for one product.

use half::f16;

use super::lists::Lists;
use crate::device::{DeviceBuffer, Gpu};
use crate::error::Result;
use crate::tile::bound::f16::Column;
use crate::tile::bound::f32::ABSENT;
use crate::tile::choice::shape::WIDEST;
use crate::tile::operands::gpu::half_columns::HalfTerms;
use crate::tile::product::units::shape::MatrixTile;

/// Rows as they are rounded on the host.
pub(crate) struct HalfRows {
    /// `[padded rows, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    /// Upper bounds on the rows' lengths.
    pub norms: Vec<f32>,
    /// Upper bounds on the lengths of what the rounding took away.
    pub residuals: Vec<f32>,
    /// The share 2 S of each row.
    pub gaps: Vec<f32>,
}

/// Columns as they are rounded on the host.
pub(crate) struct HalfColumns {
    /// `[padded columns, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    /// Half norm of each, and what the bound knows of it.
    pub columns: Vec<(f64, Column)>,
}

/// Rows on the device with their lists.
pub(crate) struct Rows {
    pub(super) x: DeviceBuffer,
    /// Lengths and residuals, of rows in `f16`.
    pub(super) sizes: Option<[DeviceBuffer; 2]>,
    pub(super) lists: Lists,
}

/// Columns on the device.
pub(crate) struct Columns {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) y: DeviceBuffer,
    /// Half norm less the error, and error; of columns in `f16` half norm less the constant, and weight.
    pub(crate) terms: DeviceBuffer,
    /// Constants of columns in `f16`.
    pub(super) constants: Option<DeviceBuffer>,
    pub(super) ratio: f32,
}

impl Columns {
    /// Brings columns from number `first` on to the device, with the half norm less the error of each, and the error.
    pub fn single(gpu: &Gpu, first: usize, y: &[f32], terms: &[(f32, f32)]) -> Result<Self> {
        let mut padded: Vec<[f32; 2]> = terms.iter().map(|&(half_norm, error)| [half_norm, error]).collect();
        padded.resize(terms.len().next_multiple_of(WIDEST as usize), [ABSENT, 0.0]);
        let (y, terms, count) = (gpu.filled("columns", y)?, gpu.filled("terms", &padded)?, terms.len());
        Ok(Self { first, count, y, terms, constants: None, ratio: 0.0 })
    }

    /// The same in `f16`.
    pub fn halves(gpu: &Gpu, first: usize, host: &HalfColumns) -> Result<Self> {
        let columns: Vec<Column> = host.columns.iter().map(|&(_, column)| column).collect();
        let HalfTerms { terms, errors, ratio } =
            HalfTerms::of(host.columns.iter().map(|column| column.0), &columns);
        let mut constants: Vec<f32> = errors.iter().map(|&[_, constant]| constant).collect();
        constants.resize(MatrixTile::padded_columns(columns.len()), 0.0);
        let y = gpu.filled("half columns", &host.halves)?;
        let (terms, constants) = (gpu.filled("terms", &terms)?, Some(gpu.filled("constants", &constants)?));
        Ok(Self { first, count: columns.len(), y, terms, constants, ratio })
    }
}
