//! The rules a call keeps, and the parameters of the metrics that have some.

use ndarray::Array2;

use super::metric::Metric;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::setters::setters;

/// How far from symmetric an inverse covariance may be, relative to its largest entry.
const ASYMMETRY: f64 = 1e-6;

/// Parameters of a distance matrix.
///
/// ```
/// use tilefold::distance::{Metric, Params};
/// let params = Params::new(Metric::Minkowski).p(3.0).weights(vec![1.0, 0.5]).max_bytes(1 << 30);
/// assert_eq!(params.metric, Metric::Minkowski);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Params {
    /// What is computed.
    pub metric: Metric,
    /// The power of [`Metric::Minkowski`]: finite, above 0. `None`: 2.
    pub p: Option<f64>,
    /// Weights of the columns for [`Metric::Minkowski`]: finite, not negative. `None`: 1 each.
    pub weights: Option<Vec<f64>>,
    /// Variances of the columns for [`Metric::StandardizedEuclidean`], which needs them: finite, above 0.
    pub variances: Option<Vec<f64>>,
    /// The inverse of the covariance for [`Metric::Mahalanobis`], which needs it: symmetric, positive semidefinite.
    pub inverse_covariance: Option<Array2<f64>>,
    /// Most bytes that the result may take: the matrix, or one block of rows of a stream. `None`: whatever the
    /// system gives.
    pub max_bytes: Option<u64>,
    /// Stops the work from another thread.
    pub cancel: Cancel,
}

impl Params {
    /// Parameters for a metric.
    pub fn new(metric: Metric) -> Self {
        Self {
            metric,
            p: None,
            weights: None,
            variances: None,
            inverse_covariance: None,
            max_bytes: None,
            cancel: Cancel::new(),
        }
    }

    setters! {
        /// Sets the power of [`Metric::Minkowski`].
        p: f64 => Some;

        /// Sets the weights of [`Metric::Minkowski`], one per column.
        weights: Vec<f64> => Some;

        /// Sets the variances of [`Metric::StandardizedEuclidean`], one per column.
        variances: Vec<f64> => Some;

        /// Sets the inverse covariance of [`Metric::Mahalanobis`].
        inverse_covariance: Array2<f64> => Some;

        /// Sets the most bytes that the result may take.
        max_bytes: u64 => Some;

        /// Sets the token that stops the work.
        cancel: Cancel;
    }

    /// The metric's own parameters for rows of `depth` features, checked.
    ///
    /// # Errors
    /// [`Error::Parameter`] for one that is missing, out of its domain, or given to a metric that has no such
    /// parameter; [`Error::Shape`] for one of the wrong size; [`Error::Value`] for an entry out of its domain.
    pub(crate) fn constants(&self, depth: usize) -> Result<Constants> {
        let metric = self.metric;
        only_with("p", self.p.is_some(), metric, Metric::Minkowski)?;
        only_with("weights", self.weights.is_some(), metric, Metric::Minkowski)?;
        only_with("variances", self.variances.is_some(), metric, Metric::StandardizedEuclidean)?;
        only_with("inverse_covariance", self.inverse_covariance.is_some(), metric, Metric::Mahalanobis)?;
        match metric {
            Metric::Minkowski => {
                let p = self.p.unwrap_or(2.0);
                if !(p > 0.0 && p.is_finite()) {
                    let rule = "a finite number above 0 (chebyshev is the limit of large ones)";
                    return Err(Error::parameter("p", rule, p));
                }
                if let Some(weights) = &self.weights {
                    let expected = "a finite number of at least 0";
                    check_columns("weights", weights, depth, expected, |w| w >= 0.0 && w.is_finite())?;
                }
                Ok(Constants::Power { p, weights: self.weights.clone() })
            }
            Metric::StandardizedEuclidean => {
                let rule = "one variance per column with the metric seuclidean";
                let variances = self.variances.as_ref().ok_or_else(|| missing("variances", rule))?;
                let expected = "a finite number above 0";
                check_columns("variances", variances, depth, expected, |v| v > 0.0 && v.is_finite())?;
                Ok(Constants::Variances(variances.clone()))
            }
            Metric::Mahalanobis => {
                let rule = "a square matrix with the metric mahalanobis";
                let inverse =
                    self.inverse_covariance.as_ref().ok_or_else(|| missing("inverse_covariance", rule))?;
                Ok(Constants::Inverse(symmetric(inverse, depth)?))
            }
            _ => Ok(Constants::None),
        }
    }
}

/// Checked parameters of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constants {
    /// Most metrics have none.
    None,
    /// Of [`Metric::Minkowski`].
    Power { p: f64, weights: Option<Vec<f64>> },
    /// Of [`Metric::StandardizedEuclidean`].
    Variances(Vec<f64>),
    /// Of [`Metric::Mahalanobis`]: symmetric to the bit.
    Inverse(Array2<f64>),
}

