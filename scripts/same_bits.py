"""Hashes of what the command computes, beside those that were kept: see scripts/same-bits."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import mnist

KEPT = Path(__file__).with_name("same_bits.tsv")
ADAPTERS = Path(__file__).parents[1] / "tests/data/lora/mixed"
DEVICES = ("cpu", "gpu", "gpu+matrix")


def blobs(rows, columns, centres, offset=0.0):
    """Clusters of unequal spread. `RandomState` is frozen: every version of NumPy draws the same."""
    draws = np.random.RandomState(7)
    middle = draws.standard_normal((centres, columns)) * 4
    labels = draws.randint(centres, size=rows)
    spread = draws.uniform(0.5, 2.0, size=(centres, 1))
    return middle[labels] + draws.standard_normal((rows, columns)) * spread[labels] + offset


def data(folder):
    """Files of rows by name; those of optional data sets only where they are."""
    draws = np.random.RandomState(11)
    arrays = {
        "blobs": blobs(6_000, 32, 48).astype(np.float32),
        "far": blobs(3_000, 16, 20, offset=1e6),
        "noise": draws.standard_normal((4_000, 96)).astype(np.float32),
        "narrow": draws.uniform(-1, 1, (5_000, 3)).astype(np.float32),
        "ties": draws.randint(3, size=(2_000, 12)).astype(np.float32),
        "positive": draws.uniform(0.1, 1, (600, 24)).astype(np.float32),
        "weights": draws.uniform(0, 3, 6_000),
        "activations": draws.standard_normal((64, 20)).astype(np.float32),
    }
    files = {"digits": Path(__file__).parents[1] / "data/digits.npy"}
    optional = os.environ.get("TILEFOLD_DATA")
    images = mnist.images(optional) if optional else None
    if images is not None:
        arrays["mnist"], arrays["mnist-1000"] = images, images[:1000]
    sift = Path(optional or "") / "sift-5k.tsv"
    if sift.exists():
        arrays["sift"] = np.loadtxt(sift, delimiter="\t", usecols=range(128), dtype=np.float32)
    for name, array in arrays.items():
        files[name] = folder / f"{name}.npy"
        np.save(files[name], array)
    routes = folder / "routes.csv"
    lines = [f"{row},{draws.randint(5)}" for row in range(64) for _ in range(draws.randint(3))]
    routes.write_text("row,adapter\n" + "\n".join(lines) + "\n")
    files["routes"] = routes
    return files


def cases():
    """Name, files that are needed, and arguments, in which `{name}` is a file and `>name` an output."""
    kmeans = "kmeans {%s} --labels >labels.npy --model >model.tfm --centroids >centroids.npy"
    for name, rows, more in [
        ("digits", "digits", "-k 10"),
        ("digits-spherical", "digits", "-k 12 --spherical --init random --n-init 3"),
        ("digits-parallel", "digits", "-k 40 --init k-means-parallel --seed 3"),
        ("digits-top", "digits", "-k 15 --top 4 --top-out >top.npy --top-distances >distances.npy"),
        ("blobs-pruned", "blobs", "-k 48 --prune always"),
        ("blobs-dense", "blobs", "-k 48 --prune never --max-iter 12"),
        ("blobs-weighted", "blobs", "-k 20 --weights {weights} --max-iter 12"),
        ("far", "far", "-k 20"),
        ("noise", "noise", "-k 100 --max-iter 4"),
        ("ties", "ties", "-k 30 --init random --n-init 2"),
        ("sift", "sift", "-k 64 --max-iter 5"),
        ("mnist", "mnist", "-k 30 --max-iter 2 --init random --n-init 1"),
    ]:
        yield f"kmeans/{name}", (kmeans % rows) + " " + more
    nearest = "neighbours {%s} --output >indices.npy --distances >distances.npy"
    for name, rows, more in [
        ("digits", "digits", "-k 10"),
        ("digits-without-self", "digits", "-k 30 --without-self --metric euclidean"),
        ("digits-far", "digits", "-k 5 --farthest"),
        ("blobs-cosine", "blobs", "-k 7 --metric cosine --queries {blobs}"),
        ("far", "far", "-k 6"),
        ("narrow-grid", "narrow", "-k 8"),
        ("ties", "ties", "-k 12"),
        ("ties-manhattan", "ties", "-k 9 --metric manhattan"),
        ("positive-canberra", "positive", "-k 9 --metric canberra"),
        ("positive-jensenshannon", "positive", "-k 9 --metric jensenshannon"),
        ("noise-product", "noise", "-k 20 --metric inner_product"),
        ("sift", "sift", "-k 10"),
        ("mnist", "mnist", "-k 10 --queries {mnist-1000}"),
    ]:
        yield f"neighbours/{name}", (nearest % rows) + " " + more
    yield "neighbours/radius", "neighbours {digits} --radius 20 --metric euclidean --graph >graph.npz"
    yield "neighbours/graph", "neighbours {blobs} -k 5 --symmetric --without-self --graph >graph.npz"
    medoids = "kmedoids {%s} --labels >labels.npy --medoids >medoids.npy"
    for name, rows, more in [
        ("digits", "digits", "-k 10"),
        ("digits-pam", "digits", "-k 6 --method pam --metric manhattan"),
        ("far-clara", "far", "-k 8 --method clara"),
        ("positive-alternating", "positive", "-k 8 --method alternating"),
        ("blobs-onebatch", "blobs", "-k 12 --method onebatch"),
        ("positive-msc", "positive", "-k 8 --method fastermsc"),
    ]:
        yield f"kmedoids/{name}", (medoids % rows) + " " + more
    folders = " ".join(f"--adapter {ADAPTERS / rank}" for rank in ("r4", "r8", "r16", "r33", "r64"))
    for module in ("q_proj", "v_proj"):
        name = f"model.layers.0.self_attn.{module}"
        yield f"lora/{module}", f"lora apply {folders} --routes {{routes}} -x {{activations}} --module {name} --output >y.npy"


def run(command, device, arguments, files, folder):
    """Hash of every output of one case."""
    words, outputs = [], []
    for word in arguments.split():
        if word.startswith(">"):
            outputs.append(folder / word[1:])
            word = str(outputs[-1])
        elif word.startswith("{"):
            word = str(files[word[1:-1]])
        words.append(word)
    for output in outputs:
        output.unlink(missing_ok=True)
    runner = os.environ.get("TILEFOLD_RUNNER", "").split()
    subprocess.run([*runner, command, *words, "--device", device, "--quiet"], check=True, stdin=subprocess.DEVNULL)
    return {output.name: hashlib.sha256(output.read_bytes()).hexdigest()[:16] for output in outputs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tilefold", required=True)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--devices", default=",".join(DEVICES))
    parser.add_argument("--write", action="store_true", help="keep what this run made instead of comparing it")
    options = parser.parse_args()
    devices = [device for device in options.devices.split(",") if device == "cpu" or "TILEFOLD_RUNNER" in os.environ
               or os.environ.get("TILEFOLD_GPU")]
    kept = {}
    if KEPT.exists():
        lines = [line.split("\t") for line in KEPT.read_text().splitlines()]
        kept = {(case, device, output): value for case, device, output, value in lines}
    made, wrong, left_out = {}, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = data(folder)
        for name, arguments in cases():
            needed = [word[1:-1] for word in arguments.split() if word.startswith("{")]
            if options.only not in name:
                continue
            if any(file not in files for file in needed):
                left_out += 1
                continue
            for device in devices:
                if device == "gpu+matrix" and not name.startswith(("kmeans", "neighbours")):
                    continue
                for output, value in run(options.tilefold, device, arguments, files, folder).items():
                    key = (name, device, output)
                    made[key] = value
                    if not options.write and kept.get(key) != value:
                        wrong += 1
                        print(f"{name}, {device}: {output} is {value}, kept is {kept.get(key)}", file=sys.stderr)
    if options.write:
        KEPT.write_text("".join("\t".join([*key, value]) + "\n" for key, value in sorted((kept | made).items())))
    print(f"{len(made)} outputs on {', '.join(devices)}: {wrong} differ; {left_out} cases left out for want of their data")
    if wrong or not made:
        sys.exit(1)


main()
