//! Steps recorded into an encoder of the caller's, on the caller's buffers: the bits of `Step::apply`, and nothing else
//! in those buffers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use half::{bf16, f16};
use ndarray::{Array2, ArrayViewMut2};
use tilefold::lora::{
    Activations, Adapter, BufferRows, Factors, Group, Lease, Module, Pool, PoolParams, Precision, Recording,
    Routes, Scalar, Sizes, Step,
};
use tilefold::wgpu::{self, Buffer, BufferUsages as Usage};
use tilefold::{Device, Error};

use crate::support::lora::{activations, factors};

const INPUTS: [usize; 2] = [41, 24];
const OUTPUTS: [&[usize]; 2] = [&[24, 10, 7], &[41]];
/// More than one window of a device with small windows.
const ROWS: usize = 100;

/// A device of the caller's with the pool's view of it.
struct Own {
    device: wgpu::Device,
    queue: wgpu::Queue,
    ours: Device,
}

impl Own {
    fn open() -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
        let opened = adapter.request_device(&wgpu::DeviceDescriptor::default());
        let (device, queue) = pollster::block_on(opened).unwrap();
        let ours = Device::from_wgpu(&adapter, device.clone(), queue.clone()).unwrap();
        Self { device, queue, ours }
    }

    fn buffer<T: Scalar>(&self, values: &[T], usage: Usage) -> Buffer {
        let size = size_of_val(values) as u64;
        assert!(size.is_multiple_of(4));
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if usage.contains(Usage::COPY_DST) {
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        }
        buffer
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }

    fn read<T: Scalar>(&self, buffer: &Buffer) -> Vec<u32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: Usage::MAP_READ | Usage::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |outcome| outcome.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let bytes = staging.get_mapped_range(..).unwrap();
        bits(&bytemuck::pod_collect_to_vec::<u8, T>(&bytes))
    }
}

fn bits<T: Scalar>(values: &[T]) -> Vec<u32> {
    values.iter().map(|value| value.widen().to_bits()).collect()
}

const ALL: Usage = Usage::STORAGE.union(Usage::COPY_SRC).union(Usage::COPY_DST);

fn lease(device: &Device, weights: Precision) -> Lease {
    let mut groups = Vec::new();
    for (group, (inputs, widths)) in INPUTS.into_iter().zip(OUTPUTS).enumerate() {
        let module = |(number, &outputs): (usize, &usize)| Module {
            name: format!("{group}.{number}"),
            inputs,
            outputs,
        };
        groups.push(Group::new(format!("{group}"), widths.iter().enumerate().map(module).collect()));
    }
    let adapter = |ranks: [usize; 2], seed: u64| {
        let mut adapter = Adapter::default();
        for (group, about) in groups.iter().enumerate() {
            for module in &about.modules {
                let sizes = Sizes { rank: ranks[group], inputs: module.inputs, outputs: module.outputs };
                let made: Factors = factors(sizes, weights, seed + module.outputs as u64);
                adapter.modules.insert(module.name.clone(), made);
            }
        }
        adapter
    };
    let adapters = [adapter([3, 16], 1), adapter([16, 2], 2), adapter([8, 0], 3)];
    let pool =
        Pool::new(device, PoolParams::new(groups.clone()).budget_bytes(1 << 20).weights(weights)).unwrap();
    for (name, adapter) in ["a", "b", "c"].iter().zip(adapters) {
        pool.register(name, adapter).unwrap();
    }
    pool.lease(&["a", "b", "c"]).unwrap()
}

fn routes() -> Routes {
    let slots = [Some(1), None, Some(0), Some(0), Some(2), Some(1), Some(0), None, Some(2)];
    Routes::of_slots(slots.into_iter().cycle().take(ROWS))
}

/// Where the rows lie in one buffer.
#[derive(Debug, Clone)]
struct Places {
    x: BufferRows,
    y: Vec<BufferRows>,
}

/// All modules side by side in rows of `stride`, the first of which begins at `first`; module `i` is `gaps[i]` elements
/// behind the one before.
fn fused(x: [u64; 2], first: u64, stride: u64, widths: &[usize], gap: u64) -> Places {
    let mut at = first;
    let mut y = Vec::new();
    for width in widths {
        y.push(BufferRows { first: at, stride });
        at += *width as u64 + gap;
    }
    Places { x: BufferRows { first: x[0], stride: x[1] }, y }
}

