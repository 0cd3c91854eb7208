"""Distances with scikit-learn's signatures, on any device."""

from ._nearest import pairwise_distances_argmin, pairwise_distances_argmin_min
from ._pairwise import cosine_distances, euclidean_distances, pairwise_distances, pairwise_distances_chunked
from ._rules import UnsupportedError

__all__ = [
    "UnsupportedError",
    "cosine_distances",
    "euclidean_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "pairwise_distances_chunked",
]
