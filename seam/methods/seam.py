"""SeaM for a transfer: search the convolutions' weights that the target needs, remove the others, then fine-tune.

What it does: three steps. Head fit: a fresh classifier is fitted to the frozen source's
features. Search: a mask over the weights (and biases, where there are any) of all convolutions but
a replaced one, by gradient descent on a score a weight, while the classifier learns along; at the
end the highest scores are kept, as many as the removal leaves, exactly. Fine-tuning: the source's
weights again, the removed ones zero, and another fresh classifier; what the search taught its own
is dropped.

When to use it: to take over what the target needs of a source whose defects you do not want. The
more is removed, the fewer defects come along, and the more accuracy it costs: search at several
removals.

Differences from the paper: the removal is met exactly (published: wherever the first epoch above it
ends); the classifier is fitted exactly, with the source's BatchNorm statistics; `budget` searches
along a falling budget (published: `drift`, see docs/method.md); the images for choosing are val,
not test. Where `norm_layers` learn, they go with the mask into the student.

Published settings: `drift`, Adam 0.05 for scores that start at 1, 0.001 for the classifier, alpha
0.5, about half of the weights removed; then SGD 0.005 for the network and 0.05 for the classifier,
no momentum, weight decay 1e-4, batch 64, up to 300 epochs; removed weights regrow.

Claimed: means over its five data sets of accuracy / share of the right answers lost under the
attack on the source: ResNet18 79 / 19%, ResNet50 84 / 14%; ResNet18 with dropout loses 12%.

Source: B. Qi et al., "Reusing Deep Neural Network Models through Model Re-engineering", ICSE 2023,
section 5.4, and its published code.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import nn

from seam.configs.methods import TransferConfig
from seam.configs.search import SearchConfig
from seam.masks.masks import Masks
from seam.masks.weights import ScoredWeights
from seam.methods.protocol import (
    SILENT,
    StartingPoint,
    Target,
    Watch,
    convolutions,
    fresh_student,
    keep_highest,
    remove,
)
from seam.networks.norms import norm_tensors, put_norm_tensors
from seam.networks.student import Student, fit_classifier
from seam.runtime import Runtime
from seam.search.dynamics import dynamics_of
from seam.search.images import search_images
from seam.search.loop import SearchLoop
from seam.search.objective import CrossEntropy, learning_norms
from seam.search.stop import after, any_of, once_removed


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """Search and remove `config.removal` of the convolutions' weights.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: `removal` and `search` count.
        runtime: device and precision.
        seed: of the fresh classifier, shuffling and augmentation.
        watch: where to keep the search's state, and whom to tell of its rounds.

    Raises:
        SourceError: the source has no classifier to replace, or no convolution, or its features are
            not finite.
        SearchError: the loss is not finite.
    """
    searched = fresh_student(source, target, seed).to(runtime.device)
    search = transfer_search(searched, target, config, runtime, seed)
    search.run(_checkpoint(watch), watch.on_round)
    learner = fresh_student(source, target, seed)
    if config.search.norm_layers == "learn":
        put_norm_tensors(learner.network, norm_tensors(searched.network))
    return remove(learner, found_masks(search, config.removal), tuple(search.rounds))


def _checkpoint(watch: Watch) -> Path | None:
    return None if watch.folder is None else watch.folder / "search.safetensors"


def transfer_search(
    learner: Student, target: Target, config: TransferConfig, runtime: Runtime, seed: int
) -> SearchLoop:
    """The search of one transfer, before its first round; its head is the student's new classifier, fitted.

    Args:
        learner: the source with a fresh classifier, on the runtime's device; it learns in place,
            all but its convolutions.
        target: to learn from.
        config: `removal` and `search` count.
        runtime: device and precision.
        seed: of shuffling and augmentation.
    """
    numbers = asdict(config.search)
    own = SearchConfig(target=1 - config.removal, max_rounds=numbers.pop("rounds"), **numbers)
    images = search_images(target.train, target.val, target.preprocess, own, runtime, seed)
    scored = ScoredWeights(convolutions(learner))
    fit_classifier(learner, images.preprocess, images.train)
    learner.requires_grad_(False)
    learner.head.requires_grad_(True)
    norms = learning_norms(learner.network, own)
    objective = CrossEntropy(learner.network, scored, learner.head, norms, runtime, head_inside=True)
    stop = after(own.max_rounds)
    if own.method == "drift":
        stop = any_of(once_removed(config.removal), stop)
    return SearchLoop(objective, dynamics_of(own, objective, images), stop, images, own, runtime)


def found_masks(search: SearchLoop, removal: float) -> Masks:
    """The highest scores, exactly as many as the removal leaves."""
    scored = search.objective.scored
    return keep_highest(scored.effective.split(scored.scores.detach()), removal)
