"""Pools of adapters in device memory, leases of them, and batches."""

import warnings

import numpy as np

from .. import _core
from .._config import _checked, get_config
from .._devices import FallbackWarning
from .._profile import measured


class Pool:
    """Adapters by name, as many of them in device memory as a budget of bytes holds; the least used ones make room.

    Parameters
    ----------
    groups : dict
        The modules of the base model by group: `{"qk": [("q_proj", 4096, 4096), ("k_proj", 4096, 1024)]}`, each with
        its inputs and outputs. Modules of a group read the same rows and are updated in one launch pair; at most 8.
    budget_bytes : int
        Bytes of weights that may be resident; the memory is taken when the pool is made.
    weights : {"float32", "float16", "bfloat16"}
        How weights are kept. The last two both mean 16 bits and take both types as they are; they refuse float32.
    most_resident : int
        Most adapters that are resident at once.
    device : str
        Where they are; None is the setting.
    """

    def __init__(self, groups, *, budget_bytes=1 << 30, weights="float32", most_resident=1024, device=None):
        selector = _checked(device)["device"] if device is not None else get_config()["device"]
        listed = [(name, [tuple(module) for module in modules]) for name, modules in groups.items()]
        self._groups = {name: [module[0] for module in modules] for name, modules in listed}
        self._numbers = {name: number for number, name in enumerate(self._groups)}
        falls_back = get_config()["fallback"] != "raise"
        self._pool = _core.LoraPool(listed, budget_bytes, weights, most_resident, selector, falls_back)
        self._told = False
        self._tell_of_fallback()

    def register(self, name, adapter):
        """Makes an `Adapter`, or a folder that is read whenever it is needed, known as `name`; returns its generation.

        A name that is known gets a new generation: later leases get the new adapter, those that exist keep the old one.
        """
        if hasattr(adapter, "_adapter"):
            return self._pool.register(name, adapter._adapter)
        return self._pool.register_folder(name, str(adapter))

    def unregister(self, name):
        """Forgets an adapter; leases keep what they have."""
        self._pool.unregister(name)

    def pin(self, name, pinned=True):
        """Keeps an adapter resident once it is, or no longer."""
        self._pool.pin(name, pinned)

    def unload(self, name):
        """Takes an adapter out of device memory unless a lease has it; whether it is out."""
        return self._pool.unload(name)

    def prefetch(self, names):
        """Loads adapters in the background, in this order."""
        self._pool.prefetch(list(names))

    def is_resident(self, name):
        """Whether an adapter is in device memory in its present generation."""
        return self._pool.is_resident(name)

    def stats(self):
        """What happened so far: a dictionary of counts, bytes and seconds."""
        return self._pool.stats()

    @property
    def device(self):
        """The device in words."""
        return self._pool.device_name()

    def lease(self, names):
        """Keeps adapters in device memory until the lease is released; routes name them by their place in `names`."""
        names = list(names)
        lease = Lease(self, self._pool.lease(names), names)
        self._tell_of_fallback()
        return lease

    def _tell_of_fallback(self):
        """Warns, once, that the GPU of "auto" failed for good, unless the configuration wants silence."""
        if not self._told and "(after " in self.device:
            self._told = True
            if get_config()["fallback"] == "warn":
                warnings.warn(f"the adapters are on {self.device}", FallbackWarning, stacklevel=3)


class Lease:
    """Adapters that stay where they are; use it in a `with` statement, or call `release`."""

    def __init__(self, pool, lease, names):
        self._pool = pool
        self._lease = lease
        self._slots = {name: slot for slot, name in enumerate(names)}

    @property
    def generations(self):
        """The generation of each adapter."""
        return self._lease.generations()

    def release(self):
        """Lets the adapters go. Steps that were made keep them until they are gone themselves."""
        self._lease.release()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release()

    def step(self, routes):
        """Prepares a batch.

        Parameters
        ----------
        routes : sequence
            One entry per row: None, an adapter (its name, or its place in the lease), or a list of adapters and pairs
            (adapter, scale), which are added in this order.
        """
        return Step(self._pool, self._lease.step([_route(entry, self._slots) for entry in routes]))


class Step:
    """A batch whose tables are ready: it is applied to all groups of a model."""

    def __init__(self, pool, step):
        self._pool = pool
        self._step = step

    def apply(self, group, x, y):
        """Adds the updates of a group to `y`, in place.

        Parameters
        ----------
        group : str
            Its name in the pool.
        x : ndarray of shape (rows, inputs)
            float32 or float16.
        y : list or dict of ndarrays of shape (rows, outputs)
            One for each module of the group, in its order or by name: float32 or float16, all alike. A row without a
            route keeps its bits.
        """
        if group not in self._pool._numbers:
            raise ValueError(f"group: expected one of {list(self._pool._numbers)}, got {group!r}")
        modules = self._pool._groups[group]
        if isinstance(y, dict):
            if set(y) != set(modules):
                raise ValueError(f"y: expected arrays for {modules}, got {list(y)}")
            y = [y[module] for module in modules]
        with measured("lora.Step.apply") as entry:
            entry.device = self._pool.device
            self._step.apply(self._pool._numbers[group], np.asarray(x), list(y))


def _route(entry, slots):
    """The routes of one row as (slot, scale)."""
    if entry is None:
        return []
    if not isinstance(entry, (list, tuple)):
        entry = [entry]
    pairs = [part if isinstance(part, tuple) else (part, 1.0) for part in entry]
    return [(_slot(adapter, slots), float(scale)) for adapter, scale in pairs]


def _slot(adapter, slots):
    if not isinstance(adapter, str):
        # What is no place at all is told by the native half.
        return adapter
    if adapter not in slots:
        raise ValueError(f"routes: expected an adapter of the lease, one of {list(slots)}, got {adapter!r}")
    return slots[adapter]
