from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "UnsupportedError",
    "cosine_distances",
    "euclidean_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "pairwise_distances_chunked",
]

# Arrays, lists, data frames, tensors and sparse matrices: of the last three NumPy has no type.
_Table = Any
_Metric = str | Callable[..., float]

class UnsupportedError(NotImplementedError): ...

def pairwise_distances(
    X: _Table,
    Y: _Table | None = None,
    metric: _Metric = "euclidean",
    *,
    n_jobs: int | None = None,
    ensure_all_finite: bool | Literal["allow-nan"] = True,
    device: str | None = None,
    **kwds: Any,
) -> NDArray[np.floating]: ...
def euclidean_distances(
    X: _Table,
    Y: _Table | None = None,
    *,
    Y_norm_squared: ArrayLike | None = None,
    squared: bool = False,
    X_norm_squared: ArrayLike | None = None,
    device: str | None = None,
) -> NDArray[np.floating]: ...
def cosine_distances(X: _Table, Y: _Table | None = None, *, device: str | None = None) -> NDArray[np.floating]: ...
def pairwise_distances_chunked(
    X: _Table,
    Y: _Table | None = None,
    *,
    reduce_func: Callable[[NDArray[np.floating], int], Any] | None = None,
    metric: _Metric = "euclidean",
    n_jobs: int | None = None,
    working_memory: float | None = None,
    device: str | None = None,
    **kwds: Any,
) -> Iterator[Any]: ...
def pairwise_distances_argmin(
    X: _Table,
    Y: _Table,
    *,
    axis: Literal[0, 1] = 1,
    metric: _Metric = "euclidean",
    metric_kwargs: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> NDArray[np.int64]: ...
def pairwise_distances_argmin_min(
    X: _Table,
    Y: _Table,
    *,
    axis: Literal[0, 1] = 1,
    metric: _Metric = "euclidean",
    metric_kwargs: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.floating]]: ...
