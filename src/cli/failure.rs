//! What ends the command: one line and an exit code.

use std::io::ErrorKind;

use crate::error::Error;

/// The device or the file system failed while working.
pub(super) const WORK: u8 = 1;
/// The input or the command line is wrong.
pub(super) const USAGE: u8 = 2;
/// Ctrl-C, as shells report it.
pub(super) const CANCELLED: u8 = 130;

/// An error as the command reports it.
#[derive(Debug)]
pub(super) struct Failure {
    /// Without the command's name, on one line.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A wrong argument.
    pub fn usage(argument: &str, expected: &str, got: impl std::fmt::Display) -> Self {
        Self { message: format!("{argument}: expected {expected}, got {got}"), code: USAGE }
    }

    /// Names the argument whose file an error is about.
    pub fn about(argument: &'static str) -> impl Fn(Error) -> Self {
        move |error| {
            let names_file = matches!(error, Error::Format { .. } | Error::File { .. });
            let mut failure = Self::from(error);
            if names_file {
                failure.message = format!("{argument} {}", failure.message);
            }
            failure
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = code(&error);
        let message = match error {
            Error::Parameter { name, rule, got } => format!("{}: expected {rule}, got {got}", flag(name)),
            Error::Shape { argument, expected, got } => {
                format!("{}: expected {expected}, got {got}", flag(argument))
            }
            Error::Value { argument, row, column, expected, got } => {
                format!("{}[{row}, {column}]: expected {expected}, got {got}", flag(argument))
            }
            Error::File { path, action, source } => {
                // The tempfile crate appends the temporary name, which means nothing to the user.
                let text = source.to_string();
                let reason = text.split(" at path \"").next().unwrap_or_default();
                format!("{}: {action} failed: {reason}", path.display())
            }
            other => other.to_string(),
        };
        Self { message, code }
    }
}

impl From<tilefold_simulate::Error> for Failure {
    fn from(error: tilefold_simulate::Error) -> Self {
        match error {
            tilefold_simulate::Error::Parameter { name, rule, got } => {
                Self::from(Error::Parameter { name, rule, got })
            }
            other => Self { message: other.to_string(), code: USAGE },
        }
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Cancelled => CANCELLED,
        Error::DeviceMemory { .. }
        | Error::DeviceLost { .. }
        | Error::DeviceRefused { .. }
        | Error::WrongResult { .. }
        | Error::ShaderTemplate { .. } => WORK,
        Error::File { source, .. } => match source.kind() {
            // The name that was given is wrong.
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::ReadOnlyFilesystem => USAGE,
            // As what does not fit the memory elsewhere.
            ErrorKind::OutOfMemory => USAGE,
            _ => WORK,
        },
        _ => USAGE,
    }
}

/// The command line's word for an argument of the library.
fn flag(name: &str) -> &str {
    match name {
        "n_clusters" => "-k",
        "points" | "dissimilarities" => "INPUT",
        "queries" => "--queries",
        "radius" => "--radius",
        "x" => "X",
        "y" => "Y",
        "metric" => "--metric",
        "beyond" => "--beyond",
        "periodic" => "--periodic",
        "init" => "--init",
        "n_init" => "--n-init",
        "max_iter" => "--max-iter",
        "tol" => "--tol",
        "method" => "--method",
        "samples" => "--samples",
        "size" => "--sample-size",
        "searches" => "--searches",
        "fewest" => "--fewest",
        "weights" => "--weights",
        "p" => "--p",
        "variances" => "--variances",
        "inverse_covariance" => "--inverse-covariance",
        "columns" => "--columns",
        "delimiter" => "--delimiter",
        "count" => "--top",
        "threads" => "--device",
        "workload" => "--workload",
        "requests" => "--requests",
        "rows" => "--rows",
        "rank" => "--rank",
        "inputs" => "--hidden",
        "outputs" => "--out",
        "repetitions" => "--repetitions",
        "dtype" => "--dtype",
        "n" => "--n",
        "d" => "--d",
        "k" => "--k",
        "data" => "--data",
        "reps" => "--reps",
        "iterations" => "--iterations",
        "adapters" => "--adapters",
        "ranks" => "--ranks",
        "rate" => "--rate",
        "cv" => "--cv",
        "devices" => "--devices",
        "batch" => "--batch",
        "kv_tokens" => "--kv-tokens",
        "patience_seconds" => "--patience",
        "bytes_per_second" => "--copy-rate",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: ErrorKind) -> Failure {
        Failure::about("--labels")(Error::File {
            path: "out.npy".into(),
            action: "creating",
            source: kind.into(),
        })
    }

    #[test]
    fn codes_tell_wrong_names_from_failing_disks() {
        assert_eq!(file(ErrorKind::NotFound).code, USAGE);
        assert_eq!(file(ErrorKind::StorageFull).code, WORK);
        assert!(file(ErrorKind::StorageFull).message.starts_with("--labels out.npy: creating failed"));
        assert_eq!(Failure::from(Error::Cancelled).code, CANCELLED);
        let failure = Failure::from(Error::parameter("n_clusters", "1 to 5", 6));
        assert_eq!((failure.message.as_str(), failure.code), ("-k: expected 1 to 5, got 6", USAGE));
    }
}
