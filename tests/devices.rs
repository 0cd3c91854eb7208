//! What every device promises before any work is given to it.

use tilefold::Device;

use crate::support::backends::on_every_backend;

on_every_backend! { has_a_name }

fn has_a_name(device: &Device) {
    assert!(!device.name().trim().is_empty());
}
