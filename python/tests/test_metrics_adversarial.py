"""Hard input to distances: each case ends in the right values or in an error that says what is wrong.

The numbers in the names' comments are the cases of the list that the project keeps to: values, shapes, memory layout,
degenerate data.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse
import tilefold
from sklearn.metrics import pairwise as theirs
from tilefold import metrics

TAKES_ARRAYS = [
    lambda x, **options: metrics.pairwise_distances(x, **options),
    lambda x, **options: metrics.pairwise_distances(x[: x.shape[0] // 2], x, **options),
    lambda x, **options: metrics.pairwise_distances_argmin(x, x, **options),
    lambda x, **options: metrics.pairwise_distances_argmin_min(x, x, **options),
    lambda x, **options: list(metrics.pairwise_distances_chunked(x, **options)),
    lambda x, **options: metrics.cosine_distances(x, **options),
    lambda x, **options: metrics.euclidean_distances(x, **options),
]


def blobs(kind=np.float64):
    return np.random.default_rng(0).normal(size=(40, 6)).astype(kind)


# Values


@pytest.mark.parametrize("call", TAKES_ARRAYS)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize(("bad", "text"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_nan_and_infinity_are_refused(call, kind, bad, text, device):  # 1, 2
    x = blobs(kind)
    x[3, 2] = bad
    with pytest.raises(ValueError, match=text):
        call(x, device=device)
    with pytest.raises(ValueError, match=text):
        call(scipy.sparse.csr_matrix(x.astype(np.promote_types(kind, np.float32))), device=device)


def test_the_core_refuses_nan_where_scikit_learn_is_told_not_to_look(device):  # 1
    import sklearn

    x = blobs()
    x[3, 2] = np.nan
    with sklearn.config_context(assume_finite=True), pytest.raises(ValueError, match=r"x\[3, 2\].*NaN"):
        metrics.pairwise_distances(x, device=device)


@pytest.mark.parametrize("scale", [1e20, 1e37])
def test_squares_that_overflow_float32_are_scaled_or_refused(scale, device):  # 4, 5
    x = (blobs() * scale).astype(np.float32)
    found = metrics.pairwise_distances(x, device=device)
    np.testing.assert_allclose(found, theirs.euclidean_distances(x.astype(np.float64)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"2\^127"):
        metrics.pairwise_distances(x, metric="sqeuclidean", device=device)
    assert (np.argsort(metrics.pairwise_distances_argmin(x, x, device=device)) == np.arange(40)).all()


def test_one_outlier_near_the_end_of_float32(device):  # 5
    x = blobs(np.float32)
    x[0] = 0
    x[0, 0] = 1e38
    found = metrics.pairwise_distances(x, device=device)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, 1:], 1e38, rtol=1e-6)
    # The others keep their digits up to those that float32 beside 1e38 leaves: none may be NaN, infinite or negative.
    assert (found >= 0).all() and (np.diag(found) == 0).all()
    x[0, 0] = np.finfo(np.float32).max
    with pytest.raises(ValueError, match=r"2\^127"):
        metrics.pairwise_distances(x, device=device)


@pytest.mark.parametrize("scale", [1e200, 1e299])
def test_float64_beyond_float32_is_never_infinite(scale, device):  # 6
    x = blobs() * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.pairwise_distances(x, device=device)
    np.testing.assert_allclose(found, theirs.euclidean_distances(blobs()) * scale, rtol=1e-12)
    with pytest.raises(ValueError, match="f64 holds"):
        metrics.pairwise_distances(x, metric="sqeuclidean", device=device)
    with pytest.raises(ValueError, match="1e300"):
        metrics.pairwise_distances(blobs() * 1e305, device=device)


@pytest.mark.parametrize(
    ("kind", "scale"), [(np.float64, 2.0**-1000), (np.float64, 2.0**-1040), (np.float32, 2.0**-130)]
)
def test_tiny_values_are_scaled(kind, scale, device):  # 7
    whole = np.round(blobs() * 1024)
    x = (whole * scale).astype(kind)
    expected = metrics.pairwise_distances(whole, device="reference")
    found = metrics.pairwise_distances(x, device=device).astype(np.float64) / scale
    # What is below the normal numbers of the result's type has fewer digits.
    resolution = 2.0 ** (-1074 if kind == np.float64 else -149) / scale
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=resolution)
    assert (found > 0).sum() == (expected > 0).sum()


def test_one_feature_a_million_times_larger(device):  # 8
    x = blobs()
    x[:, 0] *= 1e6
    np.testing.assert_allclose(metrics.pairwise_distances(x, device=device), _plain(x), rtol=1e-12)
    single = x.astype(np.float32)
    found = metrics.pairwise_distances(single, device=device)
    np.testing.assert_allclose(found, _plain(single.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_offsets_lose_nothing_in_float32(offset, device):  # 9, 10
    x = (blobs() + offset).astype(np.float32)
    found = metrics.pairwise_distances(x, device=device)
    np.testing.assert_allclose(found, _plain(x.astype(np.float64)), rtol=1e-5)
    assert (metrics.pairwise_distances_argmin(x, x, device=device) == np.arange(40)).all()


def test_an_offset_beyond_float32_changes_what_the_input_says_and_no_more(device):  # 11
    x = (blobs() + 1e8).astype(np.float32)
    np.testing.assert_allclose(metrics.pairwise_distances(x, device=device), _plain(x.astype(np.float64)), rtol=1e-5)


def test_offsets_lose_nothing_in_float64(device):  # 12
    x = blobs() + 1e8
    found = metrics.pairwise_distances(x, device=device)
    np.testing.assert_allclose(found, _plain(x), rtol=1e-12)
    lost = np.abs(theirs.euclidean_distances(x) - _plain(x)).max()
    assert lost > 1e-2, "the case is too easy: the expanded form without centring is right as well"


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "manhattan", "chebyshev"])
def test_a_row_is_at_distance_0_from_itself_and_none_is_negative(metric, device):  # 13, 14
    for kind in (np.float64, np.float32):
        x = (blobs() * 3 + 1e5).astype(kind)
        x = np.vstack([x, x, np.nextafter(x, np.asarray(np.inf, kind))])
        found = metrics.pairwise_distances(x, metric=metric, device=device)
        assert (np.diag(found) == 0).all() and (found[np.arange(40), np.arange(40, 80)] == 0).all()
        assert (found >= 0).all()
        chunks = np.vstack(
            list(metrics.pairwise_distances_chunked(x, metric=metric, working_memory=0.01, device=device))
        )
        assert (np.diag(chunks) == 0).all() and (chunks >= 0).all()


def test_zeros_of_both_signs_are_one_point(device):  # 15
    x = np.array([[0.0, -0.0, 1.0], [-0.0, 0.0, 1.0]])
    assert (metrics.pairwise_distances(x, device=device) == 0).all()
    assert (metrics.pairwise_distances_argmin(x, x, device=device) == 0).all()


def test_integers_are_float64(device):  # 16
    x = np.array([[2**31 - 1, -(2**31)], [0, 1]])
    found = metrics.pairwise_distances(x, device=device)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, _plain(x.astype(np.float64)), rtol=1e-14)
    large = np.array([[2**63, 2**60], [2**62, 5]], dtype=np.uint64)
    found = metrics.pairwise_distances(large, device=device)
    np.testing.assert_allclose(found, _plain(large.astype(np.float64)), rtol=1e-14)
    assert metrics.pairwise_distances(x > 0, device=device).dtype == np.float64


# Shapes


@pytest.mark.parametrize("call", TAKES_ARRAYS)
def test_no_rows_and_no_features(call, device):  # 17
    with pytest.raises(ValueError, match="0 sample"):
        call(np.empty((0, 3)), device=device)
    with pytest.raises(ValueError, match="0 feature"):
        call(np.empty((3, 0)), device=device)


@pytest.mark.parametrize("call", [TAKES_ARRAYS[0], TAKES_ARRAYS[2], TAKES_ARRAYS[5]])
def test_one_and_three_dimensions(call, device):  # 24
    with pytest.raises(ValueError, match="Expected 2D array"):
        call(np.arange(3.0), device=device)
    with pytest.raises(ValueError, match="dim 3"):
        call(np.zeros((2, 2, 2)), device=device)


@pytest.mark.parametrize("depth", [1, 3, 65_535, 65_536, 65_537])
def test_few_features_and_many(depth, device):  # 25
    for kind in (np.float64, np.float32):
        x = np.random.default_rng(1).normal(size=(3, depth)).astype(kind)
        found = metrics.pairwise_distances(x, device=device)
        np.testing.assert_allclose(found, _plain(x.astype(np.float64)), rtol=1e-5 if kind == np.float32 else 1e-12)


def test_unequal_numbers_of_features(device):  # 24
    with pytest.raises(ValueError, match=r"X.shape\[1\] == 3 while Y.shape\[1\] == 2"):
        metrics.pairwise_distances(np.zeros((2, 3)), np.zeros((2, 2)), device=device)


def test_a_matrix_beyond_the_memory_is_a_memory_error(device):  # 26
    x = np.zeros((2**21, 1))
    with pytest.raises(MemoryError):
        metrics.pairwise_distances(
            np.broadcast_to(x[:1], (2**24, 1)), np.broadcast_to(x[:1], (2**24, 1)), device=device
        )


# Memory layout


def test_every_layout_gives_the_same_bits_and_stays_as_it_was(device):  # 29, 31
    for kind in (np.float64, np.float32):
        x = blobs(kind)
        expected = metrics.pairwise_distances(x, x[:7], device=device)
        frozen = x.copy()
        frozen.setflags(write=False)
        misaligned = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(kind).reshape(x.shape)
        layouts = {
            "Fortran": np.asfortranarray(x),
            "negative strides": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
            "every second": np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
            "big-endian": x.astype(x.dtype.newbyteorder(">")),
            "read-only": frozen,
            "misaligned": misaligned,
        }
        for name, layout in layouts.items():
            before = layout.copy()
            found = metrics.pairwise_distances(layout, layout[:7], device=device)
            assert (found == expected).all(), name
            assert (metrics.pairwise_distances_argmin(layout, x, device=device) == np.arange(40)).all(), name
            assert (layout == before).all(), name


def test_a_mapped_file(device, tmp_path):  # 29
    np.save(tmp_path / "x.npy", blobs())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = metrics.pairwise_distances(blobs(), device=device)
    assert (metrics.pairwise_distances(mapped, device=device) == expected).all()


def test_lists_and_tables_of_others(device):  # 29
    x = blobs()
    expected = metrics.pairwise_distances(x, device=device)
    forms = [x.tolist(), tuple(map(tuple, x))]
    pandas, polars, pyarrow = map(_module, ("pandas", "polars", "pyarrow"))
    names = [f"feature {column}" for column in range(6)]
    if pandas:
        forms.append(pandas.DataFrame(x, columns=names))
    if polars:
        forms.append(polars.DataFrame(x, schema=names))
    if pyarrow:
        table = pyarrow.table({name: x[:, column] for column, name in enumerate(names)})
        forms += [table, OnlyArrow(table)]
    forms.append(OnlyDlpack(x))
    for form in forms:
        assert (metrics.pairwise_distances(form, device=device) == expected).all(), type(form)
        assert (metrics.pairwise_distances_argmin(form, form, device=device) == np.arange(40)).all(), type(form)


@pytest.mark.parametrize("name", ["torch", "jax.numpy"])
def test_tensors_of_the_host(name, device):  # 29
    library = pytest.importorskip(name)
    x = blobs(np.float32)
    tensor = library.asarray(x)
    expected = metrics.pairwise_distances(x, device=device)
    found = metrics.pairwise_distances(tensor, device=device)
    assert type(found) is np.ndarray and found.dtype == np.float32 and (found == expected).all()
    assert (metrics.pairwise_distances(OnlyDlpack(tensor), device=device) == expected).all()


def test_missing_values_of_data_frames(device):  # 32
    pandas, polars = map(_module, ("pandas", "polars"))
    if not (pandas and polars):
        pytest.skip("needs pandas and polars")
    columns = {"a": [1.0, None, 3.0], "b": [1.0, 2.0, 3.0]}
    for table in (pandas.DataFrame(columns).convert_dtypes(), pandas.DataFrame(columns), polars.DataFrame(columns)):
        with pytest.raises(ValueError, match="NaN"):
            metrics.pairwise_distances(table, device=device)


# Degenerate data


def test_ties_go_to_the_lowest_index(device):  # 39, 40
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 7.0]])
    y = np.array([[2.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    for kind in (np.float64, np.float32, np.float16):
        for metric in ("euclidean", "sqeuclidean", "manhattan", "chebyshev"):
            found = metrics.pairwise_distances_argmin(x.astype(kind), y.astype(kind), metric=metric, device=device)
            assert found.tolist() == [1, 2, 0 if metric == "chebyshev" else 1], (kind, metric)
    same = np.ones((30, 4))
    assert (metrics.pairwise_distances_argmin(same, same, device=device) == 0).all()


def test_rows_of_zeros_have_no_direction(device):
    x = np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]])
    for kind in (np.float64, np.float32):
        for form in (x.astype(kind), scipy.sparse.csr_matrix(x.astype(kind))):
            np.testing.assert_allclose(
                metrics.cosine_distances(form, device=device), theirs.cosine_distances(x), atol=1e-6
            )
            np.testing.assert_allclose(
                metrics.cosine_distances(form, form[:3], device=device), theirs.cosine_distances(x, x[:3]), atol=1e-6
            )
            itself = metrics.pairwise_distances_argmin_min(form, form, metric="cosine", device=device)
            assert itself[0].tolist() == [0, 1, 2, 3] and itself[1].tolist() == [0, 0, 0, 0]
            others = metrics.pairwise_distances_argmin_min(form, form[2:], metric="cosine", device=device)
            assert others[0].tolist() == [0, 0, 0, 1] and others[1].tolist() == [1, 1, 1, 0]
            zeros = metrics.pairwise_distances_argmin(form, form[:1], metric="cosine", device=device)
            assert zeros.tolist() == [0, 0, 0, 0]


# State


def test_a_device_that_does_not_exist(device):  # 53
    with pytest.raises(tilefold.DeviceNotFoundError, match="no such card"):
        metrics.pairwise_distances(blobs(), device="no such card")


def test_threads_call_at_once(device):  # 48
    from concurrent.futures import ThreadPoolExecutor

    tables = [np.random.default_rng(seed).normal(size=(50, 4)).astype(np.float32) for seed in range(16)]
    expected = [metrics.pairwise_distances(x, device=device) for x in tables]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: metrics.pairwise_distances(x, device=device), tables))
    assert all((a == b).all() for a, b in zip(expected, found, strict=True))


def _plain(x):
    """Euclidean distances from differences."""
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))


def _module(name):
    try:
        return pytest.importorskip(name)
    except pytest.skip.Exception:
        return None


class OnlyDlpack:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class OnlyArrow:
    """A table that speaks Arrow and nothing else."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


