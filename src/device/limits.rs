//! What a device can do, in plain numbers, and the caps a user puts on it.

/// Limits of one adapter or of an opened device. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest part of a buffer that one kernel argument can see.
    pub max_binding_bytes: u64,
    /// Largest single buffer.
    pub max_buffer_bytes: u64,
    /// Most workgroups along one dimension of a dispatch.
    pub max_workgroups_per_dimension: u32,
    /// Memory that the invocations of one workgroup share.
    pub workgroup_storage_bytes: u32,
    /// Most invocations in one workgroup.
    pub max_invocations_per_workgroup: u32,
    /// Offsets of a binding inside its buffer are multiples of this.
    pub min_offset_alignment: u32,
    /// Device memory that this crate may hold at once: the user's cap, else 85 % of the largest device heap where
    /// the driver tells it, else the size of the largest buffer.
    pub budget_bytes: u64,
    /// Largest window of rows bound at once: the binding limit or the user's cap, whichever is smaller.
    pub window_bytes: u64,
    /// Whether the device measures its own time.
    pub has_timestamps: bool,
}

/// Caps that the user put on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    /// See [`Device::with_memory_budget`](crate::Device::with_memory_budget).
    pub(crate) memory_bytes: Option<u64>,
    /// See [`Device::with_window_bytes`](crate::Device::with_window_bytes).
    pub(crate) window_bytes: Option<u64>,
}

impl Limits {
    /// These limits under the user's caps. A window is never smaller than one offset step, so that cutting rows
    /// into windows always advances.
    #[cfg(any(feature = "gpu", test))]
    pub(crate) fn capped(mut self, caps: Caps) -> Self {
        let step = u64::from(self.min_offset_alignment.max(4));
        if let Some(bytes) = caps.memory_bytes {
            self.budget_bytes = self.budget_bytes.min(bytes);
        }
        if let Some(bytes) = caps.window_bytes {
            self.window_bytes = self.window_bytes.min(bytes - bytes % step).max(step);
        }
        self
    }

    /// From what wgpu reports; `heap_bytes` is the largest device heap where it is known.
    #[cfg(feature = "gpu")]
    pub(super) fn from_wgpu(
        limits: &wgpu::Limits,
        features: wgpu::Features,
        heap_bytes: Option<u64>,
    ) -> Self {
        let step = u64::from(limits.min_storage_buffer_offset_alignment.max(4));
        let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let budget_bytes = heap_bytes.map_or(limits.max_buffer_size, |bytes| bytes / 100 * 85);
        Self {
            max_binding_bytes: binding - binding % 4,
            max_buffer_bytes: limits.max_buffer_size - limits.max_buffer_size % 4,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            workgroup_storage_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            min_offset_alignment: limits.min_storage_buffer_offset_alignment,
            budget_bytes,
            window_bytes: binding - binding % step,
            has_timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }
}

impl Limits {
    /// Those of plans that the host performs in its own memory.
    pub(crate) fn of_host() -> Self {
        Self {
            max_binding_bytes: 1 << 40,
            max_buffer_bytes: 1 << 40,
            max_workgroups_per_dimension: u32::MAX,
            workgroup_storage_bytes: 1 << 15,
            max_invocations_per_workgroup: 1 << 10,
            min_offset_alignment: 4,
            budget_bytes: 1 << 40,
            window_bytes: 1 << 40,
            has_timestamps: false,
        }
    }
}

#[cfg(test)]
impl Limits {
    /// Those of lavapipe.
    pub(crate) fn for_tests() -> Self {
        Self {
            max_binding_bytes: 1 << 27,
            max_buffer_bytes: 1 << 31,
            max_workgroups_per_dimension: 65_535,
            workgroup_storage_bytes: 32_768,
            max_invocations_per_workgroup: 1024,
            min_offset_alignment: 32,
            budget_bytes: 1 << 32,
            window_bytes: 1 << 27,
            has_timestamps: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_only_lower_and_keep_the_alignment() {
        let caps = Caps { memory_bytes: Some(1000), window_bytes: Some(1000) };
        let capped = Limits::for_tests().capped(caps);
        assert_eq!((capped.budget_bytes, capped.window_bytes), (1000, 992));
        let raised =
            Limits::for_tests().capped(Caps { memory_bytes: Some(u64::MAX), window_bytes: Some(u64::MAX) });
        assert_eq!(raised, Limits::for_tests());
        assert_eq!(
            Limits::for_tests().capped(Caps { window_bytes: Some(0), ..Caps::default() }).window_bytes,
            32
        );
    }
}
