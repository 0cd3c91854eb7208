//! The rows as the tiles see them: centred or normalised, scaled, with what a result needs of each of them.
//!
//! Every form of tile asks for its own rows:
//!
//! - *expanded* (squared Euclidean, Euclidean, cosine, correlation, and what `transform` makes Euclidean): `rows` are x' =
//!   (x - offset) * scale, or x / |x|, with squared norms; `originals` are what entries that lose digits are recomputed
//!   from;
//! - *product* (inner product): `rows` are x * scale, each table with a scale of its own;
//! - *counts* (metrics of bits): `rows` are 0 and 1, with the number of ones;
//! - *steps*: `rows` are the originals (Manhattan, Chebyshev, Minkowski, nan_euclidean), the values (Hamming, and ratios,
//!   where they are scaled only if they would overflow), or shares of each row's sum;
//! - *angle* (haversine): `rows` are latitude and longitude, with the latitude's cosine.
//!
//! Originals keep every bit of the input, so `x - y` is rounded once. In `f32` a column is taken centred where
//! centring is exact for all its values, and as it stands (times the scale) elsewhere; there the column's values are
//! at most 3 times its spread, because values of 24 bits that lie close together, far out, can be centred exactly.
//! Transformed rows need more bits than `f32` has: their originals come in two parts, high and low.
//! In `f64` they are the input itself, and `difference_scale` is applied to the difference. `f32` rows smaller than
//! 2^-126 of the data's spread may be flushed to zero: an absolute error of that size.

use ndarray::Array2;
use rayon::prelude::*;

#[cfg(feature = "gpu")]
use super::bits::Bits;
use super::metric::{Form, Metric, is_direction, is_root};
use super::params::Constants;
use super::real::{Real, is_result, refused_result};
use super::rows::{Centring, Side, around_origin, checked_rows, plain, ratio_scale};
use super::tables::Tables;
use super::transform::{self, Transform};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, power_of_two, raw_row, widen_row};
use crate::error::{Error, Result};
use crate::memory::zeroed;

/// Most features that `f32` counts without rounding.
const MOST_COUNTED: usize = 1 << 24;

/// Both tables, and the factors that bring a tile's value back to input units.
#[derive(Debug)]
pub(super) struct Operands<'a, T: Real> {
    pub metric: Metric,
    pub form: Form,
    /// Number of features of prepared rows.
    pub depth: usize,
    pub x: Side<'a, T>,
    /// `None`: X itself.
    y: Option<Side<'a, T>>,
    /// Mostly powers of two; a value is multiplied by one after the other.
    pub units: [f64; 2],
    /// Differences of originals are multiplied by this.
    pub difference_scale: f64,
    /// The power of Minkowski.
    pub power: f64,
    /// Factors of the features' differences, for Minkowski; or none.
    pub weights: Vec<T>,
}

