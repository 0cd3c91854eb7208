//! The threads of the CPU path.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Most threads that a selector may ask for; more is a typing error, not a machine.
const MAX_THREADS: usize = 4096;

/// A pool of its own, or rayon's global one.
#[derive(Clone, Default)]
pub(crate) struct CpuPool {
    own: Option<Arc<rayon::ThreadPool>>,
}

impl CpuPool {
    /// Exactly `threads` threads.
    pub(super) fn with_threads(threads: usize) -> Result<Self> {
        if threads == 0 || threads > MAX_THREADS {
            return Err(Error::parameter("threads", format!("1 to {MAX_THREADS}"), threads));
        }
        let named = |at| format!("tilefold-{at}");
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build();
        let pool = built.map_err(|error| Error::Device {
            selector: format!("cpu:{threads}"),
            expected: "threads that can be started".into(),
            got: error.to_string(),
        })?;
        Ok(Self { own: Some(Arc::new(pool)) })
    }

    /// How many threads work.
    pub(crate) fn threads(&self) -> usize {
        self.own.as_ref().map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    /// Runs `work` where rayon's parallel calls use these threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.own {
            Some(pool) => install(pool, work),
            None => work(),
        }
    }
}

/// Hands the pool one type of work, whatever is to be done: it compiles a queue, a job and a latch for each type.
fn install<R: Send>(pool: &rayon::ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let (mut work, mut done) = (Some(work), None);
    let mut once = || done = work.take().map(|work| work());
    let once: &mut (dyn FnMut() + Send) = &mut once;
    pool.install(once);
    done.unwrap_or_else(|| unreachable!("the pool has performed its work"))
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool").field("threads", &self.threads()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_the_threads_it_was_asked_for() {
        for threads in [1, 3] {
            let pool = CpuPool::with_threads(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            assert_eq!(pool.install(rayon::current_num_threads), threads);
        }
        assert_eq!(CpuPool::default().threads(), rayon::current_num_threads());
    }

    #[test]
    fn no_threads_and_absurdly_many_are_refused() {
        for threads in [0, MAX_THREADS + 1, usize::MAX] {
            let message = CpuPool::with_threads(threads).unwrap_err().to_string();
            assert!(message.contains("threads") && message.contains(&threads.to_string()), "{message}");
        }
    }
}
