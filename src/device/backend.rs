//! Who performs work: the definition, the processor's threads or a GPU, and what becomes of work that a GPU fails at.
//!
//! Work on a GPU survives, in every slice, one loss of the device, and a few times too little memory; then the CPU goes on
//! where the device may fall back. A slice hands out results only of what is done: a window, a query, a whole block. What an
//! attempt left undone is done by the next one, or by the CPU.

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use super::{Choice, Device};
use crate::error::{Error, Result};

#[cfg(feature = "gpu")]
use super::Gpu;

/// Most threads that a selector may ask for; more is a typing error, not a machine.
const MAX_THREADS: usize = 4096;
/// How often work is tried again with half the device memory.
#[cfg(feature = "gpu")]
const HALVINGS: usize = 3;

/// What a workload expects to cost, as `auto` needs it to choose.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "without a GPU there is nothing to choose"))]
pub(crate) struct Prediction {
    /// Floating-point operations of all passes.
    pub(crate) flops: f64,
    /// Bytes to bring to the device.
    pub(crate) upload_bytes: f64,
}

/// The backend that performs a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend<'a> {
    /// The formula in f64, plain loops.
    Reference,
    /// The fast path on the processor.
    Cpu(&'a CpuPool),
    /// The fast path on a GPU.
    #[cfg(feature = "gpu")]
    Gpu(&'a Gpu),
}

impl Backend<'_> {
    /// The backend in words, as [`Device::name`] gives them.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Reference => "reference".into(),
            Self::Cpu(pool) => pool.name(),
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => gpu.name(),
        }
    }
}

impl Device {
    /// Who performs work of this size: `self`, or for `auto` whoever is predicted to end first.
    pub(crate) fn resolve(&self, predicted: &Prediction) -> Backend<'_> {
        #[cfg(not(feature = "gpu"))]
        let _ = predicted;
        match &self.choice {
            Choice::Reference => Backend::Reference,
            Choice::Cpu => Backend::Cpu(&self.pool),
            #[cfg(feature = "gpu")]
            Choice::Gpu(gpu) => Backend::Gpu(gpu),
            #[cfg(feature = "gpu")]
            Choice::Auto(found) => {
                // Small work must not even wait for a driver to load.
                let gpu = predicted
                    .favours_gpu(self.pool.threads())
                    .then(|| found.get_or_init(|| self.find()).as_ref());
                gpu.flatten().map_or(Backend::Cpu(&self.pool), Backend::Gpu)
            }
        }
    }

    /// This device's processor, whatever performs its work.
    pub(crate) fn processor(&self) -> Backend<'_> {
        Backend::Cpu(&self.pool)
    }

    /// Runs `work` on this device, and where a GPU fails for good and this device falls back, all of it once more on the CPU:
    /// for work whose parts are to be of one device. Also names the CPU then.
    pub(crate) fn all_on_one<R>(&self, work: impl Fn(&Self) -> Result<R>) -> Result<(R, Option<String>)> {
        let outcome = work(&self.clone().without_fallback());
        #[cfg(feature = "gpu")]
        if let Err(error) = &outcome
            && let Some(gpu) = self.opened_gpu()
            && self.falls_back_after(error)
        {
            return Ok((work(&self.without_gpu())?, Some(self.cpu_after(gpu))));
        }
        Ok((outcome?, None))
    }

    /// The threads that do the host's part of any work. Each entry to work asks here first: later nothing could tell that
    /// none can be started.
    pub(crate) fn host_pool(&self) -> Result<CpuPool> {
        match &self.pool.own {
            None if !is_in_a_pool() => match shared() {
                None => Ok(CpuPool::default()),
                Some(reason) => Err(no_threads("cpu".into(), reason.to_owned())),
            },
            _ => Ok(self.pool.clone()),
        }
    }

    /// Whether this is the definition of every result.
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self.choice, Choice::Reference)
    }
}

