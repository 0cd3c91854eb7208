//! Work that takes time: on a thread of its own, without the GIL, while the calling thread listens for Ctrl-C.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tilefold::Cancel;

use crate::errors::to_python;
use crate::guard::internal_error;

/// How often signals are looked for. The library polls `cancel` more often than that.
const POLL: Duration = Duration::from_millis(50);

/// Set when the worker has ended, even by a panic.
#[derive(Default)]
struct Ended {
    flag: Mutex<bool>,
    woken: Condvar,
}

impl Ended {
    fn set(&self) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_all();
    }

    /// Whether the worker ended within `POLL`.
    fn wait(&self) -> bool {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        *self.woken.wait_timeout_while(flag, POLL, |ended| !*ended).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Runs `work` while other Python threads run too. A signal handler that raises (Ctrl-C) sets `cancel`, and its
/// exception is what the caller gets once the work has stopped.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    cancel: &Cancel,
    work: impl FnOnce() -> tilefold::Result<T> + Send,
) -> PyResult<T> {
    let ended = &Ended::default();
    let mut raised = None;
    let outcome = std::thread::scope(|scope| {
        let body = move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(work));
            ended.set();
            outcome
        };
        let worker = std::thread::Builder::new().name("tilefold".into()).spawn_scoped(scope, body)?;
        while !py.detach(|| ended.wait()) {
            if raised.is_none()
                && let Err(error) = py.check_signals()
            {
                cancel.cancel();
                raised = Some(error);
            }
        }
        Ok(worker.join())
    });
    let outcome = outcome.map_err(|error: std::io::Error| {
        PyRuntimeError::new_err(format!("no thread could be started: {error}"))
    })?;
    if let Some(error) = raised {
        return Err(error);
    }
    match outcome {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(to_python(error)),
        Ok(Err(payload)) | Err(payload) => Err(internal_error(payload.as_ref())),
    }
}