impl<'a, T: Real> Operands<'a, T> {
    /// Prepares tables whose values the metric takes.
    pub(super) fn new(
        metric: Metric,
        constants: &Constants,
        tables: &Tables<'a>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let of = |x, y, units| Self::of(metric, tables.x.columns(), x, y, units);
        if metric == Metric::NanEuclidean {
            return Self::with_missing(tables, cancel);
        }
        let scan = frame::scan_all(&tables.named(), cancel)?;
        if let Some(transform) = Transform::of(metric, constants)? {
            return Self::transformed(metric, &transform, tables, &scan.frame.offset, cancel);
        }
        let frame = Centring::new::<T>(&scan.frame, cancel);
        let unit = 1.0 / frame.scale;
        Ok(match metric {
            Metric::SquaredEuclidean | Metric::Euclidean => {
                let is_exact = frame.is_exact::<T>(tables)?;
                let (x, y) = tables.each(|_, table| frame.expanded(table, &is_exact))?;
                let second = if metric == Metric::Euclidean { 1.0 } else { unit };
                // Originals of f64 are the input itself, still to be scaled.
                let difference_scale = if T::IS_DOUBLE { frame.scale } else { 1.0 };
                Self { difference_scale, ..of(x, y, [unit, second]) }
            }
            Metric::Cosine | Metric::Correlation => {
                let is_centred = metric == Metric::Correlation;
                let (x, y) = tables.each(|name, table| {
                    let rows = checked_rows(name, table, cancel, |row, out| {
                        transform::direction(is_centred, row, out)
                    })?;
                    Ok(Side::with_norms(table.columns(), rows, None))
                })?;
                of(x, y, [0.5, 1.0])
            }
            Metric::InnerProduct => {
                let (x, y) = tables.each(|_, table| around_origin(table, cancel))?;
                let exponents = x.1 + y.as_ref().map_or(x.1, |(_, exponent)| *exponent);
                let half = exponents.div_euclid(2);
                of(x.0, y.map(|(y, _)| y), [power_of_two(half), power_of_two(exponents - half)])
            }
            Metric::Manhattan | Metric::Chebyshev | Metric::Minkowski => {
                let is_exact = frame.is_exact::<T>(tables)?;
                let (x, y) =
                    tables.each(|_, table| Ok(Side::without_norms(frame.originals(table, &is_exact)?)))?;
                let made = of(x, y, [if T::IS_DOUBLE { 1.0 } else { unit }, 1.0]);
                let Constants::Power { p, weights } = constants else { return Ok(made) };
                let weights =
                    weights.iter().flatten().map(|weight| T::rounded(weight.powf(1.0 / p))).collect();
                Self { power: *p, weights, ..made }
            }
            Metric::JensenShannon | Metric::KullbackLeibler => {
                let (x, y) = tables.each(|name, table| {
                    let rows = checked_rows(name, table, cancel, |row, out| transform::shares(row, out))?;
                    Ok(Side::without_norms(rows.into()))
                })?;
                of(x, y, [1.0 / T::SHARES, 1.0])
            }
            Metric::Haversine => {
                let (x, y) = tables.each(|_, table| {
                    let rows = plain::<T>(table, 1.0, cancel)?;
                    let cosine = |row: &[T]| T::rounded(row[0].into().cos().max(0.0));
                    let norms = rows.par_chunks_exact(2).map(cosine).collect();
                    let mut side = Side::without_norms(rows.into());
                    side.norms = norms;
                    Ok(side)
                })?;
                of(x, y, [1.0, 1.0])
            }
            _ if Form::of(metric) == Form::Counts => {
                if !T::IS_DOUBLE && tables.x.columns() > MOST_COUNTED {
                    let expected = format!("at most {MOST_COUNTED} columns, or f64 input");
                    return Err(Error::shape("x", expected, tables.x.columns()));
                }
                let (x, y) = tables.each(|_, table| {
                    Ok(Side::with_norms(table.columns(), plain(table, 1.0, cancel)?, None))
                })?;
                of(x, y, [1.0, 1.0])
            }
            _ => {
                let scale = if metric == Metric::Hamming { 1.0 } else { ratio_scale::<T>(tables) };
                let (x, y) = tables
                    .each(|_, table| Ok(Side::without_norms(plain::<T>(table, scale, cancel)?.into())))?;
                of(x, y, [1.0, 1.0])
            }
        })
    }

    fn of(metric: Metric, depth: usize, x: Side<'a, T>, y: Option<Side<'a, T>>, units: [f64; 2]) -> Self {
        let form = Form::of(metric);
        Self { metric, form, depth, x, y, units, difference_scale: 1.0, power: 1.0, weights: Vec::new() }
    }