fn missing(name: &'static str, rule: &str) -> Error {
    Error::parameter(name, rule, "none")
}

fn only_with(name: &'static str, is_given: bool, metric: Metric, owner: Metric) -> Result<()> {
    if is_given && metric != owner {
        let rule = format!("metric {owner}, which alone takes it");
        return Err(Error::parameter(name, rule, metric));
    }
    Ok(())
}

fn check_columns(
    argument: &'static str,
    values: &[f64],
    depth: usize,
    expected: &'static str,
    is_good: impl Fn(f64) -> bool,
) -> Result<()> {
    if values.len() != depth {
        return Err(Error::shape(argument, format!("{depth} values, one per column"), values.len()));
    }
    match values.iter().position(|&value| !is_good(value)) {
        Some(column) => Err(Error::Value { argument, row: 0, column, expected, got: values[column] }),
        None => Ok(()),
    }
}

/// The symmetric part of an inverse covariance. Whether it is positive semidefinite shows when it is factored.
fn symmetric(inverse: &Array2<f64>, depth: usize) -> Result<Array2<f64>> {
    let argument = "inverse_covariance";
    if inverse.dim() != (depth, depth) {
        let (rows, columns) = inverse.dim();
        return Err(Error::shape(
            argument,
            format!("{depth} x {depth}, for as many columns"),
            format!("{rows} x {columns}"),
        ));
    }
    let refused = |(row, column), expected, got| Err(Error::Value { argument, row, column, expected, got });
    if let Some((at, &got)) = inverse.indexed_iter().find(|(_, value)| !(value.abs() <= 1e300)) {
        return refused(at, "a finite number of at most 1e300", got);
    }
    let largest = inverse.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let asymmetric = |&((row, column), &value): &((usize, usize), &f64)| {
        (value - inverse[[column, row]]).abs() > ASYMMETRY * largest
    };
    if let Some((at, &got)) = inverse.indexed_iter().find(asymmetric) {
        return refused(at, "the value of the entry across the diagonal", got);
    }
    Ok(Array2::from_shape_fn((depth, depth), |(row, column)| {
        0.5 * (inverse[[row, column]] + inverse[[column, row]])
    }))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn refused(params: &Params) -> String {
        params.constants(2).unwrap_err().to_string()
    }

    #[test]
    fn parameters_are_refused_by_name() {
        let minkowski = || Params::new(Metric::Minkowski);
        for p in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(&minkowski().p(p)).starts_with("p: expected a finite number above 0"), "{p}");
        }
        assert_eq!(
            refused(&minkowski().weights(vec![1.0])),
            "weights: expected 2 values, one per column, got 1"
        );
        let message = refused(&minkowski().weights(vec![1.0, -1.0]));
        assert!(message.starts_with("weights[0, 1]: expected a finite number of at least 0"), "{message}");
        let message = refused(&Params::new(Metric::Euclidean).p(2.0));
        assert_eq!(message, "p: expected metric minkowski, which alone takes it, got euclidean");
        let seuclidean = || Params::new(Metric::StandardizedEuclidean);
        assert!(refused(&seuclidean()).starts_with("variances: expected one variance per column"));
        assert!(refused(&seuclidean().variances(vec![1.0, 0.0])).starts_with("variances[0, 1]"));
        let mahalanobis = || Params::new(Metric::Mahalanobis);
        assert!(refused(&mahalanobis()).starts_with("inverse_covariance: expected a square matrix"));
        let message = refused(&mahalanobis().inverse_covariance(array![[1.0]]));
        assert!(message.contains("2 x 2") && message.contains("1 x 1"), "{message}");
        let message = refused(&mahalanobis().inverse_covariance(array![[1.0, 0.5], [0.4, 1.0]]));
        assert!(message.starts_with("inverse_covariance[0, 1]"), "{message}");
    }

    #[test]
    fn parameters_have_defaults_where_a_metric_can_do_without() {
        let constants = Params::new(Metric::Minkowski).constants(3).unwrap();
        assert_eq!(constants, Constants::Power { p: 2.0, weights: None });
        assert_eq!(Params::new(Metric::Cosine).constants(3).unwrap(), Constants::None);
        let inverse = array![[1.0, 1e-9], [0.0, 1.0]];
        let constants = Params::new(Metric::Mahalanobis).inverse_covariance(inverse).constants(2).unwrap();
        assert_eq!(constants, Constants::Inverse(array![[1.0, 0.5e-9], [0.5e-9, 1.0]]));
    }
}
