//! The nearest row of y for each row of x under Manhattan and Chebyshev, exactly: the index is the one that `f64`
//! arithmetic finds, the lowest of equally near ones. `tilefold::neighbours` has tiles for other metrics, and measures these
//! two pair by pair.
//!
//! A stream of distances screens: in each row all columns whose distance may be the least, given the bound that
//! `tilefold::distance` states, are kept, and where that is more than one the formula in `f64` decides. No matrix of x
//! with y is held.

use ndarray::{ArrayView2, Axis};
use tilefold::distance::{MatrixView, Metric, Params, stream};
use tilefold::{Cancel, Device, ElementType, Error, Points, Result};

/// What [`search`] finds, one entry per row of x.
pub(crate) struct Nearest {
    pub(crate) indices: Vec<i64>,
    pub(crate) distances: Vec<f64>,
    /// The device in words.
    pub(crate) device: String,
}

/// Searches on `device`; `threads` threads look through the blocks that it computed.
pub(crate) fn search(
    device: &Device,
    x: &Points,
    y: &Points,
    metric: Metric,
    threads: usize,
    cancel: &Cancel,
) -> Result<Nearest> {
    let params = Params::new(metric).cancel(cancel.clone());
    let band = Band::of(metric, x, y);
    let mut found: Vec<(i64, f64)> = room(x.rows())?;
    let filled = stream(device, x.view(), Some(y.view()), &params, |block| {
        let judge = Judge { metric, x, y, band: &band, first_row: block.first_row };
        match &block.values {
            MatrixView::F32(rows) => judge.block(rows, threads, &mut found),
            MatrixView::F64(rows) => judge.block(rows, threads, &mut found),
        }
        Ok(())
    })?;
    let (mut indices, mut distances) = (room(found.len())?, room(found.len())?);
    for (index, distance) in found {
        indices.push(index);
        distances.push(distance);
    }
    Ok(Nearest { indices, distances, device: filled.device })
}

/// Room for something of each of `rows` rows.
fn room<T>(rows: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(rows).map_err(|_| {
        let needed_bytes = (rows as u64).saturating_mul(size_of::<T>() as u64);
        let what = format!("the nearest rows of {rows} rows");
        Error::TooLarge { what, needed_bytes, limit_bytes: needed_bytes.saturating_sub(1) }
    })?;
    Ok(values)
}

/// How far above the least distance of a row another one may lie and still be the least in truth.
struct Band {
    relative: f64,
    absolute: f64,
}

impl Band {
    /// From the bound of `tilefold::distance`, whose letters these are: with a relative error e of both values and an
    /// absolute one a, `t_i <= t_j` for the true distances needs `d_i <= d_j (1 + e) / (1 - e) + 2 a / (1 - e)`.
    fn of(metric: Metric, x: &Points, y: &Points) -> Self {
        let depth = x.columns() as f64;
        let is_wide = [x.element_type(), y.element_type()].contains(&ElementType::F64);
        let unit = 2.0_f64.powi(if is_wide { -53 } else { -24 });
        // Compilers of macOS reorder sums.
        let reorders = cfg!(target_os = "macos");
        let m = if reorders { depth + 1.0 } else { depth.min(64.0) + (depth / 64.0).ceil() + 1.0 };
        let (of_x, of_y) = if is_wide { ((0.0, 0.0), (0.0, 0.0)) } else { (range(x), range(y)) };
        let extent = of_x.1.max(of_y.1) - of_x.0.min(of_y.0);
        let lost = depth * 2.0_f64.powi(-120) * extent;
        let relative = if metric == Metric::Chebyshev { 4.0 } else { m + 4.0 } * unit;
        if relative >= 0.5 {
            return Self { relative: f64::INFINITY, absolute: f64::INFINITY };
        }
        let rest = 1.0 - relative;
        // The last factor covers the rounding of these lines themselves.
        Self { relative: 2.0 * relative / rest * 1.001, absolute: 2.0 * lost / rest * 1.001 }
    }

    fn limit(&self, least: f64) -> f64 {
        if self.relative.is_finite() { least * (1.0 + self.relative) + self.absolute } else { f64::INFINITY }
    }
}

