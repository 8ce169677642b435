"""The split of a data set that its problems and its source share, and the file of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from seam.configs.data import ValFrom
from seam.data.prepared import ImageData
from seam.data.problems import IntArray
from seam.data.splits import DataSplit, split_data
from seam.errors import DataError, words
from tasks.project.params import Params

_VAL_FROM = "val_from"


def problem_split(params: Params, data: ImageData) -> DataSplit:
    """Train, val and test of the data set of the problems.

    Raises:
        DataError: there are no images for val where they should come from.
    """
    return split_data(data, params.split_dataset, params.seed, seen=params.prepare_source.checkpoint is not None)


def unseen_split(params: Params, data: ImageData, seen: bool) -> DataSplit:
    """The same for several networks at once, of which any may have been trained on the training images if `seen`.

    Raises:
        DataError: there are no images for val where they should come from.
    """
    return split_data(data, params.split_dataset, params.seed, seen)


def split_bytes(rows: Mapping[str, IntArray], val_from: ValFrom) -> bytes:
    """A safetensors file of indices, which says what `val` indexes unless that is the training images."""
    return save(dict(rows), None if val_from == "train" else {_VAL_FROM: val_from})


def read_split(path: Path) -> tuple[dict[str, IntArray], ValFrom]:
    """What `split_bytes` made: the arrays by name, and where val comes from.

    Raises:
        DataError: missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            val_from = (f.metadata() or {}).get(_VAL_FROM, "train")
        rows = load_file(path)
    except (OSError, SafetensorError) as e:
        raise DataError(f"{path}: expected a split, got {words(e)}", hint="rerun_producer", path=path) from e
    if val_from not in get_args(ValFrom) or any(array.dtype != np.int64 or array.ndim != 1 for array in rows.values()):
        raise DataError(f"{path}: expected rows of a split, got others", hint="rerun_producer", path=path)
    return rows, cast(ValFrom, val_from)
