//! Made-up adapters and batches, their f64 result, and the bound that an f32 result has to keep.

use half::{bf16, f16};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use tilefold::Device;
use tilefold::lora::{
    Adapter, Factors, Group, Lease, Module, Pool, PoolParams, Precision, Routes, Scalar, Sizes, Values, apply,
};

use super::cases::Draws;
use super::compare::{Mismatch, Wide, close, must};

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
        self.must_be(&result);
        result
    }

    /// Whether every element of `result` is within its bound.
    pub fn verdict(&self, result: &Array2<Y>) -> Result<(), Mismatch> {
        let expected = expected(self);
        let got: Vec<Wide> = result.iter().map(|value| Wide(f64::from(value.widen()))).collect();
        close(&expected.values, &got, |index| expected.bounds[index])
    }

    /// Fails the test unless `result` is within its bounds and rows without an update have their bits.
    #[track_caller]
    pub fn must_be(&self, result: &Array2<Y>) {
        must(self.verdict(result));
        for row in 0..self.routes.rows() {
            let is_updated = self.routes.of_row(row).iter().any(|r| self.slots[r.slot as usize].rank() > 0);
            if !is_updated {
                assert_eq!(
                    bits(result.row(row).insert_axis(Axis(0))),
                    bits(self.y.row(row).insert_axis(Axis(0))),
                    "row {row}"
                );
            }
        }
    }

    /// Rows `order` of the batch, in this order.
    pub fn select(&self, order: &[usize]) -> Self {
        let mut routes = Routes::new();
        for &row in order {
            let of_row: Vec<(u32, f32)> =
                self.routes.of_row(row).iter().map(|route| (route.slot, route.scale)).collect();
            routes.push_scaled(&of_row).expect("the scales are finite");
        }
        Self {
            slots: self.slots.clone(),
            routes,
            x: self.x.select(Axis(0), order),
            y: self.y.select(Axis(0), order),
        }
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

/// How the rows of a batch spread over adapters: the workloads of Punica's benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Popularity {
    /// Each row an adapter of its own.
    Distinct,
    /// As many adapters as the root of the rows, with equal shares.
    Uniform,
    /// Each adapter 1.5 times as often as the next.
    Zipf,
    /// All rows one adapter.
    Identical,
    /// One row of one adapter, the rest of another.
    Skewed,
}

impl Popularity {
    pub const ALL: [Self; 5] = [Self::Distinct, Self::Uniform, Self::Zipf, Self::Identical, Self::Skewed];

    /// Rows of each adapter.
    pub fn lengths(self, rows: usize) -> Vec<usize> {
        match self {
            Self::Distinct => vec![1; rows],
            Self::Uniform => {
                let adapters = (1..).find(|n| n * n >= rows).unwrap_or(1);
                (0..adapters).map(|i| rows * (i + 1) / adapters - rows * i / adapters).collect()
            }
            Self::Zipf => {
                let (mut lengths, mut left, mut share) = (Vec::new(), rows, 1.0_f64);
                while left > 0 {
                    lengths.push((share as usize).min(left));
                    left -= lengths[lengths.len() - 1];
                    share *= 1.5;
                }
                lengths.sort_unstable_by(|a, b| b.cmp(a));
                lengths
            }
            Self::Identical => vec![rows],
            Self::Skewed => [1, rows - 1].into_iter().filter(|length| *length > 0).collect(),
        }
    }
}

/// Several modules of one group: what a model's q, k and v are. `parts[i]` is what module `i` is by itself; all have
/// the same x and routes.
pub struct Projections<X, Y> {
    pub parts: Vec<Batch<X, Y>>,
    pub weights: Precision,
}

impl<X: Scalar, Y: Scalar> Projections<X, Y> {
    /// The group in the pool of [`Self::step`]: others lie before and behind it.
    pub const GROUP: usize = 1;

    /// `ranks[slot][module]`, 0 where the adapter does not have the module.
    pub fn new(
        ranks: &[&[usize]],
        weights: Precision,
        routes: &Routes,
        inputs: usize,
        outputs: &[usize],
    ) -> Self {
        let part = |(module, &outputs): (usize, &usize)| {
            let mut part = Batch::<X, Y>::new(&[], weights, routes.clone(), inputs, outputs);
            part.slots = ranks
                .iter()
                .enumerate()
                .map(|(slot, ranks)| {
                    let sizes = Sizes { rank: ranks[module], inputs, outputs };
                    factors(sizes, weights, (100 + slot + 1000 * module) as u64)
                })
                .collect();
            part
        };
        Self { parts: outputs.iter().enumerate().map(part).collect(), weights }
    }

