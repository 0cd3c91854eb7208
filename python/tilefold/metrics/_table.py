"""The metrics that tilefold computes itself. A new one is one line here; all others go to scikit-learn."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """How a name of scikit-learn is computed."""

    core: str
    """The library's name."""
    sparse: bool = False
    """Whether scikit-learn takes sparse matrices for it; others raise `TypeError` as there."""
    bounded: bool = False
    """Whether `python/src/nearest.rs` knows its bound; nearest rows of the others are found in float64."""
    bits: bool = False
    """Whether rows become bool first, with scikit-learn's warning."""
    missing: bool = False
    """Whether NaN is taken."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """scikit-learn's keywords and the library's names of them."""


_EUCLIDEAN = Metric("euclidean", sparse=True, bounded=True)
_MANHATTAN = Metric("manhattan", sparse=True, bounded=True)

TABLE: dict[str, Metric] = {
    "euclidean": _EUCLIDEAN,
    "l2": _EUCLIDEAN,
    "sqeuclidean": Metric("sqeuclidean", bounded=True),
    "cosine": Metric("cosine", sparse=True, bounded=True),
    "manhattan": _MANHATTAN,
    "cityblock": _MANHATTAN,
    "l1": _MANHATTAN,
    "chebyshev": Metric("chebyshev", bounded=True),
    "minkowski": Metric("minkowski", parameters={"p": "p", "w": "weights"}),
    "seuclidean": Metric("seuclidean", parameters={"V": "variances"}),
    "mahalanobis": Metric("mahalanobis", parameters={"VI": "inverse_covariance"}),
    "correlation": Metric("correlation"),
    "canberra": Metric("canberra"),
    "braycurtis": Metric("braycurtis"),
    "hamming": Metric("hamming"),
    # Not of bits: SciPy compares any numbers.
    "matching": Metric("hamming"),
    "jaccard": Metric("jaccard", bits=True),
    "dice": Metric("dice", bits=True),
    "rogerstanimoto": Metric("rogerstanimoto", bits=True),
    "russellrao": Metric("russellrao", bits=True),
    "sokalsneath": Metric("sokalsneath", bits=True),
    "yule": Metric("yule", bits=True),
    "nan_euclidean": Metric("nan_euclidean", missing=True),
    "haversine": Metric("haversine"),
}

PRODUCT = Metric("inner_product", sparse=True)
"""Not a distance: what norms of the caller's are combined with."""
