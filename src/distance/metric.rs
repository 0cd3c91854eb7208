//! The metrics: what each of them is, and which values it takes.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What is computed of two rows x and y of D features each.
///
/// Every variant says its formula, its names, the values it takes (its *domain*: others are refused with
/// [`Error::Value`], which names the table, the row and the column), and where it comes from. Where nothing else is
/// said, all finite numbers are taken, NaN is refused, equal rows have the value 0, and 0/0 counts as 0.
///
/// The metrics of *bits* compare rows of 0 and 1. With `both` = the number of features that are 1 in both rows, `only`
/// = the number that are 1 in exactly one of them, and `neither` = D - both - only.
///
/// ```
/// use tilefold::distance::Metric;
/// assert_eq!("l2".parse::<Metric>()?, Metric::Euclidean);
/// assert_eq!("cityblock".parse::<Metric>()?, Metric::Manhattan);
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
    /// `sum x y`, a similarity: larger is nearer, and equal rows have their squared length. Names: `inner_product`,
    /// `dot`.
    InnerProduct,
    /// `sum |x - y|`. Names: `manhattan`, `cityblock`, `l1`.
    Manhattan,
    /// `max |x - y|`. Names: `chebyshev`, `linf`.
    Chebyshev,
    /// `(sum w |x - y|^p)^(1/p)`, with [`Params::p`](super::Params::p) (2 unless given, finite, above 0) and
    /// [`Params::weights`](super::Params::weights) (1 unless given, one per column, not negative). Below p = 1 the
    /// triangle inequality does not hold. Name: `minkowski`.
    Minkowski,
    /// Euclidean distance in units of each column's deviation, `sqrt(sum (x - y)^2 / V)`, with
    /// [`Params::variances`](super::Params::variances), which must be given: one per column, finite, above 0. Name:
    /// `seuclidean`.
    StandardizedEuclidean,
    /// `sqrt((x - y) VI (x - y)^T)`, with
    /// [`Params::inverse_covariance`](super::Params::inverse_covariance), which must be given: D x D, finite, symmetric
    /// (to 1e-6 of its largest entry, as inverses come out; the symmetric part counts), positive semidefinite. Name:
    /// `mahalanobis`. Mahalanobis, 1936.
    Mahalanobis,
    /// `1 - a.b / (|a| |b|)` of a = x - mean(x) and b = y - mean(y): 1 less Pearson's correlation, in [0, 2]. Rows whose
    /// values are all equal have no direction and are refused. Name: `correlation`. Pearson, 1895.
    Correlation,
    /// `sum |x - y| / (|x| + |y|)`, 0 for features that are 0 in both rows. Name: `canberra`. Lance and Williams, 1967.
    Canberra,
    /// `sum |x - y| / sum |x + y|`; in [0, 1] where no value is negative. Values may be negative, but a pair of rows
    /// that is opposite, so that all of the divisor cancels, has no finite value and is refused. Name: `braycurtis`.
    /// Bray and Curtis, 1957.
    BrayCurtis,
    /// `sum |x - y| / sum max(x, y)`, which is 1 less the sum of the smaller over the sum of the larger values: Jaccard
    /// of multisets, in [0, 1]. Negative values are refused. Names: `multiset_jaccard`, `ruzicka`. Ruzicka, 1958.
    MultisetJaccard,
    /// Share of features in which the rows differ, in [0, 1]; any numbers, compared exactly. Name: `hamming`. Hamming,
    /// 1950.
    Hamming,
    /// `only / (both + only)`, in [0, 1]. Bits. Name: `jaccard`. Jaccard, 1901.
    Jaccard,
    /// `only / (2 both + only)`, in [0, 1]. Bits. Name: `dice`. Dice, 1945.
    Dice,
    /// `2 only / (D + only)`, in [0, 1]. Bits. Name: `rogerstanimoto`. Rogers and Tanimoto, 1960.
    RogersTanimoto,
    /// `(D - both) / D`, in [0, 1]. Bits; equal rows have the share of zeros in them. Name: `russellrao`. Russell and
    /// Rao, 1940.
    RussellRao,
    /// `2 only / (both + 2 only)`, in [0, 1]. Bits. Name: `sokalsneath`. Sokal and Sneath, 1963.
    SokalSneath,
    /// `2 a b / (both neither + a b)` with a and b the numbers of features that are 1 in x alone and in y alone; 0
    /// where a or b is 0. In [0, 2]. Bits. Name: `yule`. Yule, 1912.
    Yule,
    /// `only / D`: [`Metric::Hamming`] of bits. Name: `matching`.
    Matching,
    /// Euclidean distance of rows with missing values, `sqrt(D / n sum (x - y)^2)` over the n features that are present
    /// in both rows. NaN means missing and is taken; where n is 0 the distance is NaN, as in scikit-learn. Name:
    /// `nan_euclidean`. Dixon, 1979.
    NanEuclidean,
    /// Angle between two places on a sphere, `2 asin(sqrt(sin^2(dlat / 2) + cos lat cos lat' sin^2(dlon / 2)))`, in
    /// [0, pi]: times the radius, the length of the way. Rows are (latitude, longitude) in radians: exactly 2 columns,
    /// latitudes within pi/2, longitudes within 2 pi of 0 (and 1e-6 more, for rounding). Name: `haversine`. Sinnott,
    /// 1984.
    Haversine,
    /// `sqrt(sum (sqrt x - sqrt y)^2 / 2)`; in [0, 1] where rows sum to 1, which is not asked for. Negative values are
    /// refused. Name: `hellinger`. Hellinger, 1909.
    Hellinger,
    /// `sqrt((KL(p, m) + KL(q, m)) / 2)` of the rows divided by their sums, p = x / sum x and q = y / sum y, with m = (p +
    /// q) / 2 and natural logarithms: in [0, sqrt(ln 2)]. Negative values and rows of zeros are refused. Name:
    /// `jensenshannon`. Endres and Schindelin, 2003.
    JensenShannon,
    /// `sum p ln(p / q)` of the rows divided by their sums, with 0 ln 0 = 0: not symmetric. Negative values and rows of
    /// zeros are refused, and so is a pair where y is 0 and x is not, whose value is infinite. Name: `kldivergence`.
    /// Kullback and Leibler, 1951.
    KullbackLeibler,
    /// Number of bits that differ, in rows of packed bits: `u8` or `u32`, the same in both tables. Name: `bit_hamming`.
    BitHamming,
    /// `1 - (bits set in both) / (bits set in either)`, in rows of packed bits: `u8` or `u32`, the same in both tables.
    /// Name: `bit_jaccard`.
    BitJaccard,
}

