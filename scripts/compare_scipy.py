"""Compares `tilefold distance` with SciPy's cdist (or scikit-learn, where SciPy lacks a metric).

Started by scripts/compare-scipy. Each metric is computed on random rows and on edge cases (rows of zeros, equal rows,
all bits false, all true), in f32 and f64, on every device, and compared with the peer on the same values widened to f64.
f64 results must agree to 1e-12 relative to the largest result, f32 ones to 4e-5: both lie above the bounds that the
library documents for these sizes (tests hold it to those); this script is about formulas, not digits.

Where the peers give NaN or infinity, or raise, tilefold's documented rule is compared instead: 0/0 counts as 0.
Prints one line per metric, and `--speed` adds a comparison of times; exits 1 when anything disagrees.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import special
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import haversine_distances, nan_euclidean_distances

SEED = 20240229
ROWS, OTHERS, COLUMNS = 41, 37, 70
TOLERANCE = {np.float32: 4e-5, np.float64: 1e-12}
BOOLEAN = ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule")


@dataclass(frozen=True)
class Case:
    """A metric with its tables, what the peer says, and arguments of the command."""

    metric: str
    x: np.ndarray
    y: np.ndarray
    expected: np.ndarray
    files: dict[str, np.ndarray] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def shares(rows):
    return rows / rows.sum(axis=1, keepdims=True)


def kldivergence(x, y):
    return np.array([[special.rel_entr(p, q).sum() for q in shares(y)] for p in shares(x)])


def with_edges(rows, *edges):
    """Rows, the last of which are the edge cases."""
    rows = rows.copy()
    for index, edge in enumerate(edges, start=1):
        rows[-index] = edge
    return rows


def cases(dtype):
    """Yields every case; tables are rounded to `dtype` before the peer sees them."""
    draws = np.random.default_rng(SEED)

    def tables(make, *edges):
        x, y = (with_edges(make(rows), *edges).astype(dtype) for rows in (ROWS, OTHERS))
        y[0] = x[0]
        return x, y

    def case(metric, x, y, expected, **rest):
        return Case(metric, x, y, np.nan_to_num(expected, nan=0.0), **rest)

    def normal(rows):
        return draws.normal(size=(rows, COLUMNS))

    def positive(rows):
        return draws.uniform(0.01, 3.0, size=(rows, COLUMNS))

    def sparse(rows):
        return positive(rows) * (draws.uniform(size=(rows, COLUMNS)) < 0.7)

    x, y = tables(normal, 0.0)
    wide_x, wide_y = x.astype(float), y.astype(float)
    for metric in ("cityblock", "euclidean", "sqeuclidean", "chebyshev", "canberra", "braycurtis"):
        yield case(metric, x, y, cdist(wide_x, wide_y, metric))
    yield case("inner_product", x, y, wide_x @ wide_y.T)
    for p in (0.5, 1.0, 1.7, 2.0, 3.0, 12.0):
        expected = cdist(wide_x, wide_y, "minkowski", p=p)
        yield case("minkowski", x, y, expected, options=("--p", str(p)))
    weights = draws.uniform(size=COLUMNS)
    weights[3] = 0.0
    expected = cdist(wide_x, wide_y, "minkowski", p=3.0, w=weights)
    yield case("minkowski", x, y, expected, files={"--weights": weights[None]}, options=("--p", "3"))
    variances = draws.uniform(0.1, 4.0, size=COLUMNS)
    expected = cdist(wide_x, wide_y, "seuclidean", V=variances)
    yield case("seuclidean", x, y, expected, files={"--variances": variances[None]})
    inverse = np.linalg.inv(np.cov(draws.normal(size=(400, COLUMNS)).T))
    expected = cdist(wide_x, wide_y, "mahalanobis", VI=inverse)
    yield case("mahalanobis", x, y, expected, files={"--inverse-covariance": inverse})

    x, y = tables(normal)
    for metric in ("cosine", "correlation"):
        yield case(metric, x, y, cdist(x.astype(float), y.astype(float), metric))

    x, y = tables(lambda rows: draws.integers(0, 3, size=(rows, COLUMNS)), 0)
    yield case("hamming", x, y, cdist(x.astype(float), y.astype(float), "hamming"))

    x, y = tables(lambda rows: draws.integers(0, 2, size=(rows, COLUMNS)), 0, 1)
    for metric in BOOLEAN:
        yield case(metric, x, y, cdist(x.astype(bool), y.astype(bool), metric))
    yield case("matching", x, y, cdist(x.astype(bool), y.astype(bool), "hamming"))

    x, y = tables(sparse)
    yield case("jensenshannon", x, y, cdist(x.astype(float), y.astype(float), "jensenshannon"))
    x, y = tables(sparse, 0.0)
    wide_x, wide_y = x.astype(float), y.astype(float)
    yield case("hellinger", x, y, cdist(np.sqrt(wide_x), np.sqrt(wide_y)) / np.sqrt(2.0))
    least, most = (of(wide_x[:, None], wide_y[None]).sum(axis=2) for of in (np.minimum, np.maximum))
    expected = 1.0 - np.divide(least, most, out=np.ones_like(least), where=most > 0)
    yield case("multiset_jaccard", x, y, expected)
    x, y = tables(positive)
    yield case("kldivergence", x, y, kldivergence(x.astype(float), y.astype(float)))

    x, y = tables(normal)
    for table in (x, y):
        table[draws.uniform(size=table.shape) < 0.2] = np.nan
    # scikit-learn expands the square, which loses the digits of equal rows: it vouches for the formula, not for them.
    squares = (x.astype(float)[:, None] - y.astype(float)[None]) ** 2
    present = (~np.isnan(squares)).sum(axis=2)
    expected = np.sqrt(COLUMNS / present * np.nansum(squares, axis=2))
    peer = nan_euclidean_distances(x.astype(float), y.astype(float))
    if not np.allclose(expected, peer, rtol=1e-7, atol=1e-6):
        raise SystemExit("nan_euclidean: scikit-learn has another formula")
    yield case("nan_euclidean", x, y, expected)

    def places(rows):
        return draws.uniform(-1, 1, size=(rows, 2)) * (np.pi / 2, np.pi)

    x, y = (places(rows).astype(dtype) for rows in (ROWS, OTHERS))
    yield case("haversine", x, y, haversine_distances(x.astype(float), y.astype(float)))

    if dtype == np.float32:
        x, y = (draws.integers(0, 256, size=(rows, 24), dtype=np.uint8) for rows in (ROWS, OTHERS))
        x[1] = y[2] = 0
        bits_x, bits_y = (np.unpackbits(table, axis=1).astype(bool) for table in (x, y))
        yield case("bit_hamming", x, y, cdist(bits_x, bits_y, "hamming") * bits_x.shape[1])
        yield case("bit_jaccard", x, y, cdist(bits_x, bits_y, "jaccard"))


def run(command, case, device, folder):
    """What tilefold says."""
    paths = {name: folder / f"{name.strip('-')}.npy" for name in ("x", "y", "out", *case.files)}
    np.save(paths["x"], case.x)
    np.save(paths["y"], case.y)
    arguments = [*command, "distance", str(paths["x"]), str(paths["y"]), "--metric", case.metric]
    for name, values in case.files.items():
        np.save(paths[name], values)
        arguments += [name, str(paths[name])]
    arguments += [*case.options, "--device", device, "-q", "-o", str(paths["out"])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{case.metric} on {device}: {done.stderr}")
    return np.load(paths["out"])


def compare(command, devices, folder):
    """Whether everything agrees."""
    agrees = True
    for dtype in (np.float32, np.float64):
        for case in cases(dtype):
            scale = np.abs(case.expected).max()
            shown = []
            for device in devices:
                found = run(command, case, device, folder)
                error = np.abs(found.astype(float) - case.expected).max() / scale
                good = error <= TOLERANCE[dtype]  # NaN is not
                agrees &= bool(good)
                shown.append(f"{device} {error:.1e}{'' if good else ' WRONG'}")
            options = " ".join([*case.options, *case.files])
            print(f"{case.metric:17} {np.dtype(dtype).name} {options:22} {', '.join(shown)}")
    return agrees


def speed(command, folder):
    """Times of 2000 x 2000 rows of 128 features: the whole of cdist, and what the command says of its computing."""
    draws = np.random.default_rng(SEED)
    rows = draws.uniform(0.01, 1.0, size=(2000, 128)).astype(np.float32)
    wide = rows.astype(float)
    for metric in ("cityblock", "chebyshev", "canberra", "braycurtis", "jensenshannon", "minkowski", "hamming"):
        options = {"p": 3.0} if metric == "minkowski" else {}
        begin = time.perf_counter()
        cdist(wide, wide, metric, **options)
        theirs = time.perf_counter() - begin
        np.save(folder / "x.npy", rows)
        arguments = [*command, "distance", str(folder / "x.npy"), "--metric", metric, "--device", "cpu", "--json"]
        arguments += ["--p", "3"] if options else []
        done = subprocess.run(
            [*arguments, "-o", str(folder / "out.npy")], capture_output=True, text=True, check=True
        )
        ours = float(done.stdout.split('"compute":')[1].split(",")[0].split("}")[0])
        print(f"{metric:17} scipy {theirs:7.3f} s   tilefold cpu {ours:7.3f} s   {theirs / ours:5.1f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefold", required=True)
    gpu = "" if os.environ.get("TILEFOLD_WITHOUT_GPU") == "1" else "," + (os.environ.get("TILEFOLD_GPU") or "gpu")
    parser.add_argument("--devices", default="reference,cpu" + gpu)
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    runner = shlex.split(os.environ.get("TILEFOLD_RUNNER", ""))
    command = [*runner, arguments.tilefold]
    warnings.simplefilter("ignore", RuntimeWarning)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.speed:
            speed(command, Path(folder))
            return
        if not compare(command, arguments.devices.split(","), Path(folder)):
            sys.exit("tilefold and its peers disagree")


if __name__ == "__main__":
    main()
