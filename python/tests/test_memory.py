"""What does not fit the memory is `MemoryError`, never the end of the process: every class and function under a limit."""

import json
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import scipy.sparse as sp
import tilefold.cluster
import tilefold.lora
import tilefold.metrics
import tilefold.neighbors
from conftest import PYTHON
from sklearn.metrics import pairwise_distances as scikit_learn_distances
from tilefold.cluster import KMedoids
from tilefold.metrics import pairwise_distances, pairwise_distances_argmin_min
from tilefold.neighbors import NearestNeighbors

# Each expression is evaluated on its own under the limit. A name before it says which class or function it is about.
CASES = [
    ("KMeans", "KMeans(150_000, max_iter=1, random_state=0).fit(MANY)"),
    ("KMeans", "KMeans(2, random_state=0).fit(WIDE)"),
    ("KMeans", "KMeans(2, random_state=0).fit(HUGE)"),
    ("KMeans", "FITTED.transform(TALL)"),
    ("KMeans", "FITTED.transform(TALL.astype(np.float64))"),
    ("KMeans", "FITTED.fit_transform(TALL[:200_000])"),
    ("KMedoids", "KMedoids(2, random_state=0).fit(SOME)"),
    ("KMedoids", "KMedoids(2, method='onebatch', sample_size=10_000, random_state=0).fit(SOME)"),
    ("KMedoids", "KMedoids(2, random_state=0).fit(WIDE)"),
    ("NearestNeighbors", "NearestNeighbors(n_neighbors=1000).fit(TALL).kneighbors()"),
    ("NearestNeighbors", "NearestNeighbors(n_neighbors=1).fit(WIDE).kneighbors()"),
    ("NearestNeighbors", "NearestNeighbors(n_neighbors=1, metric='hamming').fit(HUGE).kneighbors()"),
    ("NearestNeighbors", "NearestNeighbors(n_neighbors=1, metric='correlation').fit(HUGE).kneighbors()"),
    ("NearestNeighbors", "NearestNeighbors(radius=1).fit(ZEROS).radius_neighbors()"),
    ("NearestNeighbors", "NearestNeighbors(radius=1).fit(ZEROS).radius_neighbors_graph()"),
    ("NearestNeighbors", "NearestNeighbors(n_neighbors=1000).fit(TALL).kneighbors_graph()"),
    ("pairwise_distances", "pairwise_distances(SOME)"),
    ("pairwise_distances", "pairwise_distances(WIDE)"),
    ("pairwise_distances", "pairwise_distances(WIDE, metric='cosine')"),
    ("euclidean_distances", "euclidean_distances(SOME)"),
    ("cosine_distances", "cosine_distances(SOME)"),
    ("pairwise_distances_argmin", "pairwise_distances_argmin(WIDE, WIDE)"),
    ("pairwise_distances_argmin_min", "pairwise_distances_argmin_min(LONG, ONE, metric='manhattan')"),
    ("pairwise_distances_chunked", "next(pairwise_distances_chunked(WIDE))"),
    ("Adapter", "Adapter({'m': (FACTOR, FACTOR.T)})"),
    ("Pool", "Pool({'g': [('m', 1 << 20, 1 << 20)]}, budget_bytes=1 << 40).register('a', adapter())"),
    ("Lease", "pool().lease(['a'])"),
    ("Step", "pool().lease(['a']).step([0] * 10)"),
    ("apply", "apply([(FACTOR, FACTOR.T)], [0], TALL[:1].repeat(1 << 21, 1), TALL[:1].repeat(1 << 21, 1))"),
]

# Imports take longer than most cases, so one process makes them and forks for each expression. It has no threads then.
CHILD = """
import json, os, resource, signal, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, scipy.sparse as sp
import tilefold
from tilefold.cluster import KMeans, KMedoids
from tilefold.lora import Adapter, Pool, apply
from tilefold.metrics import *
from tilefold.neighbors import NearestNeighbors

tilefold.set_config(device="cpu", threads=2)
MANY = np.zeros((150_000, 64), np.float32)
MANY[:, 0] = np.arange(len(MANY))
TALL = np.zeros((20_000_000, 1), np.float32)
TALL[:2000, 0] = np.arange(2000)
LONG = np.zeros((30_000_000, 1), np.float32)
ONE = np.zeros((1, 1), np.float32)
SOME = np.random.default_rng(0).random((40_000, 1), np.float32)
ZEROS = np.zeros((8_000, 1), np.float32)
def wide(columns):
    return sp.csr_matrix((np.ones(3), np.array([0, 5, columns // 2]), np.array([0, 1, 2, 3])), shape=(3, columns))
# More than memory holds of one row, and not more than an int32 counts; more than that.
WIDE, HUGE = wide(2**30), wide(2**36)
FACTOR = np.broadcast_to(np.float32(0), (256, 1 << 21))
half = np.zeros((64, 1 << 20), np.float32)
def adapter():
    return Adapter({"m": (half, half.T)})
def pool():
    made = Pool({"g": [("m", 1 << 20, 1 << 20)]}, budget_bytes=1 << 40)
    made.register("a", adapter())
    return made

def size():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def evaluated(expression, room):
    signal.alarm(300)
    names = {}
    if "FITTED" in expression:
        names["FITTED"] = KMeans(1000, random_state=0, max_iter=1).fit(TALL[:2000])
    resource.setrlimit(resource.RLIMIT_AS, (size() + room, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        eval(expression, globals(), names)
        return ["done", ""]
    except BaseException as error:
        return [type(error).__name__, str(error)]

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(json.dumps(evaluated(*json.loads(line))), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(["end", status]), flush=True)
"""


