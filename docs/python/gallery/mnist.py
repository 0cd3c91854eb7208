"""MNIST, 10,000 images of 28 x 28: 64 clusters, for each its mean and the image that lies nearest to it.

It reads mnist-t10k-images-idx3-ubyte.gz and the labels beside it from the folder that TILEFOLD_DATA names.
"""

import argparse
import gzip
import io
import os
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from tilefold.cluster import KMeans
from tilefold.metrics import pairwise_distances_argmin

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CLUSTERS = 64


def read(name, header_bytes):
    """The bytes of an IDX file behind its header."""
    folder = Path(os.environ["TILEFOLD_DATA"])
    return np.frombuffer(gzip.decompress((folder / name).read_bytes()), dtype=np.uint8, offset=header_bytes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("mnist.png"))
    options = parser.parse_args()

    images = read("mnist-t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32)
    digits = read("mnist-t10k-labels-idx1-ubyte.gz", 8)
    model = KMeans(CLUSTERS, random_state=0, device=options.device).fit(images)
    counts = np.zeros((CLUSTERS, 10), dtype=int)
    np.add.at(counts, (model.labels_, digits), 1)
    right = counts.max(axis=1).sum() / len(digits)
    nearest = pairwise_distances_argmin(model.cluster_centers_, images, device=options.device)
    order = np.lexsort((-counts.max(axis=1), counts.argmax(axis=1)))

    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.6), layout="constrained")
    for axis, rows, title in (
        (axes[0], model.cluster_centers_, "Means of 64 clusters, by digit"),
        (axes[1], images[nearest], "The image nearest to each mean"),
    ):
        grid = rows[order].reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(224, 224)
        axis.imshow(grid, cmap="gray_r", vmin=0, vmax=255)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.suptitle(f"{right:.0%} of the 10,000 images are the digit that their cluster mostly holds", fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    # 16 greys are enough, and take a third of the bytes.
    Image.open(drawn).convert("L").quantize(16).save(options.output, optimize=True)
    print(
        f"{model.n_iter_} iterations, inertia {model.inertia_:.0f}, {right:.1%} of the images are their cluster's digit"
    )


if __name__ == "__main__":
    main()
