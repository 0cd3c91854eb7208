"""One call for a few matrices."""

from .._devices import run_on
from ._adapter import Adapter
from ._pool import Pool


def apply(updates, routes, x, y, *, device=None):
    """Adds low-rank updates to the rows of `y`, in place: a pool made, used and dropped.

    Parameters
    ----------
    updates : list of (A, B) or (A, B, scale)
        A of shape (rank, inputs), B (outputs, rank), float32 or float16; any mix of ranks.
    routes : sequence
        One entry per row: None, a place in `updates`, or a list of places and pairs (place, scale).
    x : ndarray of shape (rows, inputs)
        float32 or float16.
    y : ndarray of shape (rows, outputs)
        float32 or float16.
    device : str
        Where it runs; None is the setting.
    """
    adapters = [Adapter({"module": update}) for update in updates]
    if not adapters:
        raise ValueError("updates: expected at least one (A, B, scale), got none")
    size = sum(4 * (a.size + b.size) for a, b in (adapter.weights("module") for adapter in adapters))
    # Pages round up the room of each rank vector.
    ranks = sum(adapter.modules["module"]["rank"] for adapter in adapters)
    names = [str(number) for number in range(len(adapters))]

    def work(selector):
        pool = Pool(
            {"group": [("module", x.shape[1], y.shape[1])]},
            budget_bytes=size + 4 * 2048 * (ranks + 1) + (1 << 16),
            most_resident=len(adapters),
            device=selector,
        )
        for name, adapter in zip(names, adapters, strict=True):
            pool.register(name, adapter)
        with pool.lease(names) as lease:
            # What fails leaves y as it was.
            lease.step(routes).apply("group", x, [y])

    run_on(device, work)