/// What values a metric takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    /// All finite numbers.
    Finite,
    /// Finite numbers of at least 0.
    NotNegative,
    /// The same, not all of a row 0.
    Masses,
    /// 0 and 1.
    Bits,
    /// Finite numbers, and NaN for what is missing.
    Missing,
    /// Latitude and longitude in radians.
    Places,
    /// Packed bits.
    Packed,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 28] = [
        Self::SquaredEuclidean,
        Self::Euclidean,
        Self::Cosine,
        Self::InnerProduct,
        Self::Manhattan,
        Self::Chebyshev,
        Self::Minkowski,
        Self::StandardizedEuclidean,
        Self::Mahalanobis,
        Self::Correlation,
        Self::Canberra,
        Self::BrayCurtis,
        Self::MultisetJaccard,
        Self::Hamming,
        Self::Jaccard,
        Self::Dice,
        Self::RogersTanimoto,
        Self::RussellRao,
        Self::SokalSneath,
        Self::Yule,
        Self::Matching,
        Self::NanEuclidean,
        Self::Haversine,
        Self::Hellinger,
        Self::JensenShannon,
        Self::KullbackLeibler,
        Self::BitHamming,
        Self::BitJaccard,
    ];

    /// The six metrics of plain geometry: they take all finite numbers (cosine all but rows of zeros) and no parameter.
    pub const GEOMETRIC: [Self; 6] = [
        Self::SquaredEuclidean,
        Self::Euclidean,
        Self::Cosine,
        Self::InnerProduct,
        Self::Manhattan,
        Self::Chebyshev,
    ];

    /// The name that [`Display`](fmt::Display) writes and [`FromStr`] reads: SciPy's or scikit-learn's where they have
    /// the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::SquaredEuclidean => "sqeuclidean",
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner_product",
            Self::Manhattan => "manhattan",
            Self::Chebyshev => "chebyshev",
            Self::Minkowski => "minkowski",
            Self::StandardizedEuclidean => "seuclidean",
            Self::Mahalanobis => "mahalanobis",
            Self::Correlation => "correlation",
            Self::Canberra => "canberra",
            Self::BrayCurtis => "braycurtis",
            Self::MultisetJaccard => "multiset_jaccard",
            Self::Hamming => "hamming",
            Self::Jaccard => "jaccard",
            Self::Dice => "dice",
            Self::RogersTanimoto => "rogerstanimoto",
            Self::RussellRao => "russellrao",
            Self::SokalSneath => "sokalsneath",
            Self::Yule => "yule",
            Self::Matching => "matching",
            Self::NanEuclidean => "nan_euclidean",
            Self::Haversine => "haversine",
            Self::Hellinger => "hellinger",
            Self::JensenShannon => "jensenshannon",
            Self::KullbackLeibler => "kldivergence",
            Self::BitHamming => "bit_hamming",
            Self::BitJaccard => "bit_jaccard",
        }
    }

    /// Whether d(x, y) = d(y, x).
    pub fn is_symmetric(self) -> bool {
        self != Self::KullbackLeibler
    }

    /// Whether equal rows have the value 0, whatever they are.
    pub fn is_zero_for_equal_rows(self) -> bool {
        !matches!(self, Self::InnerProduct | Self::RussellRao)
    }

    /// The values it takes.
    pub(crate) fn domain(self) -> Domain {
        match self {
            Self::MultisetJaccard | Self::Hellinger => Domain::NotNegative,
            Self::JensenShannon | Self::KullbackLeibler => Domain::Masses,
            Self::Jaccard
            | Self::Dice
            | Self::RogersTanimoto
            | Self::RussellRao
            | Self::SokalSneath
            | Self::Yule
            | Self::Matching => Domain::Bits,
            Self::NanEuclidean => Domain::Missing,
            Self::Haversine => Domain::Places,
            Self::BitHamming | Self::BitJaccard => Domain::Packed,
            _ => Domain::Finite,
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
        let name = text.trim().to_ascii_lowercase();
        let other = match name.as_str() {
            "l2" => Some(Self::Euclidean),
            "dot" => Some(Self::InnerProduct),
            "cityblock" | "l1" => Some(Self::Manhattan),
            "linf" => Some(Self::Chebyshev),
            "ruzicka" => Some(Self::MultisetJaccard),
            _ => None,
        };
        other.or_else(|| Self::ALL.into_iter().find(|metric| metric.name() == name)).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let got: String = text.chars().take(40).collect();
            Error::parameter("metric", format!("one of {names}"), format!("{got:?}"))
        })
    }
}

