"""Sparse matrices whose arrays contradict each other: SciPy would read and write beyond them, so they are refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from tilefold import metrics
from tilefold.cluster import KMeans, KMedoids
from tilefold.neighbors import NearestNeighbors


def whole(form):
    dense = np.random.default_rng(1).normal(size=(60, 8)) * (np.random.default_rng(2).random((60, 8)) < 0.4)
    return {"csr": sp.csr_matrix, "csc": sp.csc_array, "bsr": sp.bsr_matrix, "coo": sp.coo_array}[form](dense)


def put(array, place, value):
    array[place] = value


FAULTS = {
    "negative": lambda s: put(s.indices, 0, -1),
    "beyond": lambda s: put(s.indices, 0, 99),
    "far": lambda s: put(s.indices, 0, 2**30),
    "high": lambda s: put(s.indptr, 5, 10**6),
    "last": lambda s: put(s.indptr, -1, 10**6),
    "falls": lambda s: put(s.indptr, 5, s.indptr[6] + 1),
    "first": lambda s: put(s.indptr, 0, 1),
    "values": lambda s: setattr(s, "data", s.data[:-3]),
    "offsets": lambda s: setattr(s, "indptr", s.indptr[:-1]),
    "kind": lambda s: setattr(s, "indices", s.indices.astype(float)),
}
CALLS = {
    "pairwise": lambda s: metrics.pairwise_distances(s),
    "manhattan": lambda s: metrics.pairwise_distances(s, metric="manhattan"),
    "cosine": lambda s: metrics.cosine_distances(s, s),
    "nearest": lambda s: metrics.pairwise_distances_argmin_min(s, s),
    "chunked": lambda s: list(metrics.pairwise_distances_chunked(s)),
    "function": lambda s: metrics.pairwise_distances(s, metric=lambda a, b: 0.0),
    "kmeans": lambda s: KMeans(3, random_state=0).fit(s),
    "kmedoids": lambda s: KMedoids(3, random_state=0).fit(s),
    "neighbours": lambda s: NearestNeighbors().fit(s),
}


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_damaged_arrays_are_refused_by_name(call, fault, form):
    damaged = whole(form)
    FAULTS[fault](damaged)
    with pytest.raises(ValueError, match=r"^X: expected .*(indices|indptr).*, got "):
        CALLS[call](damaged)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("axis", "value"), [("row", 60), ("row", -1), ("col", 8), ("col", 2**30)])
def test_damaged_coordinates_are_refused_by_name(call, axis, value):
    damaged = whole("coo")
    getattr(damaged, axis)[3] = value
    with pytest.raises(ValueError, match=rf"^X: expected {axis} from 0 to \d+, got {value} at place 3$"):
        CALLS[call](damaged)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
def test_whole_matrices_of_each_form_are_taken(form):
    table = whole(form)
    expected = metrics.pairwise_distances(table.toarray())
    np.testing.assert_array_equal(metrics.pairwise_distances(table), expected)
    empty = type(table)((3, 8))
    assert (metrics.pairwise_distances(table, empty).shape, metrics.pairwise_distances(empty).sum()) == ((60, 3), 0)


def test_the_second_table_and_first_centroids_are_named():
    damaged = whole("csr")
    damaged.indices[0] = 99
    with pytest.raises(ValueError, match="^Y: expected indices from 0 to 7, got 99 at place 0$"):
        metrics.pairwise_distances(whole("csr"), damaged)
    damaged = whole("csr")[:3]
    damaged.indices[0] = 2**30
    with pytest.raises(ValueError, match="^init: expected indices from 0 to 7, got 1073741824 at place 0$"):
        KMeans(3, init=lambda X, count, random_state: damaged).fit(whole("csr"))


def test_rows_that_are_damaged_after_a_fit_are_refused():
    table = whole("csr")
    model = NearestNeighbors().fit(table)
    table.indptr = table.indptr[:-1]
    with pytest.raises(ValueError, match="^indptr: expected 61 offsets for 60 rows, got 60$"):
        model.kneighbors(whole("csr"))
