from typing import Any, Literal

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

__all__ = ["NearestNeighbors"]

class NearestNeighbors(BaseEstimator):
    effective_metric_: str
    effective_metric_params_: dict[str, Any]
    n_samples_fit_: int
    n_features_in_: int
    device_: str
    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        radius: float = 1.0,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: str = "minkowski",
        p: float = 2,
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None: ...
    def __sklearn_tags__(self) -> Any: ...
    def fit(self, X: ArrayLike, y: Any = None) -> NearestNeighbors: ...
    def kneighbors(
        self, X: ArrayLike | None = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any: ...
    def radius_neighbors(
        self,
        X: ArrayLike | None = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> Any: ...
    def kneighbors_graph(
        self,
        X: ArrayLike | None = None,
        n_neighbors: int | None = None,
        mode: Literal["connectivity", "distance"] = "connectivity",
    ) -> Any: ...
    def radius_neighbors_graph(
        self,
        X: ArrayLike | None = None,
        radius: float | None = None,
        mode: Literal["connectivity", "distance"] = "connectivity",
        sort_results: bool = False,
    ) -> Any: ...