@pytest.fixture(scope="module")
def outcome():
    """Evaluates an expression in a child that must end by itself: the name of the exception and its text."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [*PYTHON, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as parent,
    ):

        def evaluate(expression, room=600 << 20):
            print(json.dumps([expression, room]), file=parent.stdin, flush=True)
            lines = []
            while not lines or lines[-1][0] != "end":
                line = parent.stdout.readline()
                assert line, f"{expression}: the process that forks has ended"
                lines.append(json.loads(line))
            log.seek(0)
            assert lines[-1][1] == 0, f"{expression}: {lines[-1][1]}\n{log.read()[-2000:]}"
            return lines[0]

        yield evaluate


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited by Linux alone")
@pytest.mark.parametrize(("name", "expression"), CASES)
def test_what_does_not_fit_is_a_memory_error(name, expression, outcome):
    kind, text = outcome(expression)
    assert kind in ("MemoryError", "_ArrayMemoryError"), f"{expression}: {kind} {text}"
    assert "bytes" in text or "allocate" in text, text


def test_every_class_and_function_has_a_case():
    modules = [tilefold.cluster, tilefold.lora, tilefold.metrics, tilefold.neighbors]
    public = {name for module in modules for name in module.__all__} - {"UnsupportedError"}
    assert {name for name, _ in CASES} == public


def very_wide(rows, columns=2**36, seed=0):
    """Sparse rows with a few entries, and the same without the columns that hold none."""
    rng = np.random.default_rng(seed)
    used = np.sort(rng.choice(2**33, 12, replace=False)) * 8
    narrow = rng.random((rows, 12)) * (rng.random((rows, 12)) < 0.5)
    narrow[:, 0] += 0.1
    csr = sp.csr_matrix(narrow)
    return sp.csr_matrix((csr.data, used[csr.indices], csr.indptr), shape=(rows, columns)), narrow


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev", "canberra", "braycurtis"])
def test_very_wide_sparse_rows_are_searched_by_what_they_hold(metric):
    wide, narrow = very_wide(40)
    distances, indices = NearestNeighbors(n_neighbors=3, metric=metric, device="cpu").fit(wide).kneighbors()
    true = scikit_learn_distances(narrow, metric=metric)
    np.fill_diagonal(true, np.inf)
    np.testing.assert_array_equal(indices, np.argsort(true, axis=1, kind="stable")[:, :3])
    np.testing.assert_allclose(distances, np.sort(true, axis=1)[:, :3], rtol=1e-12)
    queries, others = very_wide(5, seed=0)
    found = NearestNeighbors(n_neighbors=1, metric=metric, device="cpu").fit(wide).kneighbors(queries)[1]
    np.testing.assert_array_equal(found[:, 0], scikit_learn_distances(others, narrow, metric=metric).argmin(axis=1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_very_wide_sparse_rows_are_measured_by_what_they_hold(metric):
    wide, narrow = very_wide(30)
    true = scikit_learn_distances(narrow, metric=metric)
    np.testing.assert_allclose(pairwise_distances(wide, metric=metric, device="cpu"), true, rtol=1e-12, atol=1e-15)
    # Not all columns of one table are in the other.
    between = pairwise_distances(wide[:3], wide[3:], metric=metric, device="cpu")
    np.testing.assert_allclose(between, true[:3, 3:], rtol=1e-12, atol=1e-15)
    indices, _ = pairwise_distances_argmin_min(wide[:3], wide[3:], metric=metric, device="cpu")
    np.testing.assert_array_equal(indices, true[:3, 3:].argmin(axis=1))
    fitted = KMedoids(3, metric=metric, random_state=0, device="cpu").fit(wide)
    assert fitted.inertia_ == pytest.approx(true[:, fitted.medoid_indices_].min(axis=1).sum())
    np.testing.assert_array_equal(fitted.predict(wide), fitted.labels_)


def test_rows_without_an_entry_are_taken():
    empty = sp.csr_matrix((2, 2**36))
    assert pairwise_distances(empty, device="cpu").tolist() == [[0, 0], [0, 0]]
