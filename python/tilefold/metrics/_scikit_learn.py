"""scikit-learn's own functions, taken before anything can replace them."""

from sklearn.metrics.pairwise import (
    cosine_distances,
    euclidean_distances,
    pairwise_distances,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    pairwise_distances_chunked,
)

__all__ = [
    "cosine_distances",
    "euclidean_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "pairwise_distances_chunked",
]
