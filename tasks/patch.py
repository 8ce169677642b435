"""A weak model mended by a module for the class that it is weak at, measured on test; nothing is trained."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seam.composition.module import Module, Takes
from seam.composition.patched import Calibration, Patched, calibrate, combined, unseen
from seam.data.images import LabelledImages, images_of
from seam.data.prepared import load_prepared
from seam.door.parts import same_images
from seam.door.times import measured
from seam.errors import SuspectResultWarning
from seam.files import sha256_file, write_json, write_text
from seam.measures.macs import count
from seam.measures.modules import Mended, mended
from seam.measures.shipped import Claim, ship
from seam.networks.predict import accuracy, predict
from seam.networks.source import Source, save_source
from seam.runtime import start
from tasks.inputs.own_source import own_source
from tasks.inputs.parts import Part, parts, require_classes
from tasks.inputs.splits import unseen_split
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.project.stage_configs import PatchConfig
from tasks.report.confusion import confusion
from tasks.report.patch import confusion_plots, render_patch_report


def patch(context: StageContext) -> StageResult:
    """Mend the weak model, and publish the result with both networks' figures on test.

    Writes network.onnx (the model as it was, where the patch is not accepted), source.safetensors and
    source.json (the weak model), metrics.json, before.svg, after.svg and report.html.

    Raises:
        ConfigError: the class is none of the model's, or has no module.
        DataError: the module takes other images than the model.
    """
    params, entry = context.params, context.params.patches[context.name]
    (part,) = parts(context)
    data = load_prepared(context.artifact("validate_data", "dataset.safetensors"))
    column, module = _chosen(context, part, data.classes)
    context.progress(0.05, "the weak model")
    weak = own_source(context, entry.weak, "weak")
    same_images(module.takes, Takes.of(weak.preprocess(), weak.example()), f"patches.{context.name}.weak")
    split = unseen_split(params, data, part.may_have_seen or not weak.info.trained_here)
    sides = {"val": images_of(data, split.val_split, split.val), "test": images_of(data, "test", split.test)}
    context.progress(0.8, "learn how much the module counts")
    with collect_warnings(context) as doubts:
        found = _found(context, weak, module, sides, column)
        if not found.on_val.accepted:
            text = f"not accepted: on val {found.on_val.why_not}; the model stays as it is, nothing is to be registered"
            warnings.warn(SuspectResultWarning(text), stacklevel=1)
    patched = Patched(weak.network, module, column, found.numbers).eval().requires_grad_(False)
    context.progress(0.9, "measure")
    metrics = {
        **_about(entry, part, weak, found),
        **_sizes(context, weak, patched),
        "num_val": len(sides["val"]),
        "val_from": split.val_from,
        "num_test": len(sides["test"]),
        "classes": list(data.classes),
        "files": {**part.files, **weak.info.files},
        "warnings": [*weak.info.warnings, *doubts],
    }
    for name in ("weak", "patched"):
        metrics[name] |= found.on_test[name]
    drawn = confusion_plots(metrics)
    shipped = patched if metrics["accepted"] else weak.network
    with context.publish() as out:
        save_source(weak.network, weak.info, out)
        said = metrics["patched" if metrics["accepted"] else "weak"]
        ship(shipped, weak.example(), out / "network.onnx", Claim(said))
        metrics["hashes"]["network_sha256"] = sha256_file(out / "network.onnx")
        write_json(out / "metrics.json", metrics)
        for plot in drawn:
            write_text(out / f"{plot.name}.svg", plot.svg)
        write_text(out / "report.html", render_patch_report(context, metrics, drawn))
    shown = {f"{k}_{when}": metrics[name][k] for k in ("f1", "rest") for name, when in _WHEN}
    return context.result({"accepted": metrics["accepted"], "class": entry.class_, **shown})


_WHEN = (("weak", "before"), ("patched", "after"))


@dataclass(frozen=True)
class _Found:
    """What a module does to a model."""

    numbers: Calibration
    on_val: Mended
    """Each image by numbers that are learned without it."""
    on_test: Mapping[str, dict[str, Any]]
    """weak and patched -> figures on test."""


def _chosen(context: StageContext, part: Part, classes: tuple[str, ...]) -> tuple[int, Module]:
    """The column of the class in the weak model's logits, and its module."""
    name, where = context.params.patches[context.name].class_, f"patches.{context.name}.class"
    for known, whose in ((classes, "of the data"), (part.modules.classes, f"that has a module in {part.name}")):
        require_classes([name], known, where, f"a class {whose}")
    return classes.index(name), part.modules[name]


@torch.no_grad()
def _found(
    context: StageContext, weak: Source, module: Module, sides: Mapping[str, LabelledImages], column: int
) -> _Found:
    """Learn and judge on val, then look at test once."""
    runtime = start(context.params.runtime, weak.info.pixels)
    caution = context.params.patches[context.name].caution
    logits, scores = (_outputs(n, weak, sides, runtime.device) for n in (weak.network, module.network))
    val = logits["val"], scores["val"][:, 0], sides["val"].labels, column
    numbers = calibrate(*val, caution)
    labels, before = sides["test"].labels, logits["test"]
    after = combined(before, scores["test"][:, 0], column, numbers)
    on_test = mended(before, after, labels, column)
    figures = {
        name: {
            "accuracy": accuracy(given, labels),
            **asdict(one),
            "rest": rest,
            "confusion": confusion(given, labels, before.shape[1]),
        }
        for name, given, one, rest in (
            ("weak", before, on_test.before, on_test.rest_before),
            ("patched", after, on_test.after, on_test.rest_after),
        )
    }
    return _Found(numbers, mended(val[0], unseen(*val, caution), val[2], column), figures)


def _outputs(
    network: nn.Module, weak: Source, sides: Mapping[str, LabelledImages], device: torch.device
) -> dict[str, Tensor]:
    """On the CPU, where the network is afterwards too."""
    network.to(device)
    preprocess = weak.preprocess().to(device)
    found = {name: predict(network, images.to(device), preprocess).float().cpu() for name, images in sides.items()}
    network.cpu()
    return found


def _about(entry: PatchConfig, part: Part, weak: Source, found: _Found) -> dict[str, Any]:
    """What was done, and what it is made of."""
    return {
        "of": part.name,
        "class": entry.class_,
        "accepted": found.on_val.accepted,
        "val": asdict(found.on_val),
        "calibration": asdict(found.numbers),
        "hashes": {**part.hashes, "weak_sha256": weak.info.sha256},
    }


def _sizes(context: StageContext, weak: Source, patched: nn.Module) -> dict[str, Any]:
    """Weights, multiply-adds and milliseconds of both."""
    example = weak.example()
    times, conditions = measured(
        weak.network, patched, example.expand(2, -1, -1, -1), context.params.profile_source, context.params.seed
    )
    networks = (("weak", weak.network, times[0]), ("patched", patched, times[1]))
    sizes = {name: {**asdict(count(network, example)), "latency_ms_p50": ms} for name, network, ms in networks}
    return {**sizes, "conditions": conditions}


if __name__ == "__main__":
    main(patch, __doc__)
