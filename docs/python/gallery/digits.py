"""Handwritten digits, 1,797 images of 8 x 8: ten clusters, their mean images, and which digit each one mostly is."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from tilefold.cluster import KMeans

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CLUSTERS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("digits.png"))
    options = parser.parse_args()

    images = load_digits()
    model = KMeans(CLUSTERS, n_init=4, random_state=0, device=options.device).fit(images.data)
    # How many images of each digit a cluster holds.
    counts = np.zeros((CLUSTERS, 10), dtype=int)
    np.add.at(counts, (model.labels_, images.target), 1)
    order = np.lexsort((-counts.max(axis=1), counts.argmax(axis=1)))
    right = counts.max(axis=1).sum() / counts.sum()

    figure, axes = plt.subplots(2, 5, figsize=(7.5, 3.9), layout="constrained")
    for axis, cluster in zip(axes.flat, order, strict=True):
        digit, size = counts[cluster].argmax(), counts[cluster].sum()
        axis.imshow(model.cluster_centers_[cluster].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        axis.set_title(f"mostly {digit}: {counts[cluster, digit] / size:.0%} of {size}", fontsize=9)
        axis.set_axis_off()
    figure.suptitle(
        f"Mean images of {CLUSTERS} clusters; {right:.0%} of the images are their cluster's digit", fontsize=11
    )
    figure.savefig(options.output, dpi=100)
    print(
        f"{model.n_iter_} iterations, inertia {model.inertia_:.0f}, {right:.1%} of the images are their cluster's digit"
    )


if __name__ == "__main__":
    main()
