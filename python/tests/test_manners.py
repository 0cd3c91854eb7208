"""How work behaves beside others: Ctrl-C, threads, forks, devices."""

import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import tilefold
from conftest import PYTHON
from sklearn.exceptions import NotFittedError
from tilefold.cluster import KMeans


def noise(rows, columns=16):
    return np.random.default_rng(0).random((rows, columns), dtype=np.float32)


def endless(device):
    """A fit that nobody waits for: noise, many clusters, never near its tolerance."""
    return KMeans(512, init="random", n_init=50, tol=0, max_iter=100_000, random_state=0, device=device)


def test_ctrl_c_stops_a_fit_and_the_next_one_works(device):
    X, kmeans = noise(20_000), endless(device)
    sent = []

    def interrupt():
        time.sleep(1.0)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        kmeans.fit(X)
    print(f"\nstopped {1e3 * (time.monotonic() - sent[0]):.0f} ms after Ctrl-C on {device}")
    with pytest.raises(NotFittedError):
        kmeans.predict(X)
    assert KMeans(2, random_state=0, device=device).fit(X[:100]).n_iter_ > 0


def test_other_threads_run_while_a_fit_does():
    X, begun = noise(50_000), threading.Event()
    ticks, ended = [], threading.Event()

    def tick():
        begun.wait()
        while not ended.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    begun.set()
    start = time.monotonic()
    KMeans(64, max_iter=20, tol=0, random_state=0, device="cpu").fit(X)
    end = time.monotonic()
    ended.set()
    thread.join()
    # Had the fit held the GIL, no tick would lie inside it but those around its beginning and its end.
    assert sum(start < at < end for at in ticks) > 3


def test_fits_at_once_are_those_of_one_after_the_other(device):
    X = noise(2000, 8)
    expected = [KMeans(5, random_state=seed, device=device).fit(X) for seed in range(4)]
    found = [None] * 4

    def fit(seed):
        found[seed] = KMeans(5, random_state=seed, device=device).fit(X)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_fits_too(device):
    code = f"""
import os, signal
import numpy as np
from tilefold.cluster import KMeans
X = np.random.default_rng(0).random((500, 6), dtype=np.float32)
def fit():
    return KMeans(4, random_state=0, device={device!r}).fit(X).cluster_centers_
before = fit()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if (fit() == before).all() else 1)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
assert (fit() == before).all()
"""
    result = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_an_exception_of_a_callback_is_the_fits():
    pytest.importorskip("sklearn.callback")

    class Failing:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            raise OSError("no space for the record")

    with pytest.raises(OSError, match="no space"):
        KMeans(4, device="cpu").set_callbacks(Failing()).fit(noise(1000))


def test_a_device_that_does_not_exist_is_named():
    with pytest.raises(tilefold.DeviceNotFoundError, match="no such card"):
        KMeans(2, device="no such card").fit(noise(10))
