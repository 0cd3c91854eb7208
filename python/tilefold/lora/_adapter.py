"""Adapters: low-rank updates by the module that each applies to."""

import os

import numpy as np

from .. import _core


class Adapter:
    """Low-rank updates by module: `{"model.layers.0.self_attn.q_proj": (A, B, scale)}`.

    A has shape (rank, inputs), B (outputs, rank), both of float32 or both of float16; `scale` is what their product is
    multiplied by, such as alpha / rank, and 1 if left out. Weights that are NaN or infinite are refused.
    """

    def __init__(self, updates):
        taken = []
        for module, (a, b, *scale) in updates.items():
            if len(scale) > 1:
                raise ValueError(f"updates[{module!r}]: expected (A, B) or (A, B, scale), got {2 + len(scale)} parts")
            taken.append((module, _weights(a), _weights(b), float(scale[0]) if scale else 1.0))
        self._adapter = _core.LoraAdapter(taken)

    @classmethod
    def read(cls, folder):
        """The adapter in a folder that PEFT wrote: LoRA, rsLoRA, ranks and alphas by pattern, VeRA. What changes more
        than a low-rank update is refused, with the reason."""
        return cls._of(_core.LoraAdapter.read(os.fspath(folder)))

    @classmethod
    def _of(cls, native):
        self = cls.__new__(cls)
        self._adapter = native
        return self

    @property
    def modules(self):
        """A dictionary from module to its `rank`, `inputs`, `outputs` and `scale`."""
        names = ("rank", "inputs", "outputs", "scale")
        return {module: dict(zip(names, sizes, strict=True)) for module, *sizes in self._adapter.updates()}

    def weights(self, module):
        """A and B of a module, as float32."""
        return tuple(self._adapter.weights(module))

    def cast(self, weights):
        """The same adapter with weights rounded to "float32", "float16" or "bfloat16"; `ValueError` where one would become
        infinite."""
        return self._of(self._adapter.cast(weights))

    def __repr__(self):
        ranks = sorted({update["rank"] for update in self.modules.values()})
        return f"<Adapter of {len(self.modules)} modules, ranks {', '.join(map(str, ranks)) or 'none'}>"


def _weights(array):
    array = np.asarray(array)
    return array if array.dtype.newbyteorder("=") in (np.float32, np.float16) else array.astype(np.float32)
