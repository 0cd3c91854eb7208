"""`tilefold.neighbors` against scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors as Peer
from sklearn.utils.estimator_checks import check_estimator
from tilefold.neighbors import NearestNeighbors

METRICS = ["euclidean", "sqeuclidean", "cosine", "manhattan", "chebyshev", "minkowski"]


def rows(count, kind, seed):
    return np.random.default_rng(seed).standard_normal((count, 7)).astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_the_same_neighbours_as_scikit_learn(device, metric, kind):
    X, Y = rows(90, kind, 1), rows(40, kind, 2)
    ours = NearestNeighbors(n_neighbors=4, metric=metric, device=device).fit(X)
    # Rows in float64 without rounding: the order that is promised.
    peer = Peer(n_neighbors=4, metric=metric, algorithm="brute").fit(X.astype(np.float64))
    for queries in (None, Y):
        wide = None if queries is None else queries.astype(np.float64)
        distances, indices = ours.kneighbors(queries)
        expected_distances, expected = peer.kneighbors(wide)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(distances, expected_distances, rtol=1e-6, atol=1e-7)
        assert distances.dtype == kind
        np.testing.assert_array_equal(ours.kneighbors(queries, return_distance=False), expected)
        for mode in ("connectivity", "distance"):
            graph = ours.kneighbors_graph(queries, mode=mode)
            difference = graph - peer.kneighbors_graph(wide, mode=mode)
            assert abs(difference).max() < 1e-5
        radius = float(np.median(expected_distances)) * 1.01
        distances, indices = ours.radius_neighbors(queries, radius, sort_results=True)
        expected_distances, expected = peer.radius_neighbors(wide, radius, sort_results=True)
        assert sum(map(len, expected)) > 0
        for got, wanted in zip(indices, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
        for got, wanted in zip(distances, expected_distances, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
        graph = ours.radius_neighbors_graph(queries, radius, mode="distance")
        assert abs(graph - peer.radius_neighbors_graph(wide, radius, mode="distance")).max() < 1e-5


def test_equal_rows_come_in_the_order_of_their_index(device):
    X = np.ones((6, 2))
    indices = NearestNeighbors(n_neighbors=3, device=device).fit(X).kneighbors(X, return_distance=False)
    np.testing.assert_array_equal(indices, np.tile([0, 1, 2], (6, 1)))


def test_arrays_of_equal_length_stay_arrays_of_arrays(device):
    found = NearestNeighbors(radius=1.0, device=device).fit([[0.0], [9.0]]).radius_neighbors([[0.0], [9.0]])
    assert [array.shape for array in found] == [(2,), (2,)] and all(array.dtype == object for array in found)


def test_missing_values(device):
    rows = np.random.default_rng(3).normal(size=(40, 5))
    rows[::3, 1] = rows[1::4, 3] = np.nan
    found = NearestNeighbors(n_neighbors=6, metric="nan_euclidean", device=device).fit(rows).kneighbors()
    peer = Peer(n_neighbors=6, metric="nan_euclidean", algorithm="brute").fit(rows).kneighbors()
    np.testing.assert_array_equal(found[1], peer[1])
    np.testing.assert_allclose(found[0], peer[0], rtol=1e-12)
    apart = np.array([[np.nan, 1.0], [2.0, np.nan], [3.0, 4.0]])
    distances, indices = NearestNeighbors(n_neighbors=2, metric="nan_euclidean", device=device).fit(apart).kneighbors()
    np.testing.assert_array_equal(indices, [[2, 1], [2, 0], [1, 0]])
    assert np.isinf(distances[0, 1]) and np.isinf(distances[1, 1])
    with pytest.raises(ValueError, match="infinity"):
        NearestNeighbors(metric="nan_euclidean", device=device).fit([[np.inf, 1.0]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"metric": "nearest"}, "metric: expected one of"),
        ({"metric": "minkowski", "p": 0}, "p: expected a number above 0"),
        ({"metric": "minkowski", "p": np.inf, "metric_params": {"w": np.ones(7)}}, "metric_params: minkowski takes no w"),
        ({"metric": "minkowski", "metric_params": {"w": np.ones(3)}}, "weights of minkowski: expected 7"),
        ({"metric": "seuclidean"}, "'V' parameter is required"),
        ({"metric": "mahalanobis"}, "'VI' parameter is required"),
        ({"n_neighbors": 0}, "n_neighbors > 0"),
        ({"algorithm": "tree"}, "algorithm: expected"),
        ({"metric": "cosine", "metric_params": {"w": 1}}, "metric_params: cosine has no w"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        NearestNeighbors(**parameters).fit(rows(9, np.float32, 3))


PARAMETERS = [
    ("minkowski", {"p": 3}, None),
    ("minkowski", {"p": 1.5}, {"w": np.linspace(0.1, 2, 7)}),
    ("seuclidean", {}, {"V": np.linspace(0.5, 3, 7)}),
    ("mahalanobis", {}, {"VI": np.eye(7) + 0.2}),
    ("correlation", {}, None),
    ("canberra", {}, None),
    ("braycurtis", {}, None),
]


@pytest.mark.parametrize(("metric", "arguments", "metric_params"), PARAMETERS)
def test_metrics_with_parameters(device, metric, arguments, metric_params):
    X, Y = np.abs(rows(80, np.float64, 5)), np.abs(rows(30, np.float64, 6))
    ours = NearestNeighbors(n_neighbors=5, metric=metric, metric_params=metric_params, device=device, **arguments).fit(X)
    peer = Peer(n_neighbors=5, metric=metric, metric_params=metric_params, algorithm="brute", **arguments).fit(X)
    distances, indices = ours.kneighbors(Y)
    expected_distances, expected = peer.kneighbors(Y)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-9)
    radius = float(np.median(expected_distances)) * 1.01
    for got, wanted in zip(
        ours.radius_neighbors(Y, radius, return_distance=False),
        peer.radius_neighbors(Y, radius, return_distance=False),
        strict=True,
    ):
        np.testing.assert_array_equal(got, np.sort(wanted))


def test_places(device):
    draws = np.random.default_rng(7)
    X, Y = (np.radians(draws.uniform((-90, -180), (90, 180), (count, 2))) for count in (300, 40))
    ours = NearestNeighbors(n_neighbors=4, metric="haversine", device=device).fit(X)
    peer = Peer(n_neighbors=4, metric="haversine", algorithm="ball_tree").fit(X)
    np.testing.assert_array_equal(ours.kneighbors(Y)[1], peer.kneighbors(Y)[1])
    for got, wanted in zip(ours.radius_neighbors(Y, 0.3)[1], peer.radius_neighbors(Y, 0.3)[1], strict=True):
        np.testing.assert_array_equal(got, np.sort(wanted))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sparse_rows(device, metric):
    X = rows(60, np.float64, 8)
    X[np.abs(X) < 0.8] = 0
    X[:, 0] = 1
    sparse = csr_matrix(X)
    ours = NearestNeighbors(n_neighbors=3, metric=metric, device=device).fit(sparse)
    dense = NearestNeighbors(n_neighbors=3, metric=metric, device=device).fit(X)
    for queries, same in ((None, None), (sparse, X)):
        for got, wanted in zip(ours.kneighbors(queries), dense.kneighbors(same), strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert abs(ours.radius_neighbors_graph(sparse) - dense.radius_neighbors_graph(X)).max() == 0


def test_wrong_calls_are_named(device):
    X = rows(9, np.float32, 4)
    fitted = NearestNeighbors(device=device).fit(X)
    with pytest.raises(ValueError, match="n_neighbors = 10, n_samples_fit = 9"):
        fitted.kneighbors(X, 10)
    with pytest.raises(ValueError, match="n_neighbors < n_samples_fit"):
        fitted.kneighbors(n_neighbors=9)
    with pytest.raises(ValueError, match="radius"):
        fitted.radius_neighbors(X, -1.0)
    with pytest.raises(ValueError, match="mode"):
        fitted.kneighbors_graph(X, mode="weights")
    with pytest.raises(ValueError, match="NaN"):
        fitted.kneighbors(np.full((1, 7), np.nan))
    with pytest.raises(ValueError, match="features"):
        fitted.kneighbors(X[:, :3])


def test_scikit_learns_own_checks():
    check_estimator(NearestNeighbors(device="cpu"), on_skip=None)
