//! Made-up adapters and batches, their f64 result, and the bound that an f32 result has to keep.

use half::{bf16, f16};
use ndarray::{Array2, ArrayView2};
use tilefold::Device;
use tilefold::lora::{Factors, Precision, Routes, Scalar, Sizes, Values, apply};

use super::cases::Draws;
use super::compare::{Wide, close, must};

/// Uniform in [-1, 1), rounded to `T`.
pub fn activations<T: Scalar>(rows: usize, columns: usize, seed: u64) -> Array2<T> {
    let mut draws = Draws::new(seed);
    Array2::from_shape_simple_fn((rows, columns), || T::narrow((2.0 * draws.unit() - 1.0) as f32))
}

/// Factors with weights of about the size that training leaves.
pub fn factors(sizes: Sizes, precision: Precision, seed: u64) -> Factors {
    let mut draws = Draws::new(seed);
    let mut values = |count: usize, width: usize| {
        let spread = 1.0 / (width as f64).sqrt();
        let values = (0..count).map(|_| (draws.normal() * spread) as f32).collect::<Vec<f32>>();
        Values::new(values).cast(precision)
    };
    let a = values(sizes.rank * sizes.inputs, sizes.inputs);
    let b = values(sizes.rank * sizes.outputs, sizes.rank.max(1));
    Factors::from_values(sizes, a, b, 0.5 + (seed % 7) as f32 / 4.0).expect("the factors are valid")
}

/// A batch with what it is applied to.
pub struct Batch<X, Y> {
    pub slots: Vec<Factors>,
    pub routes: Routes,
    pub x: Array2<X>,
    pub y: Array2<Y>,
}

/// The result in f64, and how far an f32 result may be from it.
pub struct Expected {
    pub values: Vec<f64>,
    pub bounds: Vec<f64>,
}

/// Unit of rounding of a type.
fn unit(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2.0_f64.powi(-24),
        Precision::F16 => 2.0_f64.powi(-11),
        Precision::Bf16 => 2.0_f64.powi(-8),
    }
}

/// `n u / (1 - n u)`.
fn gamma(steps: usize) -> f64 {
    let error = steps as f64 * 2.0_f64.powi(-24);
    error / (1.0 - error)
}

/// The definition in f64 with its error bound, from the longest chain of additions that any backend uses: GPUs add 16
/// features, 64 such sums and then the blocks of 1024; the CPU adds every 16th feature and then 16 sums. The second
/// product is one chain over the rank and two roundings more; every result is rounded to the type of y once.
pub fn expected<X: Scalar, Y: Scalar>(batch: &Batch<X, Y>) -> Expected {
    let (inputs, outputs) = (batch.x.ncols(), batch.y.ncols());
    let first = gamma((16 + 64 + inputs.div_ceil(1024)).max(inputs.div_ceil(16) + 8) + 2);
    let mut made = Expected { values: Vec::new(), bounds: Vec::new() };
    for row in 0..batch.x.nrows() {
        let mut sums: Vec<f64> = batch.y.row(row).iter().map(|value| f64::from(value.widen())).collect();
        let mut errors = vec![0.0; outputs];
        let mut is_touched = false;
        for route in batch.routes.of_row(row) {
            let factors = &batch.slots[route.slot as usize];
            is_touched |= factors.rank() > 0;
            let second = gamma(factors.rank() + 3);
            let scale = f64::from(route.scale) * f64::from(factors.scale());
            let (mut v, mut v_error) = (Vec::new(), Vec::new());
            for i in 0..factors.rank() {
                let terms =
                    (0..inputs).map(|d| f64::from(batch.x[(row, d)].widen()) * f64::from(factors.a(i, d)));
                v.push(terms.clone().sum::<f64>());
                v_error.push(first * terms.map(f64::abs).sum::<f64>());
            }
            for j in 0..outputs {
                let (mut sum, mut error) = (0.0, 0.0);
                for i in 0..factors.rank() {
                    let b = f64::from(factors.b(j, i));
                    sum += v[i] * b;
                    error += v_error[i] * b.abs() * (1.0 + second) + second * (v[i] * b).abs();
                }
                sums[j] += scale * sum;
                errors[j] +=
                    scale.abs() * error + 4.0 * unit(Precision::F32) * (sums[j].abs() + (scale * sum).abs());
            }
        }
        for j in 0..outputs {
            let smallest = if Y::PRECISION == Precision::F16 { 2.0_f64.powi(-25) } else { 0.0 };
            let rounding = unit(Y::PRECISION) * (sums[j].abs() + errors[j]) + smallest;
            made.bounds.push(if is_touched { errors[j] + rounding } else { 0.0 });
        }
        made.values.extend(sums);
    }
    made
}

