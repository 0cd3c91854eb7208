"""`tilefold.accel`: users get tilefold's objects, scikit-learn keeps its own, and the profile says what ran where."""

import pickle
import subprocess
import types

import numpy as np
import pytest
import sklearn.cluster
import sklearn.metrics
import tilefold
import tilefold.cluster
from conftest import PYTHON
from sklearn.metrics import pairwise as pairwise_module
from tilefold import accel, metrics

FUNCTIONS = ["pairwise_distances", "pairwise_distances_argmin", "pairwise_distances_argmin_min", "euclidean_distances"]


@pytest.fixture
def installed():
    accel.reset_profile()
    accel.install()
    yield
    accel.uninstall()


def asked(module, name):
    """What a program whose own module is `module` imports."""
    home = types.ModuleType(module)
    exec(
        f"from sklearn.metrics import {name} as found\nimport sklearn.metrics\nsame = sklearn.metrics.{name}",
        vars(home),
    )
    assert home.found is home.same
    return home.found


def test_users_get_tilefolds_and_everybody_else_scikit_learns(installed):
    from sklearn.cluster import KMeans, k_means

    assert KMeans is tilefold.cluster.KMeans is sklearn.cluster.KMeans and k_means is accel.k_means
    for name in FUNCTIONS:
        assert asked("__main__", name) is asked("a_users.package", name) is getattr(metrics, name)
        assert getattr(pairwise_module, name) is getattr(metrics, name)
        for module in ("sklearn", "sklearn.cluster._spectral", "joblib.parallel", "tilefold.metrics"):
            assert asked(module, name).__module__ == "sklearn.metrics.pairwise", module
    assert pairwise_module.cosine_distances is metrics.cosine_distances
    # What is not replaced is the same object for all.
    assert sklearn.metrics.silhouette_score.__module__ == "sklearn.metrics.cluster._unsupervised"


def test_scikit_learns_own_calls_stay_its_own(installed):
    x = np.random.default_rng(0).normal(size=(60, 4))
    labels = np.arange(60) % 3
    sklearn.metrics.silhouette_score(x, labels)
    sklearn.cluster.SpectralClustering(n_clusters=2, random_state=0).fit(x)
    assert accel.profile() == []
    sklearn.metrics.pairwise_distances(x)
    assert [(row.call, row.calls) for row in accel.profile()] == [("pairwise_distances(euclidean)", 1)]


def test_uninstalling_gives_everything_back():
    theirs = {name: getattr(sklearn.metrics, name) for name in FUNCTIONS}
    kmeans, before = sklearn.cluster.KMeans, tilefold.get_config()
    accel.install(device="cpu:1", fallback="raise")
    accel.install()
    assert accel.is_installed() and sklearn.cluster.KMeans is not kmeans
    assert tilefold.get_config() == {**before, "device": "cpu:1", "fallback": "raise"}
    accel.uninstall()
    accel.uninstall()
    assert not accel.is_installed() and tilefold.get_config() == before
    assert type(sklearn.metrics) is types.ModuleType and sklearn.cluster.KMeans is kmeans
    assert {name: getattr(sklearn.metrics, name) for name in FUNCTIONS} == theirs
    with pytest.raises(ValueError, match="fallback"):
        accel.install(fallback="never")
    assert not accel.is_installed()


def test_pickles_and_workers_find_what_they_look_for(installed):
    import joblib
    from sklearn.cluster import KMeans

    x = np.random.default_rng(0).normal(size=(50, 3))
    model = KMeans(3, random_state=0).fit(x)
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is KMeans and (again.predict(x) == model.labels_).all()
    assert pickle.loads(pickle.dumps(sklearn.metrics.pairwise_distances)) is metrics.pairwise_distances
    theirs = asked("sklearn", "pairwise_distances")
    # Processes of joblib import scikit-learn's function by its name.
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(theirs)(x) for _ in range(2))
    np.testing.assert_allclose(found[0], metrics.pairwise_distances(x), atol=1e-12)


def test_k_means_is_the_function_of_scikit_learn(installed):
    x = np.random.default_rng(0).normal(size=(80, 3))
    start = x[:4]
    theirs = asked_of_cluster("sklearn", "k_means")
    ours = sklearn.cluster.k_means
    for options in ({}, {"return_n_iter": True}, {"sample_weight": np.arange(1, 81), "algorithm": "elkan"}):
        expected = theirs(x, 4, init=start, n_init=1, **options)
        found = ours(x, 4, init=start, n_init=1, **options)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        assert (found[1] == expected[1]).all()
        np.testing.assert_allclose(found[2], expected[2], rtol=1e-6)
        assert found[3:] == expected[3:]


def asked_of_cluster(module, name):
    home = types.ModuleType(module)
    exec(f"from sklearn.cluster import {name} as found", vars(home))
    return home.found


def run(*arguments, **options):
    command = [*PYTHON, "-m", "tilefold.accel", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


PROGRAM = """
import sys
import helper
import numpy
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances
x = numpy.arange(40.0).reshape(20, 2)
KMeans(3, random_state=0).fit(x)
pairwise_distances(x)
print(KMeans.__module__.partition(".")[0], __name__, sys.argv[1:], helper.KMeans is KMeans)
"""


def test_a_script_a_module_and_code_run_unchanged(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper.py").write_text("from sklearn.cluster import KMeans\n")
    expected = "tilefold __main__ ['--profile', 'x'] True\n"
    for program in (["program.py"], ["-m", "program"], ["-c", PROGRAM]):
        result = run("--device", "cpu", "--profile", *program, "--profile", "x", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, expected), result.stderr
        rows = result.stderr.splitlines()
        assert rows[0].split() == ["call", "calls", "seconds", "device", "reason"], result.stderr
        assert any(row.startswith("KMeans.fit ") and "cpu (" in row for row in rows), result.stderr
        assert any(row.startswith("pairwise_distances(euclidean) ") for row in rows), result.stderr
    result = run("-c", "import sys; sys.exit(3)")
    assert result.returncode == 3
    result = run("--fallback", "never", "-c", "")
    assert result.returncode == 2 and "fallback" in result.stderr
    result = run()
    assert result.returncode == 2 and "expected a script" in result.stderr


def test_a_notebook_loads_it():
    interactive = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    try:
        interactive.run_line_magic("load_ext", "tilefold.accel")
        interactive.run_cell("from sklearn.metrics import pairwise_distances")
        assert interactive.user_ns["pairwise_distances"] is metrics.pairwise_distances
        interactive.run_line_magic("tilefold_profile", "reset")
        interactive.run_line_magic("unload_ext", "tilefold.accel")
        assert not accel.is_installed()
    finally:
        accel.uninstall()
        type(interactive).clear_instance()
