"""Train and val of a target, and test images that its source's defects show on, made once for every student.

Attacked, or with a trigger.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from tqdm import tqdm

from seam.checkpoint import digest_of, fingerprint
from seam.data.images import LabelledImages
from seam.data.lazy import in_memory
from seam.data.prepared import ImageData
from seam.defects.backdoor import triggered
from seam.defects.feature_attack import attack, describe_attack
from seam.files import read_json, sha256_file, write_bytes, write_json
from seam.hardware import in_words
from seam.networks.source import Source
from seam.runtime import Runtime, start
from tasks.inputs.splits import split_bytes
from tasks.inputs.target import AT_ONCE, target_data, target_split, transfer_source
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]


def attack_target(context: StageContext) -> StageResult:
    """Write splits.safetensors (`train`, `val`: indices), adversarial.safetensors and attack.json.

    A killed attack continues.

    With `transfer.defect` backdoor, adversarial.safetensors has the test images with the trigger.

    The numbers are those of `evaluate_robustness`; val is given with the target or carved out of its
    training images. The
    random start of a piece of the images is drawn by `seed` plus its number.

    Raises:
        DataError: images or source are missing, damaged or do not go together.
        SourceError: the source is missing or altered.
    """
    params, source, data = context.params, transfer_source(context), target_data(context)
    split = target_split(context, data)
    splits = {"train": split.train, "val": split.val}
    runtime = start(params.runtime, source.info.pixels)
    source.network.to(runtime.device)
    with collect_warnings(context) as doubts:
        planted = params.transfer.defect == "backdoor"
        adversarial = _triggered(context, source, data) if planted else _attacked(context, source, data, runtime)
        about = _described(context, source, data, adversarial)
    with context.publish() as out:
        write_bytes(out / "splits.safetensors", split_bytes(splits, split.val_from))
        save_file({"images_normalized": adversarial, "labels": data.y_test}, out / "adversarial.safetensors")
        digests = {name: sha256_file(out / name) for name in ("splits.safetensors", "adversarial.safetensors")}
        counts = {f"num_{name}": len(rows) for name, rows in splits.items()} | {"computed_on": in_words()}
        write_json(
            out / "attack.json",
            {
                **about,
                **counts,
                "val_from": split.val_from,
                "source_sha256": source.info.sha256,
                "sha256": digests,
                "warnings": list(dict.fromkeys([*source.info.warnings, *doubts])),
            },
        )
    return context.result(
        {**counts, "num_test": len(data.y_test), "share_images_changed": about["share_images_changed"]}
    )


def _pieces(context: StageContext, count: int) -> Iterator[tuple[int, slice]]:
    """(number, images) of every piece."""
    size = AT_ONCE * context.params.evaluate_robustness.batch_size
    for number, first in enumerate(range(0, count, size)):
        yield number, slice(first, min(first + size, count))


def _clean(source: Source, data: ImageData, rows: slice, device: torch.device) -> torch.Tensor:
    images: torch.Tensor = source.preprocess().to(device)(torch.from_numpy(data.x_test[rows]).to(device))
    return images


def _triggered(context: StageContext, source: Source, data: ImageData) -> Float32Array:
    """All test images with the trigger of the source's backdoor, normalised."""
    images = LabelledImages(torch.from_numpy(data.x_test[:]), torch.from_numpy(data.y_test))
    shown = in_memory(triggered(images, context.params.transfer.backdoor).images)
    made: Float32Array = source.example(shown).contiguous().numpy()
    return made


def _attacked(context: StageContext, source: Source, data: ImageData, runtime: Runtime) -> Float32Array:
    """The adversarial images, in a file that they are written to piece by piece."""
    config, seed, count = context.params.evaluate_robustness, context.params.seed, len(data.x_test)
    shape = (count, *source.example().shape[1:])
    space, content = (source.info.mean, source.info.std), fingerprint(data.x_test[:], data.y_test)
    folder, key = context.work_folder, digest_of(asdict(config), seed, repr(runtime), source.info.sha256, content)
    folder.mkdir(parents=True, exist_ok=True)
    done = _resumed(context, key)
    path = folder / "adversarial.raw"
    made = np.memmap(path, np.float32, "r+" if done else "w+", shape=shape)
    with tqdm(total=count, desc=f"attack {context.name}", unit="image", disable=None, initial=done) as bar:
        for number, rows in _pieces(context, count):
            if rows.stop <= done:
                continue
            clean = _clean(source, data, rows, runtime.device)

            def on_batch(batch: int, first: int = rows.start) -> None:
                bar.update(first + batch - bar.n)
                context.progress((first + batch) / count, f"attack, {first + batch} of {count} images")

            made[rows] = attack(source.network, clean, config, *space, seed + number, on_batch).cpu().numpy()
            made.flush()
            write_json(folder / "progress.json", {"key": key, "images": rows.stop})
    return made


def _resumed(context: StageContext, key: str) -> int:
    """How many images a killed attack with the same inputs has left."""
    try:
        record = read_json(context.work_folder / "progress.json")
    except (OSError, ValueError):
        return 0
    if record.get("key") != key or not (context.work_folder / "adversarial.raw").is_file():
        return 0
    logger.info("%s: the attack continues after %d images", context.name, record["images"])
    return int(record["images"])


def _described(context: StageContext, source: Source, data: ImageData, adversarial: Float32Array) -> dict[str, Any]:
    """Everything about what stands in for the clean images; what is measured is put together from the pieces."""
    params = context.params
    if params.transfer.defect == "backdoor":
        planted = params.transfer.backdoor
        about = {
            "attack": "trigger of a backdoor",
            "share_poisoned": planted.share,
            "target_class": data.classes[planted.target_class],
            "side": planted.side,
        }
        return {
            **about,
            "batch_size": params.evaluate_robustness.batch_size,
            "seed": params.seed,
            "num_images": len(adversarial),
            "share_images_changed": 1.0,
        }
    pieces = (
        (_clean(source, data, rows, torch.device("cpu")), torch.from_numpy(adversarial[rows].copy()))
        for _, rows in _pieces(context, len(adversarial))
    )
    return describe_attack(pieces, params.evaluate_robustness, source.info.mean, source.info.std, params.seed)


if __name__ == "__main__":
    main(attack_target, __doc__)
