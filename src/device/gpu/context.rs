//! One opened GPU: its handle, its life, and its second life after a loss.
//!
//! A [`Gpu`] is a handle on a [`Context`], which outlives the wgpu device inside: each opening is a [`Live`]
//! generation with its own buffers and pipelines. Objects of a lost generation answer with
//! [`Error::DeviceLost`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::buffers::Pool;
use super::faults::LossFlag;
#[cfg(any(test, feature = "test-hooks"))]
use super::faults::{Fault, Faults};
use super::pacer::{Pacer, Pacers};
use super::pipeline_cache::{DiskCache, PipelineMap};
use super::profile::Recorder;
use super::tally::Tally;
use crate::device::Counters;
use crate::device::adapters::{Adapter, DeviceType, Found, describe, enumerate};
use crate::device::limits::{Caps, Limits, MatrixUnits, MatrixUse};
use crate::device::selector;
use crate::error::{Error, Result};

/// A handle on one GPU. Clones share the device, its buffers and its pipelines; the caps belong to the handle.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub(crate) context: Arc<Context>,
    caps: Caps,
}

/// What all handles of one GPU share.
pub(crate) struct Context {
    pub(crate) name: String,
    adapter: Adapter,
    identity: String,
    keeps_order: bool,
    sizes_dispatches: bool,
    is_software: bool,
    origin: Origin,
    live: RwLock<Arc<Live>>,
    was_recreated: AtomicBool,
    pub(crate) profile: Recorder,
    pub(crate) tally: Tally,
    #[cfg(any(test, feature = "test-hooks"))]
    pub(in crate::device) faults: Faults,
    #[cfg(any(test, feature = "test-hooks"))]
    matrix_fault: Mutex<&'static str>,
    #[cfg(any(test, feature = "test-hooks"))]
    soft_fault: Mutex<&'static str>,
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) given_pace: Mutex<Option<f64>>,
}

/// Who opened the device.
enum Origin {
    /// This crate did, from this adapter, and can do so again.
    Opened(wgpu::Adapter),
    /// The caller did; only they can open another.
    Given,
}

/// One generation of a device: from its opening to its loss.
pub(crate) struct Live {
    /// Differs between all generations of all devices of the process.
    pub(crate) generation: u64,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: Limits,
    pub(crate) loss: LossFlag,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) pipelines: Mutex<PipelineMap>,
    pub(crate) pacers: Pacers,
    /// Pairs of timestamps that wait for reuse.
    pub(crate) timers: Mutex<Vec<wgpu::QuerySet>>,
    pub(crate) disk_cache: Option<DiskCache>,
}

impl Gpu {
    /// Opens the adapter that `selector` names (see [`Device::gpu`](crate::Device::gpu)).
    pub(crate) fn open(selector: &str) -> Result<Self> {
        let mut found = enumerate();
        let descriptions: Vec<Adapter> = found.iter().map(|f| f.description.clone()).collect();
        let position = selector::choose(&descriptions, selector)?;
        Self::open_found(found.swap_remove(position))
    }

    /// Opens the best hardware GPU; `None` where there is none or it cannot be opened.
    pub(crate) fn open_best_hardware() -> Option<Self> {
        let mut found = enumerate();
        let descriptions: Vec<Adapter> = found.iter().map(|f| f.description.clone()).collect();
        let position = selector::best_hardware(&descriptions)?;
        match Self::open_found(found.swap_remove(position)) {
            Ok(gpu) => Some(gpu),
            Err(error) => {
                tracing::warn!(%error, "the best GPU cannot be opened, the CPU path is used");
                None
            }
        }
    }

    fn open_found(found: Found) -> Result<Self> {
        let live = Live::open(&found.adapter, &found.description)?;
        let sizes_dispatches = sizes_dispatches(&found.adapter);
        Ok(Self::new(&found.description, Origin::Opened(found.adapter), live, sizes_dispatches))
    }

