"""Clustering estimators with scikit-learn's interface."""

from ._kmeans import KMeans
from ._kmedoids import KMedoids

__all__ = ["KMeans", "KMedoids"]
