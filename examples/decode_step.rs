//! One decode step of a model shaped like a 7B Llama: 32 layers, each with q, k, v, o, gate, up and down, for 64 rows
//! that go through 32 adapters of rank 16, two rows each.
//!
//! ```sh
//! cargo run --release --example decode_step             # the CPU
//! cargo run --release --example decode_step -- gpu      # a GPU: recorded into one encoder, submitted once
//! cargo run --release --example decode_step -- gpu 4    # with 4 layers
//! ```
//!
//! The base model's own products are left out: what is timed is all that the adapters add to a step.

use std::time::Instant;

use half::f16;
use ndarray::Array2;
use tilefold::Device;
use tilefold::lora::{
    Activations, Adapter, BufferRows, Factors, Group, Lease, Module, Pool, PoolParams, Precision, Recording,
    Routes, Sizes, Step, Values,
};

const HIDDEN: usize = 4096;
const FEED_FORWARD: usize = 11_008;
const ADAPTERS: usize = 32;
const RANK: usize = 16;
const ROWS: usize = 64;
const STEPS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let selector = arguments.first().map_or("cpu", String::as_str);
    let layers = arguments.get(1).map_or(Ok(32), |text| text.parse())?;
    let groups = model(layers);

    let begin = Instant::now();
    let adapter_bytes: usize = groups
        .iter()
        .flat_map(|group| &group.modules)
        .map(|module| 2 * RANK * (module.inputs + module.outputs))
        .sum();
    // Pages round each rank vector up a little.
    let params = PoolParams::new(groups)
        .weights(Precision::F16)
        .budget_bytes((ADAPTERS * (adapter_bytes + adapter_bytes / 16)) as u64);
    let engine = Engine::open(selector)?;
    let pool = Pool::new(&engine.device, params)?;
    let names: Vec<String> = (0..ADAPTERS).map(|number| format!("adapter-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        pool.register(name, adapter(pool.groups(), number)?)?;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lease = pool.lease(&names)?;
    let stats = pool.stats();
    println!(
        "{}: {} adapters of {:.0} MB resident, {:.2} GB, in {:.1} s",
        pool.device_name(),
        stats.resident,
        adapter_bytes as f64 / 1e6,
        stats.resident_bytes as f64 / 1e9,
        begin.elapsed().as_secs_f64()
    );

    // Rows come in any order: row r belongs to adapter r mod 32.
    let routes = Routes::of_slots((0..ROWS).map(|row| Some((row % ADAPTERS) as u32)));
    check(&lease, &routes)?;
    if let Some((device, queue)) = &engine.gpu {
        check_recorded(device, queue, &lease, &lease.step(&routes)?)?;
    }
    let mut seconds = Vec::new();
    for _ in 0..STEPS {
        // Once per step: sorted, cut into chunks, sent to the device; every layer uses it.
        let step = lease.step(&routes)?;
        seconds.push(engine.run(&lease, &step)?);
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[STEPS / 2];
    let activations: usize =
        lease.groups().iter().map(|group| 2 * ROWS * (HIDDEN.max(group.inputs()) + 2 * outputs(group))).sum();
    let bytes = ADAPTERS * adapter_bytes + activations;
    println!(
        "{} groups of {layers} layers, {ROWS} rows: {:.2} ms a step, {:.1} GB/s of weights and activations",
        lease.groups().len(),
        1e3 * median,
        bytes as f64 / median / 1e9
    );
    Ok(())
}

/// The groups of modules that read the same rows, in the order of the layers.
fn model(layers: usize) -> Vec<Group> {
    let group = |layer: usize, name: &str, inputs, modules: &[(&str, usize)]| {
        let module = |&(module, outputs): &(&str, usize)| Module {
            name: format!("model.layers.{layer}.{module}"),
            inputs,
            outputs,
        };
        Group::new(format!("{layer}.{name}"), modules.iter().map(module).collect())
    };
    let layer = |number| {
        let qkv = [("self_attn.q_proj", HIDDEN), ("self_attn.k_proj", HIDDEN), ("self_attn.v_proj", HIDDEN)];
        let gate_up = [("mlp.gate_proj", FEED_FORWARD), ("mlp.up_proj", FEED_FORWARD)];
        [
            group(number, "qkv", HIDDEN, &qkv),
            group(number, "o", HIDDEN, &[("self_attn.o_proj", HIDDEN)]),
            group(number, "gate_up", HIDDEN, &gate_up),
            group(number, "down", FEED_FORWARD, &[("mlp.down_proj", HIDDEN)]),
        ]
    };
    (0..layers).flat_map(layer).collect()
}

fn outputs(group: &Group) -> usize {
    group.modules.iter().map(|module| module.outputs).sum()
}

/// An adapter for every module. Its weights are taken from one block of random numbers at another place each time.
fn adapter(groups: &[Group], number: usize) -> tilefold::Result<Adapter> {
    const BLOCK: usize = 65_521;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let block: Vec<f16> = (0..BLOCK)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f16::from_f32(((state >> 40) as f32 / (1 << 23) as f32 - 1.0) / 64.0)
        })
        .collect();
    let mut adapter = Adapter::default();
    let mut place = number * 7919;
    for module in groups.iter().flat_map(|group| &group.modules) {
        let mut take = |count: usize| {
            place += 104_729;
            Values::new(block.iter().copied().cycle().skip(place % BLOCK).take(count).collect::<Vec<f16>>())
        };
        let sizes = Sizes { rank: RANK, inputs: module.inputs, outputs: module.outputs };
        let (a, b) = (take(RANK * module.inputs), take(RANK * module.outputs));
        adapter.modules.insert(module.name.clone(), Factors::from_values(sizes, a, b, 2.0)?);
    }
    Ok(adapter)
}

