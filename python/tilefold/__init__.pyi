from contextlib import AbstractContextManager
from typing import Any, Literal

from ._core import DeviceError as DeviceError
from ._core import DeviceMemoryError as DeviceMemoryError
from ._core import DeviceNotFoundError as DeviceNotFoundError
from ._core import InternalError as InternalError
from ._core import adapters as adapters

__version__: str
__all__ = [
    "DeviceError",
    "DeviceMemoryError",
    "DeviceNotFoundError",
    "FallbackWarning",
    "InternalError",
    "adapters",
    "config_context",
    "get_config",
    "set_config",
    "show_versions",
]

_Fallback = Literal["warn", "silent", "raise"]

class FallbackWarning(RuntimeWarning): ...

def get_config() -> dict[str, Any]: ...
def set_config(*, device: str | None = None, fallback: _Fallback | None = None, threads: int | None = None) -> None: ...
def config_context(*, device: str | None = None, fallback: _Fallback | None = None) -> AbstractContextManager[None]: ...
def show_versions() -> None: ...
