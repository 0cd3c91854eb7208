//! What every check needs, and how it runs its cases.

use std::time::Instant;

use crate::cancel::Cancel;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::measure::record::Check;

/// Sizes around the boundaries of tiles.
pub(super) const SIZES: [usize; 14] = [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257];

/// A fault that is planted to show that a check can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Rows whose label the error bound leaves open keep the tile's label.
    Labels,
    /// One value of each distance matrix is off by a thousandth.
    Distances,
    /// One value of each adapter batch is off by a thousandth.
    Adapters,
}

/// What a check does on a device.
pub(super) struct Battery<'a> {
    pub device: &'a Device,
    pub planted: Option<Planted>,
    pub cancel: &'a Cancel,
}

/// The outcome of one case: `None`, or what is wrong.
pub(super) type Outcome = Result<Option<String>>;

impl Battery<'_> {
    /// Runs cases until one fails.
    pub fn check<C>(
        &self,
        name: &str,
        cases: impl IntoIterator<Item = C>,
        case: impl Fn(C) -> Outcome,
    ) -> Result<Check> {
        let begin = Instant::now();
        let mut check = Check { name: name.to_owned(), ..Check::default() };
        for input in cases {
            self.cancel.check()?;
            check.cases += 1;
            check.failure = match case(input) {
                Ok(failure) => failure,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => Some(error.to_string()),
            };
            if check.failure.is_some() {
                break;
            }
        }
        check.seconds = begin.elapsed().as_secs_f64();
        Ok(check)
    }
}