# Types


LARGE = 2**53 + 1


@pytest.mark.parametrize("kind", [np.int64, np.uint64, ">i8"])
def test_integers_that_float64_would_round_are_refused(kind):
    from tilefold.cluster import KMeans, KMedoids
    from tilefold.neighbors import NearestNeighbors

    whole = np.array([[1, 2], [LARGE - 1, 3], [2**62, 2**62 + 1024], [5, 6]]).astype(kind)
    rounded = whole.copy()
    rounded[2, 1] = LARGE
    rule = rf"expected integers that float64 holds.*, got {LARGE} in row 2, column 1$"
    calls = [
        lambda x: metrics.pairwise_distances(x, metric="hamming"),
        lambda x: metrics.pairwise_distances(x),
        lambda x: metrics.pairwise_distances(x, metric="manhattan"),
        lambda x: metrics.pairwise_distances_argmin(x, x),
        lambda x: metrics.euclidean_distances(x),
        lambda x: KMedoids(2, metric="hamming").fit(x),
        lambda x: NearestNeighbors(n_neighbors=2, metric="hamming").fit(x),
        lambda x: NearestNeighbors(n_neighbors=2).fit(whole).kneighbors(x),
    ]
    for call in calls:
        call(whole)
        for form in (rounded, rounded.tolist(), np.asfortranarray(rounded)):
            with pytest.raises(ValueError, match="^X: " + rule):
                call(form)
    with pytest.raises(ValueError, match="^Y: " + rule):
        metrics.pairwise_distances(whole, rounded)
    for form in (scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.coo_matrix):
        with pytest.raises(ValueError, match="^X: " + rule):
            metrics.pairwise_distances(form(rounded.astype(np.int64)))
    # Cosine subtracts nothing, and k-means rounds as NumPy does.
    assert np.isfinite(metrics.cosine_distances(rounded)).all()
    assert KMeans(2, random_state=0).fit(rounded).inertia_ >= 0
    assert metrics.pairwise_distances(np.array([[LARGE - 1], [LARGE - 2]]), metric="hamming")[0, 1] == 1