/// What the buffers hold before and after, by `Step::apply`. x may lie in the buffer of y.
fn expected<T: Scalar>(step: &Step, group: usize, places: &Places, x: &[T], y: &mut [T]) {
    let inputs = INPUTS[group];
    let at = |rows: &BufferRows, row: usize, column: usize| {
        (rows.first + row as u64 * rows.stride) as usize + column
    };
    let x = Array2::from_shape_fn((ROWS, inputs), |(row, d)| x[at(&places.x, row, d)]);
    let take = |(rows, &width): (&BufferRows, &usize)| {
        Array2::from_shape_fn((ROWS, width), |(row, j)| y[at(rows, row, j)])
    };
    let mut arrays: Vec<Array2<T>> = places.y.iter().zip(OUTPUTS[group]).map(take).collect();
    let mut views: Vec<ArrayViewMut2<'_, T>> = arrays.iter_mut().map(|array| array.view_mut()).collect();
    step.apply(group, x.view(), &mut views).unwrap();
    for (rows, array) in places.y.iter().zip(&arrays) {
        for ((row, j), value) in array.indexed_iter() {
            y[at(rows, row, j)] = *value;
        }
    }
}

fn data<T: Scalar>(elements: u64, seed: u64) -> Vec<T> {
    activations::<T>(1, elements as usize, seed).into_iter().collect()
}

fn record<T: Scalar>(
    step: &Step,
    encoder: &mut wgpu::CommandEncoder,
    recording: &mut Recording,
    group: usize,
    places: &Places,
    [x, y]: [&Buffer; 2],
) -> Result<(), Error> {
    let in_buffer = |buffer| Activations { buffer, precision: T::PRECISION };
    step.record(encoder, recording, group, (in_buffer(x), places.x), (in_buffer(y), &places.y))
}

/// Records and submits one group; x and y lie in buffers that end with their last rows.
fn check<T: Scalar>(own: &Own, step: &Step, group: usize, places: &Places) {
    let end = |rows: &BufferRows, width: usize| {
        (rows.first + (ROWS as u64 - 1) * rows.stride + width as u64).next_multiple_of(2)
    };
    let x: Vec<T> = data(end(&places.x, INPUTS[group]), 1);
    let ends = places.y.iter().zip(OUTPUTS[group]).map(|(rows, width)| end(rows, *width));
    let mut y: Vec<T> = data(ends.max().unwrap(), 2);
    let (x_buffer, y_buffer) = (own.buffer(&x, ALL), own.buffer(&y, ALL));
    let (mut encoder, mut recording) = (own.encoder(), Recording::default());
    record::<T>(step, &mut encoder, &mut recording, group, places, [&x_buffer, &y_buffer]).unwrap();
    own.queue.submit([encoder.finish()]);
    drop(recording);
    expected(step, group, places, &x, &mut y);
    assert_eq!(own.read::<T>(&y_buffer), bits(&y), "{:?}, group {group}, {places:?}", T::PRECISION);
    assert_eq!(own.read::<T>(&x_buffer), bits(&x));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn rows_may_lie_anywhere_in_a_buffer() {
    let own = Own::open();
    for weights in [Precision::F32, Precision::F16] {
        let step = lease(&own.ours, weights).step(&routes()).unwrap();
        for places in [
            fused([0, 48], 0, 48, OUTPUTS[0], 2), // aligned but for the second module
            fused([8, 43], 4, 60, OUTPUTS[0], 2), // x not
            fused([3, 51], 6, 46, OUTPUTS[0], 0), // neither; v begins behind the end of k
            fused([640, 64], 1032, 64, OUTPUTS[0], 2), // beyond a binding's first step
        ] {
            check::<f32>(&own, &step, 0, &places);
            check::<f16>(&own, &step, 0, &places);
            check::<bf16>(&own, &step, 0, &places);
        }
        // Rows of whole vectors whose last one ends the buffer within a vector.
        for places in [fused([0, 24], 0, 44, OUTPUTS[1], 0), fused([129, 31], 128, 48, OUTPUTS[1], 0)] {
            check::<f32>(&own, &step, 1, &places);
            check::<f16>(&own, &step, 1, &places);
        }
        check::<f32>(&own, &step, 1, &fused([5, 24], 1, 43, OUTPUTS[1], 0));
    }
}

/// Rows and adapters in several windows: the same bits.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn windows_change_no_bit_of_a_recording() {
    let own = Own::open();
    let step = lease(&own.ours.clone().with_window_bytes(1 << 14), Precision::F32).step(&routes()).unwrap();
    let whole = lease(&own.ours, Precision::F32).step(&routes()).unwrap();
    for places in [fused([0, 48], 4, 48, OUTPUTS[0], 2), fused([3, 51], 6, 46, OUTPUTS[0], 0)] {
        check::<f32>(&own, &step, 0, &places);
        check::<f16>(&own, &step, 0, &places);
        let x: Vec<f32> = data(10_000, 1);
        let mut both = [x.clone(), x.clone()];
        expected(&step, 0, &places, &x, &mut both[0]);
        expected(&whole, 0, &places, &x, &mut both[1]);
        assert_eq!(bits(&both[0]), bits(&both[1]));
    }
}

