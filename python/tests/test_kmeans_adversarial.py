"""Input made to break k-means: each case has a required behaviour, the same on every device."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from tilefold.cluster import KMeans

RNG = np.random.default_rng(7)
X = np.concatenate([RNG.normal(center, 0.3, (40, 3)) for center in (0.0, 5.0, -5.0)])


def kmeans(device, n_clusters=3, **options):
    return KMeans(n_clusters, **{"random_state": 0, "device": device, **options})


def truth(labels):
    """Whether labels are the three groups of X, in any numbering."""
    groups = [set(labels[start : start + 40]) for start in (0, 40, 80)]
    return all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_everywhere(value, device):
    fitted = kmeans(device).fit(X)
    bad = X.copy()
    bad[17, 1] = value
    words = "contains NaN" if np.isnan(value) else "contains infinity"
    for call in (kmeans(device).fit, fitted.predict, fitted.transform, fitted.score):
        with pytest.raises(ValueError, match=words):
            call(bad)
    with pytest.raises(ValueError, match=words):
        kmeans(device, init=bad[16:19]).fit(X)
    weights = np.ones(len(X))
    weights[3] = value
    with pytest.raises(ValueError, match=words):
        kmeans(device).fit(X, sample_weight=weights)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float32, 1e20), (np.float32, 3e37), (np.float32, 1e-37), (np.float64, 1e200), (np.float64, 1e-300)],
)
def test_squares_that_would_overflow_or_vanish_do_not(dtype, scale, device):
    scaled = (X * scale).astype(dtype)
    fitted = kmeans(device).fit(scaled)
    assert truth(fitted.labels_) and np.isfinite(fitted.cluster_centers_).all()
    np.testing.assert_array_equal(fitted.predict(scaled), fitted.labels_)


def test_values_beyond_the_range_are_refused_by_name():
    with pytest.raises(ValueError, match="1e300"):
        kmeans("cpu").fit(X * 1e305)


def test_one_outlier_of_the_largest_float_leaves_labels_of_the_definition():
    with_outlier = np.concatenate([X.astype(np.float32), np.full((1, 3), 3.4e38, np.float32)])
    fitted = kmeans("cpu", n_clusters=2).fit(with_outlier)
    assert set(fitted.labels_[:-1]) == {1 - fitted.labels_[-1]}


def test_one_feature_that_dominates():
    wide = X * [1e6, 1, 1]
    fitted = kmeans("cpu").fit(wide)
    direct = ((wide[:, None] - fitted.cluster_centers_[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(fitted.labels_, direct.argmin(axis=1))
    assert fitted.inertia_ == pytest.approx(direct.min(axis=1).sum(), rel=1e-9)


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_single_precision_far_from_the_origin_agrees_with_itself(offset, device):
    far = (X + offset).astype(np.float32)
    with warnings.catch_warnings():
        # At 1e8 the input itself holds fewer values than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = kmeans(device).fit(far)
    np.testing.assert_array_equal(fitted.predict(far), fitted.labels_)
    assert -fitted.score(far) == pytest.approx(fitted.inertia_, rel=1e-6, abs=1e-12)


def test_zeros_of_both_signs_are_one_point():
    fitted = kmeans("cpu", n_clusters=2).fit([[0.0], [-0.0], [1.0]])
    assert fitted.labels_[0] == fitted.labels_[1] != fitted.labels_[2]


def test_extreme_integers():
    fitted = kmeans("cpu", n_clusters=2).fit(np.array([[-(2**31)], [2**31 - 1], [-(2**31) + 1]]))
    assert fitted.labels_[0] == fitted.labels_[2] != fitted.labels_[1]
    kmeans("cpu", n_clusters=2).fit(np.array([[2**63 + 2**20], [2**62], [3]], np.uint64))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_input(shape):
    with pytest.raises(ValueError, match=r"Found array with 0 (sample|feature)\(s\)"):
        kmeans("cpu").fit(np.empty(shape))


@pytest.mark.parametrize("wrong", [X[0], X[None]])
def test_other_dimensions(wrong):
    with pytest.raises(ValueError, match="Expected 2D array|dim 3"):
        kmeans("cpu").fit(wrong)


def test_one_point_and_as_many_clusters_as_points(device):
    alone = kmeans(device, n_clusters=1).fit([[1.0, 2.0]])
    assert (alone.inertia_, alone.n_iter_) == (0.0, 1)
    all_apart = kmeans(device, n_clusters=20).fit(X[:20])
    assert all_apart.inertia_ == 0.0 and len(set(all_apart.labels_)) == 20
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        kmeans(device).fit(X[:2])


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "3", True, None])
def test_numbers_of_clusters(wrong):
    with pytest.raises(InvalidParameterError, match="n_clusters"):
        kmeans("cpu", n_clusters=wrong).fit(X)
    assert kmeans("cpu", n_clusters=np.int64(2)).fit(X).cluster_centers_.shape == (2, 3)


@pytest.mark.parametrize("columns", [1, 3, 65_537])
def test_widths(columns):
    points = np.random.default_rng(0).random((12, columns), dtype=np.float32)
    fitted = kmeans("cpu", n_clusters=2).fit(points)
    direct = ((points[:, None].astype(float) - fitted.cluster_centers_[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(fitted.labels_, direct.argmin(axis=1))


def test_identical_and_too_few_distinct_points(device):
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        same = kmeans(device).fit(np.full((9, 2), 3.5))
    assert same.inertia_ == 0.0 and (same.cluster_centers_ == 3.5).all()
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\)"):
        two = kmeans(device).fit(np.repeat([[0.0], [1.0]], 4, axis=0))
    assert len(set(two.labels_)) == 2 and np.isfinite(two.cluster_centers_).all()


def test_given_centers_far_out_or_alike_are_relocated(device):
    points = np.array([[0, 0], [0.5, 0], [0.5, 1], [1, 1]])
    moved = kmeans(device, n_clusters=2, init=np.array([[0.5, 0.5], [3, 3]]), n_init=1).fit(points)
    assert (moved.inertia_, moved.n_iter_) == (0.25, 3)
    alike = kmeans(device, init=np.zeros((3, 3)), n_init=1).fit(X)
    assert len(set(alike.labels_)) == 3


def test_weights(device):
    with pytest.raises(ValueError, match="at least one non-zero"):
        kmeans(device).fit(X, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="[Nn]egative"):
        kmeans(device).fit(X, sample_weight=np.where(np.arange(len(X)) == 3, -1.0, 1.0))
    with pytest.raises(ValueError, match="sample_weight"):
        kmeans(device).fit(X, sample_weight=np.ones(7))
    tiny = kmeans(device).fit(X, sample_weight=np.full(len(X), 1e-300))
    assert truth(tiny.labels_)
    few = np.zeros(len(X))
    few[:2] = 1
    with pytest.raises(ValueError, match="non-zero"):
        kmeans(device, init="random").fit(X, sample_weight=few)


def test_ties_go_to_the_lowest_index(device):
    given = np.array([[-1.0], [1.0], [1.0]])
    with pytest.warns(ConvergenceWarning):
        fitted = kmeans(device, init=given, n_init=1, max_iter=1).fit(np.array([[-1.0], [1.0], [-1.0], [1.0]]))
    assert list(fitted.predict([[0.0], [1.0]])) == [0, 1]


def test_zero_tolerance_ends_and_noise_may_reach_max_iter(device):
    noise = np.random.default_rng(1).random((300, 4))
    assert kmeans(device, n_clusters=5, tol=0).fit(noise).n_iter_ < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = kmeans(device, n_clusters=20, max_iter=2).fit(noise)
    np.testing.assert_array_equal(short.predict(noise), short.labels_)


def test_nothing_that_is_passed_in_is_changed(device):
    given, weights, points = X[:3].copy(), np.ones(len(X)), X.copy()
    for copy_x in (True, False):
        kmeans(device, init=given, n_init=1, copy_x=copy_x).fit(points, sample_weight=weights)
        assert (points == X).all() and (given == X[:3]).all() and (weights == 1).all()


def test_names_and_state():
    with pytest.raises(NotFittedError):
        kmeans("cpu").predict(X)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    fitted = kmeans("cpu").fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[["c", "b", "a"]])
    frame.loc[3, "a"] = None
    with pytest.raises(ValueError, match="NaN"):
        kmeans("cpu").fit(frame)
