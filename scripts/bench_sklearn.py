"""Measures `tilefold kmeans` against scikit-learn's KMeans. Started by scripts/bench-sklearn.

Both cluster the same float32 rows from the same initial centroids, for the same number of iterations, with all threads
of the machine. They take turns, so that a machine that slows down slows both. What is timed:

* scikit-learn: the wall time of `KMeans.fit`, data in memory;
* tilefold: `seconds.upload + seconds.init + seconds.iterate` of `--json`: everything after the file was read, that is
  scanning, centring and norms of the data, first centroids, iterations, and the labels of the returned centroids.

Before any figure counts the results are compared: scikit-learn runs in float32 here, so at least 99.9 % of the labels
must be equal and the inertia must agree to 1e-5, relative. Exits 1 where they do not. Prints medians.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

SEED = 7
EQUAL_LABELS = 0.999
INERTIA_TOLERANCE = 1e-5


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def make_points(rows: int, columns: int) -> np.ndarray:
    """Normal clouds of deviation 1 around 500 centres of deviation 2."""
    draws = np.random.default_rng(SEED)
    centres = 2.0 * draws.standard_normal((500, columns), dtype=np.float32)
    return centres[draws.integers(500, size=rows)] + draws.standard_normal((rows, columns), dtype=np.float32)


def run_sklearn(points: np.ndarray, centroids: np.ndarray, max_iter: int):
    """Seconds, labels and inertia."""
    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=max_iter, tol=0.0, algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        begin = time.perf_counter()
        model.fit(points)
        seconds = time.perf_counter() - begin
    return seconds, model.labels_, float(model.inertia_), model.n_iter_


def run_tilefold(command: str, folder: Path, n_clusters: int, max_iter: int):
    """Seconds, labels and inertia; `folder` holds x.npy and init.npy."""
    answer = subprocess.run(
        [command, "kmeans", folder / "x.npy", "-k", str(n_clusters), "--init", folder / "init.npy", "--max-iter",
         str(max_iter), "--tol", "0", "--device", "cpu", "--json", "--labels", folder / "labels.npy"],
        capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"exit code {answer.returncode}: {answer.stderr.strip()[-300:]}")
    summary = json.loads(answer.stdout)
    seconds = sum(summary["seconds"][stage] for stage in ("upload", "init", "iterate"))
    return seconds, np.load(folder / "labels.npy"), summary["inertia"], summary["n_iter"], summary["rechecked"]


def measure(command: str, points: np.ndarray, n_clusters: int, max_iter: int, repeats: int, folder: Path) -> bool:
    """Prints one line of the table; whether the results agree."""
    chosen = np.random.default_rng(SEED + n_clusters).choice(len(points), n_clusters, replace=False)
    centroids = points[chosen]
    np.save(folder / "init.npy", centroids)
    theirs, ours = [], []
    # The first round warms caches and thread pools up; it is compared and not timed.
    for timed in [False] + repeats * [True]:
        their_seconds, their_labels, their_inertia, their_iterations = run_sklearn(points, centroids, max_iter)
        our_seconds, labels, inertia, iterations, rechecked = run_tilefold(command, folder, n_clusters, max_iter)
        equal = float(np.mean(labels == their_labels))
        difference = abs(inertia - their_inertia) / their_inertia
        if not (equal >= EQUAL_LABELS and difference <= INERTIA_TOLERANCE and iterations == their_iterations):
            print(f"K {n_clusters}: results differ: {100 * equal:.3f} % of the labels are equal, inertia {inertia!r} and "
                  f"{their_inertia!r}, iterations {iterations} and {their_iterations}")
            return False
        if timed:
            theirs.append(their_seconds)
            ours.append(our_seconds)
    their_median, our_median = statistics.median(theirs), statistics.median(ours)
    print(f"{n_clusters:6} {their_median:14.3f} {our_median:12.3f} {their_median / our_median:7.2f} "
          f"{min(theirs):9.3f}-{max(theirs):.3f} {min(ours):9.3f}-{max(ours):.3f} {100 * equal:9.3f} % "
          f"{difference:9.1e} {100 * rechecked:9.4f} %", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True, help="the tilefold command to measure")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=128)
    parser.add_argument("--clusters", type=int, nargs="+", default=[256, 1000])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    version = subprocess.run([arguments.tilefold, "--version"], capture_output=True, text=True, check=True)
    print(f"{processor()}, {threads} threads; scikit-learn {sklearn.__version__}, NumPy {np.__version__}, "
          f"{version.stdout.strip()}")
    print(f"{arguments.rows} x {arguments.columns} float32, {arguments.iterations} iterations, tol 0, medians of "
          f"{arguments.repeats} in seconds, with their range")
    print(f"{'K':>6} {'scikit-learn':>14} {'tilefold':>12} {'ratio':>7} {'scikit-learn':>15} {'tilefold':>15} "
          f"{'equal':>11} {'inertia':>9} {'rechecked':>11}")
    points = make_points(arguments.rows, arguments.columns)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", points)
        kept = [measure(arguments.tilefold, points, n_clusters, arguments.iterations, arguments.repeats, Path(folder))
                for n_clusters in arguments.clusters]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
