"""Several layouts tried, where the first guess is in doubt: each is trained briefly, and the best on val is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from seam.checkpoint import digest_of, fingerprint
from seam.configs.training import FinetuneConfig
from seam.masks.widths import Layout
from seam.networks.head import Reengineered
from seam.runtime import Runtime
from seam.search.images import SearchImages
from seam.search.result import Tried
from seam.training.probe import probe


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
        proposed: rules -> layout; one alone is not tried.
        try_out: val accuracy and cross-entropy of a layout after a short training.
    """
    if len(proposed) == 1:
        return [Tried(rules, layout, None, None) for rules, layout in proposed.items()]
    found = [(rules, layout, *try_out(layout)) for rules, layout in proposed.items()]
    return [Tried(*one) for one in sorted(found, key=lambda one: one[3])]


def train_briefly(
    model: Reengineered,
    masks: Mapping[str, Tensor],
    images: SearchImages,
    teacher: nn.Module,
    config: FinetuneConfig,
    epochs: int,
    runtime: Runtime,
    checkpoint: Path | None = None,
) -> tuple[float, float]:
    """Val accuracy and cross-entropy after a short fine-tuning, see `seam.training.probe.probe`.

    Args:
        model: the source with the normalisation layers and the head that go with the masks; it is
            not changed.
        masks: by parameter name.
        images: of the search.
        teacher: the source, eval mode.
        config: of the fine-tuning that follows the search; its `lr` counts, whatever its `rates`.
        epochs: of this short one.
        runtime: device and precision.
        checkpoint: a killed training continues from it to the same result.
    """
    last = probe(
        model,
        masks,
        images.preprocess,
        images.train,
        images.val,
        config,
        epochs,
        runtime,
        images.seed,
        checkpoint=checkpoint,
        key=digest_of(repr(runtime), fingerprint(dict(masks), model.state_dict()), images.fingerprint(), images.seed),
        spare=images.spare,
        teacher=teacher,
    )
    assert last.val_cross_entropy is not None
    return last.val_accuracy, last.val_cross_entropy
