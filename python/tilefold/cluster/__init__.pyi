from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin

__all__ = ["KMeans", "KMedoids"]

class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    cluster_centers_: NDArray[Any]
    labels_: NDArray[np.int32]
    inertia_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    device_used_: str
    fallback_reason_: str | None
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Literal["k-means++", "random"] | Callable[..., Any] | ArrayLike = "k-means++",
        n_init: int | Literal["auto"] = "auto",
        max_iter: int = 300,
        tol: float = 0.0001,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
        copy_x: bool = True,
        algorithm: Literal["lloyd", "elkan"] = "lloyd",
        device: str | None = None,
    ) -> None: ...
    def __sklearn_tags__(self) -> Any: ...
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> KMeans: ...
    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int32]: ...
    def fit_transform(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Any: ...
    def predict(self, X: Any) -> NDArray[np.int32]: ...
    def transform(self, X: Any) -> Any: ...
    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float: ...
    def set_fit_request(self, *, sample_weight: bool | str | None = ...) -> KMeans: ...
    def set_score_request(self, *, sample_weight: bool | str | None = ...) -> KMeans: ...

class KMedoids(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    cluster_centers_: Any
    medoid_indices_: NDArray[np.int64]
    labels_: NDArray[np.int32]
    inertia_: float
    loss_: float
    silhouette_: float | None
    n_iter_: int
    n_swaps_: int
    tried_: list[tuple[int, float]]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    device_used_: str
    fallback_reason_: str | None
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        metric: str | Callable[..., float] = "euclidean",
        metric_params: dict[str, Any] | None = None,
        method: Literal[
            "fasterpam",
            "pam",
            "fastpam1",
            "alternate",
            "alternating",
            "clara",
            "clarans",
            "onebatch",
            "fastermsc",
            "pammedsil",
            "fastmsc",
            "dynmsc",
        ] = "fasterpam",
        init: Literal["random", "build", "lab", "k-medoids++", "k-means++", "heuristic", "first"] | ArrayLike = "random",
        max_iter: int = 300,
        random_state: int | np.random.RandomState | None = None,
        samples: int = 5,
        sample_size: int | None = None,
        searches: int = 2,
        patience: int | None = None,
        fewest: int = 2,
        max_bytes: int | None = None,
        device: str | None = None,
    ) -> None: ...
    def __sklearn_tags__(self) -> Any: ...
    def fit(self, X: Any, y: Any = None) -> KMedoids: ...
    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int32]: ...
    def fit_transform(self, X: Any, y: Any = None) -> Any: ...
    def predict(self, X: Any) -> NDArray[np.int32]: ...
    def transform(self, X: Any) -> Any: ...
