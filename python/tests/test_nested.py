"""Work inside the callback of a fit: no thread of the pool waits for it, however few there are."""

import subprocess

import pytest
from conftest import PYTHON

SCRIPT = """
import sys, threading
import numpy as np
import tilefold
from tilefold.cluster import KMeans, KMedoids
from tilefold.metrics import pairwise_distances, pairwise_distances_argmin
from tilefold.neighbors import NearestNeighbors

threads, fits = int(sys.argv[1]), int(sys.argv[2])
tilefold.set_config(threads=threads, device="cpu")
X = np.random.default_rng(0).random((300, 5))
inside = []

class Watch:
    def setup(self, estimator, context): pass
    def teardown(self, estimator, context): pass
    def on_fit_task_begin(self, *arguments, **named): pass
    def on_fit_task_end(self, *arguments, **named):
        pairwise_distances(X[:20])
        pairwise_distances_argmin(X[:20], X[:5])
        NearestNeighbors(n_neighbors=2).fit(X[:40]).kneighbors(X[:5])
        KMeans(2, random_state=0).fit(X[:30]).predict(X[:9])
        KMedoids(2, random_state=0).fit(X[:30])
        # What waits for another thread that works waits for the pool too.
        other = threading.Thread(target=pairwise_distances, args=(X[:10],))
        other.start()
        other.join()
        inside.append(threading.current_thread())
        return False

class Out:
    def write(self, text): pairwise_distances(X[:10])
    def flush(self): pass

def fit(seed):
    kmeans = KMeans(3, random_state=seed, max_iter=4, tol=0)
    kmeans.set_callbacks(Watch())
    kmeans.fit(X)

callers = [threading.Thread(target=fit, args=(seed,)) for seed in range(fits)]
for caller in callers: caller.start()
for caller in callers: caller.join()
assert inside and all(thread in callers for thread in inside), "a callback runs on the thread that called fit"
told, sys.stdout = sys.stdout, Out()
KMeans(3, random_state=0, verbose=1, max_iter=3).fit(X)
sys.stdout = told
print("done")
"""


@pytest.mark.parametrize(("threads", "fits"), [(1, 1), (1, 3), (2, 2), (2, 5)])
def test_tilefold_works_inside_the_callback_of_a_fit(threads, fits):
    ran = subprocess.run(
        [*PYTHON, "-c", SCRIPT, str(threads), str(fits)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0 and ran.stdout == "done\n", ran.stderr


INTERRUPTED = """
import os, signal, threading, time
import numpy as np
import tilefold
from tilefold.cluster import KMeans

tilefold.set_config(threads=1, device="cpu")
X = np.random.default_rng(0).random((20_000, 16), dtype=np.float32)

class Watch:
    def setup(self, estimator, context): pass
    def teardown(self, estimator, context): pass
    def on_fit_task_begin(self, *arguments, **named): pass
    def on_fit_task_end(self, *arguments, **named):
        KMeans(512, init="random", n_init=50, tol=0, max_iter=100_000, random_state=0).fit(X)

kmeans = KMeans(3, random_state=0)
kmeans.set_callbacks(Watch())
threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    kmeans.fit(X)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_reaches_what_a_callback_does():
    ran = subprocess.run([*PYTHON, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "interrupted\n", ran.stderr
