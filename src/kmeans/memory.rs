//! What is kept of the runs of a fit, so that it can go on after a failure, after a kill, or under a larger `max_iter`.

use super::lloyd::State;

/// The runs of a fit so far, by their number.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub kept: Vec<Kept>,
    /// Runs that `max_iter` ended may go on in a later fit, so none is beaten before it has converged.
    pub runs_may_go_on: bool,
}

/// What is kept of one run.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// A run that goes on, that may go on, or that may be the best.
    Whole {
        /// Where it stands after its last iteration.
        state: State,
        /// In input units, once it is finished.
        inertia: Option<f64>,
    },
    /// A run that a finished one has beaten for good.
    Beaten {
        /// Iterations that it took.
        n_iter: usize,
    },
}

/// What is left to do of a run.
pub(super) enum Standing {
    New,
    GoesOn(State),
    /// Finished, with this inertia.
    Finished(f64),
    Beaten,
}

impl Kept {
    /// Iterations done.
    pub fn n_iter(&self) -> usize {
        match self {
            Self::Whole { state, .. } => state.history.len(),
            Self::Beaten { n_iter } => *n_iter,
        }
    }

    /// The inertia of a run that will not change any more.
    fn last_inertia(&self, runs_may_go_on: bool) -> Option<f64> {
        match self {
            Self::Whole { state, inertia } if state.ended == Some(true) || !runs_may_go_on => *inertia,
            _ => None,
        }
    }
}

impl Memory {
    /// What is left of a run under a `max_iter`, which may be larger than the one it was kept under.
    pub fn standing(&self, run: usize, max_iter: usize) -> Standing {
        let Some(kept) = self.kept.get(run) else { return Standing::New };
        let Kept::Whole { state, inertia } = kept else { return Standing::Beaten };
        let ended = state.ended == Some(true) || state.history.len() >= max_iter;
        match inertia {
            Some(inertia) if ended => Standing::Finished(*inertia),
            _ => {
                let ended = if ended { state.ended.or(Some(false)) } else { None };
                Standing::GoesOn(State { ended, ..state.clone() })
            }
        }
    }

    /// Where a run stands, unless it was beaten.
    pub fn state(&self, run: usize) -> Option<&State> {
        match self.kept.get(run)? {
            Kept::Whole { state, .. } => Some(state),
            Kept::Beaten { .. } => None,
        }
    }

    /// Keeps where a run stands after an iteration.
    pub fn keep(&mut self, new: &State) {
        match self.kept.get_mut(new.run) {
            Some(Kept::Whole { state, inertia }) => {
                state.copy_from(new);
                *inertia = None;
            }
            Some(beaten) => *beaten = Kept::Whole { state: new.clone(), inertia: None },
            None => self.kept.push(Kept::Whole { state: new.clone(), inertia: None }),
        }
    }

    /// Keeps the inertia of a run that ended, and of beaten runs only how long they were. A run that a callback stopped
    /// has not ended.
    pub fn finish(&mut self, run: usize, inertia_of_run: f64) {
        let Some(Kept::Whole { state, inertia }) = self.kept.get_mut(run) else { return };
        if state.ended.is_none() {
            return;
        }
        *inertia = Some(inertia_of_run);
        let may_go_on = self.runs_may_go_on;
        let best = self.best_of_the_last(may_go_on);
        for (at, kept) in self.kept.iter_mut().enumerate() {
            if Some(at) != best && kept.last_inertia(may_go_on).is_some() {
                *kept = Kept::Beaten { n_iter: kept.n_iter() };
            }
        }
    }

    /// The best of the runs that will not change any more: the lowest inertia, the first of equal ones.
    fn best_of_the_last(&self, may_go_on: bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (at, kept) in self.kept.iter().enumerate() {
            if let Some(inertia) = kept.last_inertia(may_go_on)
                && best.is_none_or(|(_, lowest)| inertia < lowest)
            {
                best = Some((at, inertia));
            }
        }
        best.map(|(at, _)| at)
    }

    /// Whether a finished run is left to have beaten those that are not kept whole.
    pub fn is_complete(&self) -> bool {
        let beaten = self.kept.iter().any(|kept| matches!(kept, Kept::Beaten { .. }));
        !beaten || self.best_of_the_last(self.runs_may_go_on).is_some()
    }
}
