//! What is remembered of a device, as plain data: plans take it as an input beside the limits. Pure.

use serde::{Deserialize, Serialize};

use crate::device::Limits;
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::{Fold, candidate_named};
use crate::tile::choice::model::{self, Costs, Speeds};
use crate::tile::choice::shape::TileShape;

/// Problems that share a choice: the same fold and, up to the next power of two, the same sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Class {
    fold: Fold,
    /// Base-2 logarithm of the rows, rounded up.
    log_rows: u32,
    /// As `log_rows`, of the columns.
    log_columns: u32,
    /// As `log_rows`, of the features.
    log_depth: u32,
    /// Whether the features can be read in vectors of four.
    has_vectors: bool,
}

impl Class {
    /// Of a problem. Tiles are `f32` here: other precisions would be part of it.
    pub fn of(task: &Task) -> Self {
        let log = |count: usize| count.checked_next_power_of_two().map_or(usize::BITS, usize::trailing_zeros);
        Self {
            fold: task.fold,
            log_rows: log(task.rows.max(1)),
            log_columns: log(task.columns.max(1)),
            log_depth: log(task.depth.max(1)),
            has_vectors: task.depth.is_multiple_of(4),
        }
    }

    /// How far another class is, where only the number of rows may differ.
    fn rows_from(&self, other: &Self) -> Option<u32> {
        (Self { log_rows: self.log_rows, ..*other } == *self).then(|| self.log_rows.abs_diff(other.log_rows))
    }
}

/// The fastest candidate of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The class.
    #[serde(flatten)]
    pub class: Class,
    /// The candidate's name.
    pub candidate: String,
    /// What it took.
    pub seconds: f64,
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// What the device can do at most, once that was measured.
    pub speeds: Option<Speeds>,
    /// What the model's terms cost on it.
    pub costs: Costs,
    entries: Vec<Entry>,
}

impl Table {
    /// The candidate for a problem: that of its class or of the nearest number of rows, where it was measured; else
    /// what the model predicts, where the device's roofs are known; else a good choice for any device.
    pub fn shape(&self, task: &Task, limits: &Limits) -> TileShape {
        self.measured(task, limits)
            .or_else(|| model::best(task, limits, self.speeds.as_ref()?, &self.costs))
            .unwrap_or_else(|| TileShape::choose(task, limits))
    }

    fn measured(&self, task: &Task, limits: &Limits) -> Option<TileShape> {
        let class = Class::of(task);
        let near = self.entries.iter().filter_map(|entry| Some((class.rows_from(&entry.class)?, entry)));
        let (_, entry) = near.min_by_key(|(distance, _)| *distance)?;
        // What a file names is looked up among the candidates: it can name nothing else.
        candidate_named(&entry.candidate, task.fold, task.depth, limits)
    }
}

#[cfg(any(feature = "cli", test))]
impl Table {
    /// Of a device of which only its roofs are known.
    pub fn of(speeds: Speeds) -> Self {
        Self { speeds: Some(speeds), ..Self::default() }
    }

    /// Remembers a choice in the place of an older one.
    pub fn remember(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.class == entry.class) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes what another table knows, in the place of what this one knows of the same.
    pub fn merge(&mut self, other: &Self) {
        (self.speeds, self.costs) = (other.speeds.or(self.speeds), other.costs);
        for entry in &other.entries {
            self.remember(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tile::choice::family::candidates;

    fn task(fold: Fold, rows: usize, columns: usize, depth: usize) -> Task {
        Task { fold, rows, columns, depth }
    }

    fn entry(task: &Task, candidate: &str) -> Entry {
        Entry { class: Class::of(task), candidate: candidate.into(), seconds: 1.0 }
    }

    #[test]
    fn a_measured_class_serves_its_neighbours_in_rows() {
        let limits = Limits::for_tests();
        let measured = task(Fold::Nearest, 1000, 100, 100);
        let (name, other) = ("64x64 8x4 d8 chain scalars", "64x32 4x4 d8 chunks scalars");
        let mut table = Table::default();
        assert_eq!(table.shape(&measured, &limits), TileShape::choose(&measured, &limits));
        table.remember(entry(&measured, other));
        table.remember(entry(&measured, name));
        table.remember(entry(&task(Fold::Nearest, 100_000, 100, 100), other));
        let chosen = |task: Task| table.shape(&task, &limits).to_string();
        assert_eq!(chosen(measured), name, "the newer choice");
        assert_eq!(chosen(task(Fold::Nearest, 10, 128, 68)), name);
        assert_eq!(chosen(task(Fold::Nearest, 1_000_000, 128, 68)), other);
        for unknown in [
            task(Fold::Store, 1000, 100, 100),
            task(Fold::Nearest, 1000, 129, 100),
            task(Fold::Nearest, 1000, 100, 101),
            task(Fold::Nearest, 1000, 100, 64),
        ] {
            assert_eq!(chosen(unknown), TileShape::choose(&unknown, &limits).to_string());
        }
    }

    /// A whole depth fits its step to the depth of the problem, not to that of the measured one.
    #[test]
    fn the_step_of_a_whole_depth_follows_the_depth() {
        let mut table = Table::default();
        table.remember(entry(&task(Fold::Nearest, 1000, 100, 20), "64x64 4x4 whole vectors"));
        let shape = table.shape(&task(Fold::Nearest, 1000, 100, 28), &Limits::for_tests());
        assert_eq!((shape.to_string().as_str(), shape.depth_step), ("64x64 4x4 whole vectors", 32));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever a table says, what is chosen is a validated candidate within the limits.
        #[test]
        fn only_validated_candidates_are_chosen(
            rows in 0_usize..3_000_000, columns in 0_usize..100_000, depth in 1_usize..2000, is_shallow: bool,
            kib in 16_u32..=64, log_invocations in 6_u32..=10, is_store: bool, log_flops in 9_i32..15, is_known: bool,
            named in proptest::sample::select(vec!["", "64x64 4x4 d16 chain scalars", "256x16 8x4 whole vectors"]),
        ) {
            let limits = Limits {
                workgroup_storage_bytes: 1024 * kib,
                max_invocations_per_workgroup: 1 << log_invocations,
                ..Limits::for_tests()
            };
            let depth = if is_shallow { depth % 40 + 1 } else { depth };
            let fold = if is_store { Fold::Store } else { Fold::Nearest };
            let task = task(fold, rows, columns, depth);
            let speeds = is_known.then(|| Speeds::new(10_f64.powi(log_flops), 1e11, 1e-5, None));
            let mut table = Table { speeds, ..Table::default() };
            table.remember(entry(&task, named));
            let shape = table.shape(&task, &limits);
            prop_assert!(shape.fits(&limits) && shape.serves(depth), "{}", shape);
            prop_assert!(candidates(fold).contains(&TileShape { group_rows: 1, ..shape }), "{}", shape);
            prop_assert!(fold == Fold::Nearest || shape.keeps_one_order(), "{}", shape);
        }
    }
}
