"""Settings: one set for the process, and contexts that override it for the code inside them."""

import os
from contextlib import contextmanager
from contextvars import ContextVar

from . import _core

_FALLBACKS = ("warn", "silent", "raise")


def _checked(device=None, fallback=None):
    """The settings that were given, or a ValueError."""
    given = {}
    if device is not None:
        if not isinstance(device, str) or not device.strip():
            raise ValueError(f"device: expected a selector such as 'auto', 'cpu' or 'gpu', got {device!r}")
        given["device"] = device
    if fallback is not None:
        if fallback not in _FALLBACKS:
            raise ValueError(f"fallback: expected 'warn', 'silent' or 'raise', got {fallback!r}")
        given["fallback"] = fallback
    return given


_process = None
_context = ContextVar("tilefold_config", default={})


def _settings():
    """The settings of the process; the environment is read at the first need, so that importing cannot fail."""
    global _process
    if _process is None:
        device = os.environ.get("TILEFOLD_DEVICE") or None
        fallback = os.environ.get("TILEFOLD_FALLBACK") or None
        _process = {"device": "auto", "fallback": "warn", **_checked(device, fallback)}
    return _process


def get_config():
    """Returns the settings in force here: a dictionary of `device`, `fallback` and `threads`."""
    return {**_settings(), **_context.get(), "threads": _core.threads()}


def set_config(*, device=None, fallback=None, threads=None):
    """Changes settings of the whole process; what is None stays.

    Parameters
    ----------
    device : str
        Selector of what work runs on where nothing else is said: "auto", "cpu", "cpu:4" (threads), "gpu", an adapter's
        index, backend ("vulkan:0"), PCI bus id, or part of its name. The environment's TILEFOLD_DEVICE, else "auto".
    fallback : {"warn", "silent", "raise"}
        What happens when a device fails while working: the CPU takes over with or without a warning, or the error is
        raised. The environment's TILEFOLD_FALLBACK, else "warn".
    threads : int
        Threads of the CPU path and of the host's part of work on a GPU. The environment's TILEFOLD_NUM_THREADS,
        RAYON_NUM_THREADS or OMP_NUM_THREADS, else all that the process may use.
    """
    given = _checked(device, fallback)
    if threads is not None:
        _core.use_threads(threads)
    _settings().update(given)


@contextmanager
def config_context(*, device=None, fallback=None):
    """Overrides settings for the code inside the `with` block, in this thread or task alone."""
    token = _context.set({**_context.get(), **_checked(device, fallback)})
    try:
        yield
    finally:
        _context.reset(token)
