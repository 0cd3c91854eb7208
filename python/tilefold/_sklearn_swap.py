"""scikit-learn's distances replaced by tilefold's in a whole process: for its own tests, in `tilefold.sklearn_plugin`.

Users want `tilefold.accel`, which leaves scikit-learn's own calls alone. Here everybody gets tilefold's functions,
other functions of scikit-learn included, so that its tests reach as much as they can. It is a plugin of pytest too:

    TILEFOLD_DEVICE=gpu pytest -p tilefold._sklearn_swap --pyargs sklearn.metrics.tests.test_pairwise
"""

import functools
from collections import Counter

import sklearn.metrics
from sklearn.metrics import pairwise

from . import _profile, get_config, metrics, set_config

NAMES = (
    "cosine_distances",
    "euclidean_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "pairwise_distances_chunked",
)
_left = Counter()


def swap_metrics():
    """Replaces the functions; call it before the tests are imported, with the setting fallback="raise"."""
    for name in NAMES:
        theirs = getattr(pairwise, name)
        swapped = _swapped(name, getattr(metrics, name), theirs)
        for module in (pairwise, sklearn.metrics):
            if hasattr(module, name):
                setattr(module, name, swapped)
        for metric, function in pairwise.PAIRWISE_DISTANCE_FUNCTIONS.items():
            if function is theirs:
                pairwise.PAIRWISE_DISTANCE_FUNCTIONS[metric] = swapped


def _swapped(name, ours, theirs):
    @functools.wraps(theirs)
    def call(*arguments, **keywords):
        try:
            return ours(*arguments, **keywords)
        except metrics.UnsupportedError as unsupported:
            _left[str(unsupported).partition(", and the setting")[0]] += 1
        return theirs(*arguments, **keywords)

    return call


def report():
    """Lines that say how many calls ran where, and what was left to scikit-learn and why."""
    yield from _profile.table().splitlines()
    for what, count in sorted(_left.items()):
        yield f"{count} left to scikit-learn: {what}"


def dispatched():
    """Calls that a GPU computed."""
    return sum(row.calls for row in _profile.rows() if " [" in row.device and "f64 on" not in row.device)


def pytest_load_initial_conftests():
    """Swaps before any test is imported."""
    set_config(fallback="raise")
    swap_metrics()


def pytest_terminal_summary(terminalreporter):
    """What ran where."""
    terminalreporter.section("tilefold")
    for line in report():
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"device {get_config()['device']}: {dispatched()} calls were computed by a GPU")


def pytest_sessionfinish(session):
    """A run that was to use a GPU and did not has failed."""
    if get_config()["device"] not in ("auto", "reference") and not get_config()["device"].startswith("cpu"):
        if dispatched() == 0:
            session.exitstatus = 1
