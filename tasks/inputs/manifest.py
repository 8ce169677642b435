"""The manifest of a raw data set: one row an image, one row a class, and what the pixels are like."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from seam.data.prepared import ImageArray, ImageData, Split
from seam.data.raw import RawData, RawImage
from seam.data.scratch import together
from seam.data.stored import IN_MEMORY

COLUMNS = ["path", "split", "label", "class", "width", "height", "mode", "sha256", "mean", "std", "decodes", "exif"]
"""Columns of the published manifest. `sha256` is of shape and pixels; `mean` and `std` are of
pixels in [0, 1]; `exif` says what was done about an orientation that the file notes: `ignored` or
`applied`, null where it notes none."""


def image_table(data: RawData, root: Path) -> pd.DataFrame:
    """One row an image: `COLUMNS`, and `error` (why it does not decode) and `twin`.

    `twin` is the same image in another split: of a val image in train, of a test image in train or
    val.

    Paths below `root` are relative to it. What cannot be known of an image that does not decode is
    null.
    """
    rows = tqdm(data.images, desc="manifest", unit="image", disable=None)
    table = pd.DataFrame([_row(image, data.classes, root) for image in rows], columns=[*COLUMNS, "error"])
    table = table.astype({"width": "Int64", "height": "Int64", "mean": "float64", "std": "float64", "exif": "string"})
    table["twin"] = _same_in(table, ["train", "val"]).where(table["split"] == "test")
    if has_val(table):
        table["twin"] = table["twin"].where(table["split"] != "val", _same_in(table, ["train"]))
    return table


def has_val(images: pd.DataFrame) -> bool:
    """Whether images are given for validation."""
    return bool((images["split"] == "val").any())


def _same_in(table: pd.DataFrame, splits: list[Split]) -> pd.Series:
    """For each image the path of the first one in these splits with the same pixels; null where there is none."""
    known = table[table["split"].isin(splits) & table["decodes"]].drop_duplicates("sha256").set_index("sha256")["path"]
    return table["sha256"].map(known)


def class_table(images: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row a class: `class`, `num_train`, `num_test` and, where val is given, `num_val`: images that decode."""
    decoded = images[images["decodes"]]

    def counts(split: Split) -> list[int]:
        labels = decoded.loc[decoded["split"] == split, "label"]
        return [int((labels == i).sum()) for i in range(len(classes))]

    splits: list[Split] = ["train", "test", *(["val"] if has_val(images) else [])]  # type: ignore[list-item]
    return pd.DataFrame({"class": list(classes), **{f"num_{split}": counts(split) for split in splits}})


def assemble(data: RawData) -> ImageData:
    """The arrays of a data set whose images all decode to one shape."""
    arrays: dict[str, Any] = {}
    for split in get_args(Split):
        images = [i for i in data.images if i.split == split]
        if images or split != "val":
            arrays[f"x_{split}"] = _stacked(images)
            arrays[f"y_{split}"] = np.array([i.label for i in images], dtype=np.int64)
    return ImageData(classes=data.classes, **arrays)


def _row(image: RawImage, classes: tuple[str, ...], root: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": image.path.removeprefix(f"{root}/"),
        "split": image.split,
        "label": image.label,
        "class": classes[image.label] if 0 <= image.label < len(classes) else None,
        "decodes": image.kept is not None,
        "exif": ("applied" if image.is_upright else "ignored") if image.is_turned else None,
        "error": image.error,
    }
    pixels = image.pixels
    if pixels is not None:
        height, width, _ = pixels.shape
        digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        row |= {"width": width, "height": height, "mode": image.mode, "sha256": digest}
        row |= {"mean": float(pixels.mean()) / 255, "std": float(pixels.std()) / 255}
    return row


def _stacked(images: list[RawImage]) -> ImageArray:
    """The images of a split as one array, in the file they lie in where they are many."""
    kept = [image.kept for image in images if image.kept is not None]
    assert len(kept) == len(images), "an image that does not decode passed validation"
    array = together(kept)
    return array[:] if array.nbytes <= IN_MEMORY else array