/// A recording keeps its adapters where they are.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn adapters_stay_while_their_recording_lives() {
    let own = Own::open();
    let pool = crate::lora_pool::pool(&own.ours, 4);
    for (name, seed) in [("a", 1), ("b", 2)] {
        crate::lora_pool::register(&pool, name, &crate::lora_pool::of_rank(4, seed));
    }
    let step = pool.lease(&["a"]).unwrap().step(&Routes::of_slots([Some(0)])).unwrap();
    let buffer = own.buffer(&data::<f32>(64, 1), ALL);
    let (mut encoder, mut recording) = (own.encoder(), Recording::default());
    let rows = |first| BufferRows { first, stride: 32 };
    let places = Places { x: rows(0), y: vec![rows(32)] };
    record::<f32>(&step, &mut encoder, &mut recording, 0, &places, [&buffer, &buffer]).unwrap();
    drop(step);
    assert!(matches!(pool.lease(&["b"]), Err(Error::TooLarge { .. })));
    own.queue.submit([encoder.finish()]);
    drop(recording);
    pool.lease(&["b"]).unwrap();
}

/// Two layers on one arena of the caller's, a copy between them, submitted at once after the step is gone.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn layers_in_one_encoder_follow_each_other() {
    let own = Own::open();
    let lease = lease(&own.ours, Precision::F32);
    let step = lease.step(&routes()).unwrap();
    let first = fused([16, 48], 5000, 48, OUTPUTS[0], 2);
    // The second layer reads q, where the first wrote it, and updates a copy of the first layer's x.
    let second = Places { x: first.y[0], y: vec![BufferRows { first: 10_000, stride: 48 }] };
    let mut arena: Vec<f32> = data(15_000, 5);
    let buffer = own.buffer(&arena, ALL);
    let other = own.buffer(&arena, ALL);
    let (mut encoder, mut recordings) = (own.encoder(), [Recording::default(), Recording::default()]);
    record::<f32>(&step, &mut encoder, &mut recordings[0], 0, &first, [&buffer, &buffer]).unwrap();
    encoder.copy_buffer_to_buffer(&buffer, 4 * 16, &other, 0, 4 * 48 * ROWS as u64);
    encoder.copy_buffer_to_buffer(&other, 0, &buffer, 4 * 10_000, 4 * 48 * ROWS as u64);
    record::<f32>(&step, &mut encoder, &mut recordings[1], 1, &second, [&buffer, &buffer]).unwrap();
    record::<f32>(&step, &mut encoder, &mut recordings[1], 0, &first, [&buffer, &buffer]).unwrap();

    for layer in 0..3 {
        if layer == 1 {
            arena.copy_within(16..16 + 48 * ROWS, 10_000);
        }
        let (group, places) = [(0, &first), (1, &second), (0, &first)][layer];
        expected(&step, group, places, &arena.clone(), &mut arena);
    }
    // Nothing that the encoder names may be handed to others before it is submitted.
    drop(step);
    drop(lease);
    let others: Vec<Lease> = (0..4).map(|_| self::lease(&own.ours, Precision::F32)).collect();
    for other in &others {
        for shift in 0..3 {
            // As large as the step that is gone.
            let slots = (0..ROWS as u32).map(|row| (row % 9 > 0).then_some((row + shift) % 3));
            let step = other.step(&Routes::of_slots(slots)).unwrap();
            let x: Array2<f32> = activations(ROWS, INPUTS[1], 8);
            let mut y: Array2<f32> = activations(ROWS, OUTPUTS[1][0], 9);
            step.apply(1, x.view(), &mut [y.view_mut()]).unwrap();
        }
    }
    own.queue.submit([encoder.finish()]);
    drop(recordings);
    assert_eq!(own.read::<f32>(&buffer), bits(&arena));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn what_cannot_be_recorded_is_refused() {
    let own = Own::open();
    let lease = lease(&own.ours, Precision::F16);
    let step = lease.step(&routes()).unwrap();
    let values: Vec<f16> = data(10_100, 1);
    let (good, plain) = (own.buffer(&values, ALL), own.buffer(&values, Usage::COPY_DST | Usage::COPY_SRC));
    let short = own.buffer(&values[..48 * ROWS - 20], ALL);
    let (mut encoder, mut recording) = (own.encoder(), Recording::default());
    let places = fused([0, 48], 5000, 48, OUTPUTS[0], 2);
    let shifted = |first: u64, stride: u64| Places {
        y: places.y.iter().map(|rows| BufferRows { first: rows.first + first, stride }).collect(),
        ..places.clone()
    };
    let narrow = Places { x: BufferRows { first: 0, stride: 40 }, ..places.clone() };
    let huge = Places { x: BufferRows { first: 0, stride: u64::MAX / 2 }, ..places.clone() };
    let far = Places { x: BufferRows { first: 0, stride: 1 << 40 }, ..places.clone() };
    // Elements fit 64 bits here, bytes do not.
    let bytes = Places { x: BufferRows { first: 0, stride: 1 << 57 }, ..places.clone() };
    let beyond = Places { x: BufferRows { first: 1 << 63, stride: 48 }, ..places.clone() };
    let missing = Places { y: places.y[..2].to_vec(), ..places.clone() };
    let cases: [(&str, &Places, [&Buffer; 2], usize); 14] = [
        ("STORAGE", &places, [&plain, &good], 0),
        ("STORAGE", &places, [&good, &plain], 0),
        ("at least", &places, [&short, &good], 0),
        ("at least", &shifted(700, 48), [&good, &good], 0),
        ("even", &shifted(1, 48), [&good, &good], 0),
        ("even", &shifted(0, 49), [&good, &good], 0),
        ("stride", &shifted(0, 22), [&good, &good], 0),
        ("stride", &narrow, [&good, &good], 0),
        ("2^64", &huge, [&good, &good], 0),
        ("limit", &far, [&good, &good], 0),
        ("limit", &bytes, [&good, &good], 0),
        ("2^64 bytes", &beyond, [&good, &good], 0),
        ("modules", &missing, [&good, &good], 0),
        ("group", &places, [&good, &good], 2),
    ];
    for (word, places, buffers, group) in cases {
        let refused = record::<f16>(&step, &mut encoder, &mut recording, group, places, buffers);
        let message = refused.expect_err(word).to_string();
        assert!(message.contains(word) && message.len() < 300, "{word}: {message}");
    }
    let on_cpu = self::lease(&Device::cpu(), Precision::F16).step(&routes()).unwrap();
    let refused = record::<f16>(&on_cpu, &mut encoder, &mut recording, 0, &places, [&good, &good]);
    assert!(matches!(refused, Err(Error::Parameter { name: "pool", .. })), "{refused:?}");
    // Nothing of all that is in the encoder.
    own.queue.submit([encoder.finish()]);
    assert_eq!(own.read::<f16>(&good), bits(&values));
    // A batch without routes records nothing.
    let (mut encoder, idle) = (own.encoder(), lease.step(&Routes::of_slots([None; ROWS])).unwrap());
    record::<f16>(&idle, &mut encoder, &mut recording, 0, &places, [&good, &good]).unwrap();
    own.queue.submit([encoder.finish()]);
    assert_eq!(own.read::<f16>(&good), bits(&values));
}
