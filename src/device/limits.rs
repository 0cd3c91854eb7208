//! What a device can do, in plain numbers, and the caps a user puts on it.

#[cfg(feature = "gpu")]
use crate::error::{Error, Result};

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
    /// Matrix units that this crate can use.
    pub matrix: Option<MatrixUnits>,
}

/// Matrix units: the invocations of a subgroup together multiply two matrices of `f16` and add to one of `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MatrixUnits {
    /// Rows, columns and depth of the matrices: 8 or 16.
    pub size: u32,
    /// Fewest invocations of a subgroup.
    pub smallest_subgroup: u32,
    /// Most invocations of a subgroup.
    pub largest_subgroup: u32,
    /// Kernels can read the elements of matrices that an invocation holds: where this crate writes SPIR-V.
    pub reads_elements: bool,
    /// Plain WGSL stands in for the units, in the project's own tests.
    pub is_plain: bool,
}

/// Caps that the user put on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    /// See [`Device::with_memory_budget`](crate::Device::with_memory_budget).
    pub(crate) memory_bytes: Option<u64>,
    /// See [`Device::with_window_bytes`](crate::Device::with_window_bytes).
    pub(crate) window_bytes: Option<u64>,
    /// See [`Device::with_matrix_units`](crate::Device::with_matrix_units).
    pub(crate) matrix: MatrixUse,
}

/// Whether tiles run on matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MatrixUse {
    /// On hardware that has them, where they pay.
    #[default]
    WherePaying,
    /// Wherever there are any.
    Always,
    /// Nowhere.
    Never,
    /// As `Always`, with plain WGSL in their place, for matrices of this size.
    #[cfg(all(feature = "gpu", any(test, feature = "test-hooks")))]
    Plain(u32),
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

    /// Bytes that one of the few large buffers of a search or of a batch may take.
    #[cfg(feature = "gpu")]
    pub(crate) fn share_bytes(&self) -> u64 {
        self.window_bytes.min(self.max_binding_bytes).min(self.budget_bytes / 4)
    }

    /// Refuses what needs more than the budget, or in one buffer more than a binding holds.
    #[cfg(feature = "gpu")]
    pub(crate) fn check(&self, needed_bytes: u64, largest: u64, what: impl FnOnce() -> String) -> Result<()> {
        if needed_bytes <= self.budget_bytes && largest <= self.max_binding_bytes {
            return Ok(());
        }
        let limit_bytes = self.budget_bytes.min(self.max_binding_bytes);
        Err(Error::TooLarge { what: what(), needed_bytes, limit_bytes })
    }

    /// From what wgpu reports; `heap_bytes` is the largest device heap where it is known.
    #[cfg(feature = "gpu")]
    pub(super) fn from_wgpu(
        limits: &wgpu::Limits,
        features: wgpu::Features,
        heap_bytes: Option<u64>,
        matrix: Option<MatrixUnits>,
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
            matrix,
        }
    }
}

#[cfg(feature = "gpu")]
impl MatrixUnits {
    /// What a device must have for them. Vulkan takes their kernels as SPIR-V of this crate, see `spirv.rs`.
    pub(super) fn features(backend: wgpu::Backend) -> wgpu::Features {
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP;
        match backend {
            wgpu::Backend::Vulkan => needed | wgpu::Features::PASSTHROUGH_SHADERS,
            _ => needed,
        }
    }

    /// Those of `adapter` that a device with `features` can use: square, `f16` to `f32`, the largest.
    pub(super) fn of(adapter: &wgpu::Adapter, features: wgpu::Features) -> Option<Self> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let info = adapter.get_info();
        let known = matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal);
        if !known || !features.contains(Self::features(info.backend)) {
            return None;
        }
        let (smallest_subgroup, largest_subgroup) = match info.backend {
            // What Metal reports here is wider than what Apple's GPUs do.
            wgpu::Backend::Metal => (32, 32),
            _ => (info.subgroup_min_size, info.subgroup_max_size),
        };
        let is_usable = |shape: &wgpu::CooperativeMatrixProperties| {
            let is_square = shape.m_size == shape.n_size && shape.n_size == shape.k_size;
            let is_written =
                shape.m_size == 8 || (shape.m_size == 16 && info.backend == wgpu::Backend::Vulkan);
            is_square && is_written && shape.ab_type == F16 && shape.cr_type == F32
        };
        let shapes = adapter.cooperative_matrix_properties();
        let size = shapes.iter().filter(|shape| is_usable(shape)).map(|shape| shape.m_size).max()?;
        let is_known = (4..=128).contains(&smallest_subgroup)
            && smallest_subgroup.is_power_of_two()
            && largest_subgroup.is_power_of_two()
            && (smallest_subgroup..=128).contains(&largest_subgroup);
        let reads_elements = info.backend == wgpu::Backend::Vulkan;
        is_known.then_some(Self {
            size,
            smallest_subgroup,
            largest_subgroup,
            reads_elements,
            is_plain: false,
        })
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
            matrix: None,
        }
    }
}

#[cfg(test)]
impl Limits {
    /// The same with matrix units of 16, in subgroups of 32 or 64.
    #[cfg(feature = "gpu")]
    pub(crate) fn with_matrix_units(self) -> Self {
        let units = MatrixUnits {
            size: 16,
            smallest_subgroup: 32,
            largest_subgroup: 64,
            reads_elements: true,
            is_plain: false,
        };
        Self { matrix: Some(units), ..self }
    }

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
            matrix: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_only_lower_and_keep_the_alignment() {
        let caps = Caps { memory_bytes: Some(1000), window_bytes: Some(1000), ..Caps::default() };
        let capped = Limits::for_tests().capped(caps);
        assert_eq!((capped.budget_bytes, capped.window_bytes), (1000, 992));
        let raised = Limits::for_tests().capped(Caps {
            memory_bytes: Some(u64::MAX),
            window_bytes: Some(u64::MAX),
            ..Caps::default()
        });
        assert_eq!(raised, Limits::for_tests());
        assert_eq!(
            Limits::for_tests().capped(Caps { window_bytes: Some(0), ..Caps::default() }).window_bytes,
            32
        );
    }
}
