"""Make the train, validation and test split of one target problem, stratified and seeded, and check it for leaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from seam.data.prepared import ImageData, load_prepared
from seam.data.problems import IntArray, TargetProblem
from seam.data.splits import carve_val
from seam.errors import DataError
from seam.files import write_bytes, write_json
from tasks.project.stage import StageContext, StageResult, main

_MOST_SPARE = 5
"""Left-over negatives kept, as a multiple of the train split: enough variety, and a bound on
memory."""


def split_dataset(context: StageContext) -> StageResult:
    """Write splits.safetensors (`train`, `spare`, `val`, `test` and `y_train`, ..., all int64) and summary.json.

    `spare` are the negatives of a binary problem that the draw for `train` left over, at most five
    times as many as `train`. `train`, `spare` and `val` index the data set's train images, `test`
    its test images. Validation is carved out before the problem's images are selected, so an image
    is on the same side in every problem and in the source's training. Images that are
    byte-identical are on the same side too: one drawn for validation goes back to train when a copy
    is there.

    Raises:
        DataError: an unknown class, a target class that a split has no image of, or an image in two
            splits.
    """
    params = context.params
    data = load_prepared(context.root / "artifacts" / "validate_data" / "dataset.safetensors")
    problem = context.target_problem(data.classes)
    carved = carve_val(data.x_train, data.y_train, params.split_dataset.val_fraction, params.seed)
    splits = {
        "train": problem.select(data.y_train, carved.train, params.seed),
        "val": problem.select(data.y_train, carved.val, params.seed),
        "test": problem.select(data.y_test, np.arange(len(data.y_test)), params.seed),
    }
    taken = np.isin(data.y_train, problem.target_indices) if problem.is_binary else np.ones(len(data.y_train), bool)
    taken[carved.val] = True
    taken[splits["train"]] = True
    left_over = np.random.default_rng(params.seed).permutation(np.flatnonzero(~taken))
    splits["spare"] = np.sort(left_over[: _MOST_SPARE * len(splits["train"])])
    labels = {
        name: problem.target_labels(data.y_test[i] if name == "test" else data.y_train[i]) for name, i in splits.items()
    }
    check_nothing_empty(problem, {name: y for name, y in labels.items() if name != "spare"})
    check_no_leak(problem, data, splits)
    counts = {
        name: {c: int((y == label).sum()) for label, c in enumerate(problem.classes)}
        for name, y in labels.items()
        if name != "spare"
    }
    summary = {
        "problem": problem.name,
        "classes": list(problem.classes),
        "source_classes": list(data.classes),
        "num_train": len(splits["train"]),
        "num_spare": len(splits["spare"]),
        "num_val": len(splits["val"]),
        "num_test": len(splits["test"]),
        "counts": counts,
        "val_fraction": params.split_dataset.val_fraction,
        "seed": params.seed,
    }
    with context.publish() as out:
        write_bytes(out / "splits.safetensors", save({**splits, **{f"y_{name}": y for name, y in labels.items()}}))
        write_json(out / "summary.json", summary)
    return context.result({"classes": len(problem.classes), **{f"num_{name}": len(i) for name, i in splits.items()}})


def check_nothing_empty(problem: TargetProblem, labels: dict[str, IntArray]) -> None:
    """Raise a DataError unless every target class has an image in every split."""
    for split, y in labels.items():
        missing = [c for label, c in enumerate(problem.classes) if not (y == label).any()]
        if missing:
            remedy = "raise split_dataset.val_fraction or add images" if split == "val" else "add images"
            raise DataError(
                f"problem '{problem.name}': expected images of every class in {split}, none of: {', '.join(missing)};"
                f" {remedy}."
            )


def check_no_leak(problem: TargetProblem, data: ImageData, splits: dict[str, IntArray]) -> None:
    """Raise a DataError when an image of one split is byte-identical to an image of another."""
    learnt = np.concatenate([splits["train"], splits["spare"]])
    images = {"train": data.x_train[learnt], "val": data.x_train[splits["val"]], "test": data.x_test[splits["test"]]}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        twins = _twins(images[first], images[second])
        if twins is not None:
            i, j = (
                int((learnt if name == "train" else splits[name])[twin])
                for name, twin in zip((first, second), twins, strict=True)
            )
            where = (
                f"image {i} of the data set's train ({first}) and image {j} of its"
                f" {'test' if second == 'test' else 'train'} ({second})"
            )
            raise DataError(
                f"problem '{problem.name}': expected no image in two splits, {where} are identical; remove one of the"
                " two and validate again."
            )


def _twins(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    """Positions of a byte-identical pair."""
    known = {image.tobytes(): i for i, image in enumerate(first)}
    return next(((known[b], j) for j, image in enumerate(second) if (b := image.tobytes()) in known), None)


if __name__ == "__main__":
    main(split_dataset, __doc__)
