//! Who performs a search: the part that is the same for every call.

use ndarray::Array2;

#[cfg(feature = "gpu")]
use super::answered::Answered;
use super::cpu;
use super::fold::{Best, Count, Fold, Within as WithinFold};
#[cfg(feature = "gpu")]
use super::gpu::{self, estimated, within};
#[cfg(feature = "gpu")]
use super::grid::Grid;
use super::params::{Params, RadiusParams};
#[cfg(feature = "gpu")]
use super::plan::Pace;
use super::plan::{Cut, result_bytes};
#[cfg(feature = "gpu")]
use super::problem::Selection;
use super::problem::{Part, Problem};
use super::reference::{self, Neighbour};
use super::results::{Counts, Neighbours, Room, Within};
use super::screening::Screening;
use crate::data::Points;
#[cfg(feature = "gpu")]
use crate::device::Gpu;
use crate::device::{Backend, Device, Prediction};
use crate::distance::bound::Arithmetic;
use crate::error::{Error, Result};
use crate::memory::{self, area, scratch, zeroed};
use crate::tile::product::cpu::ROW_GROUP;

/// The nearest of every query, or the last of those alone.
pub(crate) fn nearest(
    device: &Device,
    points: &Points,
    queries: Option<&Points>,
    params: &Params,
    only_last: bool,
) -> Result<Neighbours> {
    let problem = device.host_pool()?.install(|| Problem::new(points, queries, params.rules()))?;
    let parts = problem.parts(params.filters.as_ref())?;
    params.check(problem.available(&parts))?;
    let rows = problem.queries().rows();
    // The last alone, or all of them.
    let (skipped, count) = if only_last { (params.count - 1, 1) } else { (0, params.count) };
    let is_f64 = problem.needs_f64();
    let total = (rows as u64).saturating_mul(count as u64);
    result_bytes("neighbours", total, element_bytes(is_f64), params.max_bytes)?;
    let mut indices: Vec<u32> = zeroed("neighbours", rows, count)?;
    let mut room = Room::new(is_f64, rows * count)?;
    let fold = Best { count: params.count };
    let searched = search(device, &problem, &parts, &fold, |query, found| {
        let start = query as usize * count;
        let found = &found[skipped..];
        for (place, neighbour) in indices[start..].iter_mut().zip(found) {
            *place = neighbour.index;
        }
        room.put(&problem, query, start, found)
    })?;
    let shaped = Array2::from_shape_vec((rows, count), indices);
    let indices = shaped.map_err(|error| Error::shape("result", format!("{rows} x {count}"), error))?;
    let Searched { device, screened } = searched;
    let screened = screened as f64 / rows as f64;
    Ok(Neighbours { indices, distances: room.into_matrix(rows, count)?, device, screened })
}

/// How many are within the radius of every query.
pub(crate) fn count(
    device: &Device,
    points: &Points,
    queries: Option<&Points>,
    params: &RadiusParams,
) -> Result<Counts> {
    let (problem, parts) = radius_problem(device, points, queries, params)?;
    count_parts(device, &problem, &parts, params)
}

/// All within the radius of every query.
pub(crate) fn within(
    device: &Device,
    points: &Points,
    queries: Option<&Points>,
    params: &RadiusParams,
) -> Result<Within> {
    let (problem, parts) = radius_problem(device, points, queries, params)?;
    let counted = count_parts(device, &problem, &parts, params)?;
    ask_for_answers(&problem, &parts, &counted.counts)?;
    let is_f64 = problem.needs_f64();
    result_bytes("neighbours within the radius", counted.total, element_bytes(is_f64), params.max_bytes)?;
    let mut offsets = memory::room("offsets of queries", counted.counts.len() + 1)?;
    offsets.push(0_u64);
    for &count in &counted.counts {
        offsets.push(offsets[offsets.len() - 1] + count);
    }
    let mut indices: Vec<u32> = zeroed("neighbours within the radius", counted.total as usize, 1)?;
    let mut room = Room::new(is_f64, counted.total as usize)?;
    let order = problem.order();
    let fold = WithinFold { shell: params.shell() };
    let Searched { device: found_by, .. } = search(device, &problem, &parts, &fold, |query, mut found| {
        let (start, end) = (offsets[query as usize] as usize, offsets[query as usize + 1] as usize);
        if params.sorted {
            found.sort_unstable_by(|a, b| order.compare(a, b));
        } else {
            found.sort_unstable_by_key(|neighbour| neighbour.index);
        }
        if found.len() != end - start {
            let expected = format!("{} neighbours of query {query}, as were counted", end - start);
            return Err(Error::shape("result", expected, found.len()));
        }
        for (place, neighbour) in indices[start..end].iter_mut().zip(&found) {
            *place = neighbour.index;
        }
        room.put(&problem, query, start, &found)
    })?;
    // They differ where a GPU failed in between.
    let device = if found_by == counted.device {
        found_by
    } else {
        format!("{found_by}; counted on {}", counted.device)
    };
    Ok(Within { offsets, indices, distances: room.into_values(), device })
}

