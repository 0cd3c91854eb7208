//! Whether a device computes what is promised: the checks that a user runs on their own adapter.
//!
//! Every check compares with the definition in `f64`, or with the bits of the CPU path. Cases are small, so that a slow
//! adapter ends within a minute; sizes lie around the boundaries of tiles, so that each tile shape that the device's
//! limits allow takes its part.

mod adapters;
mod distances;
mod labels;
mod ways;

use std::time::Instant;

use super::record::Check;
use crate::cancel::Cancel;
use crate::device::Device;
use crate::error::{Error, Result};

/// Sizes around the boundaries of tiles.
const SIZES: [usize; 14] = [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257];

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
struct Battery<'a> {
    device: &'a Device,
    planted: Option<Planted>,
    cancel: &'a Cancel,
}

/// The outcome of one case: `None`, or what is wrong.
type Outcome = Result<Option<String>>;

/// Runs all checks. A device that fails is a failure of its check, not an error.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn verify(device: &Device, planted: Option<Planted>, cancel: &Cancel) -> Result<Vec<Check>> {
    let battery = Battery { device, planted, cancel };
    let mut checks = labels::checks(&battery)?;
    checks.extend(ways::checks(&battery)?);
    checks.extend(distances::checks(&battery)?);
    checks.extend(adapters::checks(&battery)?);
    Ok(checks)
}

impl Battery<'_> {
    /// Runs cases until one fails.
    fn check<C>(
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
