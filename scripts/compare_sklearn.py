"""Compares `tilefold kmeans` with scikit-learn's KMeans from the same initial centroids.

Started by scripts/compare-sklearn. For every data set, K, iteration limit and tolerance it runs scikit-learn once,
on the f32 data widened to f64, and tilefold on every device, and demands:

* equal labels, but for rows that f64 leaves tied (listed): their two best squared distances differ by less than
  1e-12, relative;
* inertia equal to 1e-6, relative, and the same number of iterations;
* labels and model files of all gpu runs equal, byte for byte, to those of the cpu.

Prints one line per run; exits 1 when any demand is broken.
"""

import argparse
import gzip
import json
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

SEED = 20240229
INERTIA_TOLERANCE = 1e-6
TIE_GAP = 1e-12
REFERENCE_ELEMENTS = 150_000  # the plain f64 loops of the reference run on data up to this size


@dataclass(frozen=True)
class Task:
    """One clustering problem; `tol` is scikit-learn's, relative to the mean variance of the features."""

    name: str
    points: np.ndarray
    n_clusters: int
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Outcome:
    """What one implementation answered; the files are None for scikit-learn."""

    labels: np.ndarray
    inertia: float
    n_iter: int
    centroids: np.ndarray
    files: tuple[bytes, bytes] | None = None


