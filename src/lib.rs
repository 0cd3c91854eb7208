//! tilefold clusters vectors on any GPU and on the CPU.

mod cancel;
pub mod data;
#[cfg_attr(not(test), expect(dead_code, reason = "the slices that use the device layer come next"))]
mod device;
mod error;

pub use cancel::Cancel;
pub use data::{ElementType, Points};
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use device::Fault;
pub use device::{Adapter, Device, DeviceType, Limits, adapters};
pub use error::{Error, Result};
