"""Clustering and distances on any GPU and on the CPU: labels equal to float64, the same bits on every device."""

from ._config import config_context, get_config, set_config
from ._core import DeviceError, DeviceMemoryError, DeviceNotFoundError, InternalError, adapters
from ._core import version as _version
from ._devices import FallbackWarning
from ._doctor import show_versions

__version__ = _version()

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
