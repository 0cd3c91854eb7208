//! What all benches share: devices, and the line that says what a figure was measured on.

use tilefold::Device;

/// The CPU, and the GPU where `TILEFOLD_GPU` names one: a software adapter that nobody asked for would only cost time.
/// Each with a short name for the tables; prints what it is.
pub fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("cpu", Device::cpu())];
    match std::env::var("TILEFOLD_GPU") {
        Ok(selector) if !selector.is_empty() => {
            devices.push(("gpu", Device::select(&selector).expect("TILEFOLD_GPU must name a device")));
        }
        _ => println!("gpu: left out, TILEFOLD_GPU is not set"),
    }
    for (name, device) in &devices {
        println!("{name}: {}", device.name());
    }
    devices
}
