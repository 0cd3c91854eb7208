//! What devices can do at most.

use tilefold::Device;
use tilefold::measure::roofs;

use crate::support::backends::on_every_backend;

on_every_backend!(roofs_are_measured_and_plausible);

fn roofs_are_measured_and_plausible(device: &Device) {
    let found = roofs(device).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.device, device.name());
    // From a tenth of the slowest machine that could run this to a hundred times the fastest.
    for (rate, low, high) in [
        (found.fma_flops_per_second, 1e7, 1e17),
        (found.copy_bytes_per_second, 1e7, 1e15),
        (found.write_bytes_per_second, 1e7, 1e15),
    ] {
        assert!(rate > low && rate < high, "{found:?}");
    }
    assert!((0.0..1.0).contains(&found.launch_seconds), "{found:?}");
}
