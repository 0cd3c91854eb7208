//! Devices: what work runs on, and everything that knows wgpu.
//!
//! A [`Device`] is one of three backends, or `auto`, which decides between CPU and GPU once it knows how much work
//! there is (`backend`). Inside the crate a GPU is a `Gpu`: buffers from a pool under a budget, kernels compiled once, work
//! recorded in a `Batch`, every call under error scopes.

mod adapters;
mod backend;
mod counters;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod limits;
#[cfg(any(feature = "gpu", test))]
mod selector;

#[cfg(feature = "gpu")]
use std::sync::{Arc, OnceLock};

pub use adapters::{Adapter, DeviceType, adapters};
pub use counters::Counters;
#[cfg(all(feature = "gpu", any(test, feature = "test-hooks")))]
#[doc(hidden)]
pub use gpu::faults::Fault;
pub use limits::{Limits, MatrixUnits};
/// The wgpu that [`Device::from_wgpu`] takes devices of.
#[cfg(feature = "gpu")]
pub use wgpu;
/// What callers of `record` functions hand over.
#[cfg(feature = "gpu")]
pub use wgpu::{Buffer as RawBuffer, CommandEncoder};

pub(crate) use backend::{Backend, CpuPool, Prediction};
#[cfg(feature = "gpu")]
pub(crate) use gpu::{
    Arena, Batch, DeviceBuffer, Encoded, Gpu, MOST_DISPATCHES, Pacer, Pipeline, Program, Sent, Slice, Stage,
};

use crate::error::{Error, Result};
use limits::{Caps, MatrixUse};

/// What work runs on. Clones are cheap and share the device.
///
/// ```
/// let device = tilefold::Device::cpu_with_threads(2)?;
/// assert_eq!(device.name(), "cpu (2 threads)");
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Device {
    choice: Choice,
    caps: Caps,
    /// The threads of the CPU path, and of the host's part of work on a GPU.
    pool: CpuPool,
    /// Whether the CPU goes on with work that fails on a GPU.
    #[cfg(feature = "gpu")]
    falls_back: bool,
}

#[derive(Clone, Debug)]
enum Choice {
    Reference,
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
    #[cfg(feature = "gpu")]
    Auto(Arc<OnceLock<Option<Gpu>>>),
}

impl Device {
    /// The best hardware GPU (discrete before integrated before others, never a software driver) for work that is
    /// large enough to pay for the upload, else the CPU path. The GPU is looked for once, at the first need. Where it
    /// fails for good the CPU goes on, and the result's `device` says so: see [`Device::without_fallback`].
    pub fn auto() -> Self {
        #[cfg(feature = "gpu")]
        return Self { falls_back: true, ..Self::new(Choice::Auto(Arc::default())) };
        #[cfg(not(feature = "gpu"))]
        return Self::cpu();
    }

    /// The CPU path on all threads: rayon's global pool, which is smaller where the system starts fewer threads. Work is
    /// [`Error::Device`] where it starts none.
    pub fn cpu() -> Self {
        Self::new(Choice::Cpu)
    }

    /// The CPU path on exactly `threads` threads of its own.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0 or absurdly many threads, [`Error::Device`] where they cannot be started.
    pub fn cpu_with_threads(threads: usize) -> Result<Self> {
        Self::cpu().with_threads(threads)
    }

    /// The same device with exactly `threads` threads of its own for the CPU path and for the host's part of work on a
    /// GPU, instead of rayon's global pool. A process that forks needs this: threads of a pool do not exist in the child.
    ///
    /// # Errors
    /// As [`Device::cpu_with_threads`].
    pub fn with_threads(self, threads: usize) -> Result<Self> {
        Ok(Self { pool: CpuPool::with_threads(threads)?, ..self })
    }

    /// The definition of every result: f64, plain loops on one thread, slow.
    pub fn reference() -> Self {
        Self::new(Choice::Reference)
    }

    /// The GPU that `selector` names: an index in [`adapters()`], a backend or an index within it (`vulkan`,
    /// `vulkan:0`), a PCI bus id, part of the name in any case, or "" for the best adapter. Unlike
    /// [`Device::auto`] this takes software drivers too.
    ///
    /// # Errors
    /// [`Error::Device`] where none matches (it lists what exists) or the adapter cannot be opened.
    #[cfg(feature = "gpu")]
    pub fn gpu(selector: &str) -> Result<Self> {
        Ok(Self::new(Choice::Gpu(Gpu::open(selector)?)))
    }

