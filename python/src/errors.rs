//! From the library's error to a Python exception that callers can catch by what went wrong.

use pyo3::create_exception;
use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    tilefold,
    InternalError,
    PyRuntimeError,
    "A fault of tilefold itself: a panic that was caught, or a shader that could not be written."
);
create_exception!(
    tilefold,
    DeviceError,
    PyRuntimeError,
    "No device matches a selector, or a device was lost, refused an operation or returned a wrong result."
);
create_exception!(
    tilefold,
    DeviceNotFoundError,
    DeviceError,
    "No device matches a selector, or it cannot be opened."
);
create_exception!(
    tilefold,
    DeviceMemoryError,
    PyMemoryError,
    "The device ran out of memory, after the retries."
);

/// Wrong arguments are `ValueError`, whatever a device does `DeviceError` or `DeviceMemoryError`.
pub(crate) fn to_python(error: tilefold::Error) -> PyErr {
    use tilefold::Error;
    let text = error.to_string();
    match error {
        Error::Shape { .. } | Error::Parameter { .. } | Error::Value { .. } | Error::Format { .. } => {
            PyValueError::new_err(text)
        }
        Error::TooLarge { .. } => PyMemoryError::new_err(text),
        Error::File { source, .. } if source.kind() == std::io::ErrorKind::OutOfMemory => {
            PyMemoryError::new_err(text)
        }
        Error::File { source, path, .. } => match source.raw_os_error() {
            // With its number Python chooses the subclass, such as FileNotFoundError.
            Some(number) => PyOSError::new_err((number, text, path)),
            None => PyOSError::new_err(text),
        },
        Error::DeviceMemory { .. } => DeviceMemoryError::new_err(text),
        Error::Device { .. } => DeviceNotFoundError::new_err(text),
        Error::DeviceLost { .. } | Error::DeviceRefused { .. } | Error::WrongResult { .. } => {
            DeviceError::new_err(text)
        }
        Error::ShaderTemplate { .. } => InternalError::new_err(text),
        Error::Cancelled => PyKeyboardInterrupt::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
