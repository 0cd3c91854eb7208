//! The search for the fastest candidate of each problem: all are checked, slow ones are dropped early, the others are
//! measured again and again, half as many each time.

use std::time::{Duration, Instant};

use super::table::{Class, Entry, Table};
use super::trial::Trial;
use crate::cancel::Cancel;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::candidates_for;
use crate::tile::choice::model::{Costs, Point, Speeds, best, predicted_seconds};
use crate::tile::choice::shape::TileShape;

/// A candidate that takes this many times the best is measured once.
const CLEARLY_SLOW: f64 = 1.5;
/// Share of a problem's time for the first look at its candidates.
const FIRST_LOOK: f64 = 0.7;

/// One candidate on one problem.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// The candidate.
    pub shape: TileShape,
    /// Median of its times; `None` where it does not compile.
    pub seconds: Option<f64>,
    /// What the model said before.
    pub predicted: f64,
    /// How often it was measured.
    pub repetitions: usize,
    /// Whether its result is that of the simplest kernel.
    pub verified: bool,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// All candidates of one problem.
#[derive(Debug, Clone)]
pub(crate) struct Swept {
    /// The problem.
    pub task: Task,
    /// Those that were measured, in the order of the model's predictions.
    pub measured: Vec<Measured>,
    /// Those that there was no time for.
    pub left_out: usize,
}

/// How good the model was on measured problems.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Quality {
    /// Median of |predicted / measured - 1| over right candidates.
    pub median_error: f64,
    /// The largest.
    pub largest_error: f64,
    /// Median over problems of how much longer the model's choice takes than the fastest candidate.
    pub median_regret: f64,
    /// The largest.
    pub largest_regret: f64,
    /// As `median_regret`, of the choice for any device.
    pub median_static_regret: f64,
    /// The largest.
    pub largest_static_regret: f64,
}

/// Measures one problem until `deadline`, at least the first few candidates.
pub(crate) fn sweep(
    gpu: &Gpu,
    task: Task,
    speeds: &Speeds,
    costs: &Costs,
    deadline: Instant,
    cancel: &Cancel,
) -> Result<Swept> {
    let begin = Instant::now();
    let trial = Trial::new(gpu, task)?;
    let limits = gpu.limits();
    let mut all = candidates_for(task.fold, task.depth, &limits);
    let predicted = |shape: &TileShape| predicted_seconds(shape, &task, speeds, costs);
    all.sort_by(|a, b| predicted(a).total_cmp(&predicted(b)));
    // What would be used without tuning is always measured.
    let usual = TileShape::choose(&task, &limits);
    if let Some(at) = all.iter().position(|shape| *shape == usual) {
        all[..=at].rotate_right(1);
    }
    let first_end = begin + deadline.saturating_duration_since(begin).mul_f64(FIRST_LOOK);
    let mut times: Vec<Vec<f64>> = Vec::new();
    let mut measured: Vec<Measured> = Vec::new();
    for shape in &all {
        cancel.check()?;
        if measured.len() >= 2 && Instant::now() > first_end {
            break;
        }
        let (seconds, verified) = match trial.warm(shape).and_then(|()| trial.run(shape)) {
            Ok(outcome) if trial.is_right(&outcome) => (Some(trial.time(shape)?), true),
            Ok(outcome) => (Some(outcome.seconds), false),
            // A compiler that refuses one text may take the next.
            Err(Error::DeviceRefused { .. }) => (None, false),
            Err(error) => return Err(error),
        };
        if !verified {
            tracing::warn!(device = gpu.name(), candidate = %shape, "a candidate is wrong on this device and not used");
        }
        times.push(seconds.into_iter().collect());
        let predicted = predicted(shape);
        measured.push(Measured {
            shape: *shape,
            seconds,
            predicted,
            repetitions: 1,
            verified,
            chosen: false,
        });
    }
    halve(&trial, &mut measured, &mut times, deadline, cancel)?;
    let left_out = all.len() - measured.len();
    let fastest = right(&measured).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
    if let Some(at) = fastest {
        measured[at].chosen = true;
    }
    Ok(Swept { task, measured, left_out })
}

