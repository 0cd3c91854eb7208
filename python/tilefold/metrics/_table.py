"""The metrics that tilefold computes itself. A new one is one line here; all others go to scikit-learn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a name of scikit-learn is computed."""

    core: str
    """The library's name."""
    sparse: bool = False
    """Whether scikit-learn takes sparse matrices for it; others raise `TypeError` as there."""
    bounded: bool = False
    """Whether the library states a bound for it: then nearest rows are screened in the data's own type."""


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
}

PRODUCT = Metric("inner_product", sparse=True)
"""Not a distance: what norms of the caller's are combined with."""
