//! What is computed, and the rules a call keeps.

use std::fmt;
use std::str::FromStr;

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// A distance (or, for [`Metric::InnerProduct`], a similarity) of two rows x and y.
///
/// ```
/// use tilefold::distance::Metric;
/// assert_eq!("l2".parse::<Metric>()?, Metric::Euclidean);
/// assert_eq!(Metric::SquaredEuclidean.to_string(), "sqeuclidean");
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// `sum (x - y)^2`, in squared units of the input. Name: `sqeuclidean`.
    SquaredEuclidean,
    /// `sqrt(sum (x - y)^2)`. Names: `euclidean`, `l2`.
    Euclidean,
    /// `1 - x.y / (|x| |y|)`, in [0, 2]. Rows of zeros have no direction and are refused. Name: `cosine`.
    Cosine,
    /// `sum x y`, a similarity: larger is nearer. Names: `inner_product`, `dot`.
    InnerProduct,
    /// `sum |x - y|`. Names: `manhattan`, `cityblock`, `l1`.
    Manhattan,
    /// `max |x - y|`. Names: `chebyshev`, `linf`.
    Chebyshev,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] = [
        Self::SquaredEuclidean,
        Self::Euclidean,
        Self::Cosine,
        Self::InnerProduct,
        Self::Manhattan,
        Self::Chebyshev,
    ];

    /// The name that [`Display`](fmt::Display) writes and [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::SquaredEuclidean => "sqeuclidean",
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner_product",
            Self::Manhattan => "manhattan",
            Self::Chebyshev => "chebyshev",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// The metric of a name, in any case; [`Error::Parameter`] lists the names.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "sqeuclidean" => Ok(Self::SquaredEuclidean),
            "euclidean" | "l2" => Ok(Self::Euclidean),
            "cosine" => Ok(Self::Cosine),
            "inner_product" | "dot" => Ok(Self::InnerProduct),
            "manhattan" | "cityblock" | "l1" => Ok(Self::Manhattan),
            "chebyshev" | "linf" => Ok(Self::Chebyshev),
            _ => {
                let names = Self::ALL.map(Self::name).join(", ");
                let got: String = text.chars().take(40).collect();
                Err(Error::parameter("metric", format!("one of {names}"), format!("{got:?}")))
            }
        }
    }
}

/// Parameters of a distance matrix.
///
/// ```
/// use tilefold::distance::{Metric, Params};
/// let params = Params::new(Metric::Cosine).max_bytes(1 << 30);
/// assert_eq!(params.metric, Metric::Cosine);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Params {
    /// What is computed.
    pub metric: Metric,
    /// Most bytes that the result may take: the matrix, or one block of rows of a stream. `None`: whatever the
    /// system gives.
    pub max_bytes: Option<u64>,
    /// Stops the work from another thread.
    pub cancel: Cancel,
}

impl Params {
    /// Parameters for a metric.
    pub fn new(metric: Metric) -> Self {
        Self { metric, max_bytes: None, cancel: Cancel::new() }
    }

    /// Sets the most bytes that the result may take.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the token that stops the work.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().to_uppercase().parse::<Metric>().unwrap(), metric);
        }
        for (name, metric) in [
            ("l2", Metric::Euclidean),
            ("dot", Metric::InnerProduct),
            ("cityblock", Metric::Manhattan),
            ("l1", Metric::Manhattan),
            ("linf", Metric::Chebyshev),
        ] {
            assert_eq!(name.parse::<Metric>().unwrap(), metric);
        }
        let message = "hamming".parse::<Metric>().unwrap_err().to_string();
        assert!(message.contains("sqeuclidean") && message.contains("hamming"), "{message}");
    }
}
