"""One student: the source transferred by one method, and its answers to clean, attacked and noisy test images."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from seam.configs.training import TrainingSetting
from seam.data.images import LabelledImages
from seam.data.prepared import ImageData
from seam.defects.backdoor import backdoor_inheritance
from seam.defects.feature_attack import random_noise
from seam.defects.inheritance import defect_inheritance
from seam.defects.whitebox import whitebox_accuracy
from seam.errors import SuspectResultWarning
from seam.files import sha256_file, write_bytes, write_csv, write_json
from seam.hardware import in_words
from seam.masks.masks import maskable
from seam.masks.pack import save_mask_pack
from seam.measures.macs import count
from seam.methods.protocol import Target, convolutions
from seam.methods.student_training import TriedSetting
from seam.methods.transfer import Transferred
from seam.methods.transfer import transfer as make_student
from seam.networks.source import Source
from seam.networks.state_dicts import save_weights
from seam.networks.student import Student
from seam.runtime import Runtime, start
from tasks.inputs.target import Adversarial, split_images, target_data, transfer_source
from tasks.project.progress import TRAINED, watch_student
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.project.students import StudentName, config_of

_HISTORY = ("phase", "epoch", "loss", "density", "val_accuracy")


def transfer(context: StageContext) -> StageResult:
    """Train one student, continuing a killed one, measure it on test, and publish both.

    Writes student.safetensors, mask.safetensors (without entries where nothing is removed),
    history.csv, predictions.safetensors (`labels`, `clean`, `adversarial`, `noise`) and
    metrics.json.

    Raises:
        SourceError: the source lacks what the method needs, or the loss is not finite.
        DataError: images, split or attacked images are missing, damaged or altered.
    """
    name, params = context.student, context.params
    source, data = transfer_source(context), target_data(context)
    adversarial = Adversarial(context, source)
    train, val = split_images(context, data)
    runtime = start(params.runtime, source.info.pixels)
    config = config_of(name.method, params.transfer.config)
    target = Target(train, val, source.preprocess(), len(data.classes))
    begin = time.perf_counter()
    with collect_warnings(context) as doubts:
        made = make_student(
            name.base, source.network, target, config, runtime, name.seed, watch_student(context, config, len(train))
        )
        seconds = time.perf_counter() - begin
        context.progress(TRAINED, "measure on test")
        predictions = _predictions(context, made.student, source, data, adversarial, runtime)
        measured = {**_measured(predictions), **_targeted(context, predictions)}
        withstood = _withstood(context, made.student, source, data, runtime)
    with context.publish() as out:
        save_weights(made.student, out / "student.safetensors")
        mask_sha256 = save_mask_pack(made.start.masks or {}, source.info.sha256, out / "mask.safetensors")
        write_csv(out / "history.csv", _HISTORY, _history(made))
        write_bytes(out / "predictions.safetensors", save(predictions))
        about = {
            **_described(made, name),
            **measured,
            "whitebox": withstood,
            **_sizes(made.student, source.example()),
            "seconds": round(seconds, 3),
            "device": runtime.device.type,
            "precision": runtime.precision,
            "threads": runtime.threads,
            "computed_on": in_words(),
            "source_sha256": source.info.sha256,
            "student_sha256": sha256_file(out / "student.safetensors"),
            "mask_sha256": mask_sha256,
            "warnings": list(dict.fromkeys(doubts)),
        }
        write_json(out / "metrics.json", about)
    shown = ("accuracy", "defect_inheritance_rate", "density_start", "density_end")
    return context.result({**{key: about[key] for key in shown}, "seconds": round(seconds, 1)})


@torch.no_grad()
def _predictions(
    context: StageContext,
    learner: Student,
    source: Source,
    data: ImageData,
    adversarial: Adversarial,
    runtime: Runtime,
) -> dict[str, Tensor]:
    """Labels the student gives clean, attacked and noisy test images, in float32, on the CPU."""
    found: dict[str, list[Tensor]] = {"clean": [], "adversarial": [], "noise": []}
    preprocess, config = source.preprocess().to(runtime.device), context.params.evaluate_robustness
    first = 0
    for number, attacked in enumerate(adversarial):
        rows = slice(first, first + len(attacked))
        clean = preprocess(torch.from_numpy(data.x_test[rows]).to(runtime.device))
        noisy = random_noise(clean, config, source.info.mean, source.info.std, context.params.seed + number)
        for kind, images in (("clean", clean), ("adversarial", attacked.to(runtime.device)), ("noise", noisy)):
            found[kind] += [learner(batch).argmax(1).cpu() for batch in images.split(config.batch_size)]
        first = rows.stop
    return {"labels": torch.from_numpy(data.y_test), **{kind: torch.cat(labels) for kind, labels in found.items()}}


def _measured(predictions: dict[str, Tensor]) -> dict[str, Any]:
    """Accuracy, robust accuracy and rates, under the attack and (control) under noise of its budget and clip."""
    labels, clean = predictions["labels"], predictions["clean"]
    attacked = defect_inheritance(clean, predictions["adversarial"], labels)
    control = defect_inheritance(clean, predictions["noise"], labels)
    chance = float(labels.bincount().max()) / len(labels)
    if attacked.accuracy <= chance:
        text = (
            f"accuracy {attacked.accuracy:.2%}, always naming the commonest class gives {chance:.2%}; its rate of"
            " defects means nothing."
        )
        warnings.warn(f"the student is at chance on test: {text}", SuspectResultWarning, stacklevel=2)
    noise = {"robust_accuracy": control.robust_accuracy, "defect_inheritance_rate": control.defect_inheritance_rate}
    return {**asdict(attacked), "num_images": len(labels), "random_noise": noise}


def _targeted(context: StageContext, predictions: dict[str, Tensor]) -> dict[str, Any]:
    """With a backdoor: how many images the trigger turns into its class."""
    config = context.params.transfer
    if config.defect != "backdoor":
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuspectResultWarning)  # said of the untargeted rate
        found = backdoor_inheritance(
            predictions["clean"], predictions["adversarial"], predictions["labels"], config.backdoor.target_class
        )
    return {"targeted_rate": found.targeted_rate}


def _withstood(
    context: StageContext, learner: Student, source: Source, data: ImageData, runtime: Runtime
) -> dict[str, Any]:
    """The student under attacks on itself: nobody shall read few inherited defects as robustness."""
    params = context.params
    count = (
        len(data.y_test)
        if params.transfer.whitebox_images is None
        else min(params.transfer.whitebox_images, len(data.y_test))
    )
    rows = np.sort(np.random.default_rng(params.seed).permutation(len(data.y_test))[:count])
    images = LabelledImages(torch.from_numpy(data.x_test[rows]), torch.from_numpy(data.y_test[rows])).to(runtime.device)
    found = {}
    for attack in _attacks(params.transfer.fab):
        context.progress(0.95, f"white-box {attack}")
        done = whitebox_accuracy(
            learner, images, source.info.mean, source.info.std, attack, params.transfer.whitebox, params.seed
        )
        found[attack] = {key: value for key, value in asdict(done).items() if key != "attack"}
    return found


def _attacks(fab: bool) -> Iterator[Any]:
    yield "pgd"
    if fab:
        yield "fab"


def _described(made: Transferred, name: StudentName) -> dict[str, Any]:
    """Which student this is, how it was trained, and how much of the source it kept, over the convolutions."""
    best = made.tried[made.chosen].kept
    assert best is not None
    removable = maskable(convolutions(made.student)).values()
    kept = sum(int(torch.count_nonzero(p)) for p in removable) / sum(p.numel() for p in removable)
    return {
        "method": name.method,
        "seed": name.seed,
        "val_accuracy": best.val_accuracy,
        "best_epoch": best.epoch,
        "epochs": made.epochs[-1].epoch,
        "rounds": len(made.start.rounds),
        "passes": made.passes,
        "settings": [_setting(number, tried, made.chosen) for number, tried in enumerate(made.tried)],
        "density_start": 1 - made.start.removal,
        "density_end": kept,
    }


def _setting(number: int, tried: TriedSetting, chosen: int) -> dict[str, Any]:
    """What metrics.json says of a setting: its numbers, and how the student trained with it did on val."""
    numbers, kept = asdict(tried.training), tried.kept
    return {
        **{field.name: numbers[field.name] for field in fields(TrainingSetting)},
        "val_accuracy": None if kept is None else kept.val_accuracy,
        "best_epoch": None if kept is None else kept.epoch,
        "chosen": number == chosen,
    }


def _sizes(learner: Student, example: Tensor) -> dict[str, Any]:
    return asdict(count(learner.cpu().network, example))


def _history(made: Transferred) -> Iterator[dict[str, Any]]:
    for now in made.start.rounds:
        yield {
            "phase": "search",
            "epoch": now.round + 1,
            "loss": now.cross_entropy,
            "density": now.density,
            "val_accuracy": now.val_accuracy,
        }
    for epoch in made.epochs:
        yield {"phase": "training", **asdict(epoch)}


if __name__ == "__main__":
    main(transfer, __doc__)
