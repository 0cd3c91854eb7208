"""A photograph in 64 and in 8 colours: k-means of its 273,280 pixels, each written as the colour of its cluster."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_sample_image
from tilefold.cluster import KMeans
from tilefold.metrics import pairwise_distances_argmin

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("colours.jpg"))
    options = parser.parse_args()

    photograph = load_sample_image("china.jpg")
    pixels = photograph.reshape(-1, 3).astype(np.float32)
    sample = np.random.default_rng(0).choice(pixels, 20_000, replace=False)

    figure, axes = plt.subplots(1, 3, figsize=(10.8, 2.75), layout="constrained")
    axes[0].imshow(photograph)
    axes[0].set_title(f"{len(np.unique(photograph.reshape(-1, 3), axis=0)):,} colours", fontsize=10)
    for axis, colours in zip(axes[1:], (64, 8), strict=True):
        palette = KMeans(colours, random_state=0, device=options.device).fit(sample).cluster_centers_
        nearest = pairwise_distances_argmin(pixels, palette, device=options.device)
        drawn = palette[nearest]
        error = np.sqrt(((drawn - pixels) ** 2).mean())
        axis.imshow(drawn.round().astype(np.uint8).reshape(photograph.shape))
        axis.set_title(f"{colours} colours, off by {error:.1f} of 255", fontsize=10)
        print(f"{colours} colours: root mean square error {error:.2f} of 255")
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(options.output, dpi=110, pil_kwargs={"quality": 82})


if __name__ == "__main__":
    main()
