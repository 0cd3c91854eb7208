//! Device memory: buffers asked from a budget and pooled by size class.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::{Context, Gpu, Live, lock};
use super::flight::Mapping;
use crate::error::{Error, Result};

/// What a raw buffer is for; each kind is pooled apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Read and written by kernels; counts against the budget.
    Storage,
    /// Sizes of dispatches, which kernels may write.
    Sizes,
    /// Parameter slots of one batch.
    Uniform,
    /// Mapped by the host to read results.
    Staging,
    /// Mapped by the host to write what the device then copies.
    Upload,
    /// Receives the ticks of timestamps.
    Ticks,
}

impl Kind {
    fn usage(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as Usage;
        match self {
            Self::Storage => Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            Self::Sizes => Usage::STORAGE | Usage::INDIRECT | Usage::COPY_SRC | Usage::COPY_DST,
            Self::Uniform => Usage::UNIFORM | Usage::COPY_DST,
            Self::Staging => Usage::MAP_READ | Usage::COPY_DST,
            Self::Upload => Usage::MAP_WRITE | Usage::COPY_SRC,
            Self::Ticks => Usage::QUERY_RESOLVE | Usage::COPY_SRC,
        }
    }
}

/// Largest staging buffer that waits for reuse: it is host memory that nothing else would free.
const MAX_IDLE_STAGING_BYTES: u64 = 64 << 20;

/// A buffer that waits for reuse.
#[derive(Debug)]
struct Idle {
    raw: wgpu::Buffer,
    mapping: Mapping,
}

/// Buffers that wait for reuse, and what exists.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: BTreeMap<(Kind, u64), Vec<Idle>>,
    idle_storage_bytes: u64,
    leased_storage_bytes: u64,
    leased: u64,
}

impl Pool {
    /// Buffers handed out.
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn leased(&self) -> u64 {
        self.leased
    }

    /// Bytes that kernels' buffers hold.
    pub(crate) fn leased_storage_bytes(&self) -> u64 {
        self.leased_storage_bytes
    }

    /// Frees what waits for reuse.
    pub(crate) fn trim(&mut self) {
        self.idle.clear();
        self.idle_storage_bytes = 0;
    }

    fn take(&mut self, kind: Kind, capacity: u64) -> Option<Idle> {
        let idle = self.idle.get_mut(&(kind, capacity))?.pop()?;
        if kind == Kind::Storage {
            self.idle_storage_bytes -= capacity;
        }
        Some(idle)
    }

    fn put(&mut self, kind: Kind, capacity: u64, idle: Idle) {
        if kind == Kind::Storage {
            self.idle_storage_bytes += capacity;
        }
        self.idle.entry((kind, capacity)).or_default().push(idle);
    }

    /// Books `capacity` bytes, freeing idle buffers where that makes room.
    fn book(&mut self, kind: Kind, capacity: u64, budget: u64) -> bool {
        if kind == Kind::Storage {
            let Some(leased) = self.leased_storage_bytes.checked_add(capacity).filter(|b| *b <= budget)
            else {
                return false;
            };
            self.leased_storage_bytes = leased;
            let reuses = self.idle.get(&(kind, capacity)).is_some_and(|list| !list.is_empty());
            if !reuses && leased + self.idle_storage_bytes > budget {
                self.trim();
            }
        }
        self.leased += 1;
        true
    }

    fn unbook(&mut self, kind: Kind, capacity: u64) {
        if kind == Kind::Storage {
            self.leased_storage_bytes -= capacity;
        }
        self.leased -= 1;
    }
}

/// The next multiple of an eighth of its power of two, at least 256: at most an eighth is wasted, and sizes that are
/// close share a class.
fn size_class(bytes: u64) -> u64 {
    if bytes <= 256 {
        return 256;
    }
    let step = (1_u64 << bytes.ilog2()) / 8;
    bytes.div_ceil(step).saturating_mul(step)
}

/// A raw buffer on loan from the pool; it returns there when dropped.
pub(crate) struct Lease {
    pub(crate) live: Arc<Live>,
    pub(crate) raw: wgpu::Buffer,
    kind: Kind,
    capacity: u64,
    is_spoilt: AtomicBool,
    /// Whether the host has it; a mutex only because buffers are shared between threads.
    mapping: Mutex<Mapping>,
}

impl Lease {
    /// A buffer of at least `bytes`. Its contents are unspecified.
    pub(crate) fn new(
        context: &Context,
        live: &Arc<Live>,
        kind: Kind,
        label: &'static str,
        bytes: u64,
        budget: u64,
    ) -> Result<Self> {
        const OPERATION: &str = "allocating a buffer";
        let too_large = |limit_bytes| Error::TooLarge {
            what: format!("buffer {label}"),
            needed_bytes: bytes,
            limit_bytes,
        };
        let exact = bytes.max(4).checked_next_multiple_of(4).unwrap_or(u64::MAX);
        if exact > live.limits.max_buffer_bytes {
            return Err(too_large(live.limits.max_buffer_bytes));
        }
        // Where the class does not fit but the bytes do, the bytes are taken: a plan is told its own sizes.
        let class = size_class(bytes).min(live.limits.max_buffer_bytes);
        let mut capacity = class;
        let mut pool = lock(&live.pool);
        if !pool.book(kind, class, budget) {
            capacity = exact;
            if !pool.book(kind, exact, budget) {
                return Err(too_large(budget.saturating_sub(pool.leased_storage_bytes)));
            }
        }
        let idle = pool.take(kind, capacity);
        drop(pool);

        let allocate = || {
            let descriptor = wgpu::BufferDescriptor {
                label: Some(label),
                size: capacity,
                usage: kind.usage(),
                mapped_at_creation: false,
            };
            context.guarded(live, OPERATION, capacity, || {
                let idle = idle.as_ref().map(|idle| idle.raw.clone());
                idle.unwrap_or_else(|| {
                    context.tally.buffers.add(1);
                    live.device.create_buffer(&descriptor)
                })
            })
        };
        let mut allocated = allocate();
        if matches!(allocated, Err(Error::DeviceMemory { .. })) {
            // Idle buffers and finished work may be all that is in the way: free them and ask once more.
            lock(&live.pool).trim();
            context.settle(live);
            allocated = allocate();
        }
        match allocated {
            Ok(raw) => {
                let mapping = Mutex::new(idle.map_or_else(Mapping::default, |idle| idle.mapping));
                let (live, is_spoilt) = (Arc::clone(live), AtomicBool::new(false));
                Ok(Self { live, raw, kind, capacity, is_spoilt, mapping })
            }
            Err(error) => {
                lock(&live.pool).unbook(kind, capacity);
                Err(error)
            }
        }
    }

