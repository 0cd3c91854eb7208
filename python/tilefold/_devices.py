"""Which device work runs on, and what happens when it fails."""

import warnings

from ._config import _checked, get_config
from ._core import DeviceError, DeviceMemoryError, DeviceNotFoundError


class FallbackWarning(RuntimeWarning):
    """The CPU did work that was asked of another device."""


def run_on(device, work, *, stacklevel=3):
    """Calls `work(selector)` and returns its result and the reason of a fallback, None without one.

    `device` is the caller's selector, None for that of the configuration. A device that does not exist is an error
    whatever the configuration says; one that fails while working is replaced by the CPU unless `fallback="raise"`.
    """
    config = get_config()
    selector = _checked(device)["device"] if device is not None else config["device"]
    try:
        return work(selector), None
    except DeviceNotFoundError:
        raise
    except (DeviceError, DeviceMemoryError) as error:
        if config["fallback"] == "raise":
            raise
        reason = str(error)
    if config["fallback"] == "warn":
        warnings.warn(f"{reason}; the CPU takes over", FallbackWarning, stacklevel=stacklevel)
    return work("cpu"), reason
