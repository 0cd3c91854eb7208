//! Other ways to the same labels: pruned passes, and screens on matrix units where a device has some.

use super::battery::Battery;
#[cfg(feature = "gpu")]
use super::battery::Outcome;
use super::labels::{compare, from_rows};
use crate::device::Backend;
use crate::error::Result;
use crate::kmeans::Prune;
#[cfg(feature = "gpu")]
use crate::kmeans::fit;
use crate::measure::data::uniform;
use crate::measure::record::Check;
use crate::measure::roofs::LARGE;
#[cfg(feature = "gpu")]
use crate::{Device, UnitsState, units_state};

pub(super) fn checks(battery: &Battery) -> Result<Vec<Check>> {
    match battery.device.resolve(&LARGE) {
        Backend::Reference => Ok(Vec::new()),
        Backend::Cpu(_) => Ok(vec![pruned(battery)?]),
        #[cfg(feature = "gpu")]
        Backend::Gpu(_) => {
            let mut checks = vec![pruned(battery)?];
            checks.extend(on_matrix_units(battery)?);
            Ok(checks)
        }
    }
}

fn pruned(battery: &Battery) -> Result<Check> {
    battery.check(
        "pruned passes change no bit",
        [(700, 12, 40), (900, 2, 30), (400, 129, 17)],
        |(n, d, k)| {
            let rows = uniform(n, d, 17);
            let points = rows.view().into();
            compare(battery, &points, &from_rows(&points, k)?.max_iter(6).prune(Prune::Always))
        },
    )
}

/// Nothing on devices without units; a self-test that they did not pass is a failure, although they are off then.
#[cfg(feature = "gpu")]
fn on_matrix_units(battery: &Battery) -> Result<Option<Check>> {
    let device = battery.device.clone().with_matrix_units(true);
    if matches!(units_state(&device), Ok(UnitsState::Absent)) {
        return Ok(None);
    }
    let screened = Battery { device: &device, ..*battery };
    let check = battery.check(
        "labels screened on matrix units, after their self-test",
        [(300, 33, 40), (200, 64, 65), (130, 129, 33)],
        |(n, d, k)| screened_fit(&screened, &device, n, d, k),
    )?;
    Ok(Some(check))
}

#[cfg(feature = "gpu")]
fn screened_fit(battery: &Battery, device: &Device, n: usize, d: usize, k: usize) -> Outcome {
    if let UnitsState::Failed(_, reason) = units_state(device)? {
        return Ok(Some(format!("the self-test failed, the units are not used: {reason}")));
    }
    let rows = uniform(n, d, 18);
    let points = rows.view().into();
    let params = from_rows(&points, k)?.max_iter(3).cancel(battery.cancel.clone());
    if fit(device, points.view(), &params)?.screened == 0.0 {
        return Ok(Some(format!("{n} x {d}, k {k}: the units screened no row")));
    }
    compare(battery, &points, &params)
}
