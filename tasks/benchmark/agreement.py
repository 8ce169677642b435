"""Whether the model that is shipped answers on every engine what it answers in torch, on images of four kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from seam.configs.defects import WhiteboxConfig
from seam.configs.inference import EngineName
from seam.data.lazy import in_memory, select
from seam.defects.whitebox import OnPixels, attack_pixels
from seam.errors import SuspectResultWarning
from seam.inference.agreement import agreements
from seam.inference.variants import Variant
from seam.networks.source import SourceInfo
from tasks.inputs.problem import problem_images, problem_source
from tasks.project.stage import StageContext

SERVES: EngineName = "onnxruntime"
"""Runs the registered model."""
_ATTACKED_AT_ONCE = 8
_EPS = 8 / 255
"""Budget of the attack in pixels in [0, 1], as most of the field has it; 10 steps."""


def engine_agreement(
    context: StageContext,
    variant: Variant,
    left_out: Collection[str] = (),
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, dict[str, Any]]:
    """Every engine that is timed beside torch, and the one that serves: `seam.inference.agreement.agreements`.

    Args:
        context: of the problem.
        variant: what is shipped, with its module.
        left_out: engines without a model.
        progress: called with the share done and a text.
    """
    config, source = context.params.benchmark_latency, problem_source(context)
    assert isinstance(variant.module, nn.Module)
    tests = problem_images(context, "test").images
    rng = np.random.default_rng(context.params.seed)
    chosen = np.sort(rng.permutation(len(tests))[: config.compared_images])
    images = in_memory(select(tests, torch.from_numpy(chosen)))
    preprocess = source.preprocess()
    noise = rng.integers(0, 256, (config.compared_images, *images.shape[1:]), dtype=np.uint8)
    inputs = {
        "test": preprocess(images),
        "noise": preprocess(torch.from_numpy(noise)),
        "extreme": preprocess(extremes(*source.info.image_shape)),
        "attacked": attacked(variant.module, images[: -(-len(images) // 4)], source.info, context.params.seed),
    }
    arrays = {kind: x.contiguous().numpy() for kind, x in inputs.items()}
    engines = [name for name in dict.fromkeys((SERVES, *config.engines)) if name not in left_out]
    return agreements(engines, variant, arrays, config.num_threads, progress)


def extremes(height: int, width: int, channels: int) -> UInt8[Tensor, "images height width channels"]:
    """Images that no camera takes: all 0, all 255, checkerboards of both kinds and of two sizes, one channel alone."""
    y, x = np.mgrid[:height, :width]
    flat = [np.zeros((height, width)), np.ones((height, width))]
    boards = [(x // size + y // size + start) % 2 for size in (1, 2) for start in (0, 1)]
    grey = [np.repeat(board[..., None], channels, 2) for board in (*flat, *boards)]
    alone = [np.broadcast_to(np.eye(channels)[i], (height, width, channels)) for i in range(channels)]
    return torch.from_numpy(np.stack([*grey, *alone]) * 255).to(torch.uint8)


def attacked(
    model: nn.Module, images: UInt8[Tensor, "batch height width channels"], info: SourceInfo, seed: int
) -> Float[Tensor, "batch channels height width"]:
    """Images near these, normalised, that a model is meant to answer something else for."""
    config = WhiteboxConfig(eps_pixel=_EPS, step_pixel=_EPS / 4, steps=10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        on_pixels = OnPixels(model, info.mean, info.std)
        made = []
        for some in images.split(_ATTACKED_AT_ONCE):
            pixels = (some.permute(0, 3, 1, 2).float() / 255).expand(-1, len(info.mean), -1, -1).contiguous()
            with torch.no_grad():
                answers = on_pixels(pixels).argmax(1)
            made.append(attack_pixels(on_pixels, pixels, answers, "pgd", config))
    normalised: Tensor = (torch.cat(made) - on_pixels.mean) / on_pixels.std
    return normalised.detach()


def doubt_agreement(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Warn of engines that answer another class than torch for test images."""
    for engine, about in found.items():
        tests = about.get("kinds", {}).get("test", {"labels_flipped": 0})
        if tests["labels_flipped"]:
            text = (
                f"{engine} answers another class than torch for {tests['labels_flipped']} of {tests['images']} test"
                " images; use another engine, or look at benchmark_latency/export.json, agreement."
            )
            warnings.warn(text, SuspectResultWarning, stacklevel=2)