    /// Takes a device that the caller opened and keeps sharing.
    pub(crate) fn from_wgpu(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
    ) -> Result<Self> {
        let description = describe(adapter, 0, 0);
        // The device's own limits: the caller may have asked for less than the adapter has.
        let matrix = MatrixUnits::of(adapter, device.features());
        let mut limits = Limits::from_wgpu(&device.limits(), device.features(), None, matrix);
        limits.budget_bytes = description.limits.budget_bytes;
        if limits.max_binding_bytes == 0 || limits.max_invocations_per_workgroup < 64 {
            return Err(Error::Device {
                selector: selector::shortened(&description.name, 60),
                expected: "a device opened with limits for compute: storage bindings, 64 invocations".into(),
                got: format!(
                    "bindings of {} bytes, {} invocations",
                    limits.max_binding_bytes, limits.max_invocations_per_workgroup
                ),
            });
        }
        // The caller's callbacks for errors and losses stay theirs: losses are seen when results are read.
        let live = Live::new(device, queue, limits, LossFlag::default(), None);
        Ok(Self::new(&description, Origin::Given, live, sizes_dispatches(adapter)))
    }

    fn new(description: &Adapter, origin: Origin, live: Live, sizes_dispatches: bool) -> Self {
        let context = Context {
            name: format!("{} [{}]", description.name, description.backend),
            adapter: description.clone(),
            identity: format!(
                "{} {} {} {}",
                description.name, description.backend, description.pci_bus_id, description.driver_info
            ),
            is_software: description.device_type == DeviceType::Software,
            sizes_dispatches,
            keeps_order: description.backend == wgpu::Backend::Vulkan.to_str(),
            origin,
            live: RwLock::new(Arc::new(live)),
            was_recreated: AtomicBool::new(false),
            profile: Recorder::default(),
            tally: Tally::default(),
            #[cfg(any(test, feature = "test-hooks"))]
            faults: Faults::default(),
            #[cfg(any(test, feature = "test-hooks"))]
            matrix_fault: Mutex::default(),
            #[cfg(any(test, feature = "test-hooks"))]
            soft_fault: Mutex::default(),
            #[cfg(any(test, feature = "test-hooks"))]
            given_pace: Mutex::default(),
        };
        Self { context: Arc::new(context), caps: Caps::default() }
    }

    /// The same GPU under other caps.
    pub(crate) fn with_caps(mut self, caps: Caps) -> Self {
        self.caps = caps;
        self
    }

    /// The same GPU holding at most half as much memory, in windows half as large.
    pub(crate) fn with_half_the_memory(&self) -> Self {
        let limits = self.limits();
        let caps = Caps {
            memory_bytes: Some(limits.budget_bytes / 2),
            window_bytes: Some(limits.window_bytes / 2),
            ..self.caps
        };
        self.clone().with_caps(caps)
    }

    /// The adapter's name with its backend: `llvmpipe (LLVM 21.1.8, 256 bits) [vulkan]`.
    pub(crate) fn name(&self) -> String {
        self.context.name.clone()
    }

    /// What the driver says of the adapter.
    pub(crate) fn adapter(&self) -> &Adapter {
        &self.context.adapter
    }

