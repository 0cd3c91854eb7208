"""`tilefold.lora` against the formula in float64, in NumPy."""

from pathlib import Path

import numpy as np
import pytest
from tilefold import lora

RANDOM = np.random.default_rng(0)
FIXTURES = Path(__file__).parents[2] / "tests" / "data" / "lora"


def update(rank, inputs, outputs, kind=np.float32):
    scale = 0.5 + rank
    return RANDOM.normal(size=(rank, inputs)).astype(kind), RANDOM.normal(size=(outputs, rank)).astype(kind), scale


def expected(updates, routes, x, y):
    """The sums in float64, and the bound of an entry: every chain of float32 additions and the last rounding."""
    sums, size = y.astype(np.float64), np.abs(y).astype(np.float64)
    longest = 0
    for row, entries in enumerate(routes):
        for place, scale in entries:
            a, b, own = (np.asarray(part, dtype=np.float64) for part in updates[place])
            sums[row] += scale * own * (x[row].astype(np.float64) @ a.T) @ b.T
            size[row] += abs(scale * own) * (np.abs(x[row].astype(np.float64)) @ np.abs(a.T)) @ np.abs(b.T)
            longest = max(longest, a.shape[1] + a.shape[0] + len(entries) + 4)
    unit = 2.0**-24 * longest / (1 - 2.0**-24 * longest)
    last = 2.0**-11 if y.dtype == np.float16 else 2.0**-24
    return sums, unit * size + last * np.abs(sums) + 2.0**-25 * (y.dtype == np.float16)


def check(updates, routes, x, y, found):
    sums, bound = expected(updates, routes, x, y)
    error = np.abs(found.astype(np.float64) - sums)
    assert not (error > bound).any() and not np.isnan(found).any(), (error / bound).max()


@pytest.mark.parametrize("kinds", [(np.float32, np.float32), (np.float16, np.float16), (np.float16, np.float32)])
def test_rows_go_through_their_own_updates(device, kinds):
    inputs, outputs = 37, 21
    updates = [update(rank, inputs, outputs, kinds[0]) for rank in (1, 4, 16, 33)]
    routes = [None, 0, 3, [1, 2], [(0, 0.5), (3, -2.0)], 1, [], 2]
    listed = [[], [(0, 1)], [(3, 1)], [(1, 1), (2, 1)], [(0, 0.5), (3, -2.0)], [(1, 1)], [], [(2, 1)]]
    x = RANDOM.normal(size=(8, inputs)).astype(kinds[0])
    y = RANDOM.normal(size=(8, outputs)).astype(kinds[1])
    found = y.copy()
    lora.apply(updates, routes, x, found, device=device)
    check(updates, listed, x, y, found)
    assert (found[[0, 6]] == y[[0, 6]]).all() and (found[1] != y[1]).any()
    # A row's result does not depend on the others, bit for bit.
    alone = y[4:5].copy()
    lora.apply(updates, routes[4:5], x[4:5], alone, device=device)
    assert (alone == found[4:5]).all()
    # Strided arrays are filled in place.
    wide = np.zeros((8, 2 * outputs), dtype=kinds[1])
    wide[:, ::2] = y
    lora.apply(updates, routes, np.asfortranarray(x), wide[:, ::2], device=device)
    assert (wide[:, ::2] == found).all() and (wide[:, 1::2] == 0).all()


def test_a_pool_keeps_what_is_leased_and_makes_room(device):
    modules = [("q_proj", 16, 24), ("k_proj", 16, 8)]
    adapters = {
        name: {"q_proj": update(rank, 16, 24), "k_proj": update(rank, 16, 8)}
        for name, rank in (("small", 2), ("large", 8), ("other", 5))
    }
    pool = lora.Pool(
        {"qk": modules, "down": [("down_proj", 24, 16)]}, budget_bytes=1 << 20, most_resident=2, device=device
    )
    for name, updates in adapters.items():
        pool.register(name, lora.Adapter(updates))
    x = RANDOM.normal(size=(3, 16)).astype(np.float32)
    before = [np.ones((3, 24), dtype=np.float32), np.ones((3, 8), dtype=np.float32)]
    with pool.lease(["large", "small"]) as lease:
        assert pool.is_resident("large") and not pool.is_resident("other") and lease.generations == [2, 1]
        with pytest.raises((ValueError, MemoryError), match="resident|adapters"):
            pool.lease(["other", "large", "small"])
        step = lease.step(["small", None, [("large", 2.0), "small"]])
        q, k = (array.copy() for array in before)
        step.apply("qk", x, {"k_proj": k, "q_proj": q})
        down = np.zeros((3, 16), dtype=np.float32)
        step.apply("down", np.zeros((3, 24), dtype=np.float32), [down])
        assert (down == 0).all()
    listed = [[(0, 1)], [], [(1, 2.0), (0, 1)]]
    for found, start, module in ((q, before[0], "q_proj"), (k, before[1], "k_proj")):
        check([adapters["small"][module], adapters["large"][module]], listed, x, start, found)
    with pytest.raises(ValueError, match="released"):
        lease.step([0, 0, 0])
    del step
    with pool.lease(["other"]):
        assert pool.is_resident("other")
    stats = pool.stats()
    assert (stats["registered"], stats["misses"], stats["evictions"]) == (3, 3, 1), stats
    assert pool.register("small", lora.Adapter(adapters["other"])) == 4
    pool.unregister("small")
    with pytest.raises(ValueError, match="small"):
        pool.lease(["small"])


