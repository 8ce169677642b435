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

from torch import Tensor, nn
from torch.nn import functional as F

from seam.checkpoint import fingerprint
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
from seam.search.loop import SearchLoop


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
    search = TransferSearch(searched, target.to(runtime.device), config, runtime, seed)
    search.search_rounds(_checkpoint(watch), watch.on_round)
    learner = fresh_student(source, target, seed)
    if config.search.norm_layers == "learn":
        put_norm_tensors(learner.network, norm_tensors(searched.network))
    return remove(learner, search.masks(), tuple(search.rounds))


def _checkpoint(watch: Watch) -> Path | None:
    return None if watch.folder is None else watch.folder / "search.safetensors"


class TransferSearch(SearchLoop):
    """The search of one transfer; its head is the student's new classifier."""

    def __init__(self, learner: Student, target: Target, config: TransferConfig, runtime: Runtime, seed: int) -> None:
        """Fit the classifier and get ready.

        Args:
            learner: the source with a fresh classifier, on the runtime's device; it learns in
                place, all but its convolutions.
            target: on that device.
            config: `removal` and `search` count.
            runtime: device and precision.
            seed: of shuffling and augmentation.
        """
        search = asdict(config.search)
        own = SearchConfig(target=1 - config.removal, max_rounds=search.pop("rounds"), **search)
        super().__init__(learner.network, target.preprocess, target.train, target.val, own, runtime, seed)
        self.learner, self.removal = learner, config.removal
        self.weights = ScoredWeights(convolutions(learner))
        fit_classifier(learner, self.preprocess, self.train)
        learner.requires_grad_(False)
        learner.head.requires_grad_(True)
        self._get_ready(learner.head)

    def converged(self) -> bool:
        """Whether all rounds are done or, with `drift`, enough is removed."""
        enough = self.config.method == "drift" and bool(self.rounds) and 1 - self.rounds[-1].density >= self.removal
        return enough or len(self.rounds) >= self.config.max_rounds

    def masks(self) -> Masks:
        """The highest scores, exactly as many as the removal leaves."""
        return keep_highest(self.weights.split(self.weights.scores.detach()), self.removal)

    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """As in `SearchLoop`; the classifier is part of the network."""
        with self.runtime.autocast():
            scores = self.masked(images)
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        return loss.detach()

    def masked(self, images: Tensor) -> Tensor:
        """The student as it is now, its convolutions' weights masked."""
        return self.source_logits(images)

    def _depends_on(self) -> tuple[object, ...]:
        return (fingerprint(self.learner.state_dict()),)
