"""Make the train, validation and test split of one target problem, stratified and seeded, and check it for leaks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seam.configs.data import ValFrom
from seam.data.images import rows_of
from seam.data.lazy import Images
from seam.data.prepared import ImageData, Split, load_prepared
from seam.data.problems import IntArray, TargetProblem
from seam.data.splits import DataSplit, val_split
from seam.errors import DataError, SuspectResultWarning
from seam.files import write_bytes, write_json
from tasks.inputs.splits import problem_split, split_bytes
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

_PIECE = 256
"""Images that are read at once."""


def split_dataset(context: StageContext) -> StageResult:
    """Write splits.safetensors (`train`, `spare`, `val`, `test` and `y_train`, ..., all int64) and summary.json.

    `spare` are the negatives of a binary problem that the draw for `train` left over, see
    `TargetProblem.training_rows`. `train` and `spare` index the data set's train images, `test` its test
    images, and `val` those that `val_from` of the summary says (see tasks.inputs.splits.read_split).
    Validation is carved out before the problem's images are selected, so an image is on the same
    side in every problem and in the source's training. Images that are byte-identical are on the
    same side too: one drawn for validation goes back when a copy is on the other side.

    Raises:
        DataError: no images where val should come from, an unknown class, a target class that a
            split has no image of, or an image in two splits.
    """
    params = context.params
    data = load_prepared(context.root / "artifacts" / "validate_data" / "dataset.safetensors")
    problem = context.target_problem(data.classes)
    with collect_warnings(context) as doubts:
        carved = problem_split(params, data)
        _doubt(carved, given=params.prepare_source.checkpoint is not None)
    splits, labels = _selected(problem, data, carved, params.seed)
    check_nothing_empty(problem, {name: y for name, y in labels.items() if name != "spare"}, carved.val_from)
    check_no_leak(problem, data, splits, carved.val_from)
    summary = {
        **_described(problem, labels),
        "val_from": carved.val_from,
        "val_fraction": params.split_dataset.val_fraction,
        "seed": params.seed,
        "warnings": doubts,
    }
    rows = {**splits, **{f"y_{name}": y for name, y in labels.items()}}
    with context.publish() as out:
        write_bytes(out / "splits.safetensors", split_bytes(rows, carved.val_from))
        write_json(out / "summary.json", summary)
    numbers = {f"num_{name}": len(i) for name, i in splits.items()}
    return context.result({"classes": len(problem.classes), **numbers, "val_from": carved.val_from})


def _selected(
    problem: TargetProblem, data: ImageData, carved: DataSplit, seed: int
) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """The images of the problem in each split, and their target labels."""
    y_val = data.given(carved.val_split)[1]
    train, spare = problem.training_rows(data.y_train, carved.train, seed)
    splits = {
        "train": train,
        "val": problem.select(y_val, carved.val, seed),
        "test": problem.select(data.y_test, carved.test, seed),
        "spare": spare,
    }
    sources = {"val": y_val, "test": data.y_test}
    return splits, {name: problem.target_labels(sources.get(name, data.y_train)[rows]) for name, rows in splits.items()}


def _described(problem: TargetProblem, labels: Mapping[str, IntArray]) -> dict[str, Any]:
    """What summary.json says of the problem and of its images."""
    counts = {
        name: {c: int((y == label).sum()) for label, c in enumerate(problem.classes)}
        for name, y in labels.items()
        if name != "spare"
    }
    return {
        "problem": problem.name,
        "classes": list(problem.classes),
        "source_classes": list(problem.source_classes),
        **{f"num_{name}": len(labels[name]) for name in ("train", "spare", "val", "test")},
        "counts": counts,
    }


def _doubt(split: DataSplit, given: bool) -> None:
    if given and split.val_from == "train":
        why = f" (not out of test: {split.too_few})" if split.too_few else ""
        warnings.warn(
            SuspectResultWarning(
                f"val was carved out of the training images{why}, which the given network may have been trained on:"
                " its accuracy on val flatters it, and so does a search's accuracy floor that is set by it",
                hint="val_seen",
            ),
            stacklevel=2,
        )


def check_nothing_empty(problem: TargetProblem, labels: dict[str, IntArray], val_from: ValFrom) -> None:
    """Raise a DataError unless every target class has an image in every split."""
    for split, y in labels.items():
        missing = [c for label, c in enumerate(problem.classes) if not (y == label).any()]
        if missing:
            is_carved = split == "val" and val_from != "given"
            remedy = "raise split_dataset.val_fraction or add images" if is_carved else "add images"
            raise DataError(
                f"problem '{problem.name}': expected images of every class in {split}, none of: {', '.join(missing)};"
                f" {remedy}."
            )


def check_no_leak(problem: TargetProblem, data: ImageData, splits: dict[str, IntArray], val_from: ValFrom) -> None:
    """Raise a DataError when an image of one split is byte-identical to an image of another."""
    rows = {**splits, "train": np.concatenate([splits["train"], splits["spare"]])}
    lies_in: dict[str, Split] = {"train": "train", "val": val_split(val_from), "test": "test"}
    digests = {name: _digests(rows_of(data, split, rows[name])) for name, split in lies_in.items()}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        twins = _twins(digests[first], digests[second])
        if twins is not None:
            i, j = (int(rows[name][twin]) for name, twin in zip((first, second), twins, strict=True))
            where = (
                f"image {i} of the data set's {lies_in[first]} ({first}) and image {j} of its {lies_in[second]}"
                f" ({second})"
            )
            raise DataError(
                f"problem '{problem.name}': expected no image in two splits, {where} are identical; remove one of the"
                " two and validate again."
            )


def _digests(images: Images) -> list[bytes]:
    """SHA-256 of every image."""
    return [hashlib.sha256(image.tobytes()).digest() for piece in images.split(_PIECE) for image in piece.numpy()]


def _twins(first: Sequence[bytes], second: Sequence[bytes]) -> tuple[int, int] | None:
    """Positions of a pair of images that are byte-identical, by their digests."""
    known = {digest: i for i, digest in enumerate(first)}
    return next(((known[digest], j) for j, digest in enumerate(second) if digest in known), None)


if __name__ == "__main__":
    main(split_dataset, __doc__)
