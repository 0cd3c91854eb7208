//! The one error type. Each variant says which argument, what was expected, and what came.

use std::path::PathBuf;

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// All errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has the wrong number of rows, columns or elements.
    #[error("{argument}: expected {expected}, got {got}")]
    Shape {
        /// The argument that is wrong.
        argument: &'static str,
        /// The shape that was expected.
        expected: String,
        /// The shape that came.
        got: String,
    },
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
    /// A value inside an array cannot be used: NaN, infinity, a zero row where a direction is needed,
    /// a negative weight, or a magnitude whose squared distances overflow.
    #[error("{argument}[{row}, {column}]: expected {expected}, got {got:?}")]
    Value {
        /// The array.
        argument: &'static str,
        /// Row of the first offending element.
        row: usize,
        /// Column of the first offending element.
        column: usize,
        /// What every element has to be.
        expected: &'static str,
        /// The element that came.
        got: f64,
    },
    /// The work does not fit the memory it may use.
    #[error("{what}: needs {needed_bytes} bytes, the limit is {limit_bytes} bytes")]
    TooLarge {
        /// What was to be allocated.
        what: String,
        /// Bytes it needs.
        needed_bytes: u64,
        /// Bytes it may use.
        limit_bytes: u64,
    },
    /// A file is truncated, malformed, of an unknown kind, or claims more than it holds.
    #[error("{}: expected {expected}, got {got}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// Reading or writing a file failed.
    #[error("{}: {action} failed: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// No device matches, or the one that matches cannot be opened.
    #[error("device {selector:?}: expected {expected}, got {got}")]
    Device {
        /// The selector that was asked for.
        selector: String,
        /// What would have matched.
        expected: String,
        /// What was found instead.
        got: String,
    },
    /// The device ran out of memory, after the retries.
    #[error("device {device}: out of memory while {operation} ({bytes} bytes)")]
    DeviceMemory {
        /// The device's name.
        device: String,
        /// What was being done.
        operation: &'static str,
        /// Bytes asked for, 0 where the call does not allocate.
        bytes: u64,
    },
    /// The device was lost (a reset, a watchdog, a removed card) and could not be re-created.
    #[error("device {device}: lost while {operation}: {reason}")]
    DeviceLost {
        /// The device's name.
        device: String,
        /// What was being done.
        operation: &'static str,
        /// The driver's reason.
        reason: String,
    },
    /// The driver or the shader compiler refused an operation: a fault of this crate or of the driver.
    #[error("device {device}: {operation} was refused: {reason}")]
    DeviceRefused {
        /// The device's name.
        device: String,
        /// What was being done.
        operation: &'static str,
        /// The driver's reason.
        reason: String,
    },
    /// A device returned what cannot be right, or is beyond the error that it may have: a fault of the device, of its driver
    /// or of this crate.
    #[error("device {device} returned a wrong result while {operation}: {reason}")]
    WrongResult {
        /// The device's name.
        device: String,
        /// What was being done.
        operation: &'static str,
        /// What is wrong with the result.
        reason: String,
    },
    /// The text of a shader could not be made of its template: a fault of this crate.
    #[error("shader template {template}: expected a text to compile, got {reason}")]
    ShaderTemplate {
        /// The template's name.
        template: &'static str,
        /// Where and why rendering failed.
        reason: String,
    },
    /// The cancel token was set, or a callback asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether a GPU, or what runs on it, failed, rather than what it was asked to do.
    #[cfg(feature = "gpu")]
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::DeviceMemory { .. }
                | Self::DeviceLost { .. }
                | Self::DeviceRefused { .. }
                | Self::WrongResult { .. }
                | Self::ShaderTemplate { .. }
        )
    }

    /// A [`Error::Parameter`] from anything printable.
    pub(crate) fn parameter(name: &'static str, rule: impl Into<String>, got: impl ToString) -> Self {
        Self::Parameter { name, rule: rule.into(), got: got.to_string() }
    }

    /// A [`Error::Shape`] from anything printable.
    pub(crate) fn shape(argument: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Shape { argument, expected: expected.into(), got: got.to_string() }
    }
}
