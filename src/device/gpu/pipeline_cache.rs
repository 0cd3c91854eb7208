//! Compiled kernels: what a device keeps of each, and those kept on disk, where the backend has a pipeline cache (Vulkan).
//!
//! One file per adapter in the user's cache folder, with a checksum of its own: drivers check the header of what
//! they are given but trust the rest. Whatever goes wrong here costs time only, so failures are logged and ignored.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cache_file::{self, CacheFile, Loaded};
use crate::kernel::Binding;

const FILE: CacheFile = CacheFile { magic: b"tilefold pipelines 1\n", max_bytes: 256 << 20 };

/// Set to anything, it switches the file off.
const SWITCH: &str = "TILEFOLD_NO_PIPELINE_CACHE";

/// A compiled kernel of one generation of a device.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) name: &'static str,
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) generation: u64,
}

impl Pipeline {
    /// Whether the last argument is the parameter struct.
    pub(crate) fn has_params(&self) -> bool {
        self.bindings.last() == Some(&Binding::Uniform)
    }
}

/// Compiled kernels by name, entry point and hash of the text.
pub(crate) type PipelineMap = HashMap<(&'static str, &'static str, u64), Arc<Pipeline>>;

/// A device's pipeline cache with the file it is saved to.
pub(crate) struct DiskCache {
    raw: wgpu::PipelineCache,
    file: PathBuf,
    is_changed: AtomicBool,
}

impl DiskCache {
    /// The cache of `device`, filled from its file; `None` where the backend has none or it is switched off.
    pub(crate) fn open(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Option<Self> {
        // Unit tests leave the user's folder alone and give their own.
        if cfg!(test) || std::env::var_os(SWITCH).is_some() {
            return None;
        }
        Self::open_in(&cache_file::folder("pipelines")?, adapter, device)
    }

    fn open_in(folder: &Path, adapter: &wgpu::Adapter, device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(&adapter.get_info())?);
        let data = load(&file);
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("tilefold"),
            data: data.as_deref(),
            // Data of another driver version is dropped, not refused.
            fallback: true,
        };
        // SAFETY: the checksum shows that the data is what `get_data` returned when it was saved under this adapter's
        // key; wgpu and the driver check the header against the device.
        let raw = unsafe { device.create_pipeline_cache(&descriptor) };
        if let Some(error) = pollster::block_on(scope.pop()) {
            tracing::debug!(%error, "no pipeline cache");
            return None;
        }
        Some(Self { raw, file, is_changed: AtomicBool::new(false) })
    }

    /// The cache to compile a pipeline with.
    pub(crate) fn for_new_pipeline(&self) -> &wgpu::PipelineCache {
        self.is_changed.store(true, Ordering::Relaxed);
        &self.raw
    }

    /// Writes the file where anything was compiled since it was read.
    pub(crate) fn save(&self) {
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(data) = self.raw.get_data() else { return };
        // A cache that the file already holds is not written again.
        if data.len() as u64 > FILE.max_bytes || load(&self.file).as_ref() == Some(&data) {
            return;
        }
        if let Err(error) = FILE.store(&self.file, &data) {
            tracing::debug!(file = %self.file.display(), %error, "the pipeline cache was not saved");
        }
    }
}

/// The data in `file`, where it is whole.
fn load(file: &Path) -> Option<Vec<u8>> {
    match FILE.load(file) {
        Loaded::Whole(data) => Some(data),
        Loaded::Absent => None,
        Loaded::Damaged => {
            tracing::debug!(file = %file.display(), "the pipeline cache is damaged and not used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles one kernel through the cache in `folder` and saves it; whether a file was there to start from.
    fn compile_through(folder: &Path) -> bool {
        let found = crate::device::adapters::enumerate().swap_remove(0);
        let opened = found.adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: found.adapter.features() & wgpu::Features::PIPELINE_CACHE,
            ..Default::default()
        });
        let (device, _queue) = pollster::block_on(opened).unwrap();
        let Some(cache) = DiskCache::open_in(folder, &found.adapter, &device) else {
            // Only Vulkan has one.
            assert!(!device.features().contains(wgpu::Features::PIPELINE_CACHE));
            return true;
        };
        let was_there = load(&cache.file).is_some();
        cache.save();
        assert_eq!(load(&cache.file).is_some(), was_there, "nothing compiled, nothing written");
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = "@compute @workgroup_size(1) fn main() {}";
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let _pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: Some(cache.for_new_pipeline()),
        });
        let error = pollster::block_on(scope.pop());
        assert!(error.is_none(), "{error:?}");
        cache.save();
        assert!(load(&cache.file).is_some(), "saved");
        was_there
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn pipelines_are_saved_read_again_and_compiled_anew_from_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        compile_through(folder.path());
        assert!(compile_through(folder.path()), "the second run starts from the file");
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            // A whole file whose content no driver ever wrote.
            FILE.store(&file, &[7; 300]).unwrap();
            compile_through(folder.path());
            std::fs::write(&file, b"short").unwrap();
            assert!(!compile_through(folder.path()), "a damaged file counts as none");
        }
    }
}
