"""Compares `tilefold kmeans` with scikit-learn's KMeans from the same initial centroids.

Started by scripts/compare-sklearn. For every data set, K, iteration limit and tolerance it runs scikit-learn once,
on the f32 data widened to f64, and tilefold on every device, and demands:

* equal labels, but for rows that f64 leaves tied between the returned centroids (listed): their two best squared
  distances differ by at most 1e-12, relative;
* inertia equal to 1e-6, relative, and the same number of iterations;
* labels and model files of all gpu runs equal, byte for byte, to those of the cpu.

A row that is tied in any iteration makes the rest of the run arbitrary: scikit-learn breaks the tie by the rounding of
its matrix product, tilefold by the lowest index. Whole numbers tie exactly. So the script follows each run with a Lloyd
of its own, in f64 by direct differences, ties to the lowest index (`follow`). Where it meets tied rows it lists them
and the task is checked twice:

* from these centroids against the script's own Lloyd;
* against scikit-learn from the first of the next draws of initial rows (at most 20) that meets no tie.

A draw without ties is also a check of the script's own Lloyd: it must end where scikit-learn does. Prints one line per
run; exits 1 when any demand is broken, also when no draw without ties was found.
"""

import argparse
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
from mnist import images
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

SEED = 20240229
INERTIA_TOLERANCE = 1e-6
TIE_GAP = 1e-12
MOST_DRAWS = 20  # after the first, where that meets a tie
LIMITS = ((1, 0.0), (5, 0.0), (300, 0.0), (300, 1e-4))  # max_iter, tol
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
    """What one implementation answered; only tilefold writes files."""

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
    pixels = images(folder)
    if pixels is None:
        raise SystemExit("mnist: TILEFOLD_DATA names a folder without its test images")
    yield "mnist", pixels
    yield "sift", np.loadtxt(folder / "sift-5k.tsv", dtype=np.float32, usecols=range(128))


def initial_centroids(points: np.ndarray, n_clusters: int, draw: int) -> np.ndarray:
    """Distinct rows, drawn with a fixed seed per draw: equal centroids would make every label a tie."""
    distinct = np.unique(points, axis=0)
    return distinct[np.random.default_rng(SEED + draw).choice(len(distinct), n_clusters, replace=False)]


@dataclass(frozen=True)
class Step:
    """One assignment: the centroids it was made to, and the rows that they leave tied."""

    centroids: np.ndarray
    labels: np.ndarray
    inertia: float
    tied: np.ndarray


def assign(points: np.ndarray, squares: np.ndarray, centroids: np.ndarray) -> tuple[Step, np.ndarray]:
    """Nearest centroids by direct differences in f64, ties to the lowest index, and the squared distances to them.

    The expanded form only chooses which distances are computed: it is within 1e-9 (|x|^2 + |c|^2) of the true one.
    """
    lengths = (centroids ** 2).sum(axis=1)
    screen = squares[:, None] - 2.0 * (points @ centroids.T) + lengths
    slack = 1e-9 * (squares + lengths.max())
    near = screen <= (screen.min(axis=1) + 2.0 * slack)[:, None]
    # Two distances per row at least, so that the gap is known to be wide.
    near[np.arange(len(points))[:, None], np.argpartition(screen, 1, axis=1)[:, :2]] = True
    distances = np.full_like(screen, np.inf)
    for cluster in range(len(centroids)):
        rows = np.flatnonzero(near[:, cluster])
        distances[rows, cluster] = ((points[rows] - centroids[cluster]) ** 2).sum(axis=1)
    labels = distances.argmin(axis=1)
    two = np.partition(distances, 1, axis=1)[:, :2]
    tied = np.flatnonzero(two[:, 1] - two[:, 0] <= TIE_GAP * two[:, 1])
    return Step(centroids, labels, float(two[:, 0].sum()), tied), two[:, 0]


def means(points: np.ndarray, step: Step, nearest: np.ndarray) -> np.ndarray:
    """Means of the clusters; an empty one takes the row farthest from its centroid, as in scikit-learn."""
    sums = np.zeros_like(step.centroids)
    np.add.at(sums, step.labels, points)
    counts = np.bincount(step.labels, minlength=len(sums)).astype(np.float64)
    empty = np.flatnonzero(counts == 0)
    for cluster, row in zip(empty, np.argsort(-nearest, kind="stable")):
        old = step.labels[row]
        sums[old] -= points[row]
        counts[old] -= 1
        sums[cluster], counts[cluster] = points[row], 1
    return sums / counts[:, None]


