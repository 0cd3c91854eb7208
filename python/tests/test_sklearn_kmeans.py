"""scikit-learn's own tests with `tilefold.cluster.KMeans` in the place of its class, on the CPU and on the GPU."""

import json
import os
import subprocess

import pytest
from conftest import PYTHON

# The class is constructed by 156 tests of the first module under one seed; of the others KBinsDiscretizer's alone use it.
SUITES = {
    "k_means": (150, ["sklearn.cluster.tests.test_k_means"]),
    "users": (
        5,
        [
            "sklearn.preprocessing.tests.test_discretization",
            "sklearn.cluster.tests.test_bisect_k_means",
            "sklearn.cluster.tests.test_spectral",
        ],
    ),
}


@pytest.mark.parametrize("suite", SUITES)
def test_scikit_learns_tests_of_k_means_pass(suite, device, tmp_path):
    least, modules = SUITES[suite]
    seeds = os.environ.get("TILEFOLD_SKLEARN_SEEDS", "42")
    environment = {
        **os.environ,
        "TILEFOLD_DEVICE": device,
        "TILEFOLD_PLUGIN_RECORD": str(tmp_path / "record.json"),
        "SKLEARN_TESTS_GLOBAL_RANDOM_SEED": seeds,
    }
    command = [*PYTHON, "-m", "pytest", "-p", "tilefold.sklearn_plugin", "-p", "no:cacheprovider", "-q"]
    command += ["--pyargs", *modules]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=1500)
    assert result.returncode == 0, result.stdout[-4000:]
    record = json.loads((tmp_path / "record.json").read_text())
    print(f"\n{suite}, seeds {seeds}, on {device}: {record}")
    outcomes = record["outcomes"]
    assert not {"failed", "error", "xfailed", "xpassed"} & set(outcomes), outcomes
    assert record["tests"] >= least and record["fits_on_device"] == sum(record["fits"].values()) > 0, record


def test_the_plugin_fails_where_nothing_ran_on_the_device(tmp_path):
    environment = {**os.environ, "TILEFOLD_DEVICE": "cpu"}
    command = [*PYTHON, "-m", "pytest", "-p", "tilefold.sklearn_plugin", "-p", "no:cacheprovider", "-q"]
    command += ["--pyargs", "sklearn.cluster.tests.test_birch"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert result.returncode == 1 and "0 tests constructed" in result.stdout, result.stdout[-2000:]
