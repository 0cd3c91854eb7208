"""What the way through Python costs a fit, in time and in memory. Started by scripts/python-cost.

The same float32 rows, first centroids, iterations and threads: `tilefold.cluster.KMeans.fit` in this process, and the
library's `kmeans::fit` in one of its own (`examples/fit_times.rs`), in turns. A pair's difference of seconds is what Python
added; the median over all pairs counts, relative to the median of the library. It can be negative: NumPy asks Linux for huge
pages. So the seconds that a fit spends outside of the native half are told beside it, and count too. Memory is what a process
needs at its most beyond what it held before the fit. The results have to agree before any figure counts. Ends with 1 where
Python adds more than --limit percent, or needs more memory than the library and one copy of the rows (and a tenth).
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from tilefold import _core
from tilefold.cluster import KMeans

ITERATIONS = 10
_native_fit = _core.fit
_native_seconds = 0.0


def timed_native_fit(*arguments):
    """The native half of a fit, timed."""
    global _native_seconds
    begin = time.perf_counter()
    try:
        return _native_fit(*arguments)
    finally:
        _native_seconds = time.perf_counter() - begin


def status(name):
    """Bytes that a line of the process's status tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


class Library:
    """The example, which fits once per line."""

    def __init__(self, command, folder):
        arguments = [command, folder / "x.npy", folder / "init.npy", str(ITERATIONS)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fit(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def fit_in_python(x, init):
    model = KMeans(len(init), init=init, n_init=1, max_iter=ITERATIONS, tol=0, device="cpu")
    gc.collect()
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")
    begin = time.perf_counter()
    model.fit(x)
    seconds = time.perf_counter() - begin
    extra = max(status("VmHWM:") - before, 0)
    outside = seconds - _native_seconds
    return {
        "seconds": seconds, "outside": outside, "inertia": model.inertia_, "n_iter": model.n_iter_, "extra_bytes": extra,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, type=Path, help="the built example fit_times")
    parser.add_argument("--shape", nargs=3, type=int, default=[100_000, 128, 256], metavar=("N", "D", "K"))
    parser.add_argument("--repeats", type=int, default=21, help="timed pairs [21]")
    parser.add_argument("--limit", type=float, default=5.0, help="percent that Python may add [5]")
    arguments = parser.parse_args()
    rows, columns, clusters = arguments.shape
    draws = np.random.default_rng(7)
    centres = 0.5 * draws.standard_normal((clusters, columns), dtype=np.float32)
    x = centres[draws.integers(clusters, size=rows)] + draws.standard_normal((rows, columns), dtype=np.float32)
    init = x[draws.choice(rows, clusters, replace=False)]
    warnings.simplefilter("ignore", ConvergenceWarning)
    _core.fit = timed_native_fit
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x)
        np.save(Path(folder) / "init.npy", init)
        library = Library(arguments.library.resolve(), Path(folder))
        # The first pair warms up.
        pairs = [(library.fit(), fit_in_python(x, init)) for _ in range(arguments.repeats + 1)][1:]
        library.close()
    columns_first = fit_in_python(np.asfortranarray(x), init)
    double = fit_in_python(x.astype(np.float64), init)
    for ours, theirs in pairs:
        if ours["n_iter"] != theirs["n_iter"] or abs(ours["inertia"] / theirs["inertia"] - 1) > 1e-6:
            print(f"the results differ: {ours} and {theirs}", file=sys.stderr)
            return 1
    median = {side: statistics.median(pair[at]["seconds"] for pair in pairs) for at, side in enumerate("lp")}
    added = statistics.median(python["seconds"] - ours["seconds"] for ours, python in pairs)
    outside = statistics.median(python["outside"] for _, python in pairs)
    percent = 100 * max(added, outside) / median["l"]
    memory = [max(pair[at]["extra_bytes"] for pair in pairs) for at in (0, 1)]
    memory += [columns_first["extra_bytes"], double["extra_bytes"]]
    copies = [(memory[1] - memory[0]) / x.nbytes, (memory[2] - memory[0]) / x.nbytes, (memory[3] - memory[0]) / x.nbytes / 2]
    print(
        f"{rows:,} x {columns} float32, K {clusters}, {pairs[0][0]['n_iter']} iterations, {len(pairs)} pairs\n"
        f"seconds  library {median['l']:.4f}, Python {median['p']:.4f}; Python adds {1e3 * added:.1f} ms, "
        f"{100 * added / median['l']:+.1f} %\n"
        f"         outside of the native half {1e3 * outside:.1f} ms, {100 * outside / median['l']:.1f} %\n"
        f"memory   library {memory[0] / 1e6:.1f} MB, Python {memory[1] / 1e6:.1f} MB beyond the {x.nbytes / 1e6:.1f} MB of rows; "
        f"copies {copies[0]:.2f}, of rows in Fortran order {copies[1]:.2f}, of float64 {copies[2]:.2f}"
    )
    if percent > arguments.limit or max(copies) > 1.1:
        print(f"error: more than {arguments.limit:g} % or one copy", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
