//! Work that takes time: on a thread of its own, without the GIL, while the calling thread listens for Ctrl-C and answers
//! what the work asks. So whatever runs Python, callbacks too, runs on the calling thread and keeps no worker from others.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tilefold::{Cancel, Error};

use crate::errors::to_python;
use crate::guard::internal_error;

/// How often signals are looked for. The library polls `cancel` more often than that.
const POLL: Duration = Duration::from_millis(50);

/// Whose turn it is.
enum Turn<Q, A> {
    Works,
    Asks(Q),
    IsAnswered(A),
    /// Set when the worker has ended, even by a panic.
    HasEnded,
}

/// Where a worker asks the calling thread, and waits for its answer.
pub(crate) struct Desk<Q, A> {
    turn: Mutex<Turn<Q, A>>,
    woken: Condvar,
}

/// What the calling thread finds.
enum Found<Q> {
    Nothing,
    Question(Q),
    End,
}

impl<Q, A> Desk<Q, A> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { turn: Mutex::new(Turn::Works), woken: Condvar::new() })
    }

    /// The calling thread's answer.
    pub(crate) fn ask(&self, question: Q) -> A {
        let mut turn = self.set(Turn::Asks(question));
        loop {
            match std::mem::replace(&mut *turn, Turn::Works) {
                Turn::IsAnswered(answer) => return answer,
                other => *turn = other,
            }
            turn = self.woken.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the worker wants within `POLL`.
    fn wait(&self) -> Found<Q> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |turn: &mut Turn<Q, A>| matches!(turn, Turn::Works | Turn::IsAnswered(_));
        let waited = self.woken.wait_timeout_while(turn, POLL, waits);
        let mut turn = waited.unwrap_or_else(PoisonError::into_inner).0;
        match std::mem::replace(&mut *turn, Turn::Works) {
            Turn::Asks(question) => Found::Question(question),
            Turn::HasEnded => Found::End,
            other => {
                *turn = other;
                Found::Nothing
            }
        }
    }

    fn set(&self, to: Turn<Q, A>) -> MutexGuard<'_, Turn<Q, A>> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = to;
        self.woken.notify_all();
        turn
    }
}

/// Runs `work` while other Python threads run too. A signal handler that raises (Ctrl-C) sets `cancel`, and its
/// exception is what the caller gets once the work has stopped.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    cancel: &Cancel,
    work: impl FnOnce() -> tilefold::Result<T> + Send,
) -> PyResult<T> {
    run_answering(py, cancel, &Desk::new(), |(): ()| Ok(()), (), work)
}

/// The same for work that asks at `desk`: this thread answers with the GIL. An error of an answer is what the caller gets;
/// from then on, and after a signal, every answer is `last`.
pub(crate) fn run_answering<T: Send, Q: Send, A: Clone + Send>(
    py: Python<'_>,
    cancel: &Cancel,
    desk: &Desk<Q, A>,
    mut answer: impl FnMut(Q) -> PyResult<A>,
    last: A,
    work: impl FnOnce() -> tilefold::Result<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let outcome = std::thread::scope(|scope| {
        let body = move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(work));
            drop(desk.set(Turn::HasEnded));
            outcome
        };
        let worker = std::thread::Builder::new().name("tilefold".into()).spawn_scoped(scope, body)?;
        let mut stop = |error| {
            cancel.cancel();
            raised.get_or_insert(error);
        };
        loop {
            let found = py.detach(|| desk.wait());
            if matches!(found, Found::End) {
                break;
            }
            if !cancel.is_cancelled()
                && let Err(error) = py.check_signals()
            {
                stop(error);
            }
            let Found::Question(question) = found else { continue };
            // A worker without an answer would wait for ever.
            let answered = match cancel.is_cancelled() {
                true => Ok(last.clone()),
                false => panic::catch_unwind(AssertUnwindSafe(|| answer(question)))
                    .unwrap_or_else(|payload| Err(internal_error(payload.as_ref()))),
            };
            let answered = answered.unwrap_or_else(|error| {
                stop(error);
                last.clone()
            });
            drop(desk.set(Turn::IsAnswered(answered)));
        }
        Ok(worker.join())
    });
    let outcome = outcome.map_err(|error: std::io::Error| {
        to_python(Error::Device {
            selector: "cpu".into(),
            expected: "a thread that can be started".into(),
            got: error.to_string(),
        })
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
