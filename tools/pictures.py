"""Makes two pictures of the site: the one that is shown with a link to the book, and the small one beside its title.

    python -m tools.pictures
"""
from pathlib import Path

import matplotlib.pyplot as plt

from mnist_from_scratch.data import load_mnist

IMAGES = Path(__file__).resolve().parent.parent/"nbs/images"


def main():
    digits = load_mnist().train[0]
    wall = digits[:64].view(8, 8, 28, 28).transpose(1, 2).reshape(8*28, 8*28)
    fig = plt.figure(figsize=(6, 3.15), facecolor="white")
    fig.text(0.04, 0.55, "mnist_from_scratch", size=18, weight="bold", color="#0072b2")
    fig.text(0.04, 0.32, "A book you run: how a computer\nlearns to read handwritten digits", size=11.5)
    ax = fig.add_axes([0.56, 0.08, 0.4, 0.84])
    ax.imshow(wall, cmap="Greys")
    ax.axis("off")
    fig.savefig(IMAGES/"social.png", dpi=200)
    plt.imsave(IMAGES/"favicon.png", digits[7].repeat_interleave(2, 0).repeat_interleave(2, 1), cmap="Blues")


if __name__ == "__main__": main()