fn element_bytes(is_f64: bool) -> usize {
    if is_f64 { size_of::<f64>() } else { size_of::<f32>() }
}

fn radius_problem<'a>(
    device: &Device,
    points: &'a Points<'_>,
    queries: Option<&'a Points<'_>>,
    params: &RadiusParams,
) -> Result<(Problem<'a>, Vec<Part>)> {
    let problem = device.host_pool()?.install(|| Problem::new(points, queries, params.rules()))?;
    params.check(problem.queries().rows())?;
    let parts = problem.parts(params.filters.as_ref())?;
    Ok((problem, parts))
}

fn count_parts(device: &Device, problem: &Problem, parts: &[Part], params: &RadiusParams) -> Result<Counts> {
    let mut counts: Vec<u64> = zeroed("counts of neighbours", problem.queries().rows(), 1)?;
    let fold = Count { shell: params.shell() };
    let Searched { device, .. } = search(device, problem, parts, &fold, |query, count| {
        counts[query as usize] = count;
        Ok(())
    })?;
    let total = counts.iter().sum();
    Ok(Counts { counts, total, device })
}

/// What a search holds beside its results: numbers of rows, lists and answers of the queries that meet a window in turn, the
/// window, a grid of few columns, and rows at work.
fn ask_for_search(problem: &Problem, parts: &[Part], count: Option<usize>, threads: usize) -> Result<()> {
    let points = parts.iter().map(|part| part.points.len()).max().unwrap_or(0);
    let queries = problem.queries().rows();
    let depth = problem.points.columns();
    let count = count.unwrap_or(0);
    let cut = Cut::new(depth, count, ROW_GROUP).with_window(problem.window);
    let is_mirrored = problem.other_queries().is_none() && cut.keeps(queries);
    let listed = if is_mirrored { queries } else { queries.min(cut.queries) };
    let window = points.min(cut.window);
    let grid = if depth <= 3 { area::<f64>(points, 10) } else { 0 };
    memory::ask(
        &format!("the search of {queries} queries among {points} points"),
        &[
            area::<u32>(points.saturating_add(queries), 4),
            area::<f32>(listed, depth),
            area::<Neighbour>(listed, 2 * count + 8),
            area::<f64>(window, depth.saturating_mul(2)),
            grid,
            scratch::<f64>(threads, 8, depth),
        ],
    )
}

/// What the answers of those queries hold that meet a window in turn, of which so many have each query as theirs.
fn ask_for_answers(problem: &Problem, parts: &[Part], counts: &[u64]) -> Result<()> {
    let cut = Cut::new(problem.points.columns(), 0, ROW_GROUP).with_window(problem.window);
    let of = |queries: Vec<u32>| queries.iter().map(|&query| counts[query as usize]).sum::<u64>();
    let largest = parts.iter().map(|part| {
        let total = part.queries.len();
        let starts = (0..total).step_by(cut.queries);
        starts.map(|start| of(part.queries.range(start, cut.queries.min(total - start)))).max().unwrap_or(0)
    });
    // Lists of unknown length grow to twice what they hold.
    let found = usize::try_from(largest.max().unwrap_or(0)).unwrap_or(usize::MAX);
    memory::ask("neighbours within the radius, before they are sorted", &[area::<Neighbour>(found, 2)])
}

/// Who performed a search.
struct Searched {
    /// In words.
    device: String,
    /// Queries whose columns were found by matrix units.
    screened: usize,
}

