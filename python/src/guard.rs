//! A panic never reaches Python: it becomes `tilefold.InternalError`, and stderr stays quiet unless it is asked.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use pyo3::prelude::*;

use crate::errors::InternalError;

/// Where the last panic happened.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Runs the body of a function. Every `#[pyfunction]` goes through here.
pub(crate) fn guarded<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // What the body borrowed is dropped or never looked at again.
    panic::catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(internal_error(payload.as_ref())))
}

/// The exception of a caught panic.
pub(crate) fn internal_error(payload: &(dyn Any + Send)) -> PyErr {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into());
    let place = PLACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    InternalError::new_err(format!(
        "{message}{place}. This is a fault of tilefold: please report it with the output of \
         `python -m tilefold doctor`"
    ))
}

/// Panics are remembered instead of printed. `RUST_BACKTRACE` brings the usual text on stderr back.
pub(crate) fn quiet_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        *PLACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = place;
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            usual(info);
        }
    }));
}
