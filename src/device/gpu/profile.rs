//! Where the time of work on a GPU goes: kernels by the device's clock, compiling, copying to the device.
//!
//! While a profile is taken every batch is timed and waited for, so the work takes longer than without; its parts do
//! not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a batch is part of: a profile adds its time up by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The nearest column of each row, by any tile.
    Nearest,
    /// Bounds that tell which rows need no tile.
    Bounds,
    /// Sums of rows.
    Sums,
    /// A stage of its own.
    Named(&'static str),
}

impl Stage {
    /// What drivers call the batch.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bounds => "bounds",
            Self::Sums => "sums",
            Self::Named(name) => name,
        }
    }
}

impl From<&'static str> for Stage {
    fn from(name: &'static str) -> Self {
        Self::Named(name)
    }
}

/// What was spent since the profile began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Profile {
    /// Device seconds of each stage.
    pub(crate) kernel_seconds: BTreeMap<Stage, f64>,
    /// Submissions.
    pub(crate) submissions: u64,
    /// Seconds of compiling kernels.
    pub(crate) compile_seconds: f64,
    /// Seconds of the host handing bytes to the driver.
    pub(crate) upload_seconds: f64,
    /// Those bytes.
    pub(crate) upload_bytes: u64,
}

/// The profile being taken, if any.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Option<Profile>>);

impl Recorder {
    /// Begins a profile of all work on the device, whichever thread does it.
    pub(crate) fn start(&self) {
        *self.profile() = Some(Profile::default());
    }

    /// Ends the profile.
    pub(crate) fn end(&self) -> Profile {
        self.profile().take().unwrap_or_default()
    }

    /// Whether a profile is being taken.
    pub(crate) fn is_on(&self) -> bool {
        self.profile().is_some()
    }

    /// Adds what a batch took.
    pub(crate) fn add_batch(&self, stage: Stage, elapsed: Duration) {
        if let Some(profile) = self.profile().as_mut() {
            *profile.kernel_seconds.entry(stage).or_default() += elapsed.as_secs_f64();
            profile.submissions += 1;
        }
    }

    /// Adds a compilation that began at `begin` and ends now.
    pub(crate) fn add_compilation(&self, begin: Instant) {
        if let Some(profile) = self.profile().as_mut() {
            profile.compile_seconds += begin.elapsed().as_secs_f64();
        }
    }

    /// Adds a copy to the device that began at `begin` and ends now.
    pub(crate) fn add_upload(&self, begin: Instant, bytes: usize) {
        if let Some(profile) = self.profile().as_mut() {
            profile.upload_seconds += begin.elapsed().as_secs_f64();
            profile.upload_bytes += bytes as u64;
        }
    }

    fn profile(&self) -> MutexGuard<'_, Option<Profile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
