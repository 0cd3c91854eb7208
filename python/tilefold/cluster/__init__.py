"""Clustering estimators with scikit-learn's interface."""

from ._kmeans import KMeans

__all__ = ["KMeans"]
