//! Whether the values of a table are those that a metric takes.

use rayon::prelude::*;

use super::metric::{Domain, Metric};
use crate::cancel::Cancel;
use crate::data::exact::check_exact;
use crate::data::frame::widen_row;
use crate::data::{ElementType, Points};
use crate::error::{Error, Result};
use crate::memory::{self, scratch};

/// Rows that one thread checks at a time.
const BLOCK_ROWS: usize = 1024;
/// How far beyond its range an angle may be: `f32` rounds pi/2 up by 4e-8.
const ROUNDING: f64 = 1e-6;

/// Refuses what the metric does not take, beyond NaN and infinity, which the scan of the frame refuses.
///
/// # Errors
/// [`Error::Parameter`] for an integer that `f64` would round, where values are compared or subtracted;
/// [`Error::Shape`] for a table that is not of packed bits or of two columns where it has to be; [`Error::Value`] with
/// the first offending element.
pub(crate) fn check(metric: Metric, tables: &[(&'static str, &Points)], cancel: &Cancel) -> Result<()> {
    let domain = metric.domain();
    for (argument, points) in tables {
        if !matches!(metric, Metric::InnerProduct | Metric::Cosine) {
            check_exact(argument, points)?;
        }
        let element = points.element_type();
        match domain {
            Domain::Packed if !matches!(element, ElementType::U8 | ElementType::U32) => {
                let expected = format!("packed bits in u8 or u32, which {metric} compares");
                return Err(Error::shape(argument, expected, element.name()));
            }
            Domain::Packed if element != tables[0].1.element_type() => {
                let expected = format!("{}, as x has", tables[0].1.element_type().name());
                return Err(Error::shape(argument, expected, element.name()));
            }
            Domain::Places if points.columns() != 2 => {
                return Err(Error::shape(argument, "2 columns: latitude and longitude", points.columns()));
            }
            _ => {}
        }
        let expected = match domain {
            Domain::Finite | Domain::Missing | Domain::Packed => continue,
            Domain::NotNegative | Domain::Masses => "a number of at least 0",
            Domain::Bits => "0 or 1",
            Domain::Places => "a latitude within pi/2 and a longitude within 2 pi of 0, in radians",
        };
        let rows_at_work = scratch::<f64>(rayon::current_num_threads(), 1, points.columns());
        memory::ask("the check of rows", &[rows_at_work])?;
        check_values(points, cancel, |column, value| {
            let is_good = match domain {
                Domain::Bits => value == 0.0 || value == 1.0,
                Domain::Places => {
                    let most = std::f64::consts::FRAC_PI_2 * if column == 0 { 1.0 } else { 4.0 };
                    value.abs() <= most + ROUNDING
                }
                _ => value >= 0.0,
            };
            // NaN and infinity have an error of their own.
            is_good || !value.is_finite()
        })
        .map_err(|(row, column, got)| Error::Value { argument, row, column, expected, got })?;
    }
    cancel.check()
}

/// The first element that is refused.
fn check_values(
    points: &Points,
    cancel: &Cancel,
    is_good: impl Fn(usize, f64) -> bool + Sync,
) -> std::result::Result<(), (usize, usize, f64)> {
    let block_check = |block: usize| {
        let mut wide = vec![0.0; points.columns()];
        for row in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(points.rows()) {
            widen_row(points, row, &mut wide);
            if let Some(column) = (0..wide.len()).find(|&column| !is_good(column, wide[column])) {
                return Some((row, column, wide[column]));
            }
        }
        None
    };
    let blocks = 0..points.rows().div_ceil(BLOCK_ROWS);
    let first =
        blocks.into_par_iter().map(|block| if cancel.check().is_ok() { block_check(block) } else { None });
    first.find_first(Option::is_some).flatten().map_or(Ok(()), Err)
}
