from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Row",
    "install",
    "is_installed",
    "k_means",
    "load_ipython_extension",
    "profile",
    "profile_table",
    "reset_profile",
    "uninstall",
    "unload_ipython_extension",
]

@dataclass(frozen=True)
class Row:
    call: str
    device: str
    reason: str
    calls: int
    seconds: float

def install(*, device: str | None = None, fallback: Literal["warn", "silent", "raise"] | None = None) -> None: ...
def uninstall() -> None: ...
def is_installed() -> bool: ...
def profile() -> list[Row]: ...
def profile_table() -> str: ...
def reset_profile() -> None: ...
def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: ArrayLike | None = None,
    init: Any = "k-means++",
    n_init: int | Literal["auto"] = "auto",
    max_iter: int = 300,
    verbose: bool | int = False,
    tol: float = 1e-4,
    random_state: int | np.random.RandomState | None = None,
    copy_x: bool = True,
    algorithm: Literal["lloyd", "elkan"] = "lloyd",
    return_n_iter: bool = False,
) -> (
    tuple[NDArray[np.floating], NDArray[np.int32], float] | tuple[NDArray[np.floating], NDArray[np.int32], float, int]
): ...
def load_ipython_extension(ipython: Any) -> None: ...
def unload_ipython_extension(ipython: Any) -> None: ...