    /// A pool of the modules, with other groups before and behind them.
    pub fn pool(&self, device: &Device) -> Pool {
        let module = |name: String, inputs, outputs| Module { name, inputs, outputs };
        let inputs = self.parts[0].x.ncols();
        let parts = self.parts.iter().enumerate();
        let modules = parts.map(|(i, part)| module(format!("part{i}"), inputs, part.y.ncols())).collect();
        let groups = vec![
            Group::new("before", vec![module("before".into(), 5, 7)]),
            Group::new("parts", modules),
            Group::new("behind", vec![module("behind".into(), 9, 3)]),
        ];
        let elements = self.parts.iter().flat_map(|part| &part.slots).map(|factors| {
            factors.rank()
                * (factors.inputs().next_multiple_of(1024) + factors.outputs().next_multiple_of(1024))
        });
        let elements = elements.sum::<usize>() + self.parts[0].slots.len() * 6 * 2048;
        let kept = if self.weights == Precision::F32 { Precision::F32 } else { Precision::F16 };
        let params = PoolParams::new(groups).budget_bytes(4 * elements as u64).weights(kept);
        let pool = Pool::new(device, params).unwrap_or_else(|error| panic!("{error}"));
        for slot in 0..self.parts[0].slots.len() {
            let mut adapter = Adapter::default();
            for (name, sizes) in [
                ("before", Sizes { rank: 3, inputs: 5, outputs: 7 }),
                ("behind", Sizes { rank: 2, inputs: 9, outputs: 3 }),
            ] {
                adapter.modules.insert(name.into(), factors(sizes, self.weights, 7000 + slot as u64));
            }
            for (i, part) in self.parts.iter().enumerate() {
                if part.slots[slot].rank() > 0 {
                    adapter.modules.insert(format!("part{i}"), part.slots[slot].clone());
                }
            }
            pool.register(&slot.to_string(), adapter).unwrap_or_else(|error| panic!("{error}"));
        }
        pool
    }

    /// All adapters, leased from a pool of their own.
    pub fn lease(&self, device: &Device) -> Lease {
        let names: Vec<String> = (0..self.parts[0].slots.len()).map(|slot| slot.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.pool(device).lease(&names).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same adapters with another batch.
    pub fn with_routes(&self, routes: &Routes) -> Self {
        let part = |part: &Batch<X, Y>| Batch {
            slots: part.slots.clone(),
            ..Batch::new(&[], self.weights, routes.clone(), part.x.ncols(), part.y.ncols())
        };
        Self { parts: self.parts.iter().map(part).collect(), weights: self.weights }
    }

    /// What `update` makes of the y of all parts.
    pub fn updated(&self, update: impl FnOnce(&mut [ArrayViewMut2<'_, Y>])) -> Vec<Array2<Y>> {
        let mut y: Vec<Array2<Y>> = self.parts.iter().map(|part| part.y.clone()).collect();
        let mut views: Vec<_> = y.iter_mut().map(|array| array.view_mut()).collect();
        update(&mut views);
        drop(views);
        y
    }

    /// All parts updated in one call.
    pub fn applied_with(&self, lease: &Lease) -> Vec<Array2<Y>> {
        let step = lease.step(&self.parts[0].routes).unwrap_or_else(|error| panic!("{error}"));
        let x = self.parts[0].x.view();
        self.updated(|y| step.apply(Self::GROUP, x, y).unwrap_or_else(|error| panic!("{error}")))
    }

    /// All parts updated in one call, each compared with its definition.
    pub fn check_with(&self, lease: &Lease) -> Vec<Array2<Y>> {
        let results = self.applied_with(lease);
        for (part, result) in self.parts.iter().zip(&results) {
            part.must_be(result);
        }
        results
    }

    /// As [`Self::check_with`], in a pool of their own.
    pub fn check(&self, device: &Device) -> Vec<Array2<Y>> {
        self.check_with(&self.lease(device))
    }
}
