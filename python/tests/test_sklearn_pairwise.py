"""scikit-learn's own tests of pairwise distances with tilefold's functions in their place."""

import os
import re
import subprocess

from conftest import PYTHON


def test_scikit_learns_tests_of_distances_pass(device, tmp_path):
    # float32 tests reach the GPU; without the variable scikit-learn runs those of float64 alone.
    environment = {**os.environ, "TILEFOLD_DEVICE": device, "SKLEARN_RUN_FLOAT32_TESTS": "1"}
    command = [*PYTHON, "-m", "pytest", "-p", "tilefold._sklearn_swap", "-p", "no:cacheprovider", "-q"]
    command += ["--pyargs", "sklearn.metrics.tests.test_pairwise"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=900)
    # scikit-learn expects the float64 case of the extreme values to fail for it; it passes here.
    counts = re.search(r"(\d+) passed, \d+ skipped, 2 xpassed", result.stdout)
    assert result.returncode == 0 and counts and int(counts[1]) >= 300, result.stdout[-4000:]
    # Nothing of a metric that tilefold has may be left to scikit-learn, but what its caller asks of SciPy alone.
    left = re.findall(r"\d+ left to scikit-learn: (.*)", result.stdout)
    allowed = re.compile("the metric is a Python function")
    assert left and all(allowed.search(line) for line in left), left