    /// The device that `text` names: `auto`, `cpu`, `cpu:4` (threads), `reference`, `gpu` (the best adapter), or a
    /// selector of `Device::gpu`. With `+matrix` or `-matrix` behind it, see [`Device::with_matrix_units`].
    ///
    /// # Errors
    /// [`Error::Device`] where nothing matches; it lists what exists.
    pub fn select(text: &str) -> Result<Self> {
        let word = text.trim().to_lowercase();
        for (suffix, wanted) in [("+matrix", true), ("-matrix", false)] {
            if let Some(rest) = word.strip_suffix(suffix) {
                return Ok(Self::select(rest)?.with_matrix_units(wanted));
            }
        }
        if let Some(threads) = word.strip_prefix("cpu:") {
            let threads = threads.parse().map_err(|_| Error::Device {
                selector: text.chars().take(40).collect(),
                expected: "cpu:THREADS, such as cpu:4".into(),
                got: "no number of threads".into(),
            })?;
            return Self::cpu_with_threads(threads);
        }
        match word.as_str() {
            "auto" => Ok(Self::auto()),
            "cpu" => Ok(Self::cpu()),
            "reference" => Ok(Self::reference()),
            _ => Self::select_gpu(text, &word),
        }
    }

    #[cfg(feature = "gpu")]
    fn select_gpu(text: &str, word: &str) -> Result<Self> {
        if word.is_empty() {
            return Err(Error::Device {
                selector: String::new(),
                expected: "auto, cpu, cpu:THREADS, reference, gpu or an adapter".into(),
                got: "an empty selector".into(),
            });
        }
        Self::gpu(if word == "gpu" { "" } else { text })
    }

    #[cfg(not(feature = "gpu"))]
    fn select_gpu(text: &str, _word: &str) -> Result<Self> {
        Err(Error::Device {
            selector: text.chars().take(40).collect(),
            expected: "auto, cpu, cpu:THREADS or reference".into(),
            got: "a build without the feature `gpu`".into(),
        })
    }

