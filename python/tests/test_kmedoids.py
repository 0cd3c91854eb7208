"""`tilefold.cluster.KMedoids`: scikit-learn's checks, the definition, and what its parameters promise."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tilefold.cluster import KMedoids

METHODS = ["fasterpam", "pam", "alternate", "clara", "clarans", "onebatch", "fastermsc", "pammedsil", "dynmsc"]
INITS = ["random", "build", "lab", "k-medoids++", "heuristic", "first"]


@parametrize_with_checks(
    [
        KMedoids(n_clusters=3, device="cpu"),
        KMedoids(n_clusters=3, method="alternate", metric="manhattan", init="heuristic", device="cpu"),
        KMedoids(n_clusters=3, metric="precomputed", method="pam", init="build", device="cpu"),
    ],
    expected_failed_checks=lambda estimator: (
        {
            "check_clustering": "it hands rows to every estimator, never a matrix",
            "check_estimators_nan_inf": "its rows with infinity are no square matrix, which may have infinity",
        }
        if estimator.metric == "precomputed"
        else {}
    ),
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore:X is not symmetric")
def test_sklearn_checks(estimator, check):
    check(estimator)


def blobs(dtype=np.float64, **options):
    X, _ = make_blobs(**{"n_samples": 150, "n_features": 4, "centers": 4, "random_state": 0, **options})
    return X.astype(dtype)


def check(fitted, D):
    """Everything that a fit says, recomputed from the matrix."""
    medoids = fitted.medoid_indices_
    assert len(set(medoids.tolist())) == len(medoids) and medoids.dtype == np.int64
    columns = D[:, medoids]
    least = columns.min(axis=1)
    np.testing.assert_allclose(fitted.inertia_, least.sum(), rtol=1e-6)
    assert fitted.loss_ == fitted.inertia_
    # Distances of the fit and of the peer are rounded otherwise: a label names a nearest medoid up to that.
    own = columns[np.arange(len(D)), fitted.labels_]
    np.testing.assert_allclose(own, least, rtol=1e-5, atol=1e-6 * D.max())
    assert fitted.labels_.dtype == np.int32
    if len(medoids) > 1:
        nearest = np.sort(columns, axis=1)[:, :2]
        ratios = np.divide(nearest[:, 0], nearest[:, 1], out=np.zeros(len(D)), where=nearest[:, 1] > 0)
        np.testing.assert_allclose(fitted.silhouette_, 1 - ratios.mean(), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_its_medoids_are(method, device):
    X = blobs(np.float32)
    fitted = KMedoids(5, method=method, random_state=0, device=device).fit(X)
    check(fitted, pairwise_distances(X.astype(np.float64)))
    np.testing.assert_array_equal(fitted.cluster_centers_, X[fitted.medoid_indices_])
    again = KMedoids(5, method=method, random_state=0, device=device).fit(X)
    np.testing.assert_array_equal(again.medoid_indices_, fitted.medoid_indices_)
    assert fitted.n_iter_ >= 1 and fitted.device_used_ and fitted.fallback_reason_ is None
    assert [count for count, _ in fitted.tried_] == ([5, 4, 3, 2] if method == "dynmsc" else [])


@pytest.mark.parametrize("init", INITS)
def test_no_swap_improves_fasterpam_whatever_it_starts_from(init):
    X = blobs(n_samples=60)
    D = pairwise_distances(X)
    fitted = KMedoids(4, init=init, random_state=1, device="cpu").fit(X)
    check(fitted, D)
    for place in range(4):
        for candidate in range(len(X)):
            swapped = fitted.medoid_indices_.copy()
            swapped[place] = candidate
            assert D[:, swapped].min(axis=1).sum() >= fitted.inertia_ * (1 - 1e-9)


def test_no_loss_is_below_the_best_of_all():
    X = blobs(n_samples=16, centers=3)
    D = pairwise_distances(X)
    best = min(D[:, list(chosen)].min(axis=1).sum() for chosen in combinations(range(16), 3))
    found = [KMedoids(3, method=method, random_state=2, device="cpu").fit(X).inertia_ for method in METHODS[:6]]
    assert all(loss >= best * (1 - 1e-12) for loss in found)
    assert min(found) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "parameters"),
    [
        ("manhattan", {}),
        ("chebyshev", {}),
        ("cosine", {}),
        ("sqeuclidean", {}),
        ("canberra", {}),
        ("correlation", {}),
        ("minkowski", {"p": 3}),
        ("minkowski", {"p": 1.5, "w": [1, 2, 1, 0.5]}),
        ("seuclidean", {}),
        ("mahalanobis", {}),
        ("jaccard", {}),
        (lambda a, b: float(np.abs(a - b).max() + 1), {}),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_every_metric_and_the_matrix_of_its_distances_agree(metric, parameters, device):
    X = blobs()
    if metric == "jaccard":
        X = X > 0
    D = pairwise_distances(X, metric=metric, **parameters)
    first = [3, 40, 77, 120]
    options = {"init": first, "device": device}
    by_rows = KMedoids(4, metric=metric, metric_params=parameters, **options).fit(X)
    check(by_rows, D)
    by_matrix = KMedoids(4, metric="precomputed", **options).fit(D)
    assert by_matrix.inertia_ == pytest.approx(by_rows.inertia_, rel=1e-9)
    assert by_matrix.cluster_centers_ is None
    distances = by_rows.transform(X)
    np.testing.assert_allclose(distances, D[:, by_rows.medoid_indices_], rtol=1e-9, atol=1e-9 * D.max())
    np.testing.assert_array_equal(by_matrix.transform(D), D[:, by_matrix.medoid_indices_])
    own = distances[np.arange(len(X)), by_rows.predict(X)]
    np.testing.assert_allclose(own, distances.min(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(by_matrix.predict(D), by_matrix.labels_)


def test_rows_of_zeros_have_scikit_learns_cosine_distance():
    X = blobs(n_samples=40)
    X[[3, 9]] = 0
    fitted = KMedoids(3, metric="cosine", random_state=0, device="cpu").fit(X)
    check(fitted, pairwise_distances(X, metric="cosine"))


def test_sparse_rows_are_dense_rows():
    X = np.where(np.abs(blobs()) < 4, 0, blobs())
    dense = KMedoids(4, metric="manhattan", random_state=0, device="cpu").fit(X)
    for sparse in (sp.csr_matrix(X), sp.csc_array(X)):
        fitted = KMedoids(4, metric="manhattan", random_state=0, device="cpu").fit(sparse)
        np.testing.assert_array_equal(fitted.medoid_indices_, dense.medoid_indices_)
        np.testing.assert_array_equal(fitted.predict(sparse), dense.labels_)
        np.testing.assert_array_equal(fitted.cluster_centers_.toarray(), dense.cluster_centers_)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        KMedoids(4, metric="canberra").fit(sp.csr_matrix(X))


def test_first_medoids_are_indices_or_rows_and_stay_without_iterations():
    X = blobs()
    X[7] = X[3]
    for init in ([5, 3, 60], np.array([5, 3, 60], np.uint8), X[[5, 3, 60]], X[[5, 3, 60]].tolist()):
        fitted = KMedoids(3, init=init, max_iter=0, device="cpu").fit(X)
        np.testing.assert_array_equal(fitted.medoid_indices_, [5, 3, 60])
    # The same row twice is two of its objects.
    twice = KMedoids(2, init=X[[3, 3]], max_iter=0, device="cpu").fit(X)
    np.testing.assert_array_equal(twice.medoid_indices_, [3, 7])


def test_names_of_both_packages_mean_the_same():
    X = blobs()
    for one, other in [("pam", "fastpam1"), ("alternate", "alternating"), ("pammedsil", "fastmsc")]:
        a, b = (KMedoids(4, method=name, init="build", device="cpu").fit(X) for name in (one, other))
        np.testing.assert_array_equal(a.medoid_indices_, b.medoid_indices_)


def test_estimators_compose_pickle_and_name_their_output(tmp_path):
    X = blobs()
    assert make_pipeline(StandardScaler(), KMedoids(4, random_state=0, device="cpu")).fit_predict(X).shape == (150,)
    assert clone(KMedoids(device="cpu:2", method="clara")).get_params()["method"] == "clara"
    pandas = pytest.importorskip("pandas")
    fitted = KMedoids(3, random_state=0, device="cpu").set_output(transform="pandas")
    frame = fitted.fit_transform(pandas.DataFrame(X, columns=list("abcd")))
    assert list(frame.columns) == ["kmedoids0", "kmedoids1", "kmedoids2"]
    assert list(fitted.feature_names_in_) == list("abcd")
    (tmp_path / "model").write_bytes(pickle.dumps(KMedoids(3, random_state=0, device="cpu").fit(X)))
    np.save(tmp_path / "x.npy", X)
    code = """
import pickle, sys, numpy as np
model = pickle.load(open(sys.argv[1] + "/model", "rb"))
assert (model.predict(np.load(sys.argv[1] + "/x.npy")) == model.labels_).all()
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_ctrl_c_stops_a_fit_and_other_threads_run_meanwhile():
    X = np.random.default_rng(0).random((3000, 8), dtype=np.float32)
    # Searches that nobody waits for.
    endless = KMedoids(300, method="clarans", searches=10**6, max_iter=10**6, random_state=0, device="cpu")
    sent, ticks, ended = [], [], threading.Event()

    def tick():
        while not ended.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    def interrupt():
        time.sleep(1.0)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threads = [threading.Thread(target=tick), threading.Thread(target=interrupt)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            endless.fit(X)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    # Had the fit held the GIL, no tick would lie between its beginning and the signal.
    assert sum(start + 0.2 < at < sent[0] for at in ticks) > 3
    with pytest.raises(NotFittedError):
        endless.predict(X)
    assert KMedoids(2, random_state=0, device="cpu").fit(X[:50]).n_iter_ > 0