def follow(points: np.ndarray, centroids: np.ndarray) -> list[Step]:
    """The assignments of iterations 1, 2, ... until no label changes, and the one after the last iteration."""
    points = points.astype(np.float64)
    squares = (points ** 2).sum(axis=1)
    step, nearest = assign(points, squares, centroids.astype(np.float64))
    steps = [step]
    while len(steps) <= max(limit for limit, _ in LIMITS):
        step, nearest = assign(points, squares, means(points, steps[-1], nearest))
        steps.append(step)
        if len(steps) > 2 and np.array_equal(steps[-2].labels, steps[-3].labels):
            break
    return steps


def iterations(task: Task, steps: list[Step]) -> int:
    """After how many iterations the rules of `task` end the followed run."""
    tolerance = task.tol * task.points.astype(np.float64).var(axis=0).mean()
    for n_iter in range(1, len(steps)):
        rests = n_iter > 1 and np.array_equal(steps[n_iter - 1].labels, steps[n_iter - 2].labels)
        shift = ((steps[n_iter].centroids - steps[n_iter - 1].centroids) ** 2).sum()
        if n_iter == task.max_iter or rests or shift <= tolerance:
            return n_iter
    raise RuntimeError("the followed run is shorter than its limit")


def followed(task: Task, steps: list[Step]) -> tuple[Outcome, list[tuple[int, np.ndarray]]]:
    """Where the followed run ends, and its tied rows per iteration."""
    n_iter = iterations(task, steps)
    last = steps[n_iter]
    ties = [(number, step.tied) for number, step in enumerate(steps[: n_iter + 1], 1) if len(step.tied)]
    return Outcome(last.labels, last.inertia, n_iter, last.centroids), ties


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


def check(task: Task, command: list[str], devices: list[str], draw: int, centroids: np.ndarray, expected: Outcome,
          name: str) -> bool:
    """Runs tilefold from one draw on all devices and prints a line for each; whether all demands were kept."""
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
        print(f"{task.name:14} {task.n_clusters:4} {task.max_iter:8} {task.tol:7.0e} {draw:4} {device:10} {numbers} "
              f"{len(tied):5}  {'; '.join(wrong) or f'equal to {name}'}", flush=True)
        if len(tied):
            print(f"{'':14} tied rows: {tied.tolist()}")
        kept = kept and not wrong
    return kept


class Runs:
    """The followed runs of one data set and K, one per draw, each followed once for all limits."""

    def __init__(self, points: np.ndarray, n_clusters: int):
        self.points, self.n_clusters, self.known = points, n_clusters, {}

    def of(self, draw: int) -> tuple[np.ndarray, list[Step]]:
        if draw not in self.known:
            centroids = initial_centroids(self.points, self.n_clusters, draw)
            self.known[draw] = centroids, follow(self.points, centroids)
        return self.known[draw]


def compare(task: Task, runs: Runs, command: list[str], devices: list[str]) -> bool:
    """Compares one task, from the first draw and, if that meets ties, from the first draw that meets none."""
    kept = True
    for draw in range(MOST_DRAWS + 1):
        centroids, steps = runs.of(draw)
        own, ties = followed(task, steps)
        if not ties:
            expected = run_sklearn(task, centroids)
            wrong, _ = complaints(task, expected, own)
            if wrong:
                print(f"{task.name:14} the script's own Lloyd differs from scikit-learn: {'; '.join(wrong)}")
            return check(task, command, devices, draw, centroids, expected, "scikit-learn") and kept and not wrong
        for iteration, rows in ties:
            print(f"{task.name:14} {task.n_clusters:4} {task.max_iter:8} {task.tol:7.0e} {draw:4} "
                  f"tied in iteration {iteration}: rows {rows.tolist()}")
        if draw == 0:
            kept = check(task, command, devices, draw, centroids, own, "own Lloyd")
    print(f"{task.name:14} {task.n_clusters:4}: each of {MOST_DRAWS + 1} draws meets ties, nothing was compared with "
          "scikit-learn")
    return False


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

    print(f"{'data':14} {'K':>4} {'max_iter':>8} {'tol':>7} {'draw':>4} {'device':10} {'n_iter':>6} {'inertia':>9} {'tied':>5}")
    done = failed = 0
    for name, points in data_sets(folder):
        if arguments.data and name not in arguments.data:
            continue
        for n_clusters in (2, 10, 50):
            runs = Runs(points, n_clusters)
            for max_iter, tol in LIMITS:
                done += 1
                task = Task(name, points, n_clusters, max_iter, tol)
                failed += not compare(task, runs, command, arguments.devices)
    print(f"{done - failed} passed, {failed} failed")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