impl<X: Scalar, Y: Scalar> Batch<X, Y> {
    /// Factors of `ranks`, weights of `precision`, and random activations.
    pub fn new(ranks: &[usize], precision: Precision, routes: Routes, inputs: usize, outputs: usize) -> Self {
        let one = |(slot, &rank): (usize, &usize)| {
            factors(Sizes { rank, inputs, outputs }, precision, 100 + slot as u64)
        };
        let rows = routes.rows();
        Self {
            slots: ranks.iter().enumerate().map(one).collect(),
            routes,
            x: activations(rows, inputs, 1),
            y: activations(rows, outputs, 2),
        }
    }

    /// The batch applied on `device`; y is a part of a larger array, whose rest must keep its bits.
    pub fn applied(&self, device: &Device) -> Array2<Y> {
        let (rows, columns) = self.y.dim();
        let marker = Y::narrow(-7.25);
        let mut larger = Array2::from_elem((rows + 2, columns + 3), marker);
        let inner = ndarray::s![1..rows + 1, 2..columns + 2];
        larger.slice_mut(inner).assign(&self.y);
        let slots: Vec<&Factors> = self.slots.iter().collect();
        apply(device, &slots, &self.routes, self.x.view(), larger.slice_mut(inner))
            .unwrap_or_else(|error| panic!("{error}"));
        let result = larger.slice(inner).to_owned();
        larger.slice_mut(inner).fill(marker);
        assert!(larger.iter().all(|value| *value == marker), "something outside y was written");
        result
    }

    /// Applies the batch and compares it with its definition; rows without an update must keep their bits.
    pub fn check(&self, device: &Device) -> Array2<Y> {
        let result = self.applied(device);
        let expected = expected(self);
        let got: Vec<Wide> = result.iter().map(|value| Wide(f64::from(value.widen()))).collect();
        must(close(&expected.values, &got, |index| expected.bounds[index]));
        for row in 0..self.routes.rows() {
            let is_updated = self.routes.of_row(row).iter().any(|r| self.slots[r.slot as usize].rank() > 0);
            if !is_updated {
                assert_eq!(
                    bits(result.row(row).insert_axis(ndarray::Axis(0))),
                    bits(self.y.row(row).insert_axis(ndarray::Axis(0))),
                    "row {row}"
                );
            }
        }
        result
    }
}

/// The bits of an array.
pub fn bits<T: Scalar>(array: ArrayView2<'_, T>) -> Vec<u32> {
    array.iter().map(|value| value.widen().to_bits()).collect()
}

/// Runs a check for each pair of activation types.
pub fn each_activation(mut check: impl FnMut(Kind)) {
    [Kind::F32, Kind::F16, Kind::Bf16].into_iter().for_each(&mut check);
}

/// A type of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    F16,
    Bf16,
}

impl Kind {
    /// Checks the batch that `ranks` and `routes` give, with x and y of this type.
    pub fn check(
        self,
        device: &Device,
        ranks: &[usize],
        weights: Precision,
        routes: &Routes,
        sizes: [usize; 2],
    ) {
        let [inputs, outputs] = sizes;
        match self {
            Self::F32 => {
                drop(Batch::<f32, f32>::new(ranks, weights, routes.clone(), inputs, outputs).check(device))
            }
            Self::F16 => {
                drop(Batch::<f16, f16>::new(ranks, weights, routes.clone(), inputs, outputs).check(device))
            }
            Self::Bf16 => {
                drop(Batch::<bf16, bf16>::new(ranks, weights, routes.clone(), inputs, outputs).check(device));
            }
        }
    }
}

/// Routes with `lengths[slot]` rows for each slot, one after the other.
pub fn routes_of(lengths: &[usize]) -> Routes {
    Routes::of_slots(
        lengths.iter().enumerate().flat_map(|(slot, &rows)| std::iter::repeat_n(Some(slot as u32), rows)),
    )
}
