"""Several layouts tried, where the first guess is in doubt: each is trained briefly, and the best on val is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from seam.checkpoint import digest_of, fingerprint
from seam.configs.training import FinetuneConfig
from seam.masks.masks import apply_masks
from seam.masks.widths import Layout
from seam.networks.head import Reengineered, TargetHead
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.images import SearchImages
from seam.search.result import Tried
from seam.training.finetune import finetune


def distinct(proposed: Mapping[str, Layout], most: int) -> dict[tuple[str, ...], Layout]:
    """The first `most` different layouts, each with the rules that proposed it, in their order."""
    found: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for rule, layout in proposed.items():
        found.setdefault(tuple(layout.items()), []).append(rule)
    return {tuple(rules): dict(layout) for layout, rules in list(found.items())[:most]}


def best_of(
    proposed: Mapping[tuple[str, ...], Layout], try_out: Callable[[Layout], tuple[float, float]]
) -> list[Tried]:
    """Try every layout; the best first, by the val cross-entropy, which says more than the accuracy of few images.

    Args:
        proposed: rules -> layout.
        try_out: val accuracy and cross-entropy of a layout after a short training.
    """
    tried = [Tried(rules, layout, *try_out(layout)) for rules, layout in proposed.items()]
    return sorted(tried, key=lambda t: t.val_cross_entropy)


def train_briefly(
    network: nn.Module,
    head: TargetHead,
    masks: Mapping[str, Tensor],
    images: SearchImages,
    teacher: nn.Module,
    config: FinetuneConfig,
    epochs: int,
    runtime: Runtime,
    checkpoint: Path | None = None,
) -> tuple[float, float]:
    """Val accuracy and cross-entropy after a short fine-tuning, whose rates fall to 0 within it.

    Args:
        network: the source with the normalisation layers that go with the masks; it is not changed.
        head: as it goes with them; it is not changed.
        masks: by parameter name.
        images: of the search.
        teacher: the source, eval mode.
        config: of the fine-tuning that follows the search.
        epochs: passes over the training images.
        runtime: device and precision.
        checkpoint: a killed training continues from it to the same result.
    """
    model = Reengineered(copy.deepcopy(network), copy.deepcopy(head))
    apply_masks(model.network, masks)
    finetune(
        model,
        masks,
        images.preprocess,
        images.train,
        images.val,
        replace(config, epochs=epochs, schedule="cosine"),
        runtime,
        images.seed,
        checkpoint=checkpoint,
        key=digest_of(epochs, config, fingerprint(dict(masks)), images.fingerprint()),
        spare=images.spare,
        teacher=teacher,
    )
    logits = predict(model, images.val, images.preprocess)
    return accuracy(logits, images.val.labels), float(F.cross_entropy(logits, images.val.labels))