def data_sets(folder: Path | None):
    """Yields (name, float32 points). The last two need TILEFOLD_DATA and are named as left out without it."""
    for load in (datasets.load_digits, datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer):
        yield load.__name__.removeprefix("load_"), load().data.astype(np.float32)
    if folder is None:
        print("mnist, sift: left out, TILEFOLD_DATA is not set")
        return
    with gzip.open(folder / "mnist-t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    yield "mnist", pixels.reshape(-1, 28 * 28).astype(np.float32)
    yield "sift", np.loadtxt(folder / "sift-5k.tsv", dtype=np.float32, usecols=range(128))


def initial_centroids(points: np.ndarray, n_clusters: int) -> np.ndarray:
    """Distinct rows, drawn with the fixed seed: equal centroids would make every label a tie."""
    distinct = np.unique(points, axis=0)
    return distinct[np.random.default_rng(SEED).choice(len(distinct), n_clusters, replace=False)]


def run_sklearn(task: Task, centroids: np.ndarray) -> Outcome:
    model = KMeans(task.n_clusters, init=centroids.astype(np.float64), n_init=1, max_iter=task.max_iter, tol=task.tol,
                   algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(task.points.astype(np.float64))
    return Outcome(model.labels_, model.inertia_, model.n_iter_, model.cluster_centers_)


def run_tilefold(command: list[str], task: Task, centroids: np.ndarray, device: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        path = {name: Path(folder) / name for name in ("x.npy", "init.npy", "labels.npy", "centroids.npy", "model")}
        np.save(path["x.npy"], task.points)
        np.save(path["init.npy"], centroids)
        answer = subprocess.run(
            [*command, "kmeans", path["x.npy"], "-k", str(task.n_clusters), "--init", path["init.npy"],
             "--max-iter", str(task.max_iter), "--tol", repr(task.tol), "--device", device, "--json",
             "--labels", path["labels.npy"], "--centroids", path["centroids.npy"], "--model", path["model"]],
            capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"exit code {answer.returncode}: {answer.stderr.strip()[-300:]}")
        summary = json.loads(answer.stdout)
        labels = np.load(path["labels.npy"])
        if list(summary["cluster_sizes"]) != np.bincount(labels, minlength=task.n_clusters).tolist():
            raise RuntimeError("cluster_sizes do not count the labels")
        return Outcome(labels, summary["inertia"], summary["n_iter"], np.load(path["centroids.npy"]),
                       (path["labels.npy"].read_bytes(), path["model"].read_bytes()))


def tied_rows(points: np.ndarray, centroids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` whose two best squared distances, by direct differences in f64, are within TIE_GAP."""
    tied = []
    for row in rows:
        distances = np.sort(((points[row].astype(np.float64) - centroids) ** 2).sum(axis=1))
        if distances[1] - distances[0] <= TIE_GAP * distances[1]:
            tied.append(row)
    return np.array(tied, dtype=int)


def complaints(task: Task, expected: Outcome, got: Outcome) -> tuple[list[str], np.ndarray]:
    """What is wrong with an outcome, and the rows that differ but are ties."""
    if got.labels.shape != expected.labels.shape:
        return [f"labels of shape {got.labels.shape}"], np.array([], dtype=int)
    different = np.flatnonzero(got.labels != expected.labels)
    # Cut short, scikit-learn assigns once more to the centroids that it returns: its labels belong to these.
    tied = tied_rows(task.points, expected.centroids, different)
    wrong = []
    if len(different) > len(tied):
        first = np.setdiff1d(different, tied)[:5].tolist()
        wrong.append(f"{len(different) - len(tied)} labels differ, rows {first}")
    if not abs(got.inertia - expected.inertia) <= INERTIA_TOLERANCE * abs(expected.inertia):
        wrong.append(f"inertia {got.inertia!r}, expected {expected.inertia!r}")
    if got.n_iter != expected.n_iter:
        wrong.append(f"n_iter {got.n_iter}, expected {expected.n_iter}")
    return wrong, tied


def check(task: Task, command: list[str], devices: list[str]) -> bool:
    """Runs one task everywhere and prints a line per device; whether all demands were kept."""
    centroids = initial_centroids(task.points, task.n_clusters)
    expected = run_sklearn(task, centroids)
    kept, first_files = True, None
    for device in devices:
        if device == "reference" and task.points.size > REFERENCE_ELEMENTS:
            continue
        tied = np.array([], dtype=int)
        try:
            got = run_tilefold(command, task, centroids, device)
            wrong, tied = complaints(task, expected, got)
            if device != "reference":
                first_files = first_files or got.files
                names = ("labels", "model")
                wrong += [f"{name} file is not the cpu's" for name, ours, first in zip(names, got.files, first_files)
                          if ours != first]
            difference = abs(got.inertia - expected.inertia) / (abs(expected.inertia) or 1.0)
            numbers = f"{got.n_iter:6} {difference:9.1e}"
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            wrong, numbers = [str(error)], f"{'':6} {'':9}"
        print(f"{task.name:14} {task.n_clusters:4} {task.max_iter:8} {task.tol:7.0e} {device:10} {numbers} "
              f"{len(tied):5}  {'; '.join(wrong) or 'equal'}", flush=True)
        if len(tied):
            print(f"{'':14} tied rows: {tied.tolist()}")
        kept = kept and not wrong
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True, help="the tilefold command to test")
    parser.add_argument("--data", nargs="+", help="only these data sets")
    without_gpu = os.environ.get("TILEFOLD_WITHOUT_GPU") == "1"
    gpu = os.environ.get("TILEFOLD_GPU") or "gpu"
    parser.add_argument("--devices", nargs="+", default=["cpu", *([] if without_gpu else [gpu]), "reference"])
    arguments = parser.parse_args()
    command = [*shlex.split(os.environ.get("TILEFOLD_RUNNER", "")), arguments.tilefold]
    folder = Path(os.environ["TILEFOLD_DATA"]) if os.environ.get("TILEFOLD_DATA") else None

    print(f"{'data':14} {'K':>4} {'max_iter':>8} {'tol':>7} {'device':10} {'n_iter':>6} {'inertia':>9} {'tied':>5}")
    done = failed = 0
    for name, points in data_sets(folder):
        if arguments.data and name not in arguments.data:
            continue
        for n_clusters in (2, 10, 50):
            for max_iter, tol in ((1, 0.0), (5, 0.0), (300, 0.0), (300, 1e-4)):
                done += 1
                failed += not check(Task(name, points, n_clusters, max_iter, tol), command, arguments.devices)
    print(f"{done - failed} passed, {failed} failed")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