    /// The device's limits under this handle's caps.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = self.context.live().limits.capped(self.caps);
        limits.matrix = self.matrix_units(limits.matrix);
        limits
    }

    /// Of the device's matrix units those that this handle may use.
    fn matrix_units(&self, units: Option<MatrixUnits>) -> Option<MatrixUnits> {
        match self.caps.matrix {
            MatrixUse::WherePaying => units.filter(|_| !self.is_software()),
            MatrixUse::Always => units,
            MatrixUse::Never => None,
            #[cfg(any(test, feature = "test-hooks"))]
            MatrixUse::Plain(size) => Some(MatrixUnits {
                size,
                smallest_subgroup: 32,
                largest_subgroup: 32,
                reads_elements: true,
                is_plain: true,
            }),
        }
    }

    /// Whether matrix units are used wherever there are any, and not only where they pay.
    pub(crate) fn insists_on_matrix_units(&self) -> bool {
        !matches!(self.caps.matrix, MatrixUse::WherePaying | MatrixUse::Never)
    }

    /// A fault that tests planted in plain kernels of the matrix units' self-test; empty otherwise.
    pub(crate) fn planted_matrix_fault(&self) -> &'static str {
        #[cfg(any(test, feature = "test-hooks"))]
        return *lock(&self.context.matrix_fault);
        #[cfg(not(any(test, feature = "test-hooks")))]
        return "";
    }

    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn plant_matrix_fault(&self, fault: &'static str) {
        *lock(&self.context.matrix_fault) = fault;
    }

    /// The same of the self-test of soft arithmetic.
    pub(crate) fn planted_soft_fault(&self) -> &'static str {
        #[cfg(any(test, feature = "test-hooks"))]
        return *lock(&self.context.soft_fault);
        #[cfg(not(any(test, feature = "test-hooks")))]
        return "";
    }

    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn plant_soft_fault(&self, fault: &'static str) {
        *lock(&self.context.soft_fault) = fault;
    }

    /// The pacer of a kind of work, with what earlier work of that kind learnt: `work` names the kernel, `sizes` are what its
    /// speed depends on, of which only the magnitude counts.
    pub(crate) fn pacer(&self, work: &'static str, sizes: [usize; 2]) -> Pacer {
        #[cfg(any(test, feature = "test-hooks"))]
        if let Some(units_per_second) = *lock(&self.context.given_pace) {
            return Pacer::given(units_per_second);
        }
        self.context.live().pacers.of(work, sizes)
    }

    /// Lets work that begins from now on be paced as on a device of this speed, in units of each [`Pacer`].
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn pace_as(&self, units_per_second: f64) {
        *lock(&self.context.given_pace) = Some(units_per_second);
    }

    /// What tells this adapter from the others of the machine.
    pub(crate) fn identity(&self) -> String {
        self.context.identity.clone()
    }

    /// Whether additions happen in the order of a kernel's text: Metal and DX12 compile with fast maths, which may
    /// reorder sums.
    pub(crate) fn keeps_order(&self) -> bool {
        self.context.keeps_order
    }

    /// Whether a dispatch can be as large as a buffer says.
    pub(crate) fn sizes_dispatches(&self) -> bool {
        self.context.sizes_dispatches
    }

    /// Whether the driver runs on the CPU.
    pub(crate) fn is_software(&self) -> bool {
        self.context.is_software
    }

    /// Opens the device again after a loss, with no pipelines and no buffers; does nothing while it lives.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] the second time, where the caller owns the device, and where opening fails.
    pub(crate) fn recreate(&self) -> Result<()> {
        const OPERATION: &str = "re-creating the device";
        let context = &self.context;
        let mut live = context.live.write().unwrap_or_else(PoisonError::into_inner);
        if !live.loss.is_raised() {
            return Ok(());
        }
        let Origin::Opened(adapter) = &context.origin else {
            return Err(context.lost(OPERATION, "the device belongs to the caller"));
        };
        if context.was_recreated.swap(true, Ordering::Relaxed) {
            return Err(context.lost(OPERATION, "it was lost a second time"));
        }
        let opened = Live::open(adapter, &describe(adapter, 0, 0))
            .map_err(|error| context.lost(OPERATION, &error.to_string()))?;
        tracing::warn!(device = context.name, "device re-created after a loss");
        *live = Arc::new(opened);
        Ok(())
    }

    /// What takes profiles of the work on this device.
    pub(crate) fn profile(&self) -> &Recorder {
        &self.context.profile
    }

    /// What was asked of the device so far, by all handles. Ends the host time that is under way.
    pub(crate) fn counters(&self) -> Counters {
        self.context.tally.snapshot()
    }

    /// Bytes of the budget that nobody holds at the moment: all handles of one GPU share its memory.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.limits().budget_bytes.saturating_sub(lock(&self.context.live().pool).leased_storage_bytes())
    }

    /// Buffers handed out and not dropped, those of batches in flight included.
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn live_buffers(&self) -> u64 {
        lock(&self.context.live().pool).leased()
    }

    /// Frees the buffers that wait for reuse.
    pub(crate) fn trim(&self) {
        lock(&self.context.live().pool).trim();
    }

    /// Restarts the count of device calls and lets call number `nth` (from 1, none for 0) return `fault`.
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn fail_call(&self, nth: u64, fault: Fault) {
        self.context.faults.arm(nth, fault);
    }

    /// The same for call number `nth` and all after it.
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn fail_from_call(&self, nth: u64, fault: Fault) {
        self.context.faults.arm_from(nth, fault);
    }

    /// Device calls since the last [`Gpu::fail_call`].
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn calls(&self) -> u64 {
        self.context.faults.calls()
    }
}