    /// Bytes that it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether the host has the buffer, or has asked for it.
    pub(crate) fn mapping(&mut self) -> &mut Mapping {
        self.mapping.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the buffer out of the pool: its state is not known, or a command that is not submitted yet names it.
    pub(crate) fn spoil(&self) {
        self.is_spoilt.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mapping = std::mem::take(&mut *lock(&self.mapping));
        // Who reads results wants a buffer that the device has.
        let is_fit = self.kind != Kind::Staging
            || (matches!(mapping, Mapping::None) && self.capacity <= MAX_IDLE_STAGING_BYTES);
        let is_kept = is_fit && !self.is_spoilt.load(Ordering::Relaxed) && !self.live.loss.is_raised();
        let mut pool = lock(&self.live.pool);
        pool.unbook(self.kind, self.capacity);
        if is_kept {
            pool.put(self.kind, self.capacity, Idle { raw: self.raw.clone(), mapping });
        }
    }
}

/// Memory on a device. Dropping it returns it to the pool; contents of a fresh one are unspecified.
pub(crate) struct DeviceBuffer {
    pub(crate) lease: Lease,
    size_bytes: u64,
}

impl DeviceBuffer {
    /// The size that was asked for (4 where that was 0).
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// All of it, as a kernel argument.
    pub(crate) fn whole(&self) -> Slice<'_> {
        self.slice(0, self.size_bytes)
    }

    /// `bytes` from `offset` on, as a kernel argument. The offset is a multiple of `min_offset_alignment`.
    pub(crate) fn slice(&self, offset: u64, bytes: u64) -> Slice<'_> {
        Slice { owner: Owner::Ours(self), offset, bytes }
    }
}

/// A part of a buffer that a kernel sees as one argument.
#[derive(Clone, Copy)]
pub(crate) struct Slice<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Whose buffer a slice is of.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    Ours(&'a DeviceBuffer),
    /// Of the same wgpu device, which the caller vouches for.
    Callers(&'a wgpu::Buffer),
}

impl<'a> Slice<'a> {
    /// A part of a buffer that the caller made on the device that this crate was given.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the buffer cannot be bound as storage, or where the part leaves it.
    pub(crate) fn of_caller(
        name: &'static str,
        buffer: &'a wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Result<Self> {
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::parameter(
                name,
                "a buffer with usage STORAGE",
                format!("{:?}", buffer.usage()),
            ));
        }
        if offset.checked_add(bytes).is_none_or(|end| end > buffer.size()) {
            let rule = format!("a buffer of at least {offset} + {bytes} bytes");
            return Err(Error::parameter(name, rule, format!("{} bytes", buffer.size())));
        }
        Ok(Self { owner: Owner::Callers(buffer), offset, bytes })
    }

    /// Bytes that the kernel sees.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn raw(&self) -> &'a wgpu::Buffer {
        match self.owner {
            Owner::Ours(buffer) => &buffer.lease.raw,
            Owner::Callers(buffer) => buffer,
        }
    }
}

impl<'a> From<&'a DeviceBuffer> for Slice<'a> {
    fn from(buffer: &'a DeviceBuffer) -> Self {
        buffer.whole()
    }
}

impl Gpu {
    /// A buffer of `bytes` (4 for 0) for kernels and copies.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is allocated, where the budget or the largest buffer is exceeded;
    /// [`Error::DeviceMemory`] where the driver has no memory, after idle buffers were freed.
    pub(crate) fn buffer(&self, label: &'static str, bytes: u64) -> Result<DeviceBuffer> {
        self.buffer_of(Kind::Storage, label, bytes)
    }

    /// A buffer of another kind.
    pub(super) fn buffer_of(&self, kind: Kind, label: &'static str, bytes: u64) -> Result<DeviceBuffer> {
        let size_bytes = bytes.max(4);
        let live = self.context.live();
        let budget = self.limits().budget_bytes;
        let lease = Lease::new(&self.context, &live, kind, label, size_bytes, budget)?;
        Ok(DeviceBuffer { lease, size_bytes })
    }

    /// Whether `buffer` can still be used: it is of the present generation, and that was not lost.
    pub(crate) fn keeps(&self, buffer: &DeviceBuffer) -> bool {
        let live = self.context.live();
        live.generation == buffer.lease.live.generation && !live.loss.is_raised()
    }
}

impl Context {
    /// The present generation, provided `buffer` belongs to it.
    pub(crate) fn generation_of(&self, buffer: &DeviceBuffer, operation: &'static str) -> Result<Arc<Live>> {
        let live = self.live();
        self.check_alive(&live, operation)?;
        if live.generation != buffer.lease.live.generation {
            self.check_alive(&buffer.lease.live, operation)?;
            return Err(self.refused(operation, "the buffer belongs to another device"));
        }
        Ok(live)
    }
}