/// Compares the first group with the definition, for one row of each of four adapters.
fn check(lease: &Lease, routes: &Routes) -> Result<(), Box<dyn std::error::Error>> {
    let group = &lease.groups()[0];
    let x = Array2::from_shape_fn((ROWS, group.inputs()), |(row, d)| {
        ((row * 31 + d * 17) % 64) as f32 / 64.0 - 0.5
    });
    let mut y: Vec<Array2<f32>> =
        group.modules.iter().map(|module| Array2::zeros((ROWS, module.outputs))).collect();
    let mut views: Vec<_> = y.iter_mut().map(|array| array.view_mut()).collect();
    lease.step(routes)?.apply(0, x.view(), &mut views)?;
    for row in 0..4 {
        let adapter = adapter(lease.groups(), row % ADAPTERS)?;
        let factors = &adapter.modules[&group.modules[0].name];
        let shrunk: Vec<f64> = (0..RANK)
            .map(|i| (0..group.inputs()).map(|d| f64::from(x[(row, d)]) * f64::from(factors.a(i, d))).sum())
            .collect();
        for j in 0..group.modules[0].outputs {
            let sum: f64 = (0..RANK).map(|i| shrunk[i] * f64::from(factors.b(j, i))).sum();
            let expected = f64::from(factors.scale()) * sum;
            let got = f64::from(y[0][(row, j)]);
            // Terms are below 1/64 and 1/2 in magnitude: this is far above rounding and far below a missing one.
            if !((got - expected).abs() < 1e-6) {
                return Err(format!("row {row}, output {j}: {got}, expected {expected}").into());
            }
        }
    }
    Ok(())
}

/// What runs the steps: the CPU with arrays, or a wgpu device that this program opened and would use for its model.
struct Engine {
    device: Device,
    gpu: Option<(tilefold::wgpu::Device, tilefold::wgpu::Queue)>,
}

impl Engine {
    fn open(selector: &str) -> Result<Self, Box<dyn std::error::Error>> {
        if selector != "gpu" {
            return Ok(Self { device: Device::select(selector)?, gpu: None });
        }
        use tilefold::wgpu;
        let instance = wgpu::Instance::default();
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            required_limits: adapter.limits(),
            ..Default::default()
        }))?;
        let shared = Device::from_wgpu(&adapter, device.clone(), queue.clone())?;
        Ok(Self { device: shared, gpu: Some((device, queue)) })
    }

    /// Seconds of one step.
    fn run(&self, lease: &Lease, step: &Step) -> Result<f64, Box<dyn std::error::Error>> {
        match &self.gpu {
            Some((device, queue)) => run_recorded(device, queue, lease, step),
            None => run_on_arrays(lease, step),
        }
    }
}

