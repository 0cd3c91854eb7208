//! What is wrong with a trace, a setting or a policy.

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// All errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter breaks its rule.
    #[error("{name}: expected {rule}, got {got}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// The rule it has to keep.
        rule: String,
        /// The value that came.
        got: String,
    },
    /// An adapter is larger than a device's store of adapters.
    #[error("{what}: needs {needed_bytes} bytes, the limit is {limit_bytes} bytes")]
    TooLarge {
        /// The adapter.
        what: String,
        /// Bytes it needs.
        needed_bytes: u64,
        /// Bytes of the store.
        limit_bytes: u64,
    },
}

impl Error {
    /// A [`Error::Parameter`] from anything printable.
    pub(crate) fn parameter(name: &'static str, rule: impl Into<String>, got: impl ToString) -> Self {
        Self::Parameter { name, rule: rule.into(), got: got.to_string() }
    }
}
