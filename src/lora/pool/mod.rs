//! Adapters in device memory: paged, under a byte budget, leased to the batches in flight.
//!
//! A [`Pool`] is made for the modules of one model. Adapters are registered by name, thousands of them; a budget's
//! worth is resident. A [`Lease`] keeps its adapters resident until it is dropped: what a batch in flight uses is never
//! evicted, replaced or moved. Registering a name again makes a new generation; leases keep the one they have.
//!
//! Weights lie in pages: a rank vector (a row of A, a column of B) is a list of pages, so any mix of ranks fills the
//! budget without gaps, and pieces that adapters share ([`Shards`](super::Shards)) are there once. Pages of one layer
//! lie in one slab, so that a launch binds one buffer.

#[cfg(feature = "gpu")]
mod bank;
mod image;
mod layout;
mod lease;
mod load;
mod params;
mod space;
mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "gpu")]
pub(crate) use bank::Bank;
pub(crate) use image::Operand;
#[cfg(feature = "gpu")]
pub(crate) use layout::DESCRIPTOR_WORDS;
pub use lease::Lease;
pub use params::{Group, MOST_PROJECTIONS, PoolParams};
pub use state::PoolStats;

use super::factors::Adapter;
use crate::device::{Backend, Device, Limits, Prediction};
use crate::error::{Error, Result};
use layout::Layout;
use state::{Entry, State};

/// Adapters by name, a budget's worth of them in device memory. Clones share the pool.
///
/// Where the GPU is lost, the pool forgets what lay there and answers `DeviceLost` to those whose step the loss ended and
/// to the leases of before. The next lease opens the device again, as often as [`Device`] allows, and loads anew. Where the
/// GPU fails for good and the device is `auto`, leases from then on are on the CPU, and [`Pool::device_name`] says so.
///
/// ```
/// use tilefold::lora::{Adapter, Factors, Group, Module, Pool, PoolParams, Routes};
/// use ndarray::array;
///
/// let module = Module { name: "up_proj".into(), inputs: 2, outputs: 3 };
/// let params = PoolParams::new(vec![Group::new("up", vec![module])]).budget_bytes(1 << 20);
/// let pool = Pool::new(&tilefold::Device::cpu(), params)?;
/// let (a, b) = (array![[1.0_f32, 2.0]], array![[1.0_f32], [0.0], [-1.0]]);
/// pool.register("mine", Adapter::single("up_proj", Factors::new(a.view(), b.view(), 0.5)?))?;
///
/// let lease = pool.lease(&["mine"])?;
/// let step = lease.step(&Routes::of_slots([Some(0), None]))?;
/// let x = array![[1.0_f32, 1.0], [1.0, 1.0]];
/// let mut y = array![[0.0_f32, 0.0, 0.0], [7.0, 7.0, 7.0]];
/// step.apply(0, x.view(), &mut [y.view_mut()])?;
/// assert_eq!(y, array![[1.5, 0.0, -1.5], [7.0, 7.0, 7.0]]);
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: Device,
    params: PoolParams,
    layout: Layout,
    state: Mutex<State>,
    /// Told whenever a load ends.
    loaded: Condvar,
}

/// Where an adapter comes from.
type Source = Arc<dyn Fn() -> Result<Adapter> + Send + Sync>;

