//! Lists of products in `f16` beside exact values, on a real adapter.

use half::f16;

use super::operands::{Columns, HalfColumns, HalfRows};
use super::sizes::{CollectSizes, OperandBytes};
use super::{Collector, Product};
use crate::cancel::Cancel;
use crate::device::{Backend, Device, Prediction};
use crate::random::Stream;
use crate::tile::bound::f16::{Column, Factors};
use crate::tile::bound::f32::{DEVICE_UNIT, norm_above, with_slack};
use crate::tile::operands::gpu::half_columns::narrow;
use crate::tile::operands::gpu::half_rows::exponent_for;
use crate::tile::product::units::shape::MatrixTile;

/// Values over so many powers of two below `scale`.
fn values(count: usize, seed: u64, scale: f64, spread: u64) -> Vec<f64> {
    let draws = Stream::new(seed, 9);
    let power = |at: u64| 2.0_f64.powi(-((draws.bits(2 * at + 1) % (spread + 1)) as i32));
    (0..count as u64).map(|at| (2.0 * draws.unit(2 * at) - 1.0) * scale * power(at)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How many entries of all lists do not hold the exact value between their own; every column is in every list.
fn wrong(device: &Device, depth: usize, [x, c]: [&[f64]; 2], has_bound: bool) -> usize {
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    let units = gpu.limits().matrix.expect("matrix units, or plain ones");
    let tile = MatrixTile::choose(&units, depth, &gpu.limits()).unwrap();
    let (factors, padded) = (Factors::of(depth), tile.padded_depth(depth));
    let rounded = |rows: &[f64], room: usize| {
        let largest = rows.chunks_exact(depth).map(|row| dot(row, row).sqrt()).fold(0.0, f64::max);
        let exponent = exponent_for(largest * 1.001);
        let scales = [2.0_f64.powi(exponent), 2.0_f64.powi(-exponent)];
        let mut halves = vec![f16::ZERO; room * padded];
        let sizes: Vec<[f32; 2]> = rows
            .chunks_exact(depth)
            .zip(halves.chunks_exact_mut(padded))
            .map(|(row, out)| {
                let (norm, lost) = (norm_above(dot(row, row)), narrow(row, scales, out).sqrt());
                let residual = with_slack(lost + DEVICE_UNIT * f64::from(norm));
                if has_bound { [norm, residual] } else { [0.0, 0.0] }
            })
            .collect();
        (exponent, halves, sizes)
    };
    let (rows, columns) = (x.len() / depth, c.len() / depth);
    let (x_exponent, halves, sizes) = rounded(x, rows.next_multiple_of(tile.rows() as usize));
    let host = HalfRows {
        halves,
        norms: sizes.iter().map(|size| size[0]).collect(),
        residuals: sizes.iter().map(|size| size[1]).collect(),
        gaps: vec![0.0; rows],
    };
    let (c_exponent, halves, sizes) = rounded(c, MatrixTile::padded_columns(columns));
    let none = Column { per_residual: 0.0, per_norm: 0.0, constant: 0.0 };
    let of = |(c, size): (&[f64], &[f32; 2])| {
        let column = factors.column(f64::from(size[0]), f64::from(size[1]));
        (0.5 * dot(c, c), if has_bound { column } else { none })
    };
    let columns_on_host =
        HalfColumns { halves, columns: c.chunks_exact(depth).zip(&sizes).map(of).collect() };
    // More are wanted than there are: nothing is dropped.
    let sizes = CollectSizes::new(
        OperandBytes::halves(&tile, depth),
        (rows, columns, depth),
        columns + 1,
        &gpu.limits(),
    );
    let (sizes, product) = (sizes.unwrap(), Product::Halves { tile, exponent: x_exponent + c_exponent });
    let collector = Collector::new(gpu, product, sizes, Cancel::new()).unwrap();
    let beside = [&host.norms[..], &host.residuals];
    let on_device = collector.rows(&host.halves, Some(beside), &host.gaps).unwrap();
    collector.meet(&on_device, &Columns::halves(gpu, 0, &columns_on_host).unwrap()).unwrap();
    let lists = &on_device.lists.lists;
    let read = gpu.read(&[(lists, 0..lists.size_bytes())]).unwrap();
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&read[0]);
    let mut wrong = 0;
    for (list, x) in words.chunks_exact(3 * sizes.lists.room() + 1).zip(x.chunks_exact(depth)) {
        assert_eq!(list[0] as usize, columns, "every column is listed once");
        let mut found = vec![false; columns];
        let share = f64::from(factors.square()) * dot(x, x);
        for entry in list[1..].chunks_exact(3).take(columns) {
            let [value, upper] = [0, 1].map(|at| f64::from(f32::from_bits(entry[at])));
            let column = entry[2] as usize;
            assert!(!std::mem::replace(&mut found[column], true), "column {column} twice");
            let c = &c[column * depth..(column + 1) * depth];
            let exact = 0.5 * dot(c, c) - dot(x, c);
            // What `upper` itself rounds is added where limits are lowered.
            let upper = upper + upper.abs() * DEVICE_UNIT;
            wrong += usize::from(!(value <= exact + share && exact <= upper + share));
        }
    }
    wrong
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn entries_hold_the_exact_value() {
    let device = Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
    let plain = device.clone().with_plain_matrices(16);
    let forced = device.with_matrix_units(true);
    for device in [&plain, &forced] {
        for (seed, scale) in (0_u64..).zip([1.0, 1e-30, 1e13, 1e6]) {
            for (depth, columns, spread) in [(16, 130, 0), (40, 65, 12), (130, 33, 3), (100, 64, 40)] {
                let x = values(70 * depth, seed, scale, spread);
                let c = values(columns * depth, 100 + seed, scale, spread);
                assert_eq!(wrong(device, depth, [&x, &c], true), 0, "{scale:e} {depth} {spread}");
                if spread == 0 && scale > 1e-9 {
                    let wrong = wrong(device, depth, [&x, &c], false);
                    assert!(wrong > 1000, "without the bound only {wrong} are wrong");
                }
            }
        }
    }
}
