"""Many LoRA adapters in one batch: each row goes through its own low-rank updates, in one pass on any device.

    y[row] += sum over the row's routes of  route scale * adapter scale * (x[row] A^T) B^T

with A of shape (rank, inputs) and B of shape (outputs, rank), as PEFT stores them. What an adapter adds to a row depends
on that row alone, bit for bit, whatever else is in the batch.
"""

from ._adapter import Adapter
from ._apply import apply
from ._pool import Lease, Pool, Step

__all__ = ["Adapter", "Lease", "Pool", "Step", "apply"]