/// Measures the right ones again, in rounds: those that are not clearly slow, then the better half of them.
fn halve(
    trial: &Trial,
    measured: &mut [Measured],
    times: &mut [Vec<f64>],
    deadline: Instant,
    cancel: &Cancel,
) -> Result<()> {
    let mut order: Vec<(usize, f64)> = right(measured).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let slow = order.first().map_or(0.0, |&(_, best)| CLEARLY_SLOW * best);
    order.retain(|&(_, seconds)| seconds <= slow);
    order.truncate(16);
    for repetitions in [2, 2, 4] {
        for &(at, _) in &order {
            for _ in 0..repetitions {
                cancel.check()?;
                if Instant::now() > deadline {
                    return Ok(());
                }
                times[at].push(trial.time(&measured[at].shape)?);
            }
            let median = median(&mut times[at].clone());
            (measured[at].seconds, measured[at].repetitions) = (Some(median), times[at].len());
        }
        order = order.into_iter().filter_map(|(at, _)| Some((at, measured[at].seconds?))).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        order.truncate(order.len().div_ceil(2).max(2));
    }
    Ok(())
}

/// Positions and seconds of right candidates.
fn right(measured: &[Measured]) -> impl Iterator<Item = (usize, f64)> {
    let of =
        |(at, one): (usize, &Measured)| one.seconds.filter(|_| one.verified).map(|seconds| (at, seconds));
    measured.iter().enumerate().filter_map(of)
}

/// The middle value, or the mean of the two in the middle; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(values[count / 2 - 1], values[count / 2]),
        count => values[count / 2],
    }
}

/// Measures problems one after the other; each gets an equal share of what is left of `seconds`. `said` is told after
/// each.
pub(crate) fn tune(
    gpu: &Gpu,
    tasks: &[Task],
    speeds: &Speeds,
    costs: &Costs,
    seconds: f64,
    cancel: &Cancel,
    mut said: impl FnMut(&Swept),
) -> Result<Vec<Swept>> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut all = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let deadline = Instant::now() + left / (tasks.len() - index) as u32;
        let swept = sweep(gpu, *task, speeds, costs, deadline, cancel)?;
        said(&swept);
        all.push(swept);
    }
    Ok(all)
}

/// What is to be remembered: each problem's choice, the roofs, and the model's terms as they were measured.
pub(crate) fn learnt(swept: &[Swept], speeds: &Speeds, costs: &Costs) -> Table {
    let mut points = Vec::new();
    let mut table = Table::of(*speeds);
    for Swept { task, measured, .. } in swept {
        for (at, seconds) in right(measured) {
            let shape = measured[at].shape;
            points.push(Point { task: *task, shape, seconds });
            if measured[at].chosen {
                table.remember(Entry { class: Class::of(task), candidate: shape.to_string(), seconds });
            }
        }
    }
    table.costs = costs.fit(&points, speeds);
    table
}

/// How good predictions with `costs` are for what was measured; `None` where nothing was.
pub(crate) fn quality(gpu: &Gpu, swept: &[Swept], speeds: &Speeds, costs: &Costs) -> Option<Quality> {
    let limits = gpu.limits();
    let (mut errors, mut regrets, mut usual_regrets) = (Vec::new(), Vec::new(), Vec::new());
    for Swept { task, measured, .. } in swept {
        let seconds_of = |wanted: &TileShape| {
            right(measured).find(|&(at, _)| measured[at].shape == *wanted).map(|(_, seconds)| seconds)
        };
        let Some((_, fastest)) = right(measured).min_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        for (at, seconds) in right(measured) {
            let predicted = predicted_seconds(&measured[at].shape, task, speeds, costs);
            errors.push((predicted / seconds - 1.0).abs());
        }
        // Of the candidates that there was time for; where the model's own choice was none of them nothing is known.
        let choice = best(task, &limits, speeds, costs).as_ref().and_then(seconds_of);
        regrets.extend(choice.map(|seconds| seconds / fastest - 1.0));
        usual_regrets
            .extend(seconds_of(&TileShape::choose(task, &limits)).map(|seconds| seconds / fastest - 1.0));
    }
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    (!errors.is_empty()).then(|| Quality {
        largest_error: largest(&errors),
        median_error: median(&mut errors),
        largest_regret: largest(&regrets),
        median_regret: median(&mut regrets),
        largest_static_regret: largest(&usual_regrets),
        median_static_regret: median(&mut usual_regrets),
    })
}
