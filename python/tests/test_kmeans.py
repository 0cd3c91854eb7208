"""`tilefold.cluster.KMeans`: what scikit-learn's own tests do not ask."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks
from tilefold import _core
from tilefold.cluster import KMeans

# scikit-learn's own KMeans fails these two: random draws cannot be the same for weights and for repeated rows.
_STATISTICAL = "sample weights and repeated rows draw other first centroids"


@parametrize_with_checks(
    [KMeans(n_clusters=3, device="cpu")],
    expected_failed_checks=lambda estimator: {
        "check_sample_weight_equivalence_on_dense_data": _STATISTICAL,
        "check_sample_weight_equivalence_on_sparse_data": _STATISTICAL,
    },
    xfail_strict=True,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def blobs(dtype=np.float64, offset=0.0, **options):
    X, _ = make_blobs(**{"n_samples": 600, "n_features": 5, "centers": 4, "random_state": 0, **options})
    return (X + offset).astype(dtype)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_training_rows_keep_their_labels_however_far_out_they_lie(offset):
    X = blobs(np.float32, offset, n_features=2, n_samples=2000)
    kmeans = KMeans(4, random_state=0, device="cpu").fit(X)
    np.testing.assert_array_equal(kmeans.predict(X), kmeans.labels_)
    assert -kmeans.score(X) == pytest.approx(kmeans.inertia_, rel=1e-6)
    np.testing.assert_array_equal(kmeans.transform(X).argmin(axis=1), kmeans.labels_)


def test_double_input_gives_double_accuracy_far_from_the_origin():
    near = np.round(blobs(n_features=3) * 2**20) / 2**20
    X = near + 1e8
    kmeans = KMeans(4, random_state=0, device="cpu").fit(X)
    # The values are exact after the shift, so their distances can be had without it.
    exact = X - 1e8
    centers = kmeans.cluster_centers_ - 1e8
    expected = np.sqrt(((exact[:, None] - centers[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(kmeans.transform(X), expected, atol=1e-7 * expected.max(), rtol=0)
    np.testing.assert_array_equal(kmeans.transform(kmeans.cluster_centers_).diagonal(), 0)


def test_input_of_every_layout_is_read_as_it_is():
    X = blobs(np.float32)
    expected = KMeans(4, random_state=1, device="cpu").fit(X)
    wide = np.zeros((600, 11), np.float32)
    wide[:, 1::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"x" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
    for other in (np.asfortranarray(X), X[::-1][::-1], wide[:, 1::2], frozen, X.astype(">f4"), unaligned):
        before = other.copy()
        fitted = KMeans(4, random_state=1, device="cpu").fit(other)
        # scikit-learn's validation makes float64 of foreign byte orders.
        centers = fitted.cluster_centers_.astype(np.float32)
        np.testing.assert_array_equal(centers, expected.cluster_centers_)
        np.testing.assert_array_equal(fitted.labels_, expected.labels_)
        np.testing.assert_array_equal(other, before)


def test_half_and_whole_numbers_become_double():
    for dtype in (np.float16, np.int8, np.uint64, bool):
        X = (blobs() > 0).astype(dtype) if dtype is bool else np.abs(blobs()).astype(dtype)
        fitted = KMeans(2, random_state=0, device="cpu").fit(X)
        assert fitted.cluster_centers_.dtype == np.float64
        expected = KMeans(2, random_state=0, device="cpu").fit(X.astype(float))
        np.testing.assert_array_equal(fitted.labels_, expected.labels_)


def test_tables_and_tensors_are_read():
    X = blobs()
    expected = KMeans(4, random_state=0, device="cpu").fit(X)
    names = [f"f{column}" for column in range(X.shape[1])]
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    frame = pandas.DataFrame(X, columns=names)
    for table in (frame, polars.DataFrame(X, schema=names), arrow.Table.from_pandas(frame)):
        fitted = KMeans(4, random_state=0, device="cpu").fit(table)
        np.testing.assert_array_equal(fitted.labels_, expected.labels_)
        assert list(fitted.feature_names_in_) == names

    class Tensor:
        """Speaks DLPack alone."""

        def __dlpack__(self, **options):
            return X.__dlpack__(**options)

        def __dlpack_device__(self):
            return X.__dlpack_device__()

    np.testing.assert_array_equal(KMeans(4, random_state=0, device="cpu").fit(Tensor()).labels_, expected.labels_)


def test_sparse_rows_are_dense_rows_bit_for_bit():
    X = np.where(np.abs(blobs()) < 4, 0, blobs())
    dense = KMeans(4, random_state=0, device="cpu").fit(X)
    unsorted = sp.csr_matrix(X)
    unsorted.indices = unsorted.indices.copy()
    row = slice(unsorted.indptr[1], unsorted.indptr[2])
    unsorted.indices[row], unsorted.data[row] = unsorted.indices[row][::-1].copy(), unsorted.data[row][::-1].copy()
    unsorted.has_sorted_indices = unsorted.has_canonical_format = False
    for sparse in (sp.csr_array(X), sp.csc_matrix(X), unsorted):
        fitted = KMeans(4, random_state=0, device="cpu").fit(sparse)
        np.testing.assert_array_equal(fitted.cluster_centers_, dense.cluster_centers_)
        np.testing.assert_array_equal(fitted.predict(sparse), dense.labels_)
        np.testing.assert_array_equal(fitted.transform(sparse), dense.transform(X))


def test_pickles_travel_without_a_device(tmp_path):
    X = blobs()
    fitted = KMeans(4, random_state=0, device="cpu").fit(X)
    (tmp_path / "model").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "x.npy", X)
    code = """
import pickle, sys, numpy as np
kmeans = pickle.load(open(sys.argv[1] + "/model", "rb"))
X = np.load(sys.argv[1] + "/x.npy")
assert (kmeans.predict(X) == kmeans.labels_).all() and kmeans.device_used_.startswith("cpu")
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_centers_that_somebody_put_there_are_used():
    X = blobs()
    fitted = KMeans(4, random_state=0, device="cpu").fit(X)
    fitted.cluster_centers_ = X[:3].copy()
    np.testing.assert_array_equal(fitted.predict(X[:3]), [0, 1, 2])
    np.testing.assert_array_equal(fitted.transform(X[:3]).diagonal(), 0)


def test_cloning_keeps_the_device_and_output_can_be_a_frame():
    assert clone(KMeans(device="cpu:2")).device == "cpu:2"
    pytest.importorskip("pandas")
    frame = KMeans(2, device="cpu").set_output(transform="pandas").fit_transform(blobs())
    assert list(frame.columns) == ["kmeans0", "kmeans1"]


def test_a_model_of_damaged_bytes_is_refused():
    data = _core.Model.from_centroids(np.eye(3), "cpu").to_bytes()
    with pytest.raises(ValueError, match="checksum|another kind"):
        _core.Model.from_bytes(data[:-1])


def test_callbacks_are_told_each_iteration():
    pytest.importorskip("sklearn.callback")
    told = []

    class Recorder:
        def setup(self, estimator, context):
            told.append("setup")

        def teardown(self, estimator, context):
            told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            told.append("begin")

        def on_fit_task_end(self, estimator, context):
            told.append("end")

    fitted = KMeans(4, random_state=0, device="cpu").set_callbacks(Recorder()).fit(blobs(n_samples=3000))
    assert told == ["setup", "begin", *["begin", "end"] * fitted.n_iter_, "end", "teardown"]
