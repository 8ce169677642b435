"""Lay out the default data: 15,000 images of Fashion-MNIST at data/fashion.safetensors, always the same bytes.

    python -m tasks.inputs.fashion FOLDER

FOLDER has the original's four files (train-images-idx3-ubyte.gz, ...), or one .npz file with its
images in their order (x_train, y_train, x_test, y_test). Of every class the first 1,000 training
images are train; the next 200, and the first 300 test images, are test.

The network that comes with it is trained on train alone:

    python benchmarks/train_source.py --data data/fashion.safetensors --output data/fashion_resnet20.safetensors
      --architecture resnet20_early --plan 28:30:0.1 --batch-size 64 --augment crop --val-fraction 0.1
      --own-normalisation --threads 1
"""

from __future__ import annotations

import argparse
import gzip
import logging
import math
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData, save_prepared
from seam.errors import DataError, SeamError
from seam.files import write_text
from tasks.inputs.manifest import assemble

logger = logging.getLogger(__name__)

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
"""In the order of the original's labels; it calls the first "T-shirt/top"."""
TRAIN, HELD_OUT, TEST = 1000, 200, 300
"""Images of every class: of the original's training images those for train, then those for test; of its test images."""
_ABOUT = """\
fashion.safetensors: 15,000 images of Fashion-MNIST, 28 x 28 pixels, grey.

    H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms,
    2017. https://github.com/zalandoresearch/fashion-mnist

Of every class the first 1,000 of the original's training images are train; the next 200, and the first 300 of its test
images, are test. Written by `python -m tasks.inputs.fashion`, unchanged but for that.

fashion_resnet20.safetensors: a ResNet20 (resnet20_early) that was trained on train, and has never seen test. Written by
benchmarks/train_source.py; the command is in tasks/inputs/fashion.py.

Images and their labels are under this licence:

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_Array = npt.NDArray[Any]


def build_fashion(original: Path, folder: Path) -> Path:
    """Write fashion.safetensors and LICENSE into `folder`.

    Args:
        original: the folder with the original.
        folder: where to; other files there stay.

    Returns:
        The file with the images.

    Raises:
        DataError: the original is not there or damaged, or has too few images of a class.
    """
    data = subset(_read(original), original)
    path = folder / "fashion.safetensors"
    save_prepared(data, path)
    write_text(folder / "LICENSE", _ABOUT)
    logger.info("%s: %d train and %d test images", path, len(data.y_train), len(data.y_test))
    return path


def subset(found: ImageData, where: Path) -> ImageData:
    """The images that are kept, in their order; test has the original's training images first."""
    train, held_out = _first(found.y_train, 0, TRAIN, where), _first(found.y_train, TRAIN, HELD_OUT, where)
    test = _first(found.y_test, 0, TEST, where)
    x_train, x_test = found.x_train, found.x_test
    return ImageData(
        x_train[train],
        found.y_train[train],
        np.concatenate([x_train[held_out], x_test[test]]),
        np.concatenate([found.y_train[held_out], found.y_test[test]]),
        CLASSES,
    )


def _first(labels: _Array, begin: int, count: int, where: Path) -> _Array:
    """Where the images of each class from its `begin`th on lie, ascending."""
    rows = [np.flatnonzero(labels == label)[begin : begin + count] for label in range(len(CLASSES))]
    few = next((name for name, row in zip(CLASSES, rows, strict=True) if len(row) < count), None)
    if few is not None:
        raise DataError(f"{where}: expected {begin + count} or more images of every class, '{few}' has fewer.")
    return np.sort(np.concatenate(rows))


def _read(folder: Path) -> ImageData:
    """The original, in either form."""
    archives = sorted(folder.glob("*.npz"))
    if len(archives) == 1:
        return assemble(load_raw("npz", archives[0]))
    arrays: Mapping[str, _Array] = {
        f"{letter}_{split}": _idx(folder, f"{name}-{what}")
        for split, name in (("train", "train"), ("test", "t10k"))
        for letter, what in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte"))
    }
    x_train, x_test = arrays["x_train"][..., None], arrays["x_test"][..., None]
    return ImageData(x_train, arrays["y_train"].astype(np.int64), x_test, arrays["y_test"].astype(np.int64), CLASSES)


def _idx(folder: Path, name: str) -> _Array:
    """One array of bytes in the format of MNIST, compressed or not.

    Source: the format's description: two zeros, 8 for bytes, the number of axes, the length of
    each in four bytes, the values.
    """
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise DataError(f"{folder}: expected {name}.gz (and three more files of Fashion-MNIST), or one .npz file.")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: expected a file of Fashion-MNIST, got {e}; download it again.") from e
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * axes], ">u4").tolist()) if len(content) >= 4 + 4 * axes else ()
    values = np.frombuffer(content[4 + 4 * axes :], np.uint8)
    if axes == 0 or len(shape) != axes or math.prod(shape) != len(values):
        raise DataError(f"{path}: expected a whole file of Fashion-MNIST, got another one; download it again.")
    return values.reshape(shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks.inputs.fashion", description=__doc__)
    parser.add_argument("original", metavar="FOLDER", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        build_fashion(parser.parse_args().original, Path("data"))
    except SeamError as e:
        sys.exit(f"error: {e}")