#[cfg(feature = "gpu")]
impl Gpu {
    /// Runs `work`; it is told how many attempts failed before. After a loss the device is opened again, once; where
    /// memory runs out the next attempt may use half as much. Nothing that lived on the device before a failed
    /// attempt may be used after it.
    ///
    /// # Errors
    /// Those of the last attempt. Where less memory is too little for the work, that of the attempt before: the device is
    /// full, and the work is not too large.
    pub(crate) fn persist<R>(&self, mut work: impl FnMut(&Gpu, usize) -> Result<R>) -> Result<R> {
        let mut gpu = self.clone();
        let (mut halvings, mut losses) = (0, 0);
        let mut full = None;
        loop {
            match work(&gpu, halvings + losses) {
                Err(Error::DeviceLost { reason, .. }) if losses == 0 => {
                    tracing::warn!(device = gpu.name(), reason, "device lost; opening it again");
                    losses += 1;
                    gpu.recreate()?;
                }
                Err(error @ Error::DeviceMemory { .. }) if halvings < HALVINGS => {
                    tracing::warn!(device = gpu.name(), %error, "trying again with half the memory");
                    halvings += 1;
                    gpu = gpu.with_half_the_memory();
                    full = Some(error);
                }
                Err(Error::TooLarge { .. }) if let Some(error) = full.take() => return Err(error),
                outcome => return outcome,
            }
        }
    }
}

#[cfg(feature = "gpu")]
impl Device {
    /// Runs `on_gpu` as [`Gpu::persist`] does. Where the GPU fails all the same and this device falls back, the CPU does
    /// the work. Also says what did it.
    pub(crate) fn on_gpu_or_cpu<R>(
        &self,
        gpu: &Gpu,
        on_gpu: impl FnMut(&Gpu, usize) -> Result<R>,
        on_cpu: impl FnOnce() -> Result<R>,
    ) -> Result<(R, String)> {
        match gpu.persist(on_gpu) {
            Err(error) if self.falls_back_after(&error) => Ok((on_cpu()?, self.cpu_after(gpu))),
            outcome => Ok((outcome?, gpu.name())),
        }
    }

    /// Whether the CPU goes on after `error`, which a GPU had for good. The log says that it does.
    pub(crate) fn falls_back_after(&self, error: &Error) -> bool {
        let falls_back = self.falls_back && error.is_of_device();
        if falls_back {
            tracing::warn!(%error, "the GPU failed; the CPU takes over");
        }
        falls_back
    }

    /// The CPU in words, where it went on after `gpu` failed.
    pub(crate) fn cpu_after(&self, gpu: &Gpu) -> String {
        format!("{} (after {} failed)", self.pool.name(), gpu.name())
    }

    /// This device as an attempt of [`Device::on_gpu_or_cpu`] sees it: `gpu` with what memory it may use.
    pub(crate) fn with_gpu(&self, gpu: &Gpu) -> Self {
        Self { choice: Choice::Gpu(gpu.clone()), falls_back: false, ..self.clone() }
    }

    /// This device's CPU path alone.
    pub(crate) fn without_gpu(&self) -> Self {
        Self { choice: Choice::Cpu, falls_back: false, ..self.clone() }
    }
}

impl Prediction {
    /// Whether a GPU is expected to end before `threads` threads do: upload at 8 GB/s, 1 TFLOP/s and 20 ms to get
    /// going, against 50 GFLOP/s per thread.
    #[cfg(feature = "gpu")]
    pub(super) fn favours_gpu(&self, threads: usize) -> bool {
        let gpu_seconds = self.upload_bytes / 8e9 + self.flops / 1e12 + 0.02;
        gpu_seconds < self.flops / (50e9 * threads as f64)
    }
}

/// Why rayon's global pool has no threads, where that is so. Whoever asks first starts it.
fn shared() -> Option<&'static str> {
    static SHARED: OnceLock<Option<String>> = OnceLock::new();
    SHARED.get_or_init(|| start_shared().err()).as_deref()
}