/// Performs all parts; `visit` gets the answer of each query, once and in no promised order, whatever fails in between.
fn search<F: Fold>(
    device: &Device,
    problem: &Problem,
    parts: &[Part],
    fold: &F,
    mut visit: impl FnMut(u32, F::Answer) -> Result<()> + Send,
) -> Result<Searched> {
    let by = |device: String, screened| Ok(Searched { device, screened });
    let products = problem.products(parts);
    let elements = (problem.points.rows() + problem.queries().rows()) * problem.points.columns();
    let predicted = Prediction { flops: 2.0 * products, upload_bytes: 4.0 * elements as f64 };
    let backend = device.resolve(&predicted);
    let host = device.host_pool()?;
    ask_for_search(problem, parts, fold.count(), host.threads())?;
    let screening = host.install(|| Screening::new(problem, &arithmetics(&backend, problem)))?;
    let name = match &backend {
        Backend::Reference => {
            parts.iter().try_for_each(|part| define(problem, part, fold, &mut visit))?;
            return by(backend.name(), 0);
        }
        Backend::Cpu(_) => backend.name(),
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu)
            if let Some(screening) = screening.as_ref().filter(|found| found.suits_gpus())
                && !host.install(|| is_for_grids(problem, screening, parts, fold)) =>
        {
            let answered = Answered::new(problem.queries().rows());
            let (mut visit, mut screened) = (answered.noting(visit), 0);
            // Each attempt goes on with the queries that have no answer yet, as does the CPU.
            let outcome = host.install(|| {
                gpu.persist(|gpu, _| {
                    parts.iter().filter_map(|part| answered.rest_of(part)).try_for_each(|part| {
                        let lost = on_gpu(gpu, problem, screening, &part, fold, (&mut visit, &mut screened))?;
                        search_lost(problem, screening, &part, lost, fold, &mut visit)
                    })
                })
            });
            let device = match outcome {
                Err(error) if device.falls_back_after(&error) => device.cpu_after(gpu),
                outcome => {
                    outcome?;
                    return by(backend.name(), screened);
                }
            };
            host.install(|| {
                parts
                    .iter()
                    .filter_map(|part| answered.rest_of(part))
                    .try_for_each(|part| cpu::search(problem, Some(screening), &part, fold, &mut visit))
            })?;
            return by(device, screened);
        }
        #[cfg(feature = "gpu")]
        Backend::Gpu(_) => format!("{}; neighbours on {}", backend.name(), Backend::Cpu(&host).name()),
    };
    host.install(|| {
        parts.iter().try_for_each(|part| cpu::search(problem, screening.as_ref(), part, fold, &mut visit))
    })?;
    by(name, 0)
}

/// Whether grids on the host are faster than estimated values on a GPU.
#[cfg(feature = "gpu")]
fn is_for_grids<F: Fold>(problem: &Problem, screening: &Screening, parts: &[Part], fold: &F) -> bool {
    let has_grid = |part: &Part| Grid::new(problem, part, fold, Pace::ON_GPU).is_some();
    matches!(screening, Screening::Estimates(_)) && parts.iter().all(has_grid)
}

/// The answers of a part by a GPU; `screened` grows by the queries whose columns matrix units found. Returns the queries
/// that the device lost.
#[cfg(feature = "gpu")]
fn on_gpu<F: Fold>(
    gpu: &Gpu,
    problem: &Problem,
    screening: &Screening,
    part: &Part,
    fold: &F,
    (visit, screened): (&mut (impl FnMut(u32, F::Answer) -> Result<()> + Send), &mut usize),
) -> Result<Vec<u32>> {
    match (screening, fold.count()) {
        (Screening::Products(screen), Some(count)) => {
            gpu::search(gpu, problem, screen, part, fold, count, (visit, screened))
        }
        (Screening::Products(screen), None) => within::search(gpu, problem, screen, part, fold, visit),
        (Screening::Estimates(estimate), _) => {
            estimated::Search { gpu, problem, estimate, part, fold }.run(visit)
        }
    }
}

/// The answers of queries whose columns the device lost, by the host.
#[cfg(feature = "gpu")]
fn search_lost<F: Fold>(
    problem: &Problem,
    screening: &Screening,
    part: &Part,
    lost: Vec<u32>,
    fold: &F,
    visit: &mut (impl FnMut(u32, F::Answer) -> Result<()> + Send),
) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let part = Part { queries: Selection::Ids(lost), points: part.points.clone() };
    cpu::search(problem, Some(screening), &part, fold, visit)
}

/// In what values may be measured before they are in `f64`, the best first.
fn arithmetics(backend: &Backend, problem: &Problem) -> Vec<Arithmetic> {
    if problem.needs_f64() {
        return vec![Arithmetic::Double];
    }
    match backend {
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => vec![Arithmetic::Gpu { keeps_order: gpu.keeps_order() }, Arithmetic::Single],
        _ => vec![Arithmetic::Single],
    }
}

/// The definition: all points of each query, ranked, handed to the fold.
fn define<F: Fold>(
    problem: &Problem,
    part: &Part,
    fold: &F,
    visit: &mut impl FnMut(u32, F::Answer) -> Result<()>,
) -> Result<()> {
    let wide = area::<f64>(problem.points.rows(), problem.points.columns());
    memory::ask("the points in f64", &[wide, area::<Neighbour>(problem.points.rows(), 2)])?;
    let points: Vec<Vec<f64>> =
        (0..problem.points.rows()).map(|row| problem.wide_row(&problem.points, row)).collect();
    let judge = problem.judge();
    let columns = part.points.range(0, part.points.len());
    for query in part.queries.range(0, part.queries.len()) {
        problem.cancel.check()?;
        let row = problem.wide_row(problem.queries(), query as usize);
        let candidates = columns.iter().copied().filter(|&column| problem.left_out(query) != Some(column));
        let mut ranked: Vec<Neighbour> =
            reference::ranked(&problem.formula, problem.order(), &row, &points, candidates);
        let mut answer = F::Answer::default();
        if let Some(count) = fold.count() {
            ranked.truncate(count);
        }
        fold.add(&judge, query, &mut ranked, &mut answer);
        visit(query, answer)?;
    }
    Ok(())
}