    /// Euclidean distances of transformed rows.
    fn transformed(
        metric: Metric,
        transform: &Transform,
        tables: &Tables,
        offset: &[f64],
        cancel: &Cancel,
    ) -> Result<Self> {
        let (x, y) = tables.each(|_, table| transform.apply(table, offset, cancel))?;
        let x_points = Points::from(x.view());
        let y_points = y.as_ref().map(|y| Points::from(y.view()));
        let tables = Tables { x: x_points, y: y_points };
        let scan = frame::scan_all(&tables.named(), cancel)?;
        let frame = Centring::new::<T>(&scan.frame, cancel);
        let unit = 1.0 / frame.scale;
        let (x, y) = tables.each(|_, table| frame.split::<T>(table))?;
        let second = if metric == Metric::Hellinger { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
        let difference_scale = if T::IS_DOUBLE { frame.scale } else { 1.0 };
        Ok(Self { difference_scale, ..Self::of(metric, tables.x.columns(), x, y, [unit, second]) })
    }

    /// Rows with NaN for what is missing: there is a value of the same column in its place while rows are prepared.
    fn with_missing(tables: &Tables, cancel: &Cancel) -> Result<Self> {
        let mut stand_ins = vec![f64::NAN; tables.x.columns()];
        for (_, table) in tables.named() {
            for row in 0..table.rows() {
                let row = raw_row(table, row);
                stand_ins.iter_mut().zip(row).for_each(|(stand_in, value)| {
                    if stand_in.is_nan() {
                        *stand_in = value;
                    }
                });
                if !stand_ins.iter().any(|value| value.is_nan()) {
                    break;
                }
            }
        }
        let (x, y) = tables.each(|_, table| {
            let mut values: Vec<f64> = zeroed("a copy of the rows", table.rows(), table.columns())?;
            for (row, out) in values.chunks_exact_mut(table.columns()).enumerate() {
                widen_row(table, row, out);
                for (value, &stand_in) in out.iter_mut().zip(&stand_ins) {
                    if value.is_nan() {
                        *value = if stand_in.is_nan() { 0.0 } else { stand_in };
                    }
                }
            }
            Array2::from_shape_vec((table.rows(), table.columns()), values)
                .map_err(|error| Error::shape("rows", "a matrix", error))
        })?;
        let y_points = y.as_ref().map(|y| Points::from(y.view()));
        let filled = Tables { x: Points::from(x.view()), y: y_points };
        let scan = frame::scan_all(&filled.named(), cancel)?;
        let frame = Centring::new::<T>(&scan.frame, cancel);
        let is_exact = frame.is_exact::<T>(&filled)?;
        let marked = |original: &Points, filled: &Points| {
            let mut rows = frame.originals::<T>(filled, &is_exact)?.into_owned();
            for (row, out) in rows.chunks_exact_mut(original.columns()).enumerate() {
                for (value, out) in raw_row(original, row).iter().zip(out) {
                    if value.is_nan() {
                        *out = T::MISSING;
                    }
                }
            }
            Ok(Side::without_norms(rows.into()))
        };
        let x = marked(&tables.x, &filled.x)?;
        let y = tables.y.as_ref().zip(filled.y.as_ref()).map(|(y, filled)| marked(y, filled)).transpose()?;
        let unit = if T::IS_DOUBLE { 1.0 } else { 1.0 / frame.scale };
        Ok(Self::of(Metric::NanEuclidean, tables.x.columns(), x, y, [unit, 1.0]))
    }

    /// The table that columns of the result belong to.
    pub(super) fn y(&self) -> &Side<'a, T> {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Whether Y is X.
    pub(super) fn is_with_itself(&self) -> bool {
        self.y.is_none()
    }

    /// Columns of the result.
    #[cfg(feature = "gpu")]
    pub(super) fn columns(&self) -> usize {
        self.y().count(self.depth)
    }

    /// Refuses results that are too large for `T`; `values` start at (row, column).
    pub(super) fn check_results(&self, row: usize, column: usize, values: &[T]) -> Result<()> {
        let refused = values.iter().position(|&value| !is_result::<T>(self.metric, value.into()));
        refused
            .map_or(Ok(()), |at| Err(refused_result::<T>(self.metric, row, column + at, values[at].into())))
    }

    /// `metric` from the squared distance in tile units, in input units.
    pub(super) fn finished_square(&self, square: f64) -> f64 {
        let value = match self.metric {
            metric if is_root(metric) => square.sqrt(),
            metric if is_direction(metric) => square.min(4.0),
            _ => square,
        };
        value * self.units[0] * self.units[1]
    }
}

#[cfg(feature = "gpu")]
impl Operands<'static, f32> {
    /// Words of bits, for the GPU: their patterns stand in `f32`, and nothing is computed with those.
    pub(super) fn of_bits(bits: Bits) -> Self {
        let (metric, depth) = (bits.metric, bits.depth);
        let (x, y) = bits.into_tables();
        let side = |words: Vec<u32>| Side::without_norms(bytemuck::cast_vec::<u32, f32>(words).into());
        Self::of(metric, depth, side(x), y.map(side), [1.0, 1.0])
    }
}

#[cfg(feature = "gpu")]
impl Operands<'_, f32> {
    /// What [`Operands::of_bits`] made of bits, as bits again.
    pub(super) fn to_bits(&self) -> Bits {
        let words = |rows: &[f32]| bytemuck::cast_slice(rows).to_vec();
        let y = self.y.as_ref().map(|y| words(&y.rows));
        Bits { metric: self.metric, depth: self.depth, x: words(&self.x.rows), y }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn columns_that_cannot_be_centred_exactly_stay_as_they_are() {
        // The second column spans more than 24 bits, the first one lies far out but close together.
        let values = array![[1e6_f32, 1.0e-9], [1e6 + 0.0625, 3.0], [1e6 + 8.0, -7.5e3]];
        let points = Points::from(values.view());
        let cancel = Cancel::new();
        let tables = Tables::new(&points, None).unwrap();
        let operands = Operands::<f32>::new(Metric::Manhattan, &Constants::None, &tables, &cancel).unwrap();
        let unit = operands.units[0];
        for i in 0..3 {
            for j in 0..3 {
                for d in 0..2 {
                    let exact = f64::from(values[[i, d]]) - f64::from(values[[j, d]]);
                    let ours = operands.x.rows[i * 2 + d] - operands.x.rows[j * 2 + d];
                    let ours = f64::from(ours) * unit;
                    assert!((ours - exact).abs() <= exact.abs() * 6e-8, "{i} {j} {d}: {ours} {exact}");
                }
            }
        }
    }
}
