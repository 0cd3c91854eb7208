"""Compares `tilefold neighbours` with scikit-learn's BallTree, with SciPy and with faiss.

Started by scripts/compare-neighbours. On every device:

* haversine: places that lie as airports do (dense near cities, sparse elsewhere, some at the poles, on both sides of the
  date line, twice at the same place), all within a radius and the nearest, against BallTree. No pair's distance may be so
  near to the radius that rounding could decide; then the indices must be the same.
* SIFT: the 10 nearest of 5,000 descriptors against faiss's exact index. Descriptors are whole numbers, so faiss's `f32`
  distances are exact and must be equal; indices must be equal but among equal distances.

* MNIST: the 10 nearest of 60 images among 2,000 under every metric that SciPy has, against distances of SciPy in `f64`. An index
  counts as right if its distance is that of its rank, to SciPy's rounding.

`--self-test` damages each answer and demands that the comparison finds it. Exits 1 when anything disagrees.

`--time ROUNDS` times the 10 nearest beside faiss's exact index instead, in turns on the same rows: 10,000 queries in
100,000 x 128 of Gaussian noise, and MNIST's 10,000 images with themselves. The command's seconds are those of its search, rows
in memory at the start, as faiss's are. A row that differs in more than ties counts as a disagreement. Then 1,000 of MNIST's images among
all of them under metrics that are no product, beside scikit-learn's NearestNeighbors by brute force on all cores.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mnist import images
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.neighbors import BallTree, NearestNeighbors

SEED = 20240229
EARTH_KM = 6371.0088
# BallTree and the library both compute haversine in f64; angles below pi lie within this of the true ones.
ANGLE_ERROR = 1e-12


def airports(count, seed):
    """Latitudes and longitudes in radians: cities of very different size, and places far from any."""
    draws = np.random.default_rng(seed)
    cities = np.column_stack((draws.normal(25, 25, count // 20), draws.uniform(-180, 180, count // 20)))
    size = draws.pareto(1.2, len(cities)) + 0.1
    home = draws.choice(len(cities), size=count, p=size / size.sum())
    places = cities[home] + draws.standard_t(2, size=(count, 2)) * 0.7
    remote = draws.uniform(size=count) < 0.1
    places[remote] = np.column_stack((
        np.degrees(np.arcsin(draws.uniform(-1, 1, remote.sum()))),
        draws.uniform(-180, 180, remote.sum()),
    ))
    places[:, 0] = np.clip(places[:, 0], -90, 90)
    places[:, 1] = (places[:, 1] + 180) % 360 - 180
    places[:8] = [(90, 0), (90, 77), (-90, 0), (-90, 180), (10, 180), (10, -180), (0, 179.99), (0, -179.99)]
    places[8:16] = places[16:24]
    return np.radians(places)


def run(command, device, folder, points, queries, arguments):
    """The sparse matrix that tilefold writes."""
    paths = {name: folder / f"{name}.npy" for name in ("points", "queries")}
    graph = folder / "graph.npz"
    np.save(paths["points"], points)
    np.save(paths["queries"], queries)
    call = [*command, "neighbours", str(paths["points"]), "--queries", str(paths["queries"]), *arguments]
    call += ["--device", device, "-q", "--graph", str(graph)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} on {device}: {done.stderr}")
    return sparse.load_npz(graph)


def rows_of(graph):
    return zip(np.split(graph.indices, graph.indptr[1:-1]), np.split(graph.data, graph.indptr[1:-1]), strict=True)


def within_agrees(graph, expected, distances):
    """Whether a graph has exactly the expected neighbours of each row, with their distances."""
    for (indices, values), wanted, angles in zip(rows_of(graph), expected, distances, strict=True):
        order = np.argsort(wanted)
        if not np.array_equal(indices, wanted[order]):
            return False
        if not np.all(np.abs(values - angles[order]) <= ANGLE_ERROR):
            return False
    return True


def nearest_agree(graph, expected, exact):
    """Whether the distances of each row are the expected ones, and each stands for a point that has it.

    `exact(row, indices)` gives the distances of a row's points.
    """
    count = expected.shape[1]
    if not np.all(np.diff(graph.indptr) == count):
        return False
    for row, (indices, values) in enumerate(rows_of(graph)):
        if len(set(indices)) != count:
            return False
        if not np.all(np.abs(np.sort(values) - np.sort(expected[row])) <= ANGLE_ERROR):
            return False
        if not np.all(np.abs(exact(row, indices) - values) <= ANGLE_ERROR):
            return False
    return True


def damaged(graph):
    """The same with one neighbour exchanged for one that it is not."""
    graph = graph.copy()
    row = int(np.flatnonzero(np.diff(graph.indptr))[0])
    own = graph.indices[graph.indptr[row] : graph.indptr[row + 1]]
    others = np.setdiff1d(np.arange(graph.shape[1]), own)
    graph.indices[graph.indptr[row]] = others[-1]
    return graph


def haversine(command, devices, folder, is_self_test):
    """Yields a line per comparison, and whether it agrees."""
    # The reference measures every pair twice in plain loops: it gets fewer.
    for device in devices:
        count = 1500 if device == "reference" else 6000
        points, queries = airports(count, SEED), airports(count // 6, SEED + 1)
        tree = BallTree(points, metric="haversine")
        for kilometres in (30.0, 500.0, 2500.0, 15000.0):
            radius = kilometres / EARTH_KM
            near = tree.query_radius(queries, radius + ANGLE_ERROR, count_only=True)
            if not np.array_equal(near, tree.query_radius(queries, radius - ANGLE_ERROR, count_only=True)):
                raise SystemExit(f"{kilometres} km: a pair is too near to the radius")
            expected, distances = tree.query_radius(queries, radius, return_distance=True)
            arguments = ["--metric", "haversine", "--radius", repr(radius)]
            graph = run(command, device, folder, points, queries, arguments)
            found = sum(map(len, expected))
            agrees = within_agrees(graph, expected, distances)
            if is_self_test:
                agrees &= not within_agrees(damaged(graph), expected, distances)
            yield f"haversine, {kilometres:7.0f} km {device}: {found} pairs as BallTree has them", agrees
        expected, _ = tree.query(queries, k=10)

        def exact(row, indices, points=points, queries=queries):
            delta = points[indices] - queries[row]
            cosines = np.cos(points[indices, 0]) * np.cos(queries[row, 0])
            square = np.sin(delta[:, 0] / 2) ** 2 + cosines * np.sin(delta[:, 1] / 2) ** 2
            return 2 * np.arctan2(np.sqrt(square), np.sqrt(1 - square))

        graph = run(command, device, folder, points, queries, ["--metric", "haversine", "-k", "10"])
        agrees = nearest_agree(graph, expected, exact)
        if is_self_test:
            agrees &= not nearest_agree(damaged(graph), expected, exact)
        yield f"haversine, 10 nearest {device}: as BallTree's", agrees


def sift(command, devices, folder, data, is_self_test):
    """The 10 nearest of descriptors among all of them."""
    import faiss

    points = np.loadtxt(data, delimiter="\t", usecols=range(128), dtype=np.float32)
    index = faiss.IndexFlatL2(128)
    index.add(points)
    for device in devices:
        queries = points[:: 25 if device == "reference" else 1]
        expected, _ = index.search(queries, 10)

        def exact(row, indices, queries=queries):
            return ((points[indices] - queries[row]).astype(float) ** 2).sum(axis=1)

        graph = run(command, device, folder, points, queries, ["--metric", "sqeuclidean", "-k", "10"])
        agrees = nearest_agree(graph, expected, exact)
        if is_self_test:
            agrees &= not nearest_agree(damaged(graph), expected, exact)
        yield f"SIFT, 10 nearest of {len(queries)} {device}: as faiss {faiss.__version__} has them", agrees


def cases_of_metrics(rows):
    """Of each metric tilefold's name, its arguments, SciPy's name, its arguments, and the rows."""
    some = rows[:, 300:340]
    variances = some.var(axis=0, dtype=np.float64) + 1.0
    inverse = np.linalg.inv(np.cov(some[:500].astype(float).T) + 10.0 * np.eye(some.shape[1]))
    for name, theirs in [("manhattan", "cityblock"), ("canberra",) * 2, ("chebyshev",) * 2, ("braycurtis",) * 2,
                         ("correlation",) * 2, ("jensenshannon",) * 2, ("hamming",) * 2]:
        # Every row has an image, and SciPy no 0/0.
        yield name, {}, theirs, {}, rows + (1 if name != "hamming" else 0)
    yield "minkowski", {"p": 3}, "minkowski", {"p": 3}, rows
    yield "seuclidean", {"variances": variances[None]}, "seuclidean", {"V": variances}, some
    yield "mahalanobis", {"inverse-covariance": inverse}, "mahalanobis", {"VI": inverse}, some
    for name in ("jaccard", "dice", "rogerstanimoto", "russellrao", "yule"):
        yield name, {}, name, {}, (rows > 127).astype(np.float32)


def call_of(folder, name, arguments):
    """The arguments of the command; arrays go to files."""
    call = ["--metric", name]
    for key, value in arguments.items():
        if isinstance(value, np.ndarray):
            np.save(folder / f"{key}.npy", value)
            value = folder / f"{key}.npy"
        call += [f"--{key}", str(value)]
    return call


def metrics(command, devices, folder, rows, is_self_test):
    """Every metric that SciPy has, on images."""
    for name, arguments, theirs, options, own in cases_of_metrics(rows):
        points, queries = own[:2000], own[2000:2060]
        is_bits = name in ("jaccard", "dice", "rogerstanimoto", "russellrao", "yule")
        of = (lambda x: x.astype(bool)) if is_bits else (lambda x: x.astype(float))
        all_values = cdist(of(queries), of(points), theirs, **options)
        expected = np.sort(all_values, axis=1)[:, :10]

        def agree(graph, all_values=all_values, expected=expected):
            for row, (indices, values) in enumerate(rows_of(graph)):
                if len(set(indices)) != 10:
                    return False
                chosen = np.sort(all_values[row, indices])
                if not np.allclose(chosen, expected[row], rtol=1e-9, atol=1e-9):
                    return False
                if not np.allclose(np.sort(values), expected[row], rtol=1e-6, atol=1e-7):
                    return False
            return True

        for device in devices:
            graph = run(command, device, folder, points, queries, [*call_of(folder, name, arguments), "-k", "10"])
            agrees = agree(graph)
            if is_self_test:
                agrees &= not agree(damaged(graph))
            yield f"MNIST, {name}, 10 nearest {device}: as SciPy's distances have them", agrees


def timed_metrics(command, rounds, folder, rows):
    """Prints medians beside scikit-learn's, and returns whether all results agree."""
    bits = rows > 127
    variances = rows.var(axis=0, dtype=np.float64) + 1.0
    cases = [
        ("manhattan", {}, "cityblock", {}, rows),
        ("canberra", {}, "canberra", {}, rows),
        ("chebyshev", {}, "chebyshev", {}, rows),
        ("braycurtis", {}, "braycurtis", {}, rows),
        ("seuclidean", {"variances": variances[None]}, "seuclidean", {"V": variances}, rows),
        ("jaccard", {}, "jaccard", {}, bits),
    ]
    agree = True
    for name, arguments, theirs, options, own in cases:
        peer = NearestNeighbors(n_neighbors=10, algorithm="brute", metric=theirs, metric_params=options or None, n_jobs=-1)
        peer.fit(own)
        asked = own[:1000]
        np.save(folder / "points.npy", own.astype(np.uint8) if own is bits else own)
        np.save(folder / "queries.npy", asked.astype(np.uint8) if own is bits else asked)
        call = [*command, "neighbours", str(folder / "points.npy"), "--queries", str(folder / "queries.npy"), "-k", "10"]
        call += [*call_of(folder, name, arguments), "--device", "cpu", "-q", "--json"]
        call += ["--distances", str(folder / "distances.npy")]
        peers, ours = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            expected, _ = peer.kneighbors(asked)
            peers.append(time.perf_counter() - begin)
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            ours.append(json.loads(done.stdout)["seconds"]["search"])
        # Among equal distances either may take any row.
        agree &= bool(np.allclose(np.load(folder / "distances.npy"), expected, rtol=1e-5, atol=1e-6))
        seconds, own_seconds = np.median(peers), np.median(ours)
        ratio = seconds / own_seconds
        print(f"MNIST, {name}, 1,000 queries: scikit-learn {seconds:.2f} s, tilefold {own_seconds:.2f} s, {ratio:.1f} times as fast", flush=True)
    return agree


