//! One test per function and backend.

use tilefold::Device;

/// Makes `reference::NAME`, `cpu::NAME` and `gpu::NAME` of each `fn NAME(device: &Device)` in the calling module.
///
/// The gpu tests are ignored, never passed over in silence, where the build was told that there is no GPU
/// (`TILEFOLD_WITHOUT_GPU=1`, which `build.rs` turns into `cfg(without_gpu)`) or has no GPU path. Where there should
/// be a GPU and none opens they fail.
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        mod reference {
            $(#[test]
            fn $test() {
                super::$test(&$crate::support::backends::reference());
            })+
        }
        mod cpu {
            $(#[test]
            fn $test() {
                super::$test(&$crate::support::backends::cpu());
            })+
        }
        mod gpu {
            $(#[test]
            #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
            #[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
            fn $test() {
                super::$test(&$crate::support::backends::gpu());
            })+
        }
    };
}
pub(crate) use on_every_backend;

/// The f64 loops that define every result.
pub fn reference() -> Device {
    Device::reference()
}

/// The path without a GPU.
pub fn cpu() -> Device {
    Device::cpu()
}

/// The adapter that `TILEFOLD_GPU` selects, or else the first, software adapters included.
///
/// Its name is added to the file that `TILEFOLD_ADAPTER_LOG` names, from which `scripts/test` says what ran where.
pub fn gpu() -> Device {
    let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let device = Device::select(selector.as_deref().unwrap_or("gpu")).unwrap_or_else(|error| {
        panic!(
            "{error}; scripts/test installs a software GPU, TILEFOLD_WITHOUT_GPU=1 builds without these tests"
        )
    });
    if let Some(path) = std::env::var_os("TILEFOLD_ADAPTER_LOG") {
        // One write of one line: tests that end at the same time do not mix their lines.
        let line = format!("{}\n", device.name());
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
            .expect("TILEFOLD_ADAPTER_LOG must name a file that can be written");
    }
    device
}
