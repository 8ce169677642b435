"""Models rounded to int8 for a problem: made from its training images, judged on val, measured on test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seam.configs.inference import EngineName
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.inference.engines import ENGINES
from seam.inference.int8 import CALIBRATION_IMAGES, quantize
from seam.inference.variants import Variant
from seam.networks.head import SourceOnProblem
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from tasks.inputs.problem import problem_images, problem_source
from tasks.project.stage import StageContext

_BATCH = 64


def int8_engines(context: StageContext) -> tuple[EngineName, ...]:
    """Engines that read models rounded to int8, among those asked for."""
    return tuple(name for name in context.params.benchmark_latency.engines if ENGINES[name].takes == "int8")


def quantized(
    context: StageContext, variants: Mapping[str, Variant], folder: Path
) -> tuple[dict[str, Variant], dict[str, Any]]:
    """Each variant with an int8 model in `folder`, and what rounding cost it on each engine that runs it.

    Args:
        context: of the problem.
        variants: "source", whose outputs are the source's classes, and models whose outputs are the
            target's.
        folder: for NAME.onnx.

    Returns:
        The variants, and by engine and name: sizes, accuracy on val and test, rounded and not, and
        whether the loss on val is `small_enough`.
    """
    source = problem_source(context)
    problem = context.target_problem(source.info.classes)
    preprocess = source.preprocess()
    images = {"val": problem_images(context, "val"), "test": problem_images(context, "test")}
    train = problem_images(context, "train").images
    chosen = np.random.default_rng(context.params.seed).permutation(len(train))[:CALIBRATION_IMAGES]
    samples = preprocess(train[torch.from_numpy(chosen)]).contiguous()
    engines = int8_engines(context)
    on: tuple[EngineName, ...] = ("onnxruntime", *engines)
    made: dict[str, Variant] = {}
    about: dict[str, Any] = {engine: {} for engine in engines}
    for name, variant in variants.items():
        assert isinstance(variant.module, nn.Module)
        quantize(variant.module, samples, path := folder / f"{name}.onnx")
        made[name] = Variant(variant.onnx, variant.module, path)
        view = (
            SourceOnProblem(nn.Identity(), problem.target_indices, len(source.info.classes))
            if name == "source"
            else nn.Identity()
        )
        exact, *rounded = (
            {split: _accuracy(engine, made[name], data, preprocess, view) for split, data in images.items()}
            for engine in on
        )
        for engine, found in zip(engines, rounded, strict=True):
            about[engine][name] = {
                **{f"{split}_accuracy": found[split] for split in images},
                **{f"{split}_accuracy_float": exact[split] for split in images},
                "accepted": small_enough(
                    exact["val"] - found["val"], len(images["val"]), context.params.benchmark_latency.int8_drop
                ),
                "bytes": path.stat().st_size,
                "bytes_float": variant.onnx.stat().st_size,
            }
    return made, about


def small_enough(drop: float, num_images: int, allowed: float) -> bool:
    """Whether an accuracy fell by no more than is allowed, or by one image, as in the gates of the registry."""
    return drop <= max(allowed, 1 / num_images) + 1e-9


def _accuracy(
    engine: EngineName, variant: Variant, data: LabelledImages, preprocess: Preprocess, view: nn.Module
) -> float:
    """Of a variant on an engine, in whole batches.

    What is missing in the last one is filled with the first images, and cut off.
    """
    run = ENGINES[engine].load(variant, _BATCH, 1, {})
    filled = torch.from_numpy(np.resize(np.arange(len(data)), -(-len(data) // _BATCH) * _BATCH))
    whole = LabelledImages(select(data.images, filled), data.labels[filled])
    logits = predict(
        lambda images: torch.from_numpy(run(images.contiguous().numpy()).copy()), whole, preprocess, _BATCH
    )
    return accuracy(view(logits[: len(data)]), data.labels)