impl Pool {
    /// An empty pool on `device`; `auto` takes the GPU where there is one.
    ///
    /// # Errors
    /// [`Error::Parameter`] for groups without modules, of different inputs or with more than 8 modules;
    /// [`Error::TooLarge`] where the budget holds no page or the device cannot give it.
    pub fn new(device: &Device, params: PoolParams) -> Result<Self> {
        params.check()?;
        device.host_pool()?;
        let backend = backend(device);
        let limits = match &backend {
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => gpu.limits(),
            _ => Limits::of_host(),
        };
        // The kernels are written for what every device of the last ten years has.
        let has = [limits.max_invocations_per_workgroup, limits.workgroup_storage_bytes];
        if has[0] < 256 || has[1] < 16_384 {
            return Err(Error::Device {
                selector: backend.name(),
                expected: "256 invocations and 16384 bytes per workgroup".into(),
                got: format!("{} invocations and {} bytes", has[0], has[1]),
            });
        }
        let layout = Layout::new(&params, &limits)?;
        let state = Mutex::new(State::new(&layout));
        let shared = Shared { device: device.clone(), params, layout, state, loaded: Condvar::new() };
        shared.persist(|| {
            #[cfg(feature = "gpu")]
            shared.revive(&mut shared.lock())?;
            Ok(())
        })?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes `adapter` known as `name`. A name that is known gets a new generation: later leases get the new adapter,
    /// leases that exist keep the old one. Returns the generation, counted from 1 over all names.
    ///
    /// # Errors
    /// [`Error::Parameter`] and [`Error::Shape`] where the adapter does not fit the pool's modules or types;
    /// [`Error::TooLarge`] where it alone exceeds the budget. The pool then stays as it was.
    pub fn register(&self, name: &str, adapter: Adapter) -> Result<u64> {
        // Thousands may be registered: what is made ready here is made again when it is needed.
        self.shared.image(name, &adapter)?;
        Ok(self.register_source(name, move || Ok(adapter.clone())))
    }

    /// As [`Pool::register`], for an adapter that is read anew whenever it is loaded, so that thousands may be
    /// registered without being in memory. What `source` gives is checked then: leases tell its errors.
    pub fn register_source(
        &self,
        name: &str,
        source: impl Fn() -> Result<Adapter> + Send + Sync + 'static,
    ) -> u64 {
        let source: Source = Arc::new(source);
        let mut state = self.shared.lock();
        state.generations += 1;
        let generation = state.generations;
        let is_pinned = state.entries.get(name).is_some_and(|entry| entry.is_pinned);
        let entry = Entry { generation, source, failure: None, is_loading: false, is_pinned };
        state.entries.insert(name.to_owned(), entry);
        state.free_orphans();
        drop(state);
        // Who waits for the old registration need not.
        self.shared.loaded.notify_all();
        generation
    }

    /// Forgets `name`. Leases keep what they have.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the name is not known.
    pub fn unregister(&self, name: &str) -> Result<()> {
        let mut state = self.shared.lock();
        state.entries.remove(name).ok_or_else(|| unknown(name))?;
        state.free_orphans();
        drop(state);
        self.shared.loaded.notify_all();
        Ok(())
    }

    /// Keeps `name` resident once it is, or no longer.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the name is not known.
    pub fn pin(&self, name: &str, is_pinned: bool) -> Result<()> {
        let mut state = self.shared.lock();
        state.entries.get_mut(name).ok_or_else(|| unknown(name))?.is_pinned = is_pinned;
        Ok(())
    }

    /// Takes `name` out of device memory, unless a lease has it; it stays registered. Says whether it is out.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the name is not known.
    pub fn unload(&self, name: &str) -> Result<bool> {
        let mut state = self.shared.lock();
        let generation = state.entries.get(name).ok_or_else(|| unknown(name))?.generation;
        Ok(state.unload(generation))
    }

    /// Loads adapters in the background, in this order: those of the waiting requests. Unknown names and failures
    /// are told by the lease that asks for them.
    pub fn prefetch(&self, names: &[&str]) {
        self.shared.prefetch(names);
    }

    /// Leases adapters, loading those that are not resident: slot `i` of the lease is `names[i]`. Waits for loads
    /// that are under way.
    ///
    /// # Errors
    /// [`Error::Parameter`] for unknown names and for more adapters than may be resident, [`Error::TooLarge`] where
    /// they do not fit beside what other leases hold and what is pinned, and whatever reading an adapter gives. The
    /// pool then stays as it was. [`Error::DeviceLost`] where the device was lost for good and the CPU does not go on.
    pub fn lease(&self, names: &[&str]) -> Result<Lease> {
        Lease::new(&self.shared, names)
    }

    /// As [`Pool::lease`] if all are resident now; else starts loading those that are not, and returns `None`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for unknown names, and why an earlier load of one of them failed.
    pub fn try_lease(&self, names: &[&str]) -> Result<Option<Lease>> {
        Lease::try_new(&self.shared, names)
    }

    /// Whether `name` is resident in its present generation.
    pub fn is_resident(&self, name: &str) -> bool {
        let state = self.shared.lock();
        state.entries.get(name).is_some_and(|entry| state.resident(entry.generation).is_some())
    }

    /// What happened so far.
    pub fn stats(&self) -> PoolStats {
        self.shared.lock().stats(&self.shared.layout)
    }

    /// The groups of modules that the pool was made for.
    pub fn groups(&self) -> &[Group] {
        &self.shared.params.groups
    }

    /// The device in words.
    pub fn device_name(&self) -> String {
        let device = &self.shared.device;
        match backend(device) {
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) if self.shared.lock().fell_back => device.cpu_after(gpu),
            backend => backend.name(),
        }
    }
}

impl Shared {
    /// Runs `work`, which begins anew where the GPU fails, as all work on one; on the host once it failed for good and the
    /// device falls back.
    fn persist<R>(&self, mut work: impl FnMut() -> Result<R>) -> Result<R> {
        #[cfg(feature = "gpu")]
        if let Backend::Gpu(gpu) = backend(&self.device)
            && !self.lock().fell_back
        {
            match gpu.persist(|_, _| work()) {
                Err(error) if self.device.falls_back_after(&error) => self.lock().fall_back(&self.layout),
                outcome => return outcome,
            }
        }
        work()
    }

    /// Every critical section leaves the state whole at each step, so a panic elsewhere does not spoil it. What was
    /// on a device that is gone is forgotten before anyone looks.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.current(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until some load ends.
    fn wait<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.current(self.loaded.wait(state).unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg_attr(not(feature = "gpu"), expect(clippy::unused_self, reason = "the host is never lost"))]
    fn current<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        #[cfg(feature = "gpu")]
        let state = {
            let mut state = state;
            state.forget_lost(&self.layout);
            state
        };
        state
    }
}

/// Who performs the work of a pool on `device`: weights stay there, so `auto` takes a GPU where there is one.
pub(crate) fn backend(device: &Device) -> Backend<'_> {
    // Nothing that the CPU could do outweighs weights that are there already.
    device.resolve(&Prediction { flops: 0.0, upload_bytes: f64::NEG_INFINITY })
}

fn unknown(name: &str) -> Error {
    Error::parameter("name", "an adapter that is registered", format!("{name:?}"))
}