impl Context {
    /// The present generation.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this crate opened the device, so that its losses are reported to it.
    pub(crate) fn owns_callbacks(&self) -> bool {
        matches!(self.origin, Origin::Opened(_))
    }
}

impl Live {
    fn open(adapter: &wgpu::Adapter, description: &Adapter) -> Result<Self> {
        let mut limits = description.limits;
        let opened = match Self::request(adapter, limits.matrix.is_some()) {
            Err(error) if limits.matrix.is_some() => {
                tracing::warn!(device = description.name, %error, "opened without matrix units");
                limits.matrix = None;
                Self::request(adapter, false)
            }
            opened => opened,
        };
        let (device, queue) = opened.map_err(|error| Error::Device {
            selector: selector::shortened(&description.name, 60),
            expected: "a device that opens".into(),
            got: selector::shortened(&error.to_string(), 120),
        })?;
        let loss = LossFlag::default();
        let flag = loss.clone();
        device.set_device_lost_callback(move |_, reason| {
            flag.raise(if reason.is_empty() { "no reason given".into() } else { reason });
        });
        // What escapes the scopes of this crate must not end the user's process.
        device.on_uncaptured_error(Arc::new(|error| tracing::error!(%error, "uncaptured device error")));
        let disk_cache = DiskCache::open(adapter, &device);
        Ok(Self::new(device, queue, limits, loss, disk_cache))
    }

    fn request(
        adapter: &wgpu::Adapter,
        with_matrix: bool,
    ) -> std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
        let wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_F64
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SUBGROUP;
        let mut required_features = adapter.features() & wanted;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if with_matrix {
            required_features |= MatrixUnits::features(adapter.get_info().backend);
            // SAFETY: of the experimental features only cooperative matrices are asked for. Their kernels touch padded
            // operands alone, and a self-test compares their products before any result rests on them.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tilefold"),
            required_features,
            required_limits: adapter.limits(),
            experimental_features,
            ..Default::default()
        };
        pollster::block_on(adapter.request_device(&descriptor))
    }

    fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        limits: Limits,
        loss: LossFlag,
        disk_cache: Option<DiskCache>,
    ) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        Self {
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            device,
            queue,
            limits,
            loss,
            pool: Mutex::default(),
            pipelines: Mutex::default(),
            pacers: Pacers::default(),
            timers: Mutex::default(),
            disk_cache,
        }
    }
}

impl Live {
    /// Whether modules of SPIR-V words can be handed over, which is so on Vulkan devices with matrix units.
    pub(crate) fn takes_spirv(&self) -> bool {
        self.device.features().contains(wgpu::Features::PASSTHROUGH_SHADERS)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(cache) = &self.disk_cache
            && !self.loss.is_raised()
        {
            cache.save();
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.context.name)
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}

fn sizes_dispatches(adapter: &wgpu::Adapter) -> bool {
    adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::INDIRECT_EXECUTION)
}

/// Locks even where another thread panicked while holding the lock: every critical section here leaves its data
/// whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
