"""Read the raw data set, check it with Great Expectations, write it in one file, with manifest and Data Docs."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from seam.configs.data import DataConfig
from seam.data.doubts import doubt_images
from seam.data.formats.load import check_links, fetch, load_raw
from seam.data.prepared import ImageData, save_prepared
from seam.data.raw import without_copies
from seam.data.scratch import Scratch
from seam.data.statistics import channel_statistics
from seam.errors import DataError
from seam.files import write_bytes, write_json
from tasks.inputs.expectations import Outcome, check, class_expectations, explain, image_expectations
from tasks.inputs.manifest import COLUMNS, assemble, class_table, image_table
from tasks.project.data_guard import check_data_unchanged
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

logger = logging.getLogger(__name__)


def validate_data(context: StageContext) -> StageResult:
    """Write dataset.safetensors, manifest.parquet, validation.json and data_docs/; as `validate`."""
    return validate(context, context.params.data)


def validate(context: StageContext, config: DataConfig) -> StageResult:
    """Read and check a data set, and publish what is known of it.

    Raises:
        DataError: the data changed against its .dvc file, has another structure, or fails an
            expectation (one line for each, naming files). Nothing is published then.
    """
    path = context.root / config.path
    check_data_unchanged(context.root, config.path)
    context.progress(0.0, "reading images")
    fetch(config.kind, path)
    if not config.follow_links:
        check_links(config.kind, path)
    found = load_raw(config.kind, path, config.image_size, Scratch(context.root), config.exif)
    raw = without_copies(found) if config.drop_copies else found
    dropped = len(found.images) - len(raw.images)
    if dropped:
        logger.info("%d images left out: they are in a split that is held out too", dropped)
    with collect_warnings(context) as doubts:
        doubt_images(raw, config.image_size)
    context.progress(0.4, "manifest")
    images = image_table(raw, context.root)
    classes = class_table(images, raw.classes)
    context.progress(0.7, "expectations")
    with tempfile.TemporaryDirectory() as scratch:  # docs of data that fails are not kept
        docs = Path(scratch) / "data_docs"
        outcomes = _checked(images, classes, config, docs)
        data = assemble(raw)
        with context.publish() as out:
            save_prepared(data, out / "dataset.safetensors")
            write_bytes(out / "manifest.parquet", _parquet(images[COLUMNS]))
            noted = sum(image.is_turned for image in raw.images)
            known = {"dropped_copies": dropped, "exif": {"orientations": noted, "handling": config.exif}}
            known |= {"warnings": doubts} if doubts else {}
            write_json(out / "validation.json", {**_report(data, classes, outcomes), **known})
            shutil.copytree(docs, out / "data_docs")
    context.progress(1.0, "done")
    height, width, channels = data.image_shape
    summary = {
        "num_train": len(data.y_train),
        "num_test": len(data.y_test),
        **_num_val(data),
        "num_classes": len(data.classes),
        "expectations": len(outcomes),
    }
    return context.result({**summary, "image": f"{height}x{width}x{channels}"})


def _checked(images: pd.DataFrame, classes: pd.DataFrame, config: DataConfig, docs: Path) -> list[Outcome]:
    image_suite = image_expectations(images, len(classes), config.image_size)
    outcomes = check(images, classes, image_suite, class_expectations(classes, config.min_images_per_class), docs)
    of_images = outcomes[: len(image_suite)]
    lines = [explain(o, images, "path", "images") for o in of_images if not o.success]
    lines += [explain(o, classes, "class", "classes") for o in outcomes[len(image_suite) :] if not o.success]
    if lines:
        start = f"{config.path}: {len(lines)} of {len(outcomes)} expectations failed:"
        raise DataError(start, also=lines)
    return outcomes


def _report(data: ImageData, classes: pd.DataFrame, outcomes: list[Outcome]) -> dict[str, Any]:
    mean, std = channel_statistics(data.x_train)
    splits = ("train", "test", "val") if data.has_val else ("train", "test")
    return {
        "success": True,
        "image_shape": list(data.image_shape),
        "mean": mean,
        "std": std,
        "num_train": len(data.y_train),
        "num_test": len(data.y_test),
        **_num_val(data),
        "classes": list(data.classes),
        "images_per_class": {
            str(r["class"]): {split: int(r[f"num_{split}"]) for split in splits} for r in classes.to_dict("records")
        },
        "expectations": [
            {"description": o.description, "type": o.type, "column": o.column, "success": o.success} for o in outcomes
        ],
    }


def _num_val(data: ImageData) -> dict[str, int]:
    """The number of given val images, where there are some."""
    return {"num_val": len(data.given("val")[1])} if data.has_val else {}


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


if __name__ == "__main__":
    main(validate_data, __doc__)
