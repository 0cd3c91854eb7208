//! The device layer on a real adapter, software or hardware; ignored where TILEFOLD_WITHOUT_GPU=1 says there is none.

use std::sync::Arc;

use super::faults::Fault;
use super::*;
use crate::device::*;
use crate::error::Error;
use crate::kernel::Kernel;

const FILL: &str = "
struct Params { first: u32, count: u32, value: u32 }
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(64) fn fill(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < params.count) { output[params.first + id.x] = input[params.first + id.x] + params.value; }
}";

fn kernel() -> Kernel {
    Kernel::of_text("fill", FILL.into())
}

/// A device of the test's own, so that tests running at once do not see each other's counters.
pub(super) fn open() -> Gpu {
    Gpu::open("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1")
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

fn params(first: u32, count: u32, value: u32) -> Vec<u8> {
    [first, count, value].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Adds 1, 2 and 3 to three parts of 0..300 in one batch: what a small fit does with a device.
fn small_run(gpu: &Gpu) -> Result<Vec<u32>> {
    let input = gpu.buffer("input", 1200)?;
    let output = gpu.buffer("output", 1200)?;
    let bytes: Vec<u8> = (0..300_u32).flat_map(u32::to_le_bytes).collect();
    gpu.write(&input, 0, &bytes)?;
    let fill = gpu.pipeline(&kernel())?;
    let mut batch = gpu.batch("small run");
    batch.clear(&output)?;
    for part in 0..3 {
        let slot = params(part * 100, 100, part + 1);
        batch.dispatch(&fill, &[input.whole(), output.whole()], &slot, [2, 1, 1])?;
    }
    batch.submit_and_wait()?;
    Ok(words(&gpu.read(&[(&output, 0..1200)])?[0]))
}

fn expected_run() -> Vec<u32> {
    (0..300).map(|at| at + at / 100 + 1).collect()
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn bytes_survive_write_and_read_at_any_offset() {
    let gpu = open();
    let bytes: Vec<u8> = (0..1003_u32).map(|at| (at * 7 % 251) as u8).collect();
    let (a, b) = (gpu.buffer("a", 1003).unwrap(), gpu.buffer("b", 1500).unwrap());
    assert_eq!((a.size_bytes(), gpu.live_buffers()), (1003, 2));
    gpu.write(&a, 0, &bytes).unwrap();
    gpu.write(&a, 400, &bytes[400..404]).unwrap();
    gpu.write(&b, 0, &[7; 1500]).unwrap();
    let mut batch = gpu.batch("clear");
    batch.clear(&b).unwrap();
    let ranges = [(&a, 0..1003), (&b, 8..1008), (&a, 5..6), (&a, 7..7), (&b, 1002..1011)];
    let read = batch.submit_and_read(&ranges).unwrap();
    assert_eq!(read[0], bytes);
    assert_eq!(read[1], [0; 1000]);
    assert_eq!(read[2], bytes[5..6]);
    assert!(read[3].is_empty());
    assert_eq!(read[4], [0; 9]);
    assert_eq!(gpu.read(&[]).unwrap(), Vec::<Vec<u8>>::new());
    let empty = gpu.buffer("empty", 0).unwrap();
    assert_eq!(empty.size_bytes(), 4);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn an_upload_of_several_chunks_arrives_whole() {
    let gpu = open();
    let bytes: Vec<u8> = (0..(35_u32 << 20) + 2).map(|at| (at ^ (at >> 13)) as u8).collect();
    let buffer = gpu.buffer("large", 4 + bytes.len() as u64).unwrap();
    gpu.write(&buffer, 4, &bytes).unwrap();
    let read = gpu.read(&[(&buffer, 4..4 + bytes.len() as u64)]).unwrap();
    assert!(read[0] == bytes, "differs first at {:?}", read[0].iter().zip(&bytes).position(|(a, b)| a != b));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn each_dispatch_of_a_batch_sees_its_own_parameters() {
    let gpu = open();
    assert_eq!(small_run(&gpu).unwrap(), expected_run());
    assert_eq!(gpu.live_buffers(), 0, "all buffers came back");
    assert!(Arc::ptr_eq(&gpu.pipeline(&kernel()).unwrap(), &gpu.pipeline(&kernel()).unwrap()));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn what_a_device_is_asked_is_counted_without_a_profile() {
    let gpu = open();
    let mut spent = Vec::new();
    for _ in 0..2 {
        let before = gpu.counters();
        small_run(&gpu).unwrap();
        spent.push(gpu.counters().since(&before));
    }
    // A device without a clock reads no ticks.
    let ticks = if gpu.context.live().limits.has_timestamps { 16 } else { 0 };
    for spent in &spent {
        assert_eq!((spent.submissions, spent.waits, spent.answers), (2, 2, 1), "{spent:?}");
        assert_eq!((spent.bind_groups, spent.dispatches, spent.small_writes), (3, 3, 2), "{spent:?}");
        assert_eq!(
            (spent.uploaded_bytes, spent.downloaded_bytes),
            (1200 + 3 * 256, 1200 + ticks),
            "{spent:?}"
        );
        assert!(spent.host_seconds > 0.0 && spent.host_median_seconds > 0.0, "{spent:?}");
    }
    // Input, output, parameters, what is read, and the clock's two.
    let buffers = if ticks > 0 { 6 } else { 4 };
    assert_eq!([spent[0].buffers, spent[1].buffers], [buffers, 0], "the second run takes the first one's");
    assert_eq!([spent[0].translations, spent[1].translations], [1, 0]);
    let before = gpu.counters();
    let large = gpu.filled("large", &vec![7_u32; 1 << 20]).unwrap();
    gpu.read_parts(&large, 1 << 20, 1 << 16, &mut [(); 16], |_: &[u32], ()| Ok(())).unwrap();
    let spent = gpu.counters().since(&before);
    assert_eq!((spent.uploaded_bytes, spent.downloaded_bytes), (4 << 20, 4 << 20), "{spent:?}");
    assert_eq!((spent.submissions, spent.small_writes, spent.dispatches), (2, 0, 0), "{spent:?}");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_timed_batch_takes_time() {
    let gpu = open();
    let fill = gpu.pipeline(&kernel()).unwrap();
    let (input, output) = (gpu.buffer("input", 1 << 20).unwrap(), gpu.buffer("output", 1 << 20).unwrap());
    for _ in 0..3 {
        let mut batch = gpu.batch("timed");
        batch
            .dispatch(&fill, &[input.whole(), (&output).into()], &params(0, 1 << 18, 1), [4096, 1, 1])
            .unwrap();
        batch.clear(&input).unwrap();
        batch.dispatch(&fill, &[input.whole(), output.whole()], &params(0, 0, 1), [1, 1, 1]).unwrap();
        let started = std::time::Instant::now();
        let elapsed = batch.submit_and_wait().unwrap();
        assert!(!elapsed.is_zero() && elapsed <= started.elapsed(), "{elapsed:?} of {:?}", started.elapsed());
    }
    assert!(!gpu.batch("nothing").submit_and_wait().unwrap().is_zero());
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn dropped_buffers_are_used_again() {
    let gpu = open();
    let first = gpu.buffer("first", 1000).unwrap();
    let raw = first.lease.raw.clone();
    drop(first);
    let second = gpu.buffer("second", 1010).unwrap();
    assert!(second.lease.raw == raw, "the same size class is served from the pool");
    let third = gpu.buffer("third", 1010).unwrap();
    assert!(third.lease.raw != raw && gpu.live_buffers() == 2);
    drop(second);
    gpu.trim();
    assert!(gpu.buffer("fourth", 1010).unwrap().lease.raw != raw, "trimming frees what waits");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn the_budget_is_asked_before_allocating() {
    let gpu =
        open().with_caps(Caps { memory_bytes: Some(10_000), window_bytes: Some(4096), ..Caps::default() });
    assert_eq!((gpu.limits().budget_bytes, gpu.limits().window_bytes), (10_000, 4096));
    let half = gpu.buffer("half", 5000).unwrap();
    gpu.fail_call(0, Fault::Lost);
    match gpu.buffer("more", 6000).map(|buffer| buffer.size_bytes()) {
        Err(Error::TooLarge { needed_bytes: 6000, limit_bytes, .. }) => assert!(limit_bytes <= 5000),
        other => panic!("{other:?}"),
    }
    assert_eq!(gpu.calls(), 0, "the device was not asked");
    drop(half);
    let all = gpu.buffer("all, the idle half makes room", 10_000).unwrap();
    assert!(gpu.buffer("one more", 4).is_err());
    drop(all);
    assert!(matches!(gpu.buffer("absurd", u64::MAX), Err(Error::TooLarge { .. })));
    assert_eq!(gpu.live_buffers(), 0);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn misuse_is_refused_and_leaves_the_device_usable() {
    let gpu = open();
    let is_refused = |outcome: Result<()>| match outcome {
        Err(error @ Error::DeviceRefused { .. }) => assert!(error.to_string().len() < 300, "{error}"),
        other => panic!("{other:?}"),
    };
    let fill = gpu.pipeline(&kernel()).unwrap();
    let (a, b) = (gpu.buffer("a", 400).unwrap(), gpu.buffer("b", 400).unwrap());
    let both = [a.whole(), b.whole()];
    let mut batch = gpu.batch("misuse");
    is_refused(batch.dispatch(&fill, &both[..1], &params(0, 1, 1), [1, 1, 1]));
    is_refused(batch.dispatch(&fill, &both, &[], [1, 1, 1]));
    is_refused(batch.dispatch(&fill, &both, &params(0, 1, 1), [u32::MAX, 1, 1]));
    is_refused(batch.dispatch(&fill, &[a.slice(256, 200), b.whole()], &params(0, 1, 1), [1, 1, 1]));
    is_refused(batch.dispatch(&fill, &[a.slice(2, 4), b.whole()], &params(0, 1, 1), [1, 1, 1]));
    is_refused(batch.dispatch(&fill, &[a.slice(256, 0), b.whole()], &params(0, 1, 1), [1, 1, 1]));
    batch.dispatch(&fill, &[a.slice(256, 0), b.whole()], &params(0, 0, 1), [0, 1, 1]).expect("nothing to do");
    is_refused(gpu.write(&a, 2, &[0; 4]));
    is_refused(gpu.write(&a, 0, &[0; 401]));
    is_refused(gpu.write(&a, 0, &[0; 3]));
    is_refused(gpu.read(&[(&a, 0..401)]).map(|_| ()));
    is_refused(gpu.pipeline(&Kernel { source: "fn".into(), ..kernel() }).map(|_| ()));
    is_refused(gpu.pipeline(&Kernel { entry: "missing", ..kernel() }).map(|_| ()));
    // What only wgpu sees: one buffer read and written at once.
    batch.dispatch(&fill, &[a.whole(), a.whole()], &params(0, 1, 1), [1, 1, 1]).unwrap();
    is_refused(batch.submit());
    let other = open();
    is_refused(other.write(&a, 0, &[0; 4]));
    drop((a, b));
    assert_eq!(gpu.live_buffers(), 0);
    assert_eq!(small_run(&gpu).unwrap(), expected_run());
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_lost_device_answers_so_until_it_is_recreated_and_that_only_once() {
    let gpu = open();
    let is_lost = |outcome: Result<()>| match outcome {
        Err(error @ Error::DeviceLost { .. }) => assert!(error.to_string().len() < 300, "{error}"),
        other => panic!("{other:?}"),
    };
    let old = gpu.buffer("old", 1200).unwrap();
    let fill = gpu.pipeline(&kernel()).unwrap();
    gpu.recreate().expect("nothing to do while it lives");
    gpu.fail_call(1, Fault::Lost);
    is_lost(gpu.write(&old, 0, &[0; 4]));
    is_lost(gpu.write(&old, 0, &[0; 4]));
    is_lost(gpu.buffer("new", 4).map(|_| ()));
    is_lost(gpu.pipeline(&kernel()).map(|_| ()));
    is_lost(gpu.read(&[(&old, 0..4)]).map(|_| ()));
    is_lost(gpu.batch("lost").submit());
    is_lost(small_run(&gpu).map(|_| ()));

    gpu.clone().recreate().unwrap();
    assert_eq!(small_run(&gpu).unwrap(), expected_run());
    is_lost(gpu.write(&old, 0, &[0; 4]));
    is_lost(gpu.read(&[(&old, 0..4)]).map(|_| ()));
    is_lost(gpu.batch("old buffer").clear(&old));
    let (a, b) = (gpu.buffer("a", 4).unwrap(), gpu.buffer("b", 4).unwrap());
    is_lost(gpu.batch("old").dispatch(&fill, &[a.whole(), b.whole()], &params(0, 1, 1), [1, 1, 1]));
    drop(old);
    assert_eq!(gpu.live_buffers(), 2, "the lost buffer does not count for the new device");

    gpu.fail_call(1, Fault::Lost);
    is_lost(gpu.write(&a, 0, &[0; 4]));
    is_lost(gpu.recreate());
    is_lost(small_run(&gpu).map(|_| ()));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn whichever_call_fails_the_error_is_typed_and_nothing_leaks() {
    let run = |gpu: &Gpu| {
        assert_eq!(small_run(gpu)?, expected_run());
        Ok(())
    };
    // Devices of their own have empty pools, so each call does all that it does in a first run.
    let calls = fail_each_call(Devices::Fresh, run, run);
    assert!(calls >= 9, "{calls} calls");
}

/// What [`fail_each_call`] runs on.
pub(super) enum Devices {
    /// One of its own for each failing call.
    Fresh,
    /// One for all failing calls of a fault but losses, since a device is re-created once only, and those are every third call.
    Shared,
}

/// Fails each device call of `work` in turn, with each fault: `work`, which checks what it made, succeeds or gives the error of that
/// fault, nothing leaks, and `next` works on that device. Returns how many calls `work` makes.
pub(super) fn fail_each_call(
    devices: Devices,
    work: impl Fn(&Gpu) -> Result<()>,
    next: impl Fn(&Gpu) -> Result<()>,
) -> u64 {
    let gpu = open();
    gpu.fail_call(0, Fault::Lost);
    work(&gpu).unwrap();
    let calls = gpu.calls();
    for fault in [Fault::OutOfMemory, Fault::Validation, Fault::Lost] {
        let shared = (matches!(devices, Devices::Shared) && fault != Fault::Lost).then(open);
        let step = if matches!(devices, Devices::Shared) && fault == Fault::Lost { 3 } else { 1 };
        for nth in (1..=calls).step_by(step) {
            let gpu = shared.clone().unwrap_or_else(open);
            gpu.fail_call(nth, fault);
            match (work(&gpu), fault) {
                (Ok(()), _)
                | (Err(Error::DeviceMemory { .. }), Fault::OutOfMemory)
                | (Err(Error::DeviceRefused { .. }), Fault::Validation) => {}
                (Err(Error::DeviceLost { .. }), Fault::Lost) => gpu.recreate().unwrap(),
                (other, _) => panic!("{fault:?} at {nth}: {other:?}"),
            }
            assert_eq!(gpu.live_buffers(), 0, "{fault:?} at {nth}");
            gpu.fail_call(0, fault);
            next(&gpu).unwrap_or_else(|error| panic!("after {fault:?} at {nth}: {error:?}"));
        }
    }
    calls
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn clones_on_several_threads_do_not_see_each_others_errors() {
    let gpu = open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for _ in 0..10 {
                    if thread % 2 == 0 {
                        assert_eq!(small_run(&gpu).unwrap(), expected_run());
                    } else {
                        let refused = gpu.pipeline(&Kernel { source: "fn".into(), ..kernel() });
                        assert!(matches!(refused, Err(Error::DeviceRefused { .. })), "{refused:?}");
                        assert_eq!(small_run(&gpu).unwrap(), expected_run());
                    }
                }
            });
        }
    });
    assert_eq!(gpu.live_buffers(), 0);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_device_of_the_callers_works_and_stays_theirs() {
    let found = adapters::enumerate().swap_remove(0);
    let opened = found.adapter.request_device(&wgpu::DeviceDescriptor::default());
    let (device, queue) = pollster::block_on(opened).unwrap();
    let ours = Device::from_wgpu(&found.adapter, device.clone(), queue).unwrap();
    let Choice::Gpu(gpu) = &ours.choice else { panic!("{ours:?}") };
    assert_eq!(gpu.limits().max_binding_bytes, 128 << 20, "the limits it was opened with");
    assert_eq!(small_run(gpu).unwrap(), expected_run());
    let refused = gpu.pipeline(&Kernel { source: "fn".into(), ..kernel() });
    assert!(matches!(refused, Err(Error::DeviceRefused { .. })), "an error is no loss: {refused:?}");
    device.destroy();
    // Without buffers from before, whose mapping would show the loss.
    gpu.trim();
    let lost = small_run(gpu);
    assert!(matches!(lost, Err(Error::DeviceLost { .. })), "{lost:?}");
    assert!(matches!(gpu.recreate(), Err(Error::DeviceLost { .. })));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_gpu_is_selected_by_text() {
    let first = &adapters()[0];
    for text in ["gpu", "0", &first.name, &format!("{}:{}", first.backend, first.backend_index)] {
        let device = Device::select(text).unwrap();
        assert!(device.name().ends_with(']') && matches!(device.choice, Choice::Gpu(_)), "{device:?}");
    }
    let message = Device::select("no such card").unwrap_err().to_string();
    assert!(message.contains(&first.name.chars().take(20).collect::<String>()), "{message}");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn hooks_reach_the_device() {
    let device = Device::gpu("").unwrap().with_memory_budget(1 << 20).with_window_bytes(1 << 16);
    let Backend::Gpu(gpu) = device.resolve(&Prediction { flops: 0.0, upload_bytes: 0.0 }) else {
        panic!("{device:?}")
    };
    assert_eq!((gpu.limits().budget_bytes, gpu.limits().window_bytes), (1 << 20, 1 << 16));
    device.inject_fault(1, Fault::Validation);
    assert!(matches!(gpu.buffer("refused", 4), Err(Error::DeviceRefused { .. })));
    let buffer = gpu.buffer("held", 4).unwrap();
    assert_eq!((device.device_calls(), device.live_buffers()), (2, 1));
    drop(buffer);
    assert_eq!(device.clone().live_buffers(), 0);
}

#[test]
fn auto_opens_no_gpu_for_small_work() {
    let device = Device::auto();
    let small = Prediction { flops: 1e6, upload_bytes: 1e5 };
    assert!(matches!(device.resolve(&small), Backend::Cpu(_)));
    let Choice::Auto(found) = &device.choice else { panic!("{device:?}") };
    assert!(found.get().is_none(), "no driver was loaded");
    let large = Prediction { flops: 1e15, upload_bytes: 1e9 };
    assert!(large.favours_gpu(8) && !small.favours_gpu(1));
    let software_only = adapters().iter().all(|a| a.device_type == DeviceType::Software);
    assert_eq!(matches!(device.resolve(&large), Backend::Cpu(_)), software_only);
    assert!(device.name().starts_with("auto: "), "{}", device.name());
}
