//! Whether a device computes what is promised: the checks that a user runs on their own adapter.
//!
//! Every check compares with the definition in `f64`, or with the bits of the CPU path. Cases are small, so that a slow
//! adapter ends within a minute; sizes lie around the boundaries of tiles, so that each tile shape that the device's
//! limits allow takes its part.

mod adapters;
mod battery;
mod distances;
mod labels;
mod ways;

use super::record::Check;
use crate::cancel::Cancel;
use crate::device::Device;
use crate::error::Result;
use battery::Battery;
pub use battery::Planted;

/// Runs all checks. A device that fails is a failure of its check, not an error.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled).
pub fn verify(device: &Device, planted: Option<Planted>, cancel: &Cancel) -> Result<Vec<Check>> {
    // Rows are made up and compared by the device's threads: there may be no others.
    device.host_pool()?.install(|| {
        let battery = Battery { device, planted, cancel };
        let mut checks = labels::checks(&battery)?;
        checks.extend(ways::checks(&battery)?);
        checks.extend(distances::checks(&battery)?);
        checks.extend(adapters::checks(&battery)?);
        Ok(checks)
    })
}
