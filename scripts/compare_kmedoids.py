"""Times k-medoids of points by tilefold and by scikit-learn with kmedoids, in turns. Started by scripts/compare-kmedoids.

Rows are the test images of MNIST (10,000 x 784, float32, from TILEFOLD_DATA), or normal clouds where there are none. In
each round everyone starts from the same medoids, drawn anew for that round, and all threads are used. What is timed:

* scikit-learn + kmedoids: `pairwise_distances` of the array in memory, then `kmedoids.fasterpam`;
* tilefold, command: the whole process: starting, reading the rows from a file, distances, FasterPAM, labels to a file;
* tilefold, Python: `tilefold.cluster.KMedoids.fit` of the array in memory, where the wheel is installed.

The first round warms up and is not timed. Losses are computed again in float64 from each one's medoids; a loss that was
reported must agree with that to 1e-5, and labels must name a nearest medoid. FasterPAM ends in a local optimum that depends
on the order of the candidates, so what is compared is the mean over the rounds: tilefold's may be at most 1.001 times that
of kmedoids. Ends with 1 where it is larger, or where a result is wrong.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import kmedoids
import numpy as np
from mnist import images
from sklearn.metrics import pairwise_distances

SEED = 11
LOSS_MARGIN = 1.001
# Distances are f32 and a loss is their sum: far below this, far above their rounding.
AGREEMENT = 1e-5


def clouds(rows, columns, clusters):
    draws = np.random.default_rng(SEED)
    centres = draws.standard_normal((clusters, columns), dtype=np.float32) * 2
    return centres[draws.integers(clusters, size=rows)] + draws.standard_normal((rows, columns), dtype=np.float32)


def nearest_distances(points, medoids):
    """Distances of each row to each medoid, in float64, as direct differences."""
    chosen = points[np.asarray(medoids, np.int64)].astype(np.float64)
    found = np.empty((len(points), len(chosen)))
    for at, medoid in enumerate(chosen):
        for start in range(0, len(points), 4096):
            rows = points[start:start + 4096].astype(np.float64)
            found[start:start + 4096, at] = np.sqrt(np.square(rows - medoid).sum(axis=1))
    return found


class Peers:
    name = f"scikit-learn {version('scikit-learn')} + kmedoids {version('kmedoids')}"

    def run(self, points, medoids, max_iter):
        begin = time.perf_counter()
        distances = pairwise_distances(points)
        between = time.perf_counter()
        found = kmedoids.fasterpam(distances, medoids.copy(), max_iter=max_iter)
        end = time.perf_counter()
        self.parts = {"distances": between - begin, "fasterpam": end - between}
        return end - begin, np.asarray(found.medoids), np.asarray(found.labels), float(found.loss)


class Command:
    def __init__(self, command, device, folder):
        said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.split()
        self.name = f"tilefold {said[-1]}, command"
        self.command, self.device, self.folder = command, device, folder

    def run(self, points, medoids, max_iter):
        np.save(self.folder / "init.npy", medoids.astype(np.int64))
        call = [self.command, "kmedoids", "x.npy", "-k", str(len(medoids)), "--init", "init.npy", "--max-iter", str(max_iter),
                "--device", self.device, "--json", "--labels", "labels.npy"]
        begin = time.perf_counter()
        answer = subprocess.run(call, cwd=self.folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if answer.returncode != 0:
            raise SystemExit(f"tilefold kmedoids: exit code {answer.returncode}: {answer.stderr.strip()}")
        found = json.loads(answer.stdout)
        self.parts = found["seconds"]
        return seconds, np.array(found["medoids"]), np.load(self.folder / "labels.npy"), found["loss"]


class Estimator:
    def __init__(self, device):
        import tilefold
        from tilefold.cluster import KMedoids

        self.name, self.make, self.device = f"tilefold {tilefold.__version__}, Python", KMedoids, device

    def run(self, points, medoids, max_iter):
        model = self.make(len(medoids), method="fasterpam", init=medoids, max_iter=max_iter, device=self.device)
        begin = time.perf_counter()
        model.fit(points)
        seconds = time.perf_counter() - begin
        self.parts = {}
        return seconds, model.medoid_indices_, model.labels_, model.inertia_


def faults(points, medoids, labels, reported, clusters):
    """What is wrong with a result, and its loss in float64."""
    distances = nearest_distances(points, medoids)
    least = distances.min(axis=1)
    loss, found = float(least.sum()), []
    if len(set(medoids.tolist())) != clusters:
        found.append(f"{len(set(medoids.tolist()))} different medoids")
    if not abs(reported / loss - 1) <= AGREEMENT:
        found.append(f"it reports a loss of {reported!r}, float64 finds {loss!r}")
    own = distances[np.arange(len(points)), labels.astype(np.int64)]
    # scikit-learn's distances come from products in f32 and f64; near ties may be decided otherwise.
    if not np.all(own - least <= 1e-4 * distances.max()):
        found.append("a label does not name a nearest medoid")
    return found, loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True, help="the tilefold command to measure")
    parser.add_argument("--device", default="cpu", help="tilefold's device")
    parser.add_argument("-k", type=int, default=100, help="medoids [100]")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, each from medoids of its own [5]")
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="1,500 made-up rows, 20 medoids, two rounds")
    parser.add_argument("-o", "--output", type=Path, help="where the figures go as JSON")
    arguments = parser.parse_args()
    rounds, clusters = (2, 20) if arguments.quick else (arguments.rounds, arguments.k)
    points = None if arguments.quick else images(os.environ.get("TILEFOLD_DATA", "."))
    source = "MNIST"
    if points is None:
        source = "clouds"
        points = clouds(*((1500, 64, 20) if arguments.quick else (10_000, 784, 100)))
        if not arguments.quick:
            print("TILEFOLD_DATA names no folder that has mnist-t10k-images-idx3-ubyte.gz: made-up rows", file=sys.stderr)
    command = str(Path(arguments.tilefold).resolve())
    seconds, losses, is_right = {}, {}, True
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", points)
        everyone = [Peers(), Command(command, arguments.device, Path(folder))]
        try:
            everyone.append(Estimator(arguments.device))
        except ImportError as error:
            print(f"tilefold, Python: left out, {error}", file=sys.stderr)
        for round_ in range(rounds + 1):
            first = np.random.default_rng(SEED + round_).choice(len(points), clusters, replace=False)
            for one in everyone:
                taken, medoids, labels, reported = one.run(points, first, arguments.max_iter)
                found, loss = faults(points, medoids, labels, reported, clusters)
                for fault in found:
                    print(f"{one.name}, round {round_}: {fault}", file=sys.stderr)
                    is_right = False
                if round_ > 0:
                    seconds.setdefault(one.name, []).append(taken)
                    losses.setdefault(one.name, []).append(loss)
                parts = ", ".join(f"{name} {value:.3f}" for name, value in one.parts.items())
                print(f"round {round_}  {one.name:42} {taken:8.3f} s  loss {loss:.6e}  {parts}", file=sys.stderr, flush=True)
    theirs = everyone[0].name
    base, base_loss = statistics.median(seconds[theirs]), statistics.mean(losses[theirs])
    print(f"{source}, {len(points)} x {points.shape[1]}, k {clusters}, FasterPAM, {rounds} rounds")
    record = []
    for name, taken in seconds.items():
        median, loss = statistics.median(taken), statistics.mean(losses[name])
        print(f"{name:42} {median:8.3f} s ({min(taken):.3f}-{max(taken):.3f})  {base / median:5.2f} x  "
              f"loss {loss / base_loss:.5f} of theirs")
        record.append({"name": name, "seconds": taken, "losses": losses[name], "times_faster": base / median,
                       "loss_ratio": loss / base_loss})
        if name != theirs and loss > LOSS_MARGIN * base_loss:
            print(f"{name}: the loss is more than {LOSS_MARGIN} times theirs", file=sys.stderr)
            is_right = False
    if arguments.output:
        arguments.output.write_text(json.dumps({"data": source, "n_clusters": clusters, "runs": record}, indent=1) + "\n")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
