"""Small images that train in seconds: scikit-learn's handwritten digits (UCI, 1,797 images of 8 x 8), as an npz file.

    python benchmarks/digits.py build/digits.npz

Always the same arrays; benchmarks and tests that need no more than small images work on them.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.files import write_bytes

SPLIT_SEED = 0
KEPT = Path(__file__).parents[1] / "build" / "digits.npz"


def digits() -> Path:
    """The file, written when it is first asked for."""
    return KEPT if KEPT.is_file() else write_digits(KEPT)


def write_digits(path: Path) -> Path:
    """Write the file.

    Pixels 0..16 become 0..255. A third of every class is test; an image that is also in train is
    left out of test.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **_arrays())  # not compressed: the bytes would depend on the zlib at hand
    write_bytes(path, buffer.getvalue())
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    print(write_digits(parser.parse_args().output))
