//! Compiled pipelines kept on disk, where the backend has a pipeline cache (Vulkan).
//!
//! One file per adapter in the user's cache folder, with a checksum of its own: drivers check the header of what
//! they are given but trust the rest. Whatever goes wrong here costs time only, so failures are logged and ignored.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// First bytes of a cache file; the checksum of the rest follows, 4 bytes little endian.
const MAGIC: &[u8] = b"tilefold pipelines 1\n";

/// Nothing larger is read or written.
const MAX_BYTES: u64 = 256 << 20;

/// Set to anything, it switches the file off.
const SWITCH: &str = "TILEFOLD_NO_PIPELINE_CACHE";

/// A device's pipeline cache with the file it is saved to.
pub(super) struct DiskCache {
    raw: wgpu::PipelineCache,
    file: PathBuf,
    is_changed: AtomicBool,
}

impl DiskCache {
    /// The cache of `device`, filled from its file; `None` where the backend has none or it is switched off.
    pub(super) fn open(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Option<Self> {
        // Unit tests leave the user's folder alone and give their own.
        if cfg!(test) || std::env::var_os(SWITCH).is_some() {
            return None;
        }
        Self::open_in(&folder()?, adapter, device)
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
    pub(super) fn for_new_pipeline(&self) -> &wgpu::PipelineCache {
        self.is_changed.store(true, Ordering::Relaxed);
        &self.raw
    }

    /// Writes the file where anything was compiled since it was read.
    pub(super) fn save(&self) {
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(data) = self.raw.get_data() else { return };
        // A cache that the file already holds is not written again.
        if data.len() as u64 > MAX_BYTES || load(&self.file).as_ref() == Some(&data) {
            return;
        }
        if let Err(error) = store(&self.file, &data) {
            tracing::debug!(file = %self.file.display(), %error, "the pipeline cache was not saved");
        }
    }
}

/// The folder for such files: the platform's cache folder of this user.
fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        absolute("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    Some(base?.join("tilefold").join("pipelines"))
}

/// The data in `file`, where it is whole.
fn load(file: &Path) -> Option<Vec<u8>> {
    let size = std::fs::metadata(file).ok()?.len();
    if size > MAX_BYTES + (MAGIC.len() + 4) as u64 {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let (checksum, data) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let is_whole = u32::from_le_bytes(*checksum) == crc32fast::hash(data);
    if !is_whole {
        tracing::debug!(file = %file.display(), "the pipeline cache is damaged and not used");
    }
    is_whole.then(|| data.to_vec())
}

/// Replaces `file` in one step, so that a reader sees the old data or the new.
fn store(file: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(MAGIC)?;
    temporary.write_all(&crc32fast::hash(data).to_le_bytes())?;
    temporary.write_all(data)?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper").join("cache");
        assert_eq!(load(&file), None, "no file yet");
        let data: Vec<u8> = (0..=255).collect();
        store(&file, &data).unwrap();
        assert_eq!(load(&file).as_deref(), Some(&data[..]));
        let whole = std::fs::read(&file).unwrap();
        for at in [0, MAGIC.len(), whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(load(&file), None, "bit flipped in byte {at}");
        }
        for length in [0, MAGIC.len() + 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(load(&file), None, "cut to {length} bytes");
        }
    }

    /// Compiles one kernel through the cache in `folder` and saves it; whether a file was there to start from.
    fn compile_through(folder: &Path) -> bool {
        let found = super::super::adapters::enumerate().swap_remove(0);
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
            store(&file, &[7; 300]).unwrap();
            compile_through(folder.path());
            std::fs::write(&file, b"short").unwrap();
            assert!(!compile_through(folder.path()), "a damaged file counts as none");
        }
    }
}
