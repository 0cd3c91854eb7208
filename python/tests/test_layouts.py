"""Arrays however they lie in memory: right values, or an error that names the argument, and no byte beside them changed."""

import numpy as np
import pytest
import scipy.sparse as sp
from tilefold import _core, lora, metrics
from tilefold.cluster import KMeans, KMedoids
from tilefold.neighbors import NearestNeighbors

RANDOM = np.random.default_rng(0)
BLANK = 0xA5
A, B, X32, Y32 = (RANDOM.normal(size=size).astype(np.float32) for size in ((4, 8), (6, 4), (10, 8), (10, 6)))
X, Y = RANDOM.random((12, 3)), RANDOM.random((7, 3))
V, W = RANDOM.random(3) + 0.5, RANDOM.random(12) + 0.5
VI = np.array([[2.0, 0.1, 0.0], [0.1, 1.0, 0.2], [0.0, 0.2, 3.0]])
SQUARE = metrics.pairwise_distances(X, device="cpu")
CSR = sp.csr_matrix(np.where(X > 0.5, X, 0.0))


class Laid:
    """An array with the values of another one, in memory whose other bytes are known."""

    def __init__(self, values, layout):
        kind = values.dtype.newbyteorder() if layout == "swapped" else values.dtype
        size, shape = kind.itemsize, values.shape
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, strides[0] * max(1, length))
        start = 4 * size
        if layout == "packed":
            strides[0] += 1
            start += 1
        elif layout == "spread":
            strides = [stride * 3 // 2 if size > 2 else stride * 2 for stride in strides]
        elif layout == "negative":
            start += sum((max(1, length) - 1) * stride for length, stride in zip(shape, strides, strict=True))
            strides = [-stride for stride in strides]
        elif layout == "columns":
            strides = [size, size * max(1, shape[0])][: len(shape)]
        elif layout == "unaligned":
            start += 1
        room = start + sum(abs(stride) * length for stride, length in zip(strides, shape, strict=True)) + 4 * size
        self.memory = np.full(room, BLANK, dtype=np.uint8)
        self.array = np.ndarray(shape, kind, self.memory.data, start, strides)
        self.array[...] = values
        self._own = np.zeros(room, dtype=bool)
        for index in np.ndindex(shape):
            place = start + sum(i * stride for i, stride in zip(index, strides, strict=True))
            self._own[place : place + size] = True
        if layout == "read-only":
            self.array.flags.writeable = False
        self._before = self.memory.copy()

    def is_untouched(self):
        return bool((self.memory == self._before).all())

    def keeps_its_neighbours(self):
        return bool((self.memory[~self._own] == BLANK).all())


LAYOUTS = ("contiguous", "packed", "spread", "negative", "columns", "swapped", "unaligned", "read-only")


def applied(a=A, b=B, x=X32, y=Y32):
    y = y.copy()
    lora.apply([(a, b, 0.5)], [0] * len(x), x, y, device="cpu")
    return y


def stepped(x=X32, outputs=None):
    outputs = [Y32.copy(), Y32.copy()] if outputs is None else outputs
    pool = lora.Pool({"qk": [("q", 8, 6), ("k", 8, 6)]}, budget_bytes=1 << 20, device="cpu")
    pool.register("mine", lora.Adapter({"q": (A, B), "k": (A[::-1], B)}))
    with pool.lease(["mine"]) as lease:
        lease.step([0] * len(x)).apply("qk", x, outputs)
    return np.stack(outputs)


def filled(x=X, y=Y, metric="euclidean", **parameters):
    out = np.empty((len(x), len(y)))
    _core.distances(x, y, out, metric, "cpu", parameters)
    return out


def asked(**more):
    return {"n_clusters": 3, "starts": None, "n_init": 1, "max_iter": 9, "tol": 0.0, "seed": 1, **more}


def fitted(x=X, weights=None, **more):
    fit = _core.fit(x, weights, asked(**more), "cpu")
    return np.append(fit.labels, fit.inertia)


def kmeans(**options):
    return KMeans(3, random_state=0, device="cpu", **options)


def kmedoids(**options):
    return KMedoids(3, random_state=0, device="cpu", **options)


def neighbours(x=X, queries=Y, **options):
    return np.stack(NearestNeighbors(n_neighbors=3, device="cpu", **options).fit(x).kneighbors(queries))


def rows_of(part, array):
    rows = CSR.copy()
    setattr(rows, part, array)
    return rows


MODEL = kmeans().fit(X)
NATIVE = _core.Model.from_centroids(X[:3].copy(), "cpu")
DISTANCES = metrics.pairwise_distances

# What is read, by name: values, and a result of them.
READ = {
    "lora.apply a": (A, lambda a: applied(a=a)),
    "lora.apply a, 16 bits": (A.astype(np.float16), lambda a: applied(a=a, b=B.astype(np.float16))),
    "lora.apply b": (B, lambda b: applied(b=b)),
    "lora.apply x": (X32, lambda x: applied(x=x)),
    "lora.apply x, 16 bits": (X32.astype(np.float16), lambda x: applied(x=x)),
    "Adapter a": (A, lambda a: lora.Adapter({"m": (a, B)}).weights("m")[0]),
    "Adapter b": (B, lambda b: lora.Adapter({"m": (A, b)}).weights("m")[1]),
    "Step.apply x": (X32, lambda x: stepped(x=x)),
    "distances x": (X, lambda x: DISTANCES(x, Y, device="cpu")),
    "distances y": (Y, lambda y: DISTANCES(X, y, device="cpu")),
    "distances x, 32 bits": (X32, lambda x: DISTANCES(x, device="cpu")),
    "distances of bits": (X > 0.5, lambda x: DISTANCES(x, metric="jaccard", device="cpu")),
    "cosine x": (X, lambda x: metrics.cosine_distances(x, device="cpu")),
    "euclidean norms": (
        (X**2).sum(axis=1),
        lambda norms: metrics.euclidean_distances(X, Y, X_norm_squared=norms, device="cpu"),
    ),
    "distances VI": (VI, lambda v: DISTANCES(X, Y, metric="mahalanobis", VI=v, device="cpu")),
    "distances V": (V, lambda v: DISTANCES(X, Y, metric="seuclidean", V=v, device="cpu")),
    "distances w": (V, lambda w: DISTANCES(X, Y, metric="minkowski", p=3, w=w, device="cpu")),
    "argmin x": (X, lambda x: metrics.pairwise_distances_argmin(x, Y, device="cpu")),
    "argmin y, manhattan": (
        Y,
        lambda y: np.stack(metrics.pairwise_distances_argmin_min(X, y, metric="manhattan", device="cpu")),
    ),
    "KMeans X": (X, lambda x: kmeans().fit(x).cluster_centers_),
    "KMeans sample_weight": (W, lambda w: kmeans().fit(X, sample_weight=w).cluster_centers_),
    "KMeans init": (X[:3], lambda init: kmeans(init=init).fit(X).cluster_centers_),
    "KMeans predict": (Y, MODEL.predict),
    "KMeans transform": (Y, MODEL.transform),
    "KMeans score": (W, lambda w: np.array(MODEL.score(X, sample_weight=w))),
    "KMedoids X": (X, lambda x: kmedoids(metric="manhattan").fit(x).transform(x)),
    "KMedoids VI": (VI, lambda v: kmedoids(metric="mahalanobis", metric_params={"VI": v}).fit(X).transform(X)),
    "KMedoids init": (X[:3], lambda init: kmedoids(metric="euclidean", init=init).fit(X).medoid_indices_),
    "KMedoids init, indices": (np.arange(3), lambda init: kmedoids(init=init).fit(X).medoid_indices_),
    "KMedoids precomputed": (SQUARE, lambda x: kmedoids(metric="precomputed").fit(x).transform(x)),
    "NearestNeighbors X": (X, neighbours),
    "NearestNeighbors queries": (Y, lambda queries: neighbours(queries=queries)),
    "NearestNeighbors VI": (VI, lambda v: neighbours(metric="mahalanobis", metric_params={"VI": v})),
    "NearestNeighbors V": (V, lambda v: neighbours(metric="seuclidean", metric_params={"V": v})),
    # The native half itself, which the rest of the package hands tidy arrays for the most part.
    "core x": (X, filled),
    "core y": (Y, lambda y: filled(y=y)),
    "core inverse_covariance": (VI, lambda v: filled(metric="mahalanobis", inverse_covariance=v)),
    "core nearest_rows": (X, lambda x: np.stack(_core.nearest_rows(x, Y, "manhattan", "cpu")[:2])),
    "core nearest_neighbours": (X, lambda x: _core.nearest_neighbours(x, Y, 2, "euclidean", "cpu", {})[1]),
    "core neighbours_within": (X, lambda x: _core.neighbours_within(x, Y, 0.4, "euclidean", True, "cpu", {})[2]),
    "core fit x": (X, fitted),
    "core fit weights": (W, lambda w: fitted(weights=w)),
    "core fit starts": (X[:3], lambda start: fitted(starts=[start])),
    "core first_centroids": (W, lambda w: _core.first_centroids(X, w, 3, 0, "cpu")),
    "core from_centroids": (X[:3], lambda c: _core.Model.from_centroids(c, "cpu").centroids()),
    "core score": (W, lambda w: np.array(NATIVE.score(X, w, "cpu"))),
    "core sparse data": (CSR.data, lambda data: fitted(rows_of("data", data))),
    "core sparse indices": (CSR.indices, lambda indices: fitted(rows_of("indices", indices))),
    "core sparse indptr": (CSR.indptr, lambda indptr: fitted(rows_of("indptr", indptr))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", READ)
def test_what_is_read_may_lie_anyhow(place, layout):
    values, result = READ[place]
    laid = Laid(values, layout)
    assert (laid.array == values).all()
    found, expected = result(laid.array), result(np.ascontiguousarray(values))
    assert found.dtype == expected.dtype and np.array_equal(found, expected)
    assert laid.is_untouched()


def onto_y(y):
    lora.apply([(A, B, 0.5)], [0] * len(y), X32[: len(y)], y, device="cpu")


def onto_out(out):
    kind = out.dtype.newbyteorder("=") if out.dtype.kind == "f" else float
    _core.distances(X.astype(kind), Y.astype(kind), out, "euclidean", "cpu", {})


# What is written, by name: values before, and the call.
WRITTEN = {
    "y": (Y32, onto_y),
    "y, 16 bits": (Y32.astype(np.float16), onto_y),
    "y, second": (Y32, lambda y: stepped(outputs=[Y32.copy(), y])),
    "out": (np.zeros((12, 7)), onto_out),
    "out, 32 bits": (np.zeros((12, 7), dtype=np.float32), onto_out),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", WRITTEN)
def test_what_is_written_may_lie_anyhow(place, layout):
    values, call = WRITTEN[place]
    laid, expected = Laid(values, layout), values.copy()
    if layout == "read-only":
        with pytest.raises(ValueError, match=f"{place.partition(',')[0]}: .*read-only"):
            call(laid.array)
        assert laid.is_untouched()
        return
    call(expected)
    call(laid.array)
    assert (laid.array == expected).all() and not (expected == values).all()
    assert laid.keeps_its_neighbours()


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "read-only"])
def test_a_call_that_fails_leaves_y_as_it_was(layout):
    laid = Laid(Y32, layout)
    with pytest.raises(ValueError, match="rows"):
        lora.apply([(A, B)], [0] * 3, X32, laid.array, device="cpu")
    assert laid.is_untouched()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_rows_are_added_to_no_rows(layout):
    x, y = Laid(X32[:0], layout), Laid(Y32[:0], layout)
    if layout == "read-only":
        with pytest.raises(ValueError, match="y: .*read-only"):
            lora.apply([(A, B)], [], x.array, y.array, device="cpu")
    else:
        lora.apply([(A, B)], [], x.array, y.array, device="cpu")
    assert x.is_untouched() and y.is_untouched()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", READ)
def test_nothing_is_read_as_nothing_however_it_lies(place, layout):
    values, result = READ[place]
    laid = Laid(values[:0], layout)
    outcomes = [outcome(result, array) for array in (laid.array, values[:0].copy())]
    assert outcomes[0] == outcomes[1]
    assert laid.is_untouched()


def outcome(result, array):
    """What came, or how it was refused."""
    try:
        found = result(array)
    except (ValueError, TypeError) as refused:
        return type(refused), str(refused).replace(str(array.dtype), str(array.dtype.newbyteorder("=")))
    return found.shape, found.tobytes()


def test_fields_of_the_same_records_are_filled_side_by_side():
    records = np.zeros(10, dtype=[("tag", "u1"), ("q", "f4", (6,)), ("k", "f4", (6,))])
    records["q"] = records["k"] = Y32
    stepped(outputs=[records["q"], records["k"]])
    assert np.array_equal(stepped(), np.stack([records["q"], records["k"]]))
    assert (records["tag"] == 0).all()


@pytest.mark.parametrize("layout", ["contiguous", "packed", "swapped", "unaligned"])
def test_outputs_that_share_elements_are_refused(layout):
    laid = Laid(Y32, layout)
    with pytest.raises(ValueError, match="y: .*share"):
        stepped(outputs=[laid.array, laid.array])
    assert laid.is_untouched()


@pytest.mark.parametrize("kind", [np.float32, np.dtype(np.float32).newbyteorder()])
def test_an_output_that_overlaps_itself_is_refused(kind):
    row = np.zeros(6, dtype=kind)
    rows = np.lib.stride_tricks.as_strided(row, (10, 6), (0, 4), writeable=True)
    with pytest.raises(ValueError, match="y: .*share"):
        onto_y(rows)
    assert (row == 0).all()


def test_rows_that_are_one_row_are_read():
    rows = np.broadcast_to(X32[0], X32.shape)
    assert np.array_equal(applied(x=rows), applied(x=rows.copy()))


@pytest.mark.parametrize("layout", ["contiguous", "packed"])
def test_numbers_of_another_type_are_refused_by_name(layout):
    with pytest.raises(TypeError, match="y: expected .*float32"):
        onto_y(Laid(Y32.astype(np.float64), layout).array)
    with pytest.raises(TypeError, match="x: expected .*float32"):
        applied(x=Laid(X32.astype(np.int32), layout).array)
    with pytest.raises(TypeError, match="out: expected .*float64"):
        onto_out(Laid(np.zeros((12, 7), dtype=np.int64), layout).array)
    for weights in (W.astype(np.float32), W[None], W.tolist()):
        with pytest.raises(TypeError, match="weights: expected .*float64"):
            fitted(weights=weights)
