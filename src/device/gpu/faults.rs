//! One place where what went wrong on a device becomes an [`Error`]: real faults out of error scopes, a lost device,
//! and, in tests, faults planted at the Nth call, or from it on, which take the same way.

use std::sync::{Arc, OnceLock};

use super::context::{Context, Live};
use crate::device::selector::shortened;
use crate::error::{Error, Result};

/// Longest reason that an error repeats; drivers write pages.
const REASON_CHARACTERS: usize = 160;

/// The reason for which a device was lost, once it was. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct LossFlag(Arc<OnceLock<String>>);

impl LossFlag {
    /// Marks the device as lost; the first reason stays.
    pub(crate) fn raise(&self, reason: impl Into<String>) {
        if self.0.set(reason.into()).is_ok() {
            tracing::warn!(reason = self.reason(), "device lost");
        }
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.get().is_some()
    }

    fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl Context {
    /// Runs `call` under error scopes and turns whatever it reports into an [`Error`].
    ///
    /// Scopes belong to the thread and device, so clones of a device on several threads do not see each other's
    /// errors. `bytes` is what the call allocates, 0 for others.
    pub(crate) fn guarded<T>(
        &self,
        live: &Live,
        operation: &'static str,
        bytes: u64,
        call: impl FnOnce() -> T,
    ) -> Result<T> {
        self.check_alive(live, operation)?;
        #[cfg(any(test, feature = "test-hooks"))]
        if let Some(fault) = self.faults.next() {
            return Err(self.planted(live, fault, operation, bytes));
        }
        let memory = live.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = live.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = live.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let value = call();
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        let memory = pollster::block_on(memory.pop());
        // A loss explains every other error, so it is told first.
        self.check_alive(live, operation)?;
        let Some(report) = memory.or(internal).or(validation) else { return Ok(value) };
        if !matches!(report, wgpu::Error::OutOfMemory { .. }) && !self.owns_callbacks() && !answers(live) {
            live.loss.raise("the caller's device is lost");
            self.check_alive(live, operation)?;
        }
        Err(self.mapped(report, operation, bytes))
    }

    /// [`Error::DeviceLost`] once `live` was lost.
    pub(crate) fn check_alive(&self, live: &Live, operation: &'static str) -> Result<()> {
        match live.loss.reason() {
            None => Ok(()),
            Some(reason) => Err(self.lost(operation, reason)),
        }
    }

    pub(crate) fn lost(&self, operation: &'static str, reason: &str) -> Error {
        Error::DeviceLost { device: self.short_name(), operation, reason: one_line(reason) }
    }

    /// A fault of this crate or of the driver.
    pub(crate) fn refused(&self, operation: &'static str, reason: impl AsRef<str>) -> Error {
        Error::DeviceRefused { device: self.short_name(), operation, reason: one_line(reason.as_ref()) }
    }

    fn mapped(&self, report: wgpu::Error, operation: &'static str, bytes: u64) -> Error {
        match report {
            wgpu::Error::OutOfMemory { .. } => {
                Error::DeviceMemory { device: self.short_name(), operation, bytes }
            }
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                tracing::error!(operation, description, "the device refused an operation");
                self.refused(operation, description)
            }
        }
    }

    fn short_name(&self) -> String {
        shortened(&self.name, 60)
    }
}

/// Whether the device still makes buffers. A caller's device tells its loss to the caller alone, and what was made of
/// a lost one is refused as invalid later on.
fn answers(live: &Live) -> bool {
    // Dropping the scope drops what it caught.
    let _scope = live.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let probe = live.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("probe"),
        size: 4,
        usage: wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    });
    probe.get_mapped_range(..).is_ok()
}

/// The reason on one line and short enough for a message.
fn one_line(reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    shortened(&words.join(" "), REASON_CHARACTERS)
}

#[cfg(any(test, feature = "test-hooks"))]
pub use planted::Fault;
#[cfg(any(test, feature = "test-hooks"))]
pub(in crate::device) use planted::Faults;

#[cfg(any(test, feature = "test-hooks"))]
mod planted {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::{Context, Live};
    use crate::error::Error;

