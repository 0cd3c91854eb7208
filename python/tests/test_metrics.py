"""`tilefold.metrics`: values, types, signatures, what goes to scikit-learn and why."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.exceptions
import tilefold
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise as theirs
from tilefold import _profile, metrics
from tilefold.metrics import _input, _matrix
from tilefold.metrics._table import TABLE

SIZES = [(1, 1, 1), (2, 3, 5), (127, 129, 63), (130, 257, 65), (33, 31, 128)]


BOUNDED = sorted(name for name, entry in TABLE.items() if entry.bounded)
OTHERS = sorted(set(TABLE) - set(BOUNDED))


def rows(count, depth, kind=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, depth)).astype(kind)


def bound(metric, depth, unit):
    """The bound that the library's module `distance` states, for one order of sums: relative, absolute."""
    m = min(depth, 64) + -(-depth // 64) + 1
    square = max(16 * (m + 3), depth + 4) * unit
    return {
        "sqeuclidean": (square, 0),
        "euclidean": (square / 2 + 6 * unit, 0),
        "cosine": (0, (m + 8) * unit),
        "manhattan": ((m + 4) * unit, 0),
        "chebyshev": (4 * unit, 0),
    }[metric]


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("metric", sorted({entry.core for entry in TABLE.values() if entry.bounded}))
@pytest.mark.parametrize("sizes", SIZES)
def test_values_are_within_the_bound_of_the_library(device, metric, kind, sizes):
    x, y = rows(sizes[0], sizes[2], kind), rows(sizes[1], sizes[2], kind, seed=1)
    name = {"manhattan": "cityblock"}.get(metric, metric)
    wide = x.astype(np.longdouble), y.astype(np.longdouble)
    if metric == "cosine":
        directions = [table / np.sqrt((table * table).sum(axis=1, keepdims=True)) for table in wide]
        expected = 1 - directions[0] @ directions[1].T
    else:
        expected = cdist(x.astype(np.float64), y.astype(np.float64), name)
    found = metrics.pairwise_distances(x, y, metric=metric, device=device)
    assert found.dtype == (np.float64 if kind == np.float64 else np.float32)
    unit = 2.0**-53 if kind == np.float64 else 2.0**-24
    relative, absolute = bound(metric, sizes[2], unit)
    # SciPy's sums, the other side of the comparison, are off by at most (depth + 4) of their own unit.
    relative += (sizes[2] + 4) * 2.0**-53
    error = np.abs(found - expected)
    assert (error <= relative * np.abs(expected) + absolute).all(), (error / np.abs(expected)).max()


@pytest.mark.parametrize("metric", BOUNDED)
def test_x_with_itself_is_symmetric_with_zeros_on_the_diagonal(device, metric):
    for kind in (np.float64, np.float32):
        x = rows(140, 7, kind) + 1000
        found = metrics.pairwise_distances(x, metric=metric, device=device)
        assert (found == found.T).all() and (np.diag(found) == 0).all()
        assert (found == metrics.pairwise_distances(x, x, metric=metric, device=device)).all()


@pytest.mark.parametrize("metric", BOUNDED)
def test_the_nearest_row_is_the_one_of_float64(device, metric):
    for kind in (np.float64, np.float32, np.float16):
        # Rows of a coarse grid have many ties and near ties.
        x = np.round(rows(90, 3, kind) * 4) / 4 + np.asarray(0.5, kind)
        y = np.round(rows(70, 3, kind, seed=1) * 4) / 4 + np.asarray(0.5, kind)
        x[:, 0] = y[:, 0] = 1
        exact = metrics.pairwise_distances(
            x.astype(np.float64), y.astype(np.float64), metric=metric, device="reference"
        )
        expected = exact.argmin(axis=1)
        indices, distances = metrics.pairwise_distances_argmin_min(x, y, metric=metric, device=device)
        assert (indices == expected).all() and indices.dtype == np.int64
        assert (indices == metrics.pairwise_distances_argmin(x, y, metric=metric, device=device)).all()
        np.testing.assert_allclose(distances, exact.min(axis=1), rtol=1e-4, atol=1e-6)
        assert distances.dtype == (np.float64 if kind == np.float64 else np.float32)
        other = metrics.pairwise_distances_argmin(x, y, metric=metric, axis=0, device=device)
        assert (other == exact.argmin(axis=0)).all()


def data_of(metric, count, kind, seed):
    """Rows in the domain of a metric, and parameters that it needs."""
    x = rows(count, 9, kind, seed)
    if TABLE[metric].bits:
        return x > 0
    if metric == "haversine":
        return x[:, :2] / np.asarray(4, kind)
    if metric in ("hamming", "matching"):
        return np.round(x)
    if metric == "nan_euclidean":
        x[np.abs(x) > 1.5] = np.nan
    return np.abs(x) if metric in ("canberra", "braycurtis") else x


@pytest.mark.parametrize("metric", OTHERS)
def test_metrics_of_scipy_are_as_there(device, metric):
    for kind in (np.float64, np.float32):
        x, y = data_of(metric, 41, kind, 0), data_of(metric, 37, kind, 1)
        options = {}
        if metric == "seuclidean":
            options = {"V": np.var(x, axis=0, ddof=1, dtype=np.float64)}
        if metric == "mahalanobis":
            options = {"VI": np.linalg.inv(np.cov(x.T.astype(np.float64)))}
        if metric == "minkowski":
            options = {"p": 3, "w": np.arange(1.0, 10.0)}
        wide = [table if table.dtype == bool else table.astype(np.float64) for table in (x, y)]
        expected = theirs.pairwise_distances(*wide, metric=metric, **options)
        tolerance = {"rtol": 1e-10, "atol": 1e-12} if kind == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
        found = metrics.pairwise_distances(x, y, metric=metric, device=device, **options)
        assert found.dtype == (np.float64 if x.dtype == bool else kind)
        np.testing.assert_allclose(found, expected, **tolerance)
        alone = metrics.pairwise_distances(x, metric=metric, device=device, **options)
        np.testing.assert_allclose(alone, theirs.pairwise_distances(wide[0], metric=metric, **options), **tolerance)
        chunks = metrics.pairwise_distances_chunked(x, y, metric=metric, working_memory=0.01, device=device, **options)
        np.testing.assert_allclose(np.vstack(list(chunks)), expected, **tolerance)
        nearest, least = metrics.pairwise_distances_argmin_min(
            x, y, metric=metric, device=device, metric_kwargs=options
        )
        np.testing.assert_allclose(least, expected.min(axis=1), **tolerance)
        np.testing.assert_allclose(expected[np.arange(41), nearest], expected.min(axis=1), rtol=1e-10)
        with pytest.raises(TypeError, match="sparse"):
            metrics.pairwise_distances(scipy.sparse.csr_matrix(x), metric=metric, device=device)


def test_parameters_that_follow_from_the_data():
    x = rows(30, 4)
    for metric, parameter in (("seuclidean", "V"), ("mahalanobis", "VI")):
        expected = theirs.pairwise_distances(x, metric=metric)
        np.testing.assert_allclose(metrics.pairwise_distances(x, metric=metric), expected, rtol=1e-10, atol=1e-12)
        with pytest.raises(ValueError, match=f"The '{parameter}' parameter is required"):
            metrics.pairwise_distances(x, rows(3, 4, seed=1), metric=metric)
    with pytest.raises(ValueError, match="weights of minkowski: expected 4"):
        metrics.pairwise_distances(x, metric="minkowski", w=[1, 2])
    with pytest.raises(ValueError, match="p: expected"):
        metrics.pairwise_distances(x, metric="minkowski", p=-1)
    with pytest.warns(sklearn.exceptions.DataConversionWarning, match="converted to boolean for metric dice") as warned:
        metrics.pairwise_distances(x, metric="dice")
    assert warned[0].filename == __file__


def test_near_ties_of_float32_need_the_recheck(device):
    # In float32 both candidates are equally far; only float64 tells that the second one is nearer.
    depth = 256
    x = rows(400, depth, np.float32)
    step = rows(400, depth, np.float32, seed=1)
    first = x + step
    second = x - step * np.float32(1 - 2.0**-22)
    y = np.stack([first, second], axis=1).reshape(-1, depth)
    indices = metrics.pairwise_distances_argmin(x, y, device=device)
    exact = ((x.astype(np.float64)[:, None] - y.astype(np.float64).reshape(400, 2, depth)) ** 2).sum(axis=2)
    assert (indices == 2 * np.arange(400) + exact.argmin(axis=1)).all()
    screened = metrics.pairwise_distances(x, y, device=device).argmin(axis=1)
    assert (screened != indices).any(), "the data is too easy to need the recheck"


@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
@pytest.mark.parametrize("metric", sorted(name for name, entry in TABLE.items() if entry.sparse))
def test_sparse_rows_go_block_by_block(device, metric, container, monkeypatch):
    widest = 0
    dense_of = _input.blocks

    def watched(table):
        nonlocal widest
        for part, block in dense_of(table):
            if scipy.sparse.issparse(table):
                widest = max(widest, len(block))
            yield part, block

    monkeypatch.setattr(_input, "BLOCK_BYTES", 16 * 8 * 20)
    monkeypatch.setattr(_matrix, "blocks", watched)
    for kind in (np.float64, np.float32):
        x, y = rows(50, 20, kind), rows(45, 20, kind, seed=1)
        x[np.abs(x) < 1] = 0
        y[np.abs(y) < 1] = 0
        exact = {"rtol": 1e-5, "atol": 1e-6} if kind == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
        for a, b in [(container(x), container(y)), (container(x), y), (x, container(y))]:
            found = metrics.pairwise_distances(a, b, metric=metric, device=device)
            np.testing.assert_allclose(found, metrics.pairwise_distances(x, y, metric=metric), **exact)
            nearest = metrics.pairwise_distances_argmin(a, b, metric=metric, device=device)
            assert (nearest == metrics.pairwise_distances_argmin(x, y, metric=metric)).all()
        itself = metrics.pairwise_distances(container(x), metric=metric, device=device)
        assert (itself == itself.T).all() and (np.diag(itself) == 0).all()
        np.testing.assert_allclose(itself, metrics.pairwise_distances(x, metric=metric), **exact)
    assert 0 < widest <= 32


def test_chunks_are_the_matrix(device):
    x, y = rows(300, 5), rows(200, 5, seed=1)
    whole = metrics.pairwise_distances(x, y, device=device)
    chunks = list(metrics.pairwise_distances_chunked(x, y, working_memory=0.05, device=device))
    assert len(chunks) > 5 and all(chunk.nbytes <= 0.05 * 2**20 for chunk in chunks)
    np.testing.assert_allclose(np.vstack(chunks), whole, rtol=1e-13)
    nearest = metrics.pairwise_distances_chunked(
        x, y, working_memory=0.05, reduce_func=lambda block, start: block.argmin(axis=1), device=device
    )
    assert (np.concatenate(list(nearest)) == whole.argmin(axis=1)).all()
    diagonal = np.concatenate(
        [
            np.diag(block, start)
            for start, block in zip(
                range(0, 300, 21),
                metrics.pairwise_distances_chunked(x, working_memory=21 * 300 * 8 / 2**20, device=device),
                strict=False,
            )
        ]
    )
    assert (diagonal == 0).all() and len(diagonal) == 300


def test_norms_of_the_caller_are_used():
    x, y = rows(10, 4), rows(20, 4, seed=1)
    expected = cdist(x, y)
    norms = {"X_norm_squared": (x * x).sum(axis=1), "Y_norm_squared": (y * y).sum(axis=1)[:, None]}
    np.testing.assert_allclose(metrics.euclidean_distances(x, y, **norms), expected, rtol=1e-10)
    np.testing.assert_allclose(metrics.euclidean_distances(x, y, squared=True, **norms), expected**2, rtol=1e-10)
    wrong = metrics.euclidean_distances(x, y, X_norm_squared=np.zeros(10))
    assert np.abs(wrong - expected).max() > 0.1
    with pytest.raises(ValueError, match="Incompatible dimensions for X"):
        metrics.euclidean_distances(x, y, X_norm_squared=np.zeros(9))


@pytest.mark.parametrize(
    "name",
    [
        "cosine_distances",
        "euclidean_distances",
        "pairwise_distances",
        "pairwise_distances_argmin",
        "pairwise_distances_argmin_min",
        "pairwise_distances_chunked",
    ],
)
def test_signatures_are_those_of_scikit_learn_and_a_device(name):
    ours = dict(inspect.signature(getattr(metrics, name)).parameters)
    assert ours.pop("device").default is None
    # Whoever shares a parameter gives it the same default and kind.
    for parameter, expected in inspect.signature(getattr(theirs, name)).parameters.items():
        assert str(ours.pop(parameter)) == str(expected)
    assert not ours


def test_what_tilefold_lacks_goes_to_scikit_learn_as_the_setting_says(monkeypatch):
    x = np.abs(rows(5, 4))
    lacking = "yule"
    monkeypatch.delitem(TABLE, lacking)
    _profile.reset()
    with (
        tilefold.config_context(fallback="warn"),
        pytest.warns(tilefold.FallbackWarning, match="tilefold lacks; scikit") as warned,
    ):
        found = metrics.pairwise_distances(x > 1, metric=lacking)
    assert warned[0].filename == __file__
    assert (found == theirs.pairwise_distances(x > 1, metric=lacking)).all()
    with tilefold.config_context(fallback="silent"), warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.pairwise_distances(x > 1, metric=lacking)
    with (
        tilefold.config_context(fallback="raise"),
        pytest.raises(metrics.UnsupportedError, match="tilefold lacks.*raise"),
    ):
        metrics.pairwise_distances(x > 1, metric=lacking)
    (row,) = _profile.rows()
    assert (row.call, row.calls, row.device) == ("pairwise_distances(yule)", 2, "scikit-learn")
    assert row.reason == "a metric that tilefold lacks"


def test_precomputed_and_functions_are_scikit_learns():
    square = np.abs(rows(4, 4))
    assert metrics.pairwise_distances(square, metric="precomputed") is square
    with pytest.raises(ValueError, match="shape"):
        metrics.pairwise_distances(rows(5, 3), metric="precomputed")
    x = rows(6, 3)

    def most(a, b):
        return np.abs(a - b).max()

    # No warning: pytest makes one an error.
    found = metrics.pairwise_distances(x, metric=most)
    np.testing.assert_allclose(found, metrics.pairwise_distances(x, metric="chebyshev"))
    with tilefold.config_context(fallback="raise"), pytest.raises(metrics.UnsupportedError, match="Python function"):
        metrics.pairwise_distances(x, metric=most)


def test_no_metric_and_no_axis_are_errors_of_scikit_learn():
    x = rows(4, 2)
    for fallback in ("warn", "raise"):
        with tilefold.config_context(fallback=fallback):
            for call in (metrics.pairwise_distances, metrics.pairwise_distances_argmin):
                with pytest.raises(ValueError, match="metric"):
                    call(x, x, metric="no such metric")
            with pytest.raises(ValueError, match="axis"):
                metrics.pairwise_distances_argmin(x, x, axis=2)


def test_the_profile_says_where_and_why(device):
    _profile.reset()
    x = rows(20, 3)
    metrics.pairwise_distances(x, device=device)
    metrics.pairwise_distances(x.astype(np.float32), device=device)
    found = {row.device: row.reason for row in _profile.rows()}
    if device == "cpu":
        assert list(found.values()) == [""] and "cpu" in next(iter(found))
    else:
        assert sorted(found.values()) == ["", "float64, which GPUs lack"]
        assert "seconds" in _profile.table() and "GPUs lack" in _profile.table()


def test_array_api_dispatch_is_scikit_learns(monkeypatch):
    strict = pytest.importorskip("array_api_strict")
    x = strict.asarray(rows(4, 3))
    monkeypatch.setattr(sklearn, "get_config", lambda: {"array_api_dispatch": True})
    with tilefold.config_context(fallback="raise"), pytest.raises(metrics.UnsupportedError, match="array API"):
        metrics.pairwise_distances(x)