def test_integers_of_data_frames_are_refused_by_column():
    pandas = pytest.importorskip("pandas")
    # As one array these columns would be float64 already.
    frame = pandas.DataFrame({"a": [0.5, 1.5], "b": [1, LARGE]})
    with pytest.raises(ValueError, match=rf"^X: .*, got {LARGE} in row 1, column 1$"):
        metrics.pairwise_distances(frame, metric="hamming")


@pytest.mark.parametrize("metric", ["jaccard", "dice", "yule", "hamming", "euclidean", "manhattan"])
def test_bools_of_other_bytes_are_true(metric, device):
    bits = np.random.default_rng(3).integers(0, 2, (12, 9)).astype(np.uint8)
    odd = np.where(bits == 0, bits, np.arange(108, dtype=np.uint8).reshape(12, 9) + 2).view(bool)
    expected = metrics.pairwise_distances(bits.astype(bool), metric=metric, device=device)
    assert (metrics.pairwise_distances(odd, metric=metric, device=device) == expected).all()
    assert (metrics.pairwise_distances(odd, bits.astype(bool), metric=metric, device=device) == expected).all()
    nearest = metrics.pairwise_distances_argmin(odd, odd, metric=metric, device=device)
    assert (nearest == metrics.pairwise_distances_argmin(bits.astype(bool), bits.astype(bool), metric=metric)).all()