def timed(command, rounds, folder, rows):
    """Prints medians beside faiss's, and returns whether all results agree."""
    import faiss

    draws = np.random.default_rng(SEED)
    noise = draws.standard_normal((110_000, 128), dtype=np.float32)
    cases = {"10,000 queries in 100,000 x 128, noise": (noise[:100_000], noise[100_000:])}
    if rows is None:
        print("MNIST: not timed, TILEFOLD_DATA names no folder that has its test images")
    else:
        cases["MNIST, 10,000 x 784 with itself"] = (rows, None)
    agree = True
    for name, (points, queries) in cases.items():
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(points)
        asked = points if queries is None else queries
        np.save(folder / "points.npy", points)
        np.save(folder / "queries.npy", asked)
        call = [*command, "neighbours", str(folder / "points.npy"), "-k", "10", "--metric", "sqeuclidean"]
        call += [] if queries is None else ["--queries", str(folder / "queries.npy")]
        call += ["--device", "cpu", "-q", "--json", "-o", str(folder / "indices.npy")]
        theirs, ours = [], []
        # The first round warms up.
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            _, expected = index.search(asked, 10)
            theirs.append(time.perf_counter() - begin)
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            ours.append(json.loads(done.stdout)["seconds"]["search"])
        found = np.load(folder / "indices.npy")
        for row in np.flatnonzero((found != expected).any(axis=1)):
            lengths = [((points[near[row]].astype(float) - asked[row]) ** 2).sum(axis=1) for near in (found, expected)]
            # faiss's sums are f32: of two points as near it may take either.
            agree &= bool(np.allclose(*map(np.sort, lengths), rtol=1e-5))
        theirs, ours = np.median(theirs[1:]), np.median(ours[1:])
        print(f"{name}: faiss {faiss.__version__} {theirs:.2f} s, tilefold {ours:.2f} s, {theirs / ours:.2f} times as fast")
    if rows is not None:
        agree &= timed_metrics(command, rounds, folder, rows)
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True)
    gpu = "" if os.environ.get("TILEFOLD_WITHOUT_GPU") == "1" else "," + (os.environ.get("TILEFOLD_GPU") or "gpu")
    parser.add_argument("--devices", default="reference,cpu" + gpu)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--time", type=int, metavar="ROUNDS")
    arguments = parser.parse_args()
    command = [*shlex.split(os.environ.get("TILEFOLD_RUNNER", "")), arguments.tilefold]
    devices = arguments.devices.split(",")
    folder_of_data = Path(os.environ.get("TILEFOLD_DATA", "."))
    if arguments.time:
        with tempfile.TemporaryDirectory() as folder:
            rows = images(folder_of_data)
            sys.exit(0 if timed(command, arguments.time, Path(folder), rows) else "tilefold and its peers disagree")
    data = folder_of_data / "sift-5k.tsv"
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [haversine(command, devices, Path(folder), arguments.self_test)]
        if data.exists():
            outcomes.append(sift(command, devices, Path(folder), data, arguments.self_test))
        else:
            print("SIFT: not compared, TILEFOLD_DATA names no folder that has sift-5k.tsv")
        rows = images(folder_of_data)
        if rows is None:
            print("MNIST: not compared, TILEFOLD_DATA names no folder that has its test images")
        else:
            outcomes.append(metrics(command, devices, Path(folder), rows, arguments.self_test))
        for outcome in outcomes:
            for line, agrees in outcome:
                print(f"{line}{'' if agrees else ': WRONG'}", flush=True)
                agree &= bool(agrees)
    if not agree:
        sys.exit("tilefold and its peers disagree")


if __name__ == "__main__":
    main()
