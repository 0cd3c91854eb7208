//! The adapters of this machine, described in plain data.

use super::limits::Limits;

/// What kind of hardware an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceType {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// A driver that computes on the processor, such as llvmpipe.
    Software,
    /// The driver does not say.
    Other,
}

impl DeviceType {
    /// One lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Other => "other",
        }
    }
}

/// One adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adapter {
    /// Position in the list of [`adapters()`]: a selector.
    pub index: usize,
    /// The driver's name for it; a part of it is a selector.
    pub name: String,
    /// PCI vendor id, or the vendor id of the API.
    pub vendor_id: u32,
    /// PCI device id, or 0 where the API has none.
    pub device_id: u32,
    /// The vendor's name where the id is known, else empty.
    pub vendor: &'static str,
    /// `vulkan`, `metal`, `dx12` or another API's name in lower case.
    pub backend: String,
    /// Position among the adapters of its backend: `vulkan:0` is a selector.
    pub backend_index: usize,
    /// The driver's own name.
    pub driver: String,
    /// The driver's version and build.
    pub driver_info: String,
    /// `0000:01:00.0`, empty where unknown; a selector.
    pub pci_bus_id: String,
    /// What kind of hardware it is.
    pub device_type: DeviceType,
    /// Optional abilities that this crate knows how to use.
    pub features: Vec<String>,
    /// Sizes it can handle.
    pub limits: Limits,
}

/// All adapters of this machine in a stable order; empty where there is none, or where this build has no GPU path.
pub fn adapters() -> Vec<Adapter> {
    #[cfg(feature = "gpu")]
    return enumerate().into_iter().map(|found| found.description).collect();
    #[cfg(not(feature = "gpu"))]
    return Vec::new();
}

#[cfg(feature = "gpu")]
pub(super) use wgpu_side::{Found, describe, enumerate};

#[cfg(feature = "gpu")]
mod wgpu_side {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::{Adapter, DeviceType};
    use crate::device::limits::{Limits, MatrixUnits};

    /// An adapter with its description.
    pub(in crate::device) struct Found {
        pub(in crate::device) description: Adapter,
        pub(in crate::device) adapter: wgpu::Adapter,
    }