/// Starts rayon's global pool, with fewer threads where the system starts no more. Rayon itself would make the pool first
/// and give up at the first thread that does not start; the process could then never have a global pool, and each use of it
/// would panic. So threads are started first, and wait for their part of the pool.
fn start_shared() -> std::result::Result<(), String> {
    let (parts, waiting) = mpsc::channel::<rayon::ThreadBuilder>();
    let waiting = Arc::new(Mutex::new(waiting));
    let wait = || {
        let waiting = Arc::clone(&waiting);
        move || {
            let part = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            drop(waiting);
            // Without one this thread is one too many.
            if let Ok(part) = part {
                part.run();
            }
        }
    };
    let wanted = wanted_threads();
    let mut refused = None;
    let mut threads = 0;
    while threads < wanted && refused.is_none() {
        match std::thread::Builder::new().spawn(wait()) {
            Ok(_) => threads += 1,
            Err(error) => refused = Some(error.to_string()),
        }
    }
    if let Some(reason) = &refused {
        // Half of the room is for what else the process starts.
        threads = threads.div_ceil(2);
        if threads > 0 {
            tracing::warn!(threads, reason, "the system starts no more threads");
        }
    }
    let give = |part| parts.send(part).map_err(|_| std::io::ErrorKind::BrokenPipe.into());
    let built = match threads {
        0 => rayon::ThreadPoolBuilder::new().num_threads(1).build_global(),
        _ => rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(give).build_global(),
    };
    match built {
        // Without a source: the process has set it up before, or just now.
        Err(error) if error.source().is_some() => Err(refused.unwrap_or_else(|| error.to_string())),
        _ => Ok(()),
    }
}

/// As many threads as rayon would start.
fn wanted_threads() -> usize {
    let named = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let wanted = named.filter(|&threads| threads > 0);
    let wanted = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    wanted.min(rayon::max_num_threads())
}

/// Whether the calling thread belongs to a pool, whose threads then do what it asks for.
fn is_in_a_pool() -> bool {
    rayon::current_thread_index().is_some()
}

fn no_threads(selector: String, reason: String) -> Error {
    Error::Device { selector, expected: "threads that can be started".into(), got: reason }
}

/// A pool of its own, or the shared one: rayon's global pool.
#[derive(Clone, Default)]
pub(crate) struct CpuPool {
    own: Option<Arc<rayon::ThreadPool>>,
}

impl CpuPool {
    /// Exactly `threads` threads.
    pub(super) fn with_threads(threads: usize) -> Result<Self> {
        if threads == 0 || threads > MAX_THREADS {
            return Err(Error::parameter("threads", format!("1 to {MAX_THREADS}"), threads));
        }
        let named = |at| format!("tilefold-{at}");
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build();
        let pool = built.map_err(|error| no_threads(format!("cpu:{threads}"), error.to_string()))?;
        Ok(Self { own: Some(Arc::new(pool)) })
    }

    /// The threads in words.
    pub(super) fn name(&self) -> String {
        match self.threads() {
            1 => "cpu (1 thread)".into(),
            threads => format!("cpu ({threads} threads)"),
        }
    }

    /// How many threads work.
    pub(crate) fn threads(&self) -> usize {
        match &self.own {
            Some(pool) => pool.current_num_threads(),
            None if is_in_a_pool() => rayon::current_num_threads(),
            None => match shared() {
                None => rayon::current_num_threads(),
                Some(_) => 1,
            },
        }
    }

    /// Runs `work` where rayon's parallel calls use these threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.own {
            Some(pool) => install(pool, work),
            None => {
                if !is_in_a_pool() {
                    shared();
                }
                work()
            }
        }
    }
}

/// Hands the pool one type of work, whatever is to be done: it compiles a queue, a job and a latch for each type.
fn install<R: Send>(pool: &rayon::ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let (mut work, mut done) = (Some(work), None);
    let mut once = || done = work.take().map(|work| work());
    let once: &mut (dyn FnMut() + Send) = &mut once;
    pool.install(once);
    done.unwrap_or_else(|| unreachable!("the pool has performed its work"))
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool").field("threads", &self.threads()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_the_threads_it_was_asked_for() {
        for threads in [1, 3] {
            let pool = CpuPool::with_threads(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            assert_eq!(pool.install(rayon::current_num_threads), threads);
        }
        assert_eq!(CpuPool::default().threads(), rayon::current_num_threads());
    }

    #[test]
    fn no_threads_and_absurdly_many_are_refused() {
        for threads in [0, MAX_THREADS + 1, usize::MAX] {
            let message = CpuPool::with_threads(threads).unwrap_err().to_string();
            assert!(message.contains("threads") && message.contains(&threads.to_string()), "{message}");
        }
    }
}
