"""A pytest plug-in that runs scikit-learn's own tests on tilefold's classes.

    pytest -p tilefold.sklearn_plugin --pyargs sklearn.cluster.tests.test_k_means

`TILEFOLD_DEVICE` names the device. A device that fails fails the test: nothing falls back. At the end the plug-in says how
many tests constructed `tilefold.cluster.KMeans`, how many fits there were and on what they ran; the run fails where no fit
ran on the device that was asked for, and where no test constructed the class. `TILEFOLD_PLUGIN_RECORD` names a file that
gets the same as JSON.
"""

import json
import os
from collections import Counter

import tilefold

_EXPECTED = {"cpu": "cpu (", "reference": "reference"}
_tests = set()
_fits = Counter()
_current = None


def pytest_load_initial_conftests(early_config, parser, args):
    """Swaps the class before any test module imports it."""
    import sklearn.cluster
    import sklearn.cluster._kmeans
    from tilefold.cluster import KMeans

    tilefold.set_config(fallback="raise")
    construct, fit = KMeans.__init__, KMeans.fit

    def counted_init(self, *arguments, **options):
        if _current is not None:
            _tests.add(_current)
        construct(self, *arguments, **options)

    def counted_fit(self, *arguments, **options):
        fitted = fit(self, *arguments, **options)
        _fits[self.device_used_] += 1
        return fitted

    # Parameters are read from the signature of __init__.
    counted_init.__wrapped__ = construct
    counted_init.__signature__ = __import__("inspect").signature(construct)
    KMeans.__init__, KMeans.fit = counted_init, counted_fit
    sklearn.cluster.KMeans = sklearn.cluster._kmeans.KMeans = KMeans


def pytest_runtest_protocol(item, nextitem):
    global _current
    _current = item.nodeid


def _device():
    return tilefold.get_config()["device"].strip().lower()


def _on_device():
    """Fits that ran where they were asked to run."""
    device = _device().split(":")[0]
    if device == "auto":
        return sum(_fits.values())
    expected = _EXPECTED.get(device)
    if expected is None:
        return sum(count for used, count in _fits.items() if not used.startswith(tuple(_EXPECTED.values())))
    return sum(count for used, count in _fits.items() if used.startswith(expected))


def pytest_sessionfinish(session, exitstatus):
    if session.config.option.collectonly or exitstatus not in (0, 1):
        return
    if not _tests or not _on_device():
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    write = terminalreporter.write_line
    terminalreporter.section("tilefold")
    write(f"{len(_tests)} tests constructed tilefold.cluster.KMeans")
    write(f"{_on_device()} of {sum(_fits.values())} fits ran on the device {_device()!r}")
    for used, count in _fits.most_common():
        write(f"  {count} on {used}")
    path = os.environ.get("TILEFOLD_PLUGIN_RECORD")
    if path:
        record = {
            "device": _device(),
            "tests": len(_tests),
            "fits": dict(_fits),
            "fits_on_device": _on_device(),
            "outcomes": {name: len(found) for name, found in terminalreporter.stats.items() if name},
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