fn run_on_arrays(lease: &Lease, step: &Step) -> Result<f64, Box<dyn std::error::Error>> {
    let mut seconds = 0.0;
    for (number, group) in lease.groups().iter().enumerate() {
        // A real engine has these already.
        let x = Array2::from_elem((ROWS, group.inputs()), f16::from_f32(0.25));
        let mut y: Vec<Array2<f16>> =
            group.modules.iter().map(|module| Array2::zeros((ROWS, module.outputs))).collect();
        let mut views: Vec<_> = y.iter_mut().map(|array| array.view_mut()).collect();
        let begin = Instant::now();
        step.apply(number, x.view(), &mut views)?;
        seconds += begin.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// Compares what is recorded for the first group with what the same device gives for arrays, bit for bit.
fn check_recorded(
    device: &tilefold::wgpu::Device,
    queue: &tilefold::wgpu::Queue,
    lease: &Lease,
    step: &Step,
) -> Result<(), Box<dyn std::error::Error>> {
    use tilefold::wgpu::{self, BufferUsages as Usage};
    let group = &lease.groups()[0];
    let (inputs, columns) = (group.inputs(), outputs(group));
    let x =
        Array2::from_shape_fn((ROWS, inputs), |(row, d)| f16::from_f32(((row + 3 * d) % 32) as f32 / 32.0));
    let mut y: Vec<Array2<f16>> =
        group.modules.iter().map(|module| Array2::zeros((ROWS, module.outputs))).collect();
    let mut views: Vec<_> = y.iter_mut().map(|array| array.view_mut()).collect();
    step.apply(0, x.view(), &mut views)?;

    let buffer = |columns: usize, usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: (2 * ROWS * columns) as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let x_buffer = buffer(inputs, Usage::STORAGE | Usage::COPY_DST);
    // Fresh buffers hold zeros.
    let y_buffer = buffer(columns, Usage::STORAGE | Usage::COPY_SRC);
    let read = buffer(columns, Usage::MAP_READ | Usage::COPY_DST);
    let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_le_bytes()).collect();
    queue.write_buffer(&x_buffer, 0, &bytes);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut recording = Recording::default();
    record(&mut encoder, &mut recording, step, lease, 0, &x_buffer, &y_buffer)?;
    encoder.copy_buffer_to_buffer(&y_buffer, 0, &read, 0, read.size());
    queue.submit([encoder.finish()]);
    read.slice(..).map_async(wgpu::MapMode::Read, |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = read.slice(..).get_mapped_range()?;
    for row in 0..ROWS {
        let mut first = row * columns;
        for array in &y {
            for value in array.row(row) {
                let got = f16::from_le_bytes([bytes[2 * first], bytes[2 * first + 1]]);
                if got.to_bits() != value.to_bits() {
                    return Err(format!("row {row}: {got} was recorded, arrays give {value}").into());
                }
                first += 1;
            }
        }
    }
    Ok(())
}

/// Records one group: x has the group's inputs in each row, y the outputs of its modules side by side.
fn record(
    encoder: &mut tilefold::wgpu::CommandEncoder,
    recording: &mut Recording,
    step: &Step,
    lease: &Lease,
    number: usize,
    x: &tilefold::wgpu::Buffer,
    y: &tilefold::wgpu::Buffer,
) -> tilefold::Result<()> {
    let group = &lease.groups()[number];
    let x_rows = BufferRows { first: 0, stride: group.inputs() as u64 };
    let stride = outputs(group) as u64;
    let mut first = 0;
    let mut y_rows = Vec::new();
    for module in &group.modules {
        y_rows.push(BufferRows { first, stride });
        first += module.outputs as u64;
    }
    let half = |buffer| Activations { buffer, precision: Precision::F16 };
    step.record(encoder, recording, number, (half(x), x_rows), (half(y), &y_rows))
}

fn run_recorded(
    device: &tilefold::wgpu::Device,
    queue: &tilefold::wgpu::Queue,
    lease: &Lease,
    step: &Step,
) -> Result<f64, Box<dyn std::error::Error>> {
    use tilefold::wgpu;
    let buffer = |columns: usize| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: (2 * ROWS * columns) as u64,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    };
    let most = lease.groups().iter().map(outputs).max().unwrap_or(HIDDEN);
    let (x, y) = (buffer(FEED_FORWARD), buffer(most));
    let begin = Instant::now();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut recording = Recording::default();
    for number in 0..lease.groups().len() {
        // The engine's own dispatches go between these, into the same encoder.
        record(&mut encoder, &mut recording, step, lease, number, &x, &y)?;
    }
    let submission = queue.submit([encoder.finish()]);
    device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })?;
    Ok(begin.elapsed().as_secs_f64())
}