    /// A device that the caller opened and goes on using. Its callbacks for errors and losses stay the caller's, and
    /// it is never re-created.
    ///
    /// # Errors
    /// [`Error::Device`] where the device cannot run this crate's kernels.
    #[cfg(feature = "gpu")]
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Ok(Self::new(Choice::Gpu(Gpu::from_wgpu(adapter, device, queue)?)))
    }

    /// The device in words: `cpu (2 threads)`, `reference`, `llvmpipe (LLVM 21.1.8, 256 bits) [vulkan]`. For
    /// `auto` this looks for the GPU and names what large work will run on.
    pub fn name(&self) -> String {
        match &self.choice {
            Choice::Reference => "reference".into(),
            Choice::Cpu => self.pool.name(),
            #[cfg(feature = "gpu")]
            Choice::Gpu(gpu) => gpu.name(),
            #[cfg(feature = "gpu")]
            Choice::Auto(found) => {
                let gpu = found.get_or_init(|| self.find()).as_ref();
                format!("auto: {}", gpu.map_or_else(|| self.pool.name(), Gpu::name))
            }
        }
    }

    /// The same device holding at most `bytes` of device memory. Work that needs more is cut into windows, or
    /// refused with [`Error::TooLarge`]. The CPU path has no such memory and ignores it.
    pub fn with_memory_budget(self, bytes: u64) -> Self {
        let caps = Caps { memory_bytes: Some(bytes), ..self.caps };
        self.with_caps(caps)
    }

    /// The same device binding at most `bytes` of rows at once. The results are the same bits.
    pub fn with_window_bytes(self, bytes: u64) -> Self {
        let caps = Caps { window_bytes: Some(bytes), ..self.caps };
        self.with_caps(caps)
    }

    /// The same device with matrix units used wherever it has any (`true`) or nowhere (`false`). By default they are used
    /// on hardware, where tiles are large enough to pay. Their `f16` products only screen: labels and neighbours are the
    /// same. Nothing on the CPU.
    pub fn with_matrix_units(self, wanted: bool) -> Self {
        let matrix = if wanted { MatrixUse::Always } else { MatrixUse::Never };
        let caps = Caps { matrix, ..self.caps };
        self.with_caps(caps)
    }

    /// The same device, whose work on a GPU ends with the error that the GPU has. Without this, the CPU goes on with what
    /// `auto` chose a GPU for and the GPU failed; the result's `device` says so. Nothing for all other devices.
    pub fn without_fallback(self) -> Self {
        #[cfg(feature = "gpu")]
        return Self { falls_back: false, ..self };
        #[cfg(not(feature = "gpu"))]
        return self;
    }

    /// Frees the device memory that finished work left for later work to reuse. Nothing on the CPU.
    pub fn release_idle_memory(&self) {
        #[cfg(feature = "gpu")]
        if let Some(gpu) = self.opened_gpu() {
            gpu.trim();
        }
    }

    /// What was asked of the GPU so far: see [`Counters`]. `None` for other devices, and for `auto` before it looked for a GPU.
    pub fn counters(&self) -> Option<Counters> {
        #[cfg(feature = "gpu")]
        return self.opened_gpu().map(Gpu::counters);
        #[cfg(not(feature = "gpu"))]
        return None;
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn opened_gpu(&self) -> Option<&Gpu> {
        match &self.choice {
            Choice::Gpu(gpu) => Some(gpu),
            Choice::Auto(found) => found.get()?.as_ref(),
            Choice::Reference | Choice::Cpu => None,
        }
    }

    fn new(choice: Choice) -> Self {
        Self {
            choice,
            caps: Caps::default(),
            pool: CpuPool::default(),
            #[cfg(feature = "gpu")]
            falls_back: false,
        }
    }

    #[cfg(not(feature = "gpu"))]
    fn with_caps(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    #[cfg(feature = "gpu")]
    fn with_caps(self, caps: Caps) -> Self {
        let choice = match self.choice {
            Choice::Gpu(gpu) => Choice::Gpu(gpu.with_caps(caps)),
            Choice::Auto(found) => {
                // What was found already is kept; what is still to be found gets the caps then.
                let known = found.get().map(|gpu| gpu.clone().map(|gpu| gpu.with_caps(caps)));
                Choice::Auto(Arc::new(known.map_or_else(OnceLock::new, OnceLock::from)))
            }
            other => other,
        };
        Self { choice, caps, ..self }
    }

    /// The GPU of `auto`, under this device's caps.
    #[cfg(feature = "gpu")]
    fn find(&self) -> Option<Gpu> {
        let gpu = Gpu::open_best_hardware()?.with_caps(self.caps);
        tracing::info!(device = gpu.name(), "auto found a GPU");
        Some(gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_shared_between_threads() {
        fn is_shared<T: Send + Sync + Clone>(_: &T) {}
        is_shared(&Device::cpu());
    }

    #[test]
    #[cfg(not(feature = "gpu"))]
    fn without_the_gpu_path_gpus_are_refused_and_auto_is_the_cpu() {
        assert!(adapters().is_empty());
        for text in ["gpu", "0", "vulkan:0"] {
            let message = Device::select(text).unwrap_err().to_string();
            assert!(message.contains("without the feature"), "{message}");
        }
        assert!(Device::auto().name().starts_with("cpu ("));
    }

    #[test]
    fn cpu_and_reference_are_selected_by_text() {
        assert_eq!(Device::select(" CPU:3 ").unwrap().name(), "cpu (3 threads)");
        assert_eq!(Device::select("cpu:1").unwrap().name(), "cpu (1 thread)");
        assert_eq!(Device::select("cpu:1-matrix").unwrap().caps.matrix, MatrixUse::Never);
        assert_eq!(Device::select("CPU:1+Matrix").unwrap().caps.matrix, MatrixUse::Always);
        assert_eq!(Device::select("cpu:1").unwrap().caps.matrix, MatrixUse::WherePaying);
        assert_eq!(Device::select("reference").unwrap().name(), "reference");
        assert!(Device::select("cpu").unwrap().name().starts_with("cpu ("));
        for text in ["cpu:", "cpu:0", "cpu:many", "cpu:-1", "", "  "] {
            let message = Device::select(text).unwrap_err().to_string();
            assert!(message.contains("cpu:") || message.contains("threads"), "{text:?}: {message}");
        }
        let nothing = Prediction { flops: 0.0, upload_bytes: 0.0 };
        assert!(matches!(Device::reference().resolve(&nothing), Backend::Reference));
        let cpu = Device::cpu_with_threads(2).unwrap().with_memory_budget(1);
        assert!(matches!(cpu.resolve(&nothing), Backend::Cpu(pool) if pool.threads() == 2));
    }
}
