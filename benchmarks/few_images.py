"""A data set with few images for the reproductions: some classes of a larger one, the first images of each.

    python benchmarks/few_images.py --data cifar100.npz --classes leopard,tiger --images 120 --output build/two.npz

Takes whatever an .npz or an image folder (train/CLASS/*, test/CLASS/*, with --image-size) holds; all test
images of the classes stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from projects import one_line_errors

from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData
from seam.errors import DataError
from tasks.inputs.manifest import assemble


def main() -> None:
    """Write the .npz; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz file or an image folder")
    parser.add_argument("--classes", required=True, metavar="A,B,...", help="names of the classes to keep")
    parser.add_argument("--images", type=int, required=True, help="training images of each, val included")
    parser.add_argument("--image-size", type=int, default=None, metavar="PIXELS", help="side to bring a folder's to")
    parser.add_argument("--output", type=Path, required=True, help="an .npz file")
    given = parser.parse_args()
    with one_line_errors():
        kind = "npz" if given.data.suffix == ".npz" else "image_folder"
        arrays = few(assemble(load_raw(kind, given.data, given.image_size)), given.classes.split(","), given.images)
        given.output.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(given.output, **arrays)
    print(f"wrote {given.output}: {len(arrays['y_train'])} to train on, {len(arrays['y_test'])} to test on")


def few(data: ImageData, classes: list[str], images: int) -> dict[str, np.ndarray]:
    """The first `images` training images and all test images of some classes, by the names that an .npz has.

    Args:
        data: to take from.
        classes: names, in the order of the new labels.
        images: of each class.

    Raises:
        DataError: there is no such class, or it has not that many images.
    """
    found: dict[str, np.ndarray] = {"classes": np.array(classes)}
    for split in ("train", "test"):
        x, y = data.given(split)
        rows = [_rows(data, y, name, images if split == "train" else None) for name in classes]
        found[f"x_{split}"] = x[np.concatenate(rows)]
        found[f"y_{split}"] = np.repeat(np.arange(len(classes)), [len(own) for own in rows])
    return found


def _rows(data: ImageData, labels: np.ndarray, name: str, images: int | None) -> np.ndarray:
    """Where the first `images` of a class lie; None: all of them."""
    if name not in data.classes:
        raise DataError(f"--classes: expected some of {', '.join(data.classes)}, got '{name}'.")
    rows = np.flatnonzero(labels == data.classes.index(name))
    if images is not None and len(rows) < images:
        raise DataError(f"--images {images}: expected so many training images of '{name}', got {len(rows)}.")
    return rows[:images]


if __name__ == "__main__":
    main()
