"""Times k-means of tilefold and of other libraries in turns. Started by scripts/peers.

Rows are made like those of `tilefold bench`: as many normal clouds of deviation 1 as there are clusters, around centres
whose coordinates are normal, with deviation 8 / sqrt(2 d) in `blobs`, so that centres lie about 8 deviations apart, and
with deviation 2 in `clusters`, which lie farther apart the more features there are. Everyone gets the same float32 rows and the same first centroids (distinct rows), and all threads. What is timed:

* tilefold: `upload + init + iterate` of `--json`: everything after the file was read, labels included. In fixed runs once
  more with `--prune never`: every product of every pass. In converged runs once more from its own k-means++, whose time
  counts: what a user gets without a choice of first centroids;
* scikit-learn, algorithm lloyd: `KMeans.fit`, which labels the rows;
* faiss: `Kmeans.train` with every row, then a search for the labels; it has no rule that ends it, so only fixed runs;
* superkmeans: `train` without sampling and hierarchy, then `assign_training_points`. It chooses its own first centroids, so
  its labels are not compared. Fixed runs are without its early end, converged ones end by
  its own rules;
* torch and flash-kmeans where a CUDA GPU is found; the rows lie on the GPU before the clock starts.

Peers of k-medoids: scripts/compare-kmedoids.

A figure counts only when the result is right: inertia is computed again in float64 from each library's labels and
centroids. It must agree with tilefold's to 1e-5 for those that start and go alike (scikit-learn with fixed iterations),
to 2 % for those that start alike and then round or relocate otherwise, and to 10 % for those that start from other
centroids and end in another local optimum; k-means++ may be better by more. Ends with 1 where it does not.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

SEED = 7
SEPARATION = 8.0
SHAPES = [(100_000, 128, 256), (100_000, 128, 1000), (50_000, 768, 1000), (1_000_000, 32, 64)]
QUICK_SHAPES = [(4000, 32, 16), (3000, 96, 40)]
ALIKE, SIMILAR, OTHER_START = 1e-5, 2e-2, 1e-1


def blobs(rows, columns, clusters, deviation=None):
    draws = np.random.default_rng(SEED)
    deviation = deviation or SEPARATION / np.sqrt(2 * columns)
    centres = (deviation * draws.standard_normal((clusters, columns))).astype(np.float32)
    return centres[draws.integers(clusters, size=rows)] + draws.standard_normal((rows, columns), dtype=np.float32)


def far_clusters(rows, columns, clusters):
    return blobs(rows, columns, clusters, 2.0)


def uniform(rows, columns, _clusters):
    return np.random.default_rng(SEED).uniform(-1, 1, (rows, columns)).astype(np.float32)


DATA = {"blobs": blobs, "clusters": far_clusters, "uniform": uniform}


def inertia_of(points, centroids, labels):
    """In float64, block by block."""
    total = 0.0
    for start in range(0, len(points), 8192):
        rows = points[start:start + 8192].astype(np.float64)
        total += float(np.square(rows - np.asarray(centroids, np.float64)[labels[start:start + 8192]]).sum())
    return total


class Tilefold:
    follows = True
    starts_alike = True
    init, options, manner = "init.npy", [], ""

    def __init__(self, command, device, folder):
        version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.split()
        self.name = f"tilefold {version[-1]}{self.manner}"
        self.command, self.device, self.folder = command, device, folder

    def header(self):
        """Machine, device and roofs, as a tiny benchmark tells them."""
        answer = subprocess.run(
            [self.command, "bench", "kmeans", "--n", "64", "--d", "4", "--k", "2", "--data", "uniform", "--reps", "1",
             "--device", self.device, "--format", "json", "-q"], capture_output=True, text=True, check=True)
        record = json.loads(answer.stdout)
        record["kind"] = "peers"
        return record

    def run(self, points, centroids, iterations, converge):
        folder = self.folder
        answer = subprocess.run(
            [self.command, "kmeans", "x.npy", "-k", str(len(centroids)), "--init", self.init, "--max-iter",
             str(300 if converge else iterations), "--tol", "0", "--device", self.device, "--json", "--labels",
             "labels.npy", "--centroids", "centroids.npy", *self.options], cwd=folder,
            capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"exit code {answer.returncode}: {answer.stderr.strip()[-300:]}")
        summary = json.loads(answer.stdout)
        self.summary = summary
        seconds = sum(summary["seconds"][stage] for stage in ("upload", "init", "iterate"))
        return seconds, np.load(folder / "labels.npy"), np.load(folder / "centroids.npy"), summary["n_iter"]


class Unpruned(Tilefold):
    options, manner = ["--prune", "never"], ", not pruned"

    def run(self, points, centroids, iterations, converge):
        return None if converge else super().run(points, centroids, iterations, converge)


class PlusPlus(Tilefold):
    starts_alike = False
    init, manner = "k-means++", ", k-means++"

    def run(self, points, centroids, iterations, converge):
        return super().run(points, centroids, iterations, converge) if converge else None


class ScikitLearn:
    follows = True
    starts_alike = True

    def __init__(self):
        import sklearn
        self.name = f"scikit-learn {sklearn.__version__}"

    def run(self, points, centroids, iterations, converge):
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=300 if converge else iterations, tol=0.0,
                       algorithm="lloyd")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = time.perf_counter()
            model.fit(points)
            seconds = time.perf_counter() - begin
        return seconds, model.labels_, model.cluster_centers_, int(model.n_iter_)


class Faiss:
    follows = False
    starts_alike = True

    def __init__(self):
        import faiss
        self.name = f"faiss {faiss.__version__}"

    def run(self, points, centroids, iterations, converge):
        import faiss
        if converge:
            return None
        model = faiss.Kmeans(points.shape[1], len(centroids), niter=iterations, nredo=1, seed=SEED,
                             max_points_per_centroid=len(points), min_points_per_centroid=1, verbose=False)
        begin = time.perf_counter()
        model.train(points, init_centroids=centroids)
        _, labels = model.index.search(points, 1)
        return time.perf_counter() - begin, labels[:, 0], model.centroids, iterations


class SuperKMeans:
    follows = False
    starts_alike = False

    def __init__(self):
        from importlib.metadata import version
        import superkmeans
        self.library = superkmeans
        self.name = f"superkmeans {version('superkmeans')}"

    def run(self, points, centroids, iterations, converge):
        model = self.library.SuperKMeans(
            len(centroids), points.shape[1], hierarchical=False, iters=300 if converge else iterations,
            sampling_fraction=1.0, max_points_per_cluster=len(points), early_termination=converge, seed=SEED,
            **({} if converge else {"tol": 0.0}))
        begin = time.perf_counter()
        found = model.train(points)
        labels = model.assign_training_points(points, found)
        seconds = time.perf_counter() - begin
        done = len(model.iteration_stats)
        return seconds, np.asarray(labels).astype(np.int64).ravel(), np.asarray(found), done


class Torch:
    """Plain torch: a product per block of rows, the smallest, sums by index_add_, in float32."""
    follows = False
    starts_alike = True

    def __init__(self):
        import torch
        if not torch.cuda.is_available():
            raise ImportError("torch finds no CUDA GPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        self.torch, self.name = torch, f"torch {torch.__version__}"

    def run(self, points, centroids, iterations, converge):
        if converge:
            return None
        torch = self.torch
        x, c = torch.from_numpy(points).cuda(), torch.from_numpy(centroids).cuda()

        def label():
            half = 0.5 * (c * c).sum(1)
            return torch.cat([(half - block @ c.T).argmin(1) for block in x.split(65536)])

        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(iterations):
            labels = label()
            counts = torch.bincount(labels, minlength=len(c))
            sums = torch.zeros_like(c).index_add_(0, labels, x)
            c = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], c)
        labels = label()
        torch.cuda.synchronize()
        return time.perf_counter() - begin, labels.cpu().numpy(), c.cpu().numpy(), iterations


class FlashKMeans:
    follows = False
    starts_alike = True

    def __init__(self):
        import torch
        from importlib.metadata import version
        from flash_kmeans import batch_kmeans_Euclid
        if not torch.cuda.is_available():
            raise ImportError("torch finds no CUDA GPU")
        self.torch, self.fit, self.name = torch, batch_kmeans_Euclid, f"flash-kmeans {version('flash-kmeans')}"

    def run(self, points, centroids, iterations, converge):
        if converge:
            return None
        torch = self.torch
        x, c = torch.from_numpy(points).cuda()[None], torch.from_numpy(centroids).cuda()[None]
        torch.cuda.synchronize()
        begin = time.perf_counter()
        labels, found, *_ = self.fit(x, len(centroids), max_iters=iterations, tol=0.0, init_centroids=c)
        torch.cuda.synchronize()
        return time.perf_counter() - begin, labels[0].cpu().numpy(), found[0].float().cpu().numpy(), iterations


def find_peers(wanted):
    peers = []
    for make in (ScikitLearn, Faiss, SuperKMeans, Torch, FlashKMeans):
        if wanted and make.__name__.lower() not in wanted:
            continue
        try:
            peers.append(make())
        except (ImportError, OSError) as error:
            print(f"{make.__name__} left out: {error}", file=sys.stderr)
    return peers


def measure(tilefold, peers, data, shape, iterations, repeats, converge):
    """Runs of one shape; None where a result is wrong."""
    rows, columns, clusters = shape
    points = DATA[data](rows, columns, clusters)
    chosen = np.random.default_rng(SEED + clusters).choice(rows, clusters, replace=False)
    centroids = np.ascontiguousarray(points[chosen])
    np.save(tilefold.folder / "x.npy", points)
    np.save(tilefold.folder / "init.npy", centroids)
    libraries = [tilefold, *peers]
    seconds, last = {}, {}
    # The first round warms caches and thread pools up; it is checked and not timed.
    for round_ in range(repeats + 1):
        for library in libraries:
            try:
                answer = library.run(points, centroids, iterations, converge)
            except Exception as error:  # A peer that fails is named and left out; tilefold must not fail.
                if library is tilefold:
                    raise
                print(f"{library.name} left out at {shape}: {error!r}", file=sys.stderr)
                answer = None
            if answer is None:
                continue
            if round_ > 0:
                seconds.setdefault(library.name, []).append(answer[0])
            last[library.name] = answer
    runs, is_right = [], True
    _, our_labels, our_centroids, our_iterations = last[tilefold.name]
    ours = inertia_of(points, our_centroids, our_labels)
    for library in libraries:
        if library.name not in seconds:
            continue
        _, labels, found, done = last[library.name]
        inertia = inertia_of(points, found, labels)
        off = inertia / ours - 1
        allowed = ALIKE if library.follows and not converge else SIMILAR if library.starts_alike else OTHER_START
        if not (-1 if isinstance(library, PlusPlus) else -allowed) <= off <= allowed:
            print(f"{library.name} at {shape}: inertia {inertia!r}, tilefold's is {ours!r}", file=sys.stderr)
            is_right = False
        taken = seconds[library.name]
        flops = 2.0 * rows * columns * clusters * (done + 1)
        run = {
            "workload": "kmeans", "library": library.name, "data": data, "dtype": "f32", "n": rows, "d": columns,
            "k": clusters, "iterations": done, "mode": "converged" if converge else "fixed",
            "seconds": {"wall": {"median": statistics.median(taken), "min": min(taken), "max": max(taken),
                                 "count": len(taken)}},
            "flops": flops, "bytes": 4.0 * rows * columns * (done + 1),
            "gflops": flops / statistics.median(taken) / 1e9,
            "verified": {"checked": rows, "of": rows}, "inertia": inertia,
            "equal_labels": float(np.mean(labels == our_labels)) if library.starts_alike else None,
        }
        if isinstance(library, Tilefold):
            run["rechecked"] = library.summary["rechecked"]
            products = library.summary.get("products")
            run["products"] = products and [count / (rows * clusters) for count in products]
        runs.append(run)
        print(f"{rows} x {columns}, k {clusters}, {run['mode']} {done:3} iterations  {library.name:24} "
              f"{run['seconds']['wall']['median']:9.3f} s ({min(taken):.3f}-{max(taken):.3f})  inertia {off:+.1e}",
              file=sys.stderr, flush=True)
    return runs, is_right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True, help="the tilefold command to measure")
    parser.add_argument("-o", "--output", required=True, type=Path, help="where the JSON goes")
    parser.add_argument("--device", default="cpu", help="tilefold's device")
    parser.add_argument("--quick", action="store_true", help="small shapes, two repetitions")
    parser.add_argument("--shape", nargs=3, type=int, action="append", metavar=("N", "D", "K"), help="instead of the usual ones")
    parser.add_argument("--data", choices=list(DATA), default="blobs")
    parser.add_argument("--mode", choices=["fixed", "converged"], nargs="+", default=["fixed", "converged"])
    parser.add_argument("--iterations", type=int, default=10, help="of fixed runs")
    parser.add_argument("--repeats", type=int, help="timed rounds [5; 2 with --quick]")
    parser.add_argument("--peer", nargs="+", help="only these: scikitlearn, faiss, superkmeans, torch, flashkmeans")
    parser.add_argument("--append", action="store_true", help="adds to the runs of an existing file")
    arguments = parser.parse_args()
    shapes = [tuple(shape) for shape in arguments.shape or (QUICK_SHAPES if arguments.quick else SHAPES)]
    repeats = arguments.repeats or (2 if arguments.quick else 5)
    # Runs take place in another folder.
    command = str(Path(shutil.which(arguments.tilefold) or arguments.tilefold).resolve())
    with tempfile.TemporaryDirectory() as folder:
        ours = [kind(command, arguments.device, Path(folder)) for kind in (Tilefold, Unpruned, PlusPlus)]
        tilefold, peers = ours[0], ours[1:] + find_peers(arguments.peer)
        record = tilefold.header()
        record["runs"], all_right = [], True
        if arguments.append and arguments.output.exists():
            record = json.loads(arguments.output.read_text())
        for shape in shapes:
            for mode in arguments.mode:
                runs, is_right = measure(tilefold, peers, arguments.data, shape, arguments.iterations, repeats,
                                         mode == "converged")
                record["runs"] += runs
                all_right &= is_right
    if not all_right:
        return 1
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
