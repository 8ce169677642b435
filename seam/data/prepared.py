"""The prepared data set: every image decoded once, as uint8 arrays in one file that need not fit in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from seam.data.stored import IN_MEMORY, StoredArray
from seam.errors import DataError
from seam.files import written

Split = Literal["train", "val", "test"]
"""Of a data set as it is given; most have no val images of their own."""
ImageArray = npt.NDArray[np.uint8] | StoredArray
"""In memory or in a file, indexed in the same way."""


@dataclass(frozen=True)
class ImageData:
    """Images and source labels of one data set."""

    x_train: ImageArray
    """Shape (n, height, width, channels), channels 1 or 3."""
    y_train: npt.NDArray[np.int64]
    """Shape (n,), indices into `classes`."""
    x_test: ImageArray
    y_test: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    x_val: ImageArray | None = None
    """Images given for validation; None: there are none."""
    y_val: npt.NDArray[np.int64] | None = None

    @property
    def has_val(self) -> bool:
        """Whether the data set has images of its own for validation."""
        return self.x_val is not None and self.y_val is not None

    def given(self, split: Split) -> tuple[ImageArray, npt.NDArray[np.int64]]:
        """All images and source labels of one split as it is given.

        Raises:
            DataError: val, of a data set without images for it.
        """
        if split == "val":
            if self.x_val is None or self.y_val is None:
                raise DataError("expected images for val in the data set, got none", hint="val_images")
            return self.x_val, self.y_val
        return (self.x_train, self.y_train) if split == "train" else (self.x_test, self.y_test)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels


def save_prepared(data: ImageData, path: Path) -> None:
    """Write `data` as one safetensors file, atomically; images that lie in a file are never held in memory."""
    arrays: dict[str, ImageArray | npt.NDArray[np.int64]] = {}
    for split in ("train", "test", "val") if data.has_val else ("train", "test"):
        images, labels = data.given(split)
        arrays |= {f"x_{split}": images, f"y_{split}": labels.astype(np.int64)}
    with written(path) as f:
        for piece in _safetensors(arrays, {"classes": json.dumps(list(data.classes))}):
            f.write(piece)


def _safetensors(
    arrays: Mapping[str, ImageArray | npt.NDArray[np.int64]], about: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file as its own library writes them, a piece at a time.

    Source: the format's description: the length of a header in JSON, padded to a multiple of 8, then
    the values; those of the widest types first, then by name.
    """
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(about)}
    end = 0
    for name in order:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        dtype = {"uint8": "U8", "int64": "I64"}[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        array = arrays[name]
        for piece in array.pieces() if isinstance(array, StoredArray) else (array,):
            yield memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)


def load_prepared(path: Path) -> ImageData:
    """Read what `save_prepared` wrote; images of more than `IN_MEMORY` bytes stay in the file.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            classes = tuple(json.loads(f.metadata()["classes"]))
            there = f.keys()
            given = [name for name in ("x_val", "y_val") if name in there]
            names = ("x_train", "y_train", "x_test", "y_test", *given)
            arrays: dict[str, Any] = {name: _array(path, f, name) for name in names}
    except (OSError, SafetensorError, KeyError, TypeError) as e:
        raise DataError(f"{path}: expected a prepared data set, got {e}", hint="rerun_producer", path=path) from e
    return ImageData(classes=classes, **arrays)


def _array(path: Path, opened: Any, name: str) -> ImageArray | npt.NDArray[np.int64]:
    """One array of an open safetensors file."""
    shape = opened.get_slice(name).get_shape()
    if name.startswith("y_") or np.prod(shape, dtype=np.int64) <= IN_MEMORY:
        found: npt.NDArray[Any] = opened.get_tensor(name)
        return found
    with path.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        begin, _ = json.loads(f.read(size))[name]["data_offsets"]
    return StoredArray(path, 8 + size + begin, tuple(shape))
