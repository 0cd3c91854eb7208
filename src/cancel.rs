//! A token that stops long work: polled between dispatches and between CPU row blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Stops the work it was given to from another thread. Clones share one state.
///
/// ```
/// let token = tilefold::Cancel::new();
/// let other = token.clone();
/// other.cancel();
/// assert!(token.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>, #[cfg(feature = "test-hooks")] Arc<std::sync::atomic::AtomicUsize>);

impl Cancel {
    /// A token that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the token. The work returns [`Error::Cancelled`] at its next poll.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the token was set.
    pub fn is_cancelled(&self) -> bool {
        #[cfg(feature = "test-hooks")]
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.load(Ordering::Relaxed)
    }

    /// How often this token was polled: for tests of how long work goes on after a stop.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn polls(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    /// The flag itself, for what can set nothing else.
    #[cfg(all(feature = "cli", unix))]
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// [`Error::Cancelled`] once the token was set.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
