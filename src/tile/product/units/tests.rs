//! The bound against `f64`, on a real adapter.

use std::sync::OnceLock;

use half::f16;
use proptest::prelude::*;

use super::self_test::{FAULTS, Fold, verdict};
use super::shape::MatrixTile;
use crate::device::{Backend, Device, Gpu, MatrixUnits, Prediction};
use crate::tile::bound::f16::Factors;
use crate::tile::nearest::gpu::kernels::Partial;
use crate::tile::nearest::gpu::screen::Screen;
use crate::tile::nearest::gpu::task::{Outputs, Span, Task, Window};
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::operands::gpu::half_columns::{HalfTerms, RoundedColumns};

fn with_gpu(device: &Device, check: impl FnOnce(&Gpu, MatrixUnits)) {
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    check(gpu, gpu.limits().matrix.expect("lavapipe has matrix units, plain ones are everywhere"));
}

/// Values of one sign or both, over so many powers of two.
fn values(count: usize, seed: u64, scale: f64, spread: i32) -> Vec<f64> {
    let draws = crate::random::Stream::new(seed, 9);
    (0..count as u64)
        .map(|at| {
            let power = (draws.bits(2 * at + 1) % (spread as u64 + 1)) as i32;
            (2.0 * draws.unit(2 * at) - 1.0) * scale * 2.0_f64.powi(-power)
        })
        .collect()
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Runs the screen's tile and compares what it kept with exact values.
fn bound_holds(gpu: &Gpu, units: MatrixUnits, depth: usize, (rows, columns): (Vec<f32>, Vec<f64>)) {
    let tile = MatrixTile::choose(&units, depth, &gpu.limits()).unwrap();
    let count = rows.len() / depth;
    let norms: Vec<f32> = rows
        .chunks_exact(depth)
        .map(|x| (length(x.iter().map(|&x| f64::from(x))) * 1.000_001) as f32)
        .collect();
    let largest = norms.iter().fold(0.0_f32, |a, &b| a.max(b));
    let mut window = Window::new(gpu, count, depth, Some(&tile)).unwrap();
    gpu.write(&window.x, 0, bytemuck::cast_slice(&rows)).unwrap();
    gpu.write(&window.norms, 0, bytemuck::cast_slice(&norms)).unwrap();
    window.narrow(gpu, depth, largest).unwrap();
    let halves = window.halves.as_ref().unwrap();

    // What is lost of each row is covered.
    let padded = tile.padded_depth(depth);
    let read =
        gpu.read(&[(&halves.x, 0..halves.x.size_bytes()), (&halves.residuals, 0..4 * count as u64)]).unwrap();
    let narrow: Vec<f16> = bytemuck::pod_collect_to_vec(&read[0]);
    let residuals: Vec<f32> = bytemuck::pod_collect_to_vec(&read[1]);
    let unscale = 2.0_f64.powi(-halves.exponent);
    for (row, x) in rows.chunks_exact(depth).enumerate() {
        let narrow = &narrow[row * padded..(row + 1) * padded];
        assert!(narrow.iter().all(|h| h.is_normal() || h.to_bits() & 0x7fff == 0));
        assert!(narrow[depth..].iter().all(|h| h.to_bits() == 0));
        let lost = length(x.iter().zip(narrow).map(|(&x, &h)| f64::from(x) - f64::from(h) * unscale));
        assert!(lost <= f64::from(residuals[row]), "row {row}: {lost} of {}", residuals[row]);
        assert!(f64::from(residuals[row]) <= 1.001 * lost + 1e-12 * f64::from(largest), "row {row}");
    }

    let book = Columns::new(&columns, depth);
    assert_eq!(book.len(), columns.len() / depth, "the test's columns differ");
    let HalfTerms { errors, ratio, .. } = RoundedColumns::new(&tile, &book, 0.0).terms;
    let screen = Screen::new(gpu, tile, false).unwrap();
    let one_window = book.len().next_multiple_of(128);
    let mut on_device = DeviceColumns::new(gpu, depth, one_window, &book).unwrap();
    on_device.halves = screen.columns(gpu, one_window, &book, 0.0).unwrap();
    let buffer = |bytes| gpu.buffer("test", bytes).unwrap();
    let (partials, left, counters, nearest) =
        (buffer(12 * count as u64), buffer(16 * count as u64), buffer(16), buffer(4 * count as u64));
    gpu.write(&nearest, 0, &vec![255; 4 * count]).unwrap();
    let load = |_: usize, _: &mut [f32]| Ok(());
    let task = Task {
        columns: &on_device,
        largest_norm: largest,
        window: &window,
        nearest: &nearest,
        reach: None,
        load: &load,
    };
    let mut batch = gpu.batch("test");
    batch.clear(&counters).unwrap();
    let outputs =
        Outputs { partials: &partials, most_partials: count as u64, left: &left, counters: &counters };
    let span = Span { list: None, first: 0, rows: count as u32 };
    let operands = screen.operands(&task).unwrap();
    screen.tier.record(&mut batch, &task, &operands, outputs, span).unwrap();
    let read = batch.submit_and_read(&[(&partials, 0..12 * count as u64)]).unwrap();
    let partials: Vec<Partial> = bytemuck::pod_collect_to_vec(&read[0]);
    let factors = Factors::of(depth);
    for (row, x) in rows.chunks_exact(depth).enumerate() {
        let exact: Vec<f64> = columns
            .chunks_exact(depth)
            .map(|c| x.iter().zip(c).map(|(&x, &c)| 0.5 * c * c - f64::from(x) * c).sum())
            .collect();
        let n = f64::from(norms[row]);
        let factor = f64::from(residuals[row]) + f64::from(ratio) * n;
        let shared = f64::from(factors.square()) * n * n;
        let Partial { best, second, column } = partials[row];
        let [weight, constant] = errors[column as usize].map(f64::from);
        let error = factor * weight + constant;
        let own = exact[column as usize];
        assert!(f64::from(best) <= own + shared, "row {row}: {best} is no lower bound of {own}");
        assert!(own <= f64::from(best) + 2.0 * error + shared, "row {row}: {own} beyond {best} + 2 {error}");
        let others = (0..exact.len()).filter(|&other| other != column as usize);
        let least = others.map(|other| exact[other]).fold(f64::INFINITY, f64::min);
        assert!(exact.len() == 1 || f64::from(second) <= least + shared, "row {row}: {second} above {least}");
    }
}

/// On plain matrices of 16 and on the units of the adapter. All tests share the device and its compiled kernels.
fn everywhere(check: impl Fn(&Gpu, MatrixUnits)) {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
    let device = DEVICE.get_or_init(open).clone();
    let forced = device.clone().with_matrix_units(true);
    with_gpu(&device.with_plain_matrices(16), &check);
    with_gpu(&forced, |gpu, units| check(gpu, units));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn the_bound_holds_over_scales() {
    everywhere(|gpu, units| {
        for (seed, (x_scale, c_scale)) in
            [(1.0, 1.0), (1e-30, 1e-30), (1e30, 1e3), (1e-12, 1.0), (1.0, 1e-12), (1e6, 1e6), (1e12, 1e-12)]
                .into_iter()
                .enumerate()
        {
            for (depth, columns, spread) in [(16, 70, 0), (40, 9, 12), (130, 33, 3), (100, 64, 40)] {
                // Beyond 2^46 no row of a frame lies.
                let (x_scale, c_scale) = (f64::min(x_scale, 1e13), f64::min(c_scale, 1e13));
                let rows = values(65 * depth, seed as u64, x_scale, spread);
                let rows = rows.into_iter().map(|x| x as f32).collect();
                let columns = values(columns * depth, 100 + seed as u64, c_scale, spread);
                bound_holds(gpu, units, depth, (rows, columns));
            }
        }
    });
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn the_self_test_passes_and_finds_faults() {
    for fold in [Fold::Nearest, Fold::Lists] {
        everywhere(|gpu, units| assert_eq!(verdict(gpu, &units, fold).unwrap(), None, "{units:?} {fold:?}"));
    }
    for size in [8, 16] {
        for fault in FAULTS {
            let device = Device::gpu("").unwrap().with_plain_matrices(size);
            device.plant_matrix_fault(fault);
            with_gpu(&device, |gpu, units| {
                for fold in [Fold::Nearest, Fold::Lists] {
                    let reason = verdict(gpu, &units, fold).unwrap();
                    assert!(reason.is_some(), "{fault} went unnoticed by matrices of {size}, {fold:?}");
                }
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn the_bound_holds_on_random_data(
        depth in 1_usize..150, columns in 1_usize..140, seed: u64, x in -40_i32..40, c in -40_i32..40, spread in 0_i32..30,
    ) {
        everywhere(|gpu, units| {
            let rows = values(30 * depth, seed, 2.0_f64.powi(x), spread).into_iter().map(|x| x as f32).collect();
            let columns = values(columns * depth, seed ^ 1, 2.0_f64.powi(c), spread);
            bound_holds(gpu, units, depth, (rows, columns));
        });
    }
}
