"""Exact neighbours with scikit-learn's interface, on any device."""

from ._nearest_neighbors import NearestNeighbors

__all__ = ["NearestNeighbors"]