    /// A fault to plant.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// The call finds no memory.
        OutOfMemory,
        /// The device is lost during the call.
        Lost,
        /// The driver refuses the call.
        Validation,
    }

    /// Counts device calls and knows which one is to fail.
    #[derive(Debug, Default)]
    pub(in crate::device) struct Faults {
        calls: AtomicU64,
        armed: Mutex<Option<Armed>>,
    }

    /// The calls that are to fail.
    #[derive(Clone, Copy, Debug)]
    struct Armed {
        first: u64,
        /// Whether all calls after the first fail too.
        lasts: bool,
        fault: Fault,
    }

    impl Faults {
        /// Counts one call; the fault it has to return, if it is an armed one.
        pub(in crate::device) fn next(&self) -> Option<Fault> {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            match *armed {
                Some(Armed { first, lasts: true, fault }) if first <= call => Some(fault),
                Some(Armed { first, fault, .. }) if first == call => {
                    *armed = None;
                    Some(fault)
                }
                _ => None,
            }
        }

        /// Starts counting anew; call number `nth` (from 1) fails, none for 0.
        pub(in crate::device) fn arm(&self, nth: u64, fault: Fault) {
            self.start((nth > 0).then_some(Armed { first: nth, lasts: false, fault }));
        }

        /// Starts counting anew; call number `nth` (from 1) and all after it fail.
        pub(in crate::device) fn arm_from(&self, nth: u64, fault: Fault) {
            self.start(Some(Armed { first: nth, lasts: true, fault }));
        }

        fn start(&self, calls: Option<Armed>) {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            self.calls.store(0, Ordering::Relaxed);
            *armed = calls;
        }

        /// Calls since the last arming.
        pub(in crate::device) fn calls(&self) -> u64 {
            self.calls.load(Ordering::Relaxed)
        }
    }

    impl Context {
        /// The error of a planted fault, through the code that real ones take.
        pub(crate) fn planted(
            &self,
            live: &Live,
            fault: Fault,
            operation: &'static str,
            bytes: u64,
        ) -> Error {
            const WORDS: &str = "planted by a test";
            let report = match fault {
                Fault::OutOfMemory => wgpu::Error::OutOfMemory { source: WORDS.into() },
                Fault::Validation => {
                    wgpu::Error::Validation { source: WORDS.into(), description: WORDS.into() }
                }
                Fault::Lost => {
                    if self.owns_callbacks() {
                        // Really destroyed, so that whatever still holds its objects meets a dead device.
                        live.device.destroy();
                    }
                    live.loss.raise(WORDS);
                    return self.lost(operation, WORDS);
                }
            };
            self.mapped(report, operation, bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short_and_on_one_line() {
        let text = one_line(&"In Device::create_buffer\n\n  note: label = `x`\n".repeat(50));
        assert!(!text.contains('\n') && text.chars().count() <= REASON_CHARACTERS + 3, "{text}");
        assert_eq!(one_line("a\n  b"), "a b");
    }

    #[test]
    fn only_the_armed_call_fails_and_only_once() {
        let faults = Faults::default();
        faults.arm(2, Fault::Validation);
        let seen: Vec<_> = (0..4).map(|_| faults.next()).collect();
        assert_eq!(seen, [None, Some(Fault::Validation), None, None]);
        assert_eq!(faults.calls(), 4);
        faults.arm(0, Fault::Lost);
        assert_eq!((faults.next(), faults.calls()), (None, 1));
    }

    #[test]
    fn a_lasting_fault_stays_until_it_is_disarmed() {
        let faults = Faults::default();
        faults.arm_from(2, Fault::Lost);
        let seen: Vec<_> = (0..4).map(|_| faults.next()).collect();
        assert_eq!(seen, [None, Some(Fault::Lost), Some(Fault::Lost), Some(Fault::Lost)]);
        faults.arm(0, Fault::Lost);
        assert_eq!(faults.next(), None);
    }

    #[test]
    fn the_first_loss_keeps_its_reason() {
        let flag = LossFlag::default();
        assert!(!flag.is_raised());
        flag.clone().raise("first");
        flag.raise("second");
        assert_eq!(flag.reason(), Some("first"));
    }
}