def test_a_folder_of_peft(device):
    folder = FIXTURES / "mixed" / "r33"
    adapter = lora.Adapter.read(folder)
    module = "model.layers.0.self_attn.q_proj"
    sizes = adapter.modules[module]
    assert (sizes["rank"], sizes["inputs"], sizes["outputs"]) == (33, 20, 20) and len(adapter.modules) == 2
    assert repr(adapter) == "<Adapter of 2 modules, ranks 33>"
    a, b = adapter.weights(module)
    pool = lora.Pool(
        {"q": [(module, 20, 20)], "v": [("model.layers.0.self_attn.v_proj", 20, 10)]},
        budget_bytes=1 << 20,
        device=device,
    )
    pool.register("read", adapter)
    pool.register("again", folder)
    x = RANDOM.normal(size=(2, 20)).astype(np.float32)
    y = np.zeros((2, 20), dtype=np.float32)
    with pool.lease(["read", "again"]) as lease:
        lease.step([0, 1]).apply("q", x, [y])
    check([(a, b, sizes["scale"])], [[(0, 1)], [(0, 1)]], x, np.zeros_like(y), y)
    with pytest.raises(ValueError, match="DoRA"):
        lora.Adapter.read(FIXTURES / "refused_dora")
    rounded = adapter.cast("float16").weights(module)[0]
    assert (rounded == a.astype(np.float16)).all()


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"routes": [1, 0]}, ValueError, "slot"),
        ({"routes": [0]}, ValueError, "rows"),
        ({"routes": [[(0, np.inf)], 0]}, ValueError, "scale"),
        ({"x": np.zeros((2, 5), np.float32)}, ValueError, "inputs"),
        ({"x": np.zeros((2, 4))}, TypeError, "float32"),
        ({"y": np.zeros((2, 3))}, TypeError, "float32"),
        ({"updates": []}, ValueError, "at least one"),
        ({"updates": [(np.full((1, 4), np.nan), np.zeros((3, 1)))]}, ValueError, "NaN"),
        ({"updates": [(np.zeros((2, 4)), np.zeros((3, 1)))]}, ValueError, "rank|columns"),
        ({"updates": [(np.zeros((1, 4)), np.zeros((3, 1)), 1, 2)]}, ValueError, "4 parts"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(change, kind, text, device):
    arguments = {
        "updates": [(np.ones((1, 4)), np.ones((3, 1)))],
        "routes": [0, None],
        "x": np.ones((2, 4), np.float32),
        "y": np.zeros((2, 3), np.float32),
        **change,
    }
    with pytest.raises(kind, match=text):
        lora.apply(**arguments, device=device)
    assert (arguments["y"] == 0).all()


def test_a_group_that_the_pool_lacks(device):
    pool = lora.Pool({"up": [("up_proj", 4, 3)]}, budget_bytes=1 << 16, device=device)
    pool.register("mine", lora.Adapter({"up_proj": (np.ones((1, 4)), np.ones((3, 1)))}))
    with pool.lease(["mine"]) as lease:
        step = lease.step(["mine"])
        with pytest.raises(ValueError, match="group: expected one of"):
            step.apply("down", np.zeros((1, 4), np.float32), [np.zeros((1, 3), np.float32)])
        with pytest.raises(ValueError, match="y: expected arrays for"):
            step.apply("up", np.zeros((1, 4), np.float32), {"other": np.zeros((1, 3), np.float32)})
        with pytest.raises(ValueError, match="routes: expected an adapter"):
            lease.step(["yours"])


def test_a_cast_that_would_make_weights_infinite_is_refused():
    ones = np.ones((3, 1), "f4")
    large = np.array([[1, 1e5, 1, 1]], "f4")
    with pytest.raises(ValueError, match=r"f16 holds, at most 65504 in magnitude, got 100000.0 at A\[0, 1\] of \"m\""):
        lora.Adapter({"m": (large, ones)}).cast("float16")
    assert (lora.Adapter({"m": (large, ones)}).cast("bfloat16").weights("m")[0] < np.inf).all()
    largest = np.full((1, 4), np.finfo("f4").max)
    with pytest.raises(ValueError, match=r"bf16 holds, at most 3.3895314e38 in magnitude, got 3.40\d+e38 at A\[0, 0\]"):
        lora.Adapter({"m": (largest, ones)}).cast("bfloat16")
