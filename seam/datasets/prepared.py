"""The prepared data set: every image decoded once, as uint8 arrays in one memory-mapped file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seam.errors import DataError
from seam.files import write_bytes


@dataclass(frozen=True)
class ImageData:
    """Images and source labels of one data set."""

    x_train: npt.NDArray[np.uint8]
    """Shape (n, height, width, channels), channels 1 or 3."""
    y_train: npt.NDArray[np.int64]
    """Shape (n,), indices into `classes`."""
    x_test: npt.NDArray[np.uint8]
    y_test: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels


def save_prepared(data: ImageData, path: Path) -> None:
    """Write `data` as one safetensors file, atomically."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "x_train": np.ascontiguousarray(data.x_train),
        "y_train": data.y_train.astype(np.int64),
        "x_test": np.ascontiguousarray(data.x_test),
        "y_test": data.y_test.astype(np.int64),
    }
    write_bytes(path, save(arrays, metadata={"classes": json.dumps(list(data.classes))}))


def load_prepared(path: Path) -> ImageData:
    """Read what `save_prepared` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            classes = tuple(json.loads(f.metadata()["classes"]))
            arrays = {name: f.get_tensor(name) for name in ("x_train", "y_train", "x_test", "y_test")}
    except (OSError, SafetensorError, KeyError, TypeError) as e:
        raise DataError(f"{path}: expected a prepared data set, got {e}; run the stage validate_data again.") from e
    return ImageData(classes=classes, **arrays)
