"""Input made to break k-medoids: each case has a required behaviour."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.utils._param_validation import InvalidParameterError
from tilefold.cluster import KMedoids

RNG = np.random.default_rng(7)
X = np.concatenate([RNG.normal(center, 0.3, (20, 3)) for center in (0.0, 5.0, -5.0)])
D = pairwise_distances(X)


def kmedoids(n_clusters=3, **options):
    return KMedoids(n_clusters, **{"random_state": 0, "device": "cpu", **options})


def of_matrix(n_clusters=3, **options):
    return kmedoids(n_clusters, metric="precomputed", **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_everywhere(value):
    words = "Input X contains NaN" if np.isnan(value) else "Input X contains infinity"
    for model, data in ((kmedoids(), X), (of_matrix(), D)):
        if value == np.inf and data is D:
            # A matrix may have it, where the method does not need each number.
            model.set_params(method="onebatch")
        fitted, bad = model.fit(data), data.copy()
        bad[17, 1] = value
        for call in (model.fit, fitted.predict, fitted.transform):
            with pytest.raises(ValueError, match=words):
                call(bad)


@pytest.mark.parametrize("method", ["fasterpam", "pam", "alternate", "clara", "clarans"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_dissimilarities_mean_that_a_medoid_cannot_stand_for_a_row(method, dtype, device):
    apart = D.astype(dtype)
    apart[0, -1] = apart[-1, 0] = np.inf
    fitted = of_matrix(method=method, device=device).fit(apart)
    # The pair lies in two clouds, so that no sum has to have it.
    assert np.isfinite(fitted.inertia_)
    plain = of_matrix(method=method, device=device).fit(D.astype(dtype))
    np.testing.assert_array_equal(np.sort(fitted.medoid_indices_), np.sort(plain.medoid_indices_))
    assert fitted.inertia_ == pytest.approx(plain.inertia_)
    np.testing.assert_array_equal(fitted.predict(apart), fitted.labels_)
    np.testing.assert_array_equal(fitted.transform(apart), apart[:, fitted.medoid_indices_])
    # Two medoids for objects of which none can stand for another: the rest is infinite, and the loss says so.
    lonely = np.where(np.eye(6), dtype(0), dtype(np.inf))
    assert of_matrix(2, method=method, device=device).fit(lonely).inertia_ == np.inf


@pytest.mark.parametrize("method", ["onebatch", "fastermsc", "pammedsil", "dynmsc"])
def test_methods_that_need_each_dissimilarity_refuse_infinity(method, device):
    apart = D.copy()
    apart[0, -1] = apart[-1, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        of_matrix(method=method, device=device).fit(apart)


@pytest.mark.parametrize("large", [1e6, 1e12, 1e16, 1e20, 1e300, np.inf])
def test_one_large_dissimilarity_loses_no_digit_of_the_others(large, device):
    of_two = pairwise_distances(X[:40])
    expected = of_matrix(2, device=device).fit(of_two)
    of_two[0, 39] = of_two[39, 0] = large
    fitted = of_matrix(2, device=device).fit(of_two)
    np.testing.assert_array_equal(fitted.medoid_indices_, expected.medoid_indices_)
    # Sums are exact, or on a grid that loses no more than this of them.
    assert abs(fitted.inertia_ - of_two[:, fitted.medoid_indices_].min(axis=1).sum()) <= 2**-30 * expected.inertia_


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (1, 3), (3, 1)])
def test_matrices_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match=r"Precomputed metric requires shape \(n_queries, n_indexed\)\. Got"):
        of_matrix(1).fit(np.ones(shape))


def test_a_matrix_that_is_not_symmetric_is_taken_with_a_warning():
    skew = D.copy()
    # As a medoid the last object costs everybody nothing; others cost it a lot.
    skew[:, -1], skew[-1, :-1] = 0, 100
    with pytest.warns(UserWarning, match="not symmetric"):
        fitted = of_matrix(1).fit(skew)
    assert fitted.medoid_indices_ == [len(D) - 1] and fitted.inertia_ == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_matrix().fit(D)
        # Rounding is no asymmetry.
        of_matrix().fit(D * (1 + 1e-9 * RNG.random(D.shape)))


def test_a_diagonal_that_is_not_zero_counts():
    shifted = D + 2 * np.eye(len(D))
    fitted = of_matrix().fit(shifted)
    assert fitted.inertia_ == pytest.approx(shifted[:, fitted.medoid_indices_].min(axis=1).sum())


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True])
def test_numbers_of_clusters_that_are_none_are_refused(value):
    with pytest.raises(InvalidParameterError, match="n_clusters"):
        kmedoids(value).fit(X)


def test_more_clusters_than_rows_are_refused_and_as_many_are_taken():
    for model, data in ((kmedoids(4), X[:3]), (of_matrix(4), D[:3, :3])):
        with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
            model.fit(data)
    fitted = kmedoids(3).fit(X[:3])
    assert fitted.inertia_ == 0 and sorted(fitted.medoid_indices_) == [0, 1, 2]


@pytest.mark.parametrize("data", [np.empty((0, 3)), np.empty((3, 0)), X[0], X[None]])
def test_arrays_of_the_wrong_shape_are_refused(data):
    with pytest.raises(ValueError, match="0 sample|0 feature|Expected 2D array|dim 3|<= 2 expected"):
        kmedoids(1).fit(data)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "pamsil"}, "'method' parameter"),
        ({"init": "best"}, "'init' parameter"),
        ({"max_iter": -1}, "'max_iter' parameter"),
        ({"fewest": 1}, "'fewest' parameter"),
        ({"samples": 0}, "'samples' parameter"),
        ({"sample_size": 0}, "'sample_size' parameter"),
        ({"metric": 3}, "'metric' parameter"),
        ({"metric": "nearest"}, "nearest"),
        ({"init": [0, 1]}, "init: expected 3 indices"),
        ({"init": [0, 1, 1]}, "init: expected distinct"),
        ({"init": [0, 1, 60]}, "init: expected distinct indices from 0 to 59"),
        ({"init": [0, 1, -1]}, "init: expected distinct"),
        ({"init": [0.5, 1.0, 2.0]}, "init: expected 3 indices"),
        ({"init": X[:2]}, "init: expected 3 indices"),
        ({"init": X[:3] + 1}, "init: expected rows of X"),
        ({"method": "dynmsc", "fewest": 4}, "fewest: expected 2 to 3"),
        ({"method": "onebatch", "sample_size": 61}, "sample_size: expected 1 to 60"),
        ({"method": "clara", "sample_size": 2}, "sample_size: expected 3 to 60"),
        ({"metric": "minkowski", "metric_params": {"p": -1}}, "p"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        kmedoids(**parameters).fit(X)


def test_silhouettes_need_two_medoids_and_no_negative_numbers():
    for method in ("fastermsc", "pammedsil", "dynmsc"):
        with pytest.raises(ValueError, match="n_clusters: expected at least 2"):
            kmedoids(1, method=method).fit(X)
    with pytest.raises(ValueError, match="which silhouettes need"):
        of_matrix(2, method="fastermsc").fit(D - 1)
    negative = of_matrix(2).fit(D - 1)
    assert negative.silhouette_ is None
    assert negative.inertia_ == pytest.approx((D - 1)[:, negative.medoid_indices_].min(axis=1).sum())
    assert kmedoids(1).fit(X).silhouette_ is None


def test_an_end_by_max_iter_is_told():
    far = np.random.default_rng(1).random((400, 2))
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        kmedoids(40, method="pam", max_iter=1).fit(far)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kmedoids(40).fit(far)


def test_equal_rows_and_rows_of_one_value():
    same = np.full((12, 2), 3.5)
    fitted = kmedoids().fit(same)
    assert fitted.inertia_ == 0 and len(set(fitted.medoid_indices_.tolist())) == 3
    assert set(fitted.labels_) == {0} and set(fitted.predict(same)) == {0}


def test_whole_numbers_and_halves_are_read_and_input_stays_as_it_was():
    whole = np.abs(D).round().astype(np.int32)
    frozen = whole.copy()
    frozen.flags.writeable = False
    fitted = of_matrix().fit(frozen)
    assert fitted.inertia_ == whole[:, fitted.medoid_indices_].min(axis=1).sum()
    for kind in (np.float16, np.float32, ">f8"):
        rows = np.asfortranarray(X.astype(kind))
        before = rows.copy()
        kmedoids().fit(rows)
        np.testing.assert_array_equal(rows, before)


def test_wrong_calls_are_named():
    with pytest.raises(NotFittedError):
        kmedoids().predict(X)
    with pytest.raises(ValueError, match="X has 2 features, but KMedoids is expecting 3 features"):
        kmedoids().fit(X).predict(X[:, :2])
    with pytest.raises(ValueError, match="features"):
        of_matrix().fit(D).predict(D[:, :5])
