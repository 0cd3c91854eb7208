//! One fit of seeded `f32` rows from given first centroids: what `scripts/path-of-a-fit` counts the files of.
//!
//! ```sh
//! cargo run --example one_fit -- cpu fit
//! ```
//!
//! With `open` in the place of `fit` all is prepared and nothing fitted.

use ndarray::Array2;
use tilefold::Device;
use tilefold::kmeans::{self, Init, Params, Prune};

const ROWS: usize = 2000;
const FEATURES: usize = 32;
const CLUSTERS: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, act] = arguments.as_slice() else { return Err("usage: one_fit DEVICE fit|open".into()) };
    let device = Device::select(device)?;
    // Fractions of multiples of the golden ratio: spread evenly, and the same everywhere.
    let value = |(row, column): (usize, usize)| ((row * FEATURES + column) as f64 * 0.618_033_988_75).fract();
    let rows = Array2::from_shape_fn((ROWS, FEATURES), |at| value(at) as f32);
    let first = Array2::from_shape_fn((CLUSTERS, FEATURES), value);
    let params = Params::new(CLUSTERS).init(Init::Centroids(first)).prune(Prune::Never).max_iter(5);
    if act == "open" {
        println!("opened {}", device.name());
        return Ok(());
    }
    let fit = kmeans::fit(&device, rows.view(), &params)?;
    println!("{} iterations on {}, inertia {}", fit.n_iter, fit.device, fit.inertia);
    Ok(())
}