    /// One instance serves the whole process: loading the drivers takes tens of milliseconds. A forked child gets its own,
    /// since the parent's threads are not there; a lock could be held by one of those, so there is none.
    fn instance() -> Option<&'static wgpu::Instance> {
        static OPENED: AtomicPtr<(u32, Option<wgpu::Instance>)> = AtomicPtr::new(ptr::null_mut());
        let process = std::process::id();
        loop {
            let known = OPENED.load(Ordering::Acquire);
            // SAFETY: what is stored there came from a box that is never freed.
            if let Some((opener, instance)) = unsafe { known.as_ref() }
                && *opener == process
            {
                return instance.as_ref();
            }
            let opened = Box::into_raw(Box::new((process, open_instance())));
            if OPENED.compare_exchange(known, opened, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: nobody else has seen this box.
                drop(unsafe { Box::from_raw(opened) });
            }
        }
    }

    fn open_instance() -> Option<wgpu::Instance> {
        // An instance without any backend would panic.
        if wgpu::Instance::enabled_backend_features().is_empty() {
            return None;
        }
        Some(wgpu::Instance::new(wgpu::InstanceDescriptor {
            // No validation layers: they print to stderr, and error scopes report what this crate needs.
            flags: wgpu::InstanceFlags::empty(),
            // Over-commitment becomes an out-of-memory error of the call, not a lost device.
            memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
                for_resource_creation: Some(90),
                for_device_loss: None,
            },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        }))
    }

    /// Every adapter with its description, in the order in which the backends list them.
    pub(in crate::device) fn enumerate() -> Vec<Found> {
        let Some(instance) = instance() else { return Vec::new() };
        let listed = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let mut found: Vec<Found> = Vec::with_capacity(listed.len());
        for adapter in listed {
            let backend = adapter.get_info().backend.to_str();
            let backend_index = found.iter().filter(|other| other.description.backend == backend).count();
            let description = describe(&adapter, found.len(), backend_index);
            found.push(Found { description, adapter });
        }
        found
    }

    /// The plain description of `adapter`.
    pub(in crate::device) fn describe(
        adapter: &wgpu::Adapter,
        index: usize,
        backend_index: usize,
    ) -> Adapter {
        let info = adapter.get_info();
        let features = adapter.features();
        Adapter {
            index,
            name: info.name,
            vendor_id: info.vendor,
            device_id: info.device,
            vendor: vendor_name(info.vendor),
            backend: info.backend.to_str().to_owned(),
            backend_index,
            driver: info.driver,
            driver_info: info.driver_info,
            pci_bus_id: info.device_pci_bus_id,
            device_type: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => DeviceType::Discrete,
                wgpu::DeviceType::IntegratedGpu => DeviceType::Integrated,
                wgpu::DeviceType::VirtualGpu => DeviceType::Virtual,
                wgpu::DeviceType::Cpu => DeviceType::Software,
                wgpu::DeviceType::Other => DeviceType::Other,
            },
            features: feature_names(adapter, features),
            limits: Limits::from_wgpu(
                &adapter.limits(),
                features,
                heap_bytes(adapter),
                MatrixUnits::of(adapter, features),
            ),
        }
    }

    fn feature_names(adapter: &wgpu::Adapter, features: wgpu::Features) -> Vec<String> {
        let named = [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SHADER_F64, "f64"),
            (wgpu::Features::SHADER_INT64, "int64"),
            (wgpu::Features::SUBGROUP, "subgroup"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamp"),
            (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
        ];
        let mut names: Vec<String> = named
            .into_iter()
            .filter(|(feature, _)| features.contains(*feature))
            .map(|(_, name)| name.to_owned())
            .collect();
        if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            for shape in adapter.cooperative_matrix_properties() {
                names.push(format!(
                    "matrix-{}x{}x{}-{:?}-{:?}",
                    shape.m_size, shape.n_size, shape.k_size, shape.ab_type, shape.cr_type
                ));
            }
        }
        for name in &mut names {
            name.make_ascii_lowercase();
        }
        names
    }

    fn vendor_name(id: u32) -> &'static str {
        match id {
            0x1002 => "AMD",
            0x1010 => "Imagination Technologies",
            0x106B => "Apple",
            0x10DE => "NVIDIA",
            0x13B5 => "Arm",
            0x1414 => "Microsoft",
            0x1AE0 => "Google",
            0x5143 => "Qualcomm",
            0x8086 => "Intel",
            0x1_0005 => "Mesa",
            _ => "",
        }
    }

    /// Size of the largest heap in the device's own memory; only Vulkan tells it.
    fn heap_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
        #[cfg(not(target_vendor = "apple"))]
        {
            const DEVICE_LOCAL: u32 = 1;
            // SAFETY: the handle is only used for the query below, while `adapter` keeps its instance alive, and
            // nothing is destroyed through it.
            let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
            let instance = vulkan.shared_instance().raw_instance();
            // SAFETY: the physical device comes from this very instance.
            let memory =
                unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
            let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
            heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
        }
        #[cfg(target_vendor = "apple")]
        {
            let _ = adapter;
            None
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An adapter for tests of pure functions.
    pub(in crate::device) fn adapter(
        index: usize,
        name: &str,
        backend: &str,
        backend_index: usize,
        pci_bus_id: &str,
        device_type: DeviceType,
    ) -> Adapter {
        Adapter {
            index,
            name: name.into(),
            vendor_id: 0,
            device_id: 0,
            vendor: "",
            backend: backend.into(),
            backend_index,
            driver: String::new(),
            driver_info: String::new(),
            pci_bus_id: pci_bus_id.into(),
            device_type,
            features: Vec::new(),
            limits: Limits::for_tests(),
        }
    }

    #[cfg(feature = "gpu")]
    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn the_adapters_of_this_machine_are_described() {
        let listed = adapters();
        assert!(!listed.is_empty(), "no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
        for (index, adapter) in listed.iter().enumerate() {
            assert_eq!(adapter.index, index);
            assert!(!adapter.name.is_empty() && !adapter.backend.is_empty(), "{adapter:?}");
            assert!(adapter.limits.window_bytes > 0 && adapter.limits.budget_bytes > 0, "{adapter:?}");
        }
        assert_eq!(listed, adapters(), "the order is stable");
    }
}
