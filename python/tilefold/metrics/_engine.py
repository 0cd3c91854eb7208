"""Calls of the library's core on the device that was asked for."""

import numpy as np

from .. import _core
from .._devices import run_on

# What the library's tiles screen.
_TILED = ("euclidean", "sqeuclidean", "cosine")


class Engine:
    """One call of a public function: where it runs is chosen once, and recorded in the profile."""

    def __init__(self, device, entry):
        self._device = device
        self._entry = entry

    def distances(self, x, y, core, out, parameters):
        """Fills `out` with the distances of dense rows, of `x` with itself where `y` is None."""
        self._run(lambda selector: (None, _core.distances(x, y, out, core, selector, parameters)))

    def nearest(self, x, y, core):
        """The index of the nearest row of `y` for each row of `x`, and its distance in `float64`."""

        def work(selector):
            if core in _TILED:
                indices, distances, device = _core.nearest_neighbours(y, x, 1, core, selector, {})
                return (indices[:, 0], distances[:, 0].astype(np.float64)), device
            indices, distances, device = _core.nearest_rows(x, y, core, selector)
            return (indices, distances), device

        return self._run(work)

    def _run(self, work):
        (result, device), failure = run_on(self._device, work, stacklevel=7)
        self._entry.device = device
        if failure is not None:
            # What comes next of this call does not ask the device that failed again.
            self._device = "cpu"
            self._entry.reason = failure
        elif "f64 on" in device:
            self._entry.reason = "float64, which GPUs lack"
        return result
