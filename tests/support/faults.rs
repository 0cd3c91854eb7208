//! Every device call of some work fails in turn, once or from then on. What must hold, whatever the work is:
//!
//! - One call without memory, or one loss of the device, is survived: the answer is right.
//! - What the driver refuses is a fault of the crate's own: a typed error, or the right answer where the crate does
//!   without what was refused.
//! - A device that stays lost, full or broken is a typed error for whoever named it, and no work for one that falls back:
//!   the CPU goes on, the answer is right, and its device says so.
//! - Nothing panics, no buffer leaks, and the next call is right.

use tilefold::{Device, Error, Fault, Result};

use super::backends;

/// More calls than any work here makes; what goes beyond never ends.
const MOST_CALLS: u64 = 1000;
/// Of so many calls one is the first that fails for good.
const STRIDE: usize = 5;
/// Above so many calls not each of them fails once, but one of two or more: they repeat, window by window.
const FEW: usize = 60;
const FAULTS: [Fault; 3] = [Fault::OutOfMemory, Fault::Lost, Fault::Validation];

/// Some work on a device.
pub struct Work<'a, R> {
    /// What it is, for messages.
    pub name: &'a str,
    /// The named GPU that it runs on, with whatever makes its windows small.
    pub open: &'a dyn Fn(Device) -> Device,
    pub run: &'a dyn Fn(&Device) -> Result<R>,
    /// The device that the result names.
    pub device: &'a dyn Fn(&R) -> String,
    /// Whether the answer is right, for the device that it names.
    pub is_right: &'a dyn Fn(&R) -> bool,
}

impl<R> Work<'_, R> {
    /// Lets every call fail, once and for good; at least `least` there must be.
    pub fn survives(&self, least: u64) {
        let calls = self.calls();
        assert!((least..MOST_CALLS).contains(&calls), "{}: {calls} calls", self.name);
        for fault in FAULTS {
            let mut device = self.open();
            let mut refused = 0;
            for nth in (1..=calls).step_by(1 + calls as usize / FEW) {
                // A device is opened again once only. On one that goes on, pipelines and pooled buffers exist.
                if fault != Fault::OutOfMemory {
                    device = self.open();
                }
                refused += u64::from(self.fails_once(&device, nth, fault));
            }
            println!("{}, {fault:?}: N = 1 to {calls} failed once, {refused} with an error", self.name);
            assert_eq!(refused > 0, fault == Fault::Validation, "{}, {fault:?}: {refused}", self.name);
        }
        self.survives_what_lasts();
    }

    /// Lets calls fail for good.
    pub fn survives_what_lasts(&self) {
        let calls = self.calls();
        for fault in FAULTS {
            for nth in (1..=calls).step_by(STRIDE * (1 + calls as usize / FEW)) {
                self.fails_for_good(nth, fault);
                self.goes_on(nth, fault);
            }
        }
    }

    /// Device calls of the work on a device that was just opened.
    fn calls(&self) -> u64 {
        let device = self.open();
        device.inject_fault(0, Fault::Lost);
        let outcome = self.run(&device);
        let calls = device.device_calls();
        self.right(&outcome, "without a fault");
        calls
    }

    fn open(&self) -> Device {
        (self.open)(backends::gpu())
    }

    fn run(&self, device: &Device) -> Result<R> {
        let outcome = (self.run)(device);
        if let Err(error) = &outcome {
            assert!(error.to_string().len() < 300, "{error}");
        }
        outcome
    }

    #[track_caller]
    fn right(&self, outcome: &Result<R>, what: &str) -> String {
        match outcome {
            Ok(found) => {
                let device = (self.device)(found);
                assert!((self.is_right)(found), "{}, {what}: the answer of {device} is wrong", self.name);
                device
            }
            Err(error) => panic!("{}, {what}: {error}", self.name),
        }
    }

    #[track_caller]
    fn leaks_nothing(&self, device: &Device, what: &str) {
        assert_eq!(device.live_buffers(), 0, "{}, {what} leaks buffers", self.name);
    }

    /// Whether the one fault was told.
    fn fails_once(&self, device: &Device, nth: u64, fault: Fault) -> bool {
        let what = format!("{fault:?} at call {nth}");
        device.inject_fault(nth, fault);
        let outcome = self.run(device);
        device.inject_fault(0, fault);
        match &outcome {
            Err(error) => assert!(is_typed(fault, error), "{}, {what}: {error}", self.name),
            Ok(_) => drop(self.right(&outcome, &what)),
        }
        let is_refused = outcome.is_err();
        drop(outcome);
        self.leaks_nothing(device, &what);
        let next = format!("the call after {what}");
        self.right(&self.run(device), &next);
        self.leaks_nothing(device, &next);
        is_refused
    }

    fn fails_for_good(&self, nth: u64, fault: Fault) {
        let what = format!("{fault:?} from call {nth} on");
        let device = self.open();
        device.inject_lasting_fault(nth, fault);
        match self.run(&device) {
            Err(error) => assert!(is_typed(fault, &error), "{}, {what}: {error}", self.name),
            // Dispatches are paced by the clock, so it may have been done with fewer calls.
            Ok(found) => {
                let calls = device.device_calls();
                assert!(calls < nth, "{}, {what}: an answer of {}", self.name, (self.device)(&found));
            }
        }
        self.leaks_nothing(&device, &what);
    }

    fn goes_on(&self, nth: u64, fault: Fault) {
        let what = format!("{fault:?} from call {nth} on, with a fallback");
        let device = self.open().with_fallback();
        device.inject_lasting_fault(nth, fault);
        let ran_on = self.right(&self.run(&device), &what);
        if device.device_calls() < nth {
            return;
        }
        let after = format!("(after {} failed)", device.name());
        assert!(ran_on.contains("cpu") && ran_on.contains(&after), "{}, {what}: {ran_on}", self.name);
        self.leaks_nothing(&device, &what);
        device.inject_fault(0, fault);
        // Memory may be there again; a device that was lost twice is not opened again.
        let ran_on = self.right(&self.run(&device), "the call after that");
        assert_eq!(ran_on.contains(&after), fault == Fault::Lost, "{}, after {what}: {ran_on}", self.name);
        self.leaks_nothing(&device, &what);
    }
}

fn is_typed(fault: Fault, error: &Error) -> bool {
    match fault {
        Fault::OutOfMemory => matches!(error, Error::DeviceMemory { .. }),
        Fault::Lost => matches!(error, Error::DeviceLost { .. }),
        Fault::Validation => matches!(error, Error::DeviceRefused { .. }),
    }
}