/// How a result follows from rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `|x|^2 + |y|^2 - 2 x.y`, entries that lose digits by differences.
    Expanded,
    /// `x.y`.
    Product,
    /// `x.y` of 0 and 1, with the number of ones in each row.
    Counts,
    /// Something added up feature by feature.
    Steps,
    /// An angle between places.
    Angle,
}

impl Form {
    /// Packed bits have no operands of this kind.
    pub(super) fn of(metric: Metric) -> Self {
        match metric {
            Metric::SquaredEuclidean
            | Metric::Euclidean
            | Metric::Cosine
            | Metric::Correlation
            | Metric::StandardizedEuclidean
            | Metric::Mahalanobis
            | Metric::Hellinger => Self::Expanded,
            Metric::InnerProduct => Self::Product,
            Metric::Jaccard
            | Metric::Dice
            | Metric::RogersTanimoto
            | Metric::RussellRao
            | Metric::SokalSneath
            | Metric::Yule
            | Metric::Matching => Self::Counts,
            Metric::Haversine => Self::Angle,
            _ => Self::Steps,
        }
    }
}

/// Whether a result is the root of a squared distance.
pub(super) fn is_root(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Euclidean | Metric::StandardizedEuclidean | Metric::Mahalanobis | Metric::Hellinger
    )
}

/// Whether results are half the squared distance of unit rows.
pub(super) fn is_direction(metric: Metric) -> bool {
    matches!(metric, Metric::Cosine | Metric::Correlation)
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
            ("ruzicka", Metric::MultisetJaccard),
        ] {
            assert_eq!(name.parse::<Metric>().unwrap(), metric);
        }
        let message = "humming".parse::<Metric>().unwrap_err().to_string();
        assert!(message.contains("sqeuclidean") && message.contains("humming"), "{message}");
    }

    #[test]
    fn no_metric_is_listed_twice() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert!(!Metric::ALL[..index].contains(metric), "{metric}");
        }
    }
}
