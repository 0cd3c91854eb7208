//! What the benches share: data, devices, and the line that says what a figure was measured on.

use ndarray::Array2;
use tilefold::Device;

/// Rows around `centres` points, all coordinates in [0, 1.25]; equal on every machine.
pub fn blobs(rows: usize, columns: usize, centres: usize) -> Array2<f32> {
    let mut state = 0x5eed_u64;
    let mut unit = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let centre = Array2::from_shape_simple_fn((centres, columns), &mut unit);
    Array2::from_shape_fn((rows, columns), |(row, column)| centre[(row % centres, column)] + 0.25 * unit())
}

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