/// The least and the largest value of a table.
fn range(table: &Points) -> (f64, f64) {
    (0..table.rows())
        .flat_map(|row| row_of(table, row))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |range, value| (range.0.min(value), range.1.max(value)))
}

/// A row of floats, which callers have checked, in `f64`.
fn row_of(points: &Points, row: usize) -> Vec<f64> {
    match points {
        Points::F16(view) => view.row(row).iter().map(|value| value.to_f64()).collect(),
        Points::F32(view) => view.row(row).iter().map(|&value| value.into()).collect(),
        Points::F64(view) => view.row(row).to_vec(),
        _ => Vec::new(),
    }
}

/// Judges blocks of distances.
struct Judge<'j, 'x, 'y> {
    metric: Metric,
    x: &'j Points<'x>,
    y: &'j Points<'y>,
    band: &'j Band,
    first_row: usize,
}

impl Judge<'_, '_, '_> {
    /// Appends the nearest column and its distance for each row.
    fn block<T: Copy + Into<f64> + Sync>(
        &self,
        rows: &ArrayView2<T>,
        threads: usize,
        found: &mut Vec<(i64, f64)>,
    ) {
        let share = rows.nrows().div_ceil(threads.max(1)).max(1);
        let parts: Vec<Vec<(i64, f64)>> = std::thread::scope(|scope| {
            let workers: Vec<_> = rows
                .axis_chunks_iter(Axis(0), share)
                .enumerate()
                .map(|(part, rows)| {
                    let work = move || self.part(part * share, &rows);
                    // Where no thread can be started, this one does its part.
                    let started = std::thread::Builder::new().spawn_scoped(scope, work);
                    started.map_err(|_| self.part(part * share, &rows))
                })
                .collect();
            // A panic of a worker goes on in this thread, which its caller guards.
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(|worker| worker.map_or_else(|part| part, join)).collect()
        });
        found.extend(parts.into_iter().flatten());
    }

    fn part<T: Copy + Into<f64>>(&self, offset: usize, rows: &ArrayView2<T>) -> Vec<(i64, f64)> {
        let mut candidates = Vec::new();
        let mut found = Vec::with_capacity(rows.nrows());
        for (row, values) in rows.outer_iter().enumerate() {
            let least = values.iter().fold(f64::INFINITY, |least, &value| least.min(value.into()));
            let limit = self.band.limit(least);
            candidates.clear();
            candidates.extend((0..values.len()).filter(|&column| values[column].into() <= limit));
            let best = match candidates.as_slice() {
                [only] => *only,
                several => self.decide(self.first_row + offset + row, several),
            };
            found.push((best as i64, values[best].into()));
        }
        found
    }

    /// The nearest of some columns by the formula in `f64`, the lowest of equally near ones.
    fn decide(&self, row: usize, columns: &[usize]) -> usize {
        let x = row_of(self.x, row);
        let y: Vec<Vec<f64>> = columns.iter().map(|&column| row_of(self.y, column)).collect();
        let differences = |y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).abs()).collect::<Vec<f64>>();
        let y: Vec<Vec<f64>> = y.iter().map(|y| differences(y)).collect();
        // The distances are about equal: one unit keeps all their sums from overflow.
        let unit = power_below(y.iter().flatten().fold(0.0_f64, |most, &difference| most.max(difference)));
        let value = |differences: &[f64]| match self.metric {
            Metric::Chebyshev => differences.iter().fold(0.0_f64, |most, &difference| most.max(difference)),
            _ => differences.iter().map(|difference| difference / unit).sum::<f64>(),
        };
        let mut best = (f64::INFINITY, columns[0]);
        for (&column, differences) in columns.iter().zip(&y) {
            let value = value(differences);
            if value < best.0 {
                best = (value, column);
            }
        }
        best.1
    }
}

/// A power of two near a positive value, 1 for 0: dividing by it rounds nothing.
fn power_below(value: f64) -> f64 {
    if value > 0.0 { 2.0_f64.powi(value.log2().floor() as i32) } else { 1.0 }
}
