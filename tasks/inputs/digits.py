"""Lay out scikit-learn's handwritten digits (UCI, 1,797 images of 8 x 8) at data/digits.npz, always the same bytes."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.errors import SeamError
from seam.files import write_bytes
from tasks.project.data_guard import check_data_unchanged

logger = logging.getLogger(__name__)

SPLIT_SEED = 0


def build_digits(root: Path) -> Path:
    """Write data/digits.npz below `root` and compare it with `data.dvc` where there is one.

    Pixels 0..16 become 0..255. A third of every class is test; an image that is also in train is
    left out of test.

    Returns:
        The file.

    Raises:
        DataError: the bytes are not those that `data.dvc` records.
    """
    arrays = _arrays()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # not compressed: the bytes would depend on the zlib at hand
    path = root / "data" / "digits.npz"
    write_bytes(path, buffer.getvalue())
    check_data_unchanged(root, "data")
    logger.info("%s: %d train and %d test images", path, len(arrays["x_train"]), len(arrays["x_test"]))
    return path


def _arrays() -> dict[str, npt.NDArray[Any]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    y = digits.target.astype(np.int64)
    rng = np.random.default_rng(SPLIT_SEED)
    is_test = np.zeros(len(y), dtype=bool)
    for c in range(10):
        members = rng.permutation(np.flatnonzero(y == c))
        is_test[members[: round(len(members) / 3)]] = True
    known = {image.tobytes() for image in x[~is_test]}
    is_new = np.array([image.tobytes() not in known for image in x])
    return {
        "x_train": x[~is_test],
        "y_train": y[~is_test],
        "x_test": x[is_test & is_new],
        "y_test": y[is_test & is_new],
        "classes": np.array([str(c) for c in range(10)]),
    }


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tasks.inputs.digits", description=__doc__).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        build_digits(Path.cwd())
    except SeamError as e:
        sys.exit(f"error: {e}")
