"""The mask search: gradient descent on a score a weight, for the weights a target problem needs.

Source: SeaM (ICSE'23) section 3; every difference is an option in `SearchConfig` or stated where it
is made.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.errors import SearchError
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.scores import Scores, masks_of
from seam.masks.weights import ScoredWeights
from seam.networks.head import TargetHead, fit_head
from seam.networks.norms import norm_tensors
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.choose import BestRound, BudgetCuts
from seam.search.dynamics import dynamics_of
from seam.search.images import SearchImages, search_images
from seam.search.loop import SearchLoop
from seam.search.objective import CrossEntropy, learning_norms
from seam.search.result import Round, SearchResult
from seam.search.stop import stop_of


@dataclass(frozen=True)
class SearchProblem:
    """A trained network and the target problem whose weights are searched for in it."""

    network: nn.Module
    """The source, eval mode; a search does not change it."""
    preprocess: nn.Module
    """uint8 NHWC images to the network's input."""
    train: LabelledImages
    """To learn from."""
    val: LabelledImages
    """To choose candidates on."""
    num_classes: int
    """Target labels."""
    source_val_accuracy: float
    """Of the unchanged source on `val`."""
    weight_macs: Mapping[str, float] | None = None
    """Parameter name -> multiply-adds of each of its weights for one image; needed for cost
    "macs"."""
    spare: LabelledImages | None = None
    """Further training images of label 1 ("other") of a binary problem; every round then draws as
    many of that label as `train` has, from both."""


class MaskSearch:
    """The search for one target problem: the parts it is put together from, and the way to its result."""

    def __init__(self, problem: SearchProblem, config: SearchConfig, runtime: Runtime, seed: int) -> None:
        """Put a search together, before its first round.

        Args:
            problem: what is searched, and for what. The weights stay as they are, and so do the
                normalisation layers unless `config.norm_layers` lets a copy of them learn.
            config: the search's numbers.
            runtime: device and precision.
            seed: of shuffling and augmentation.

        Raises:
            SearchError: the network has nothing to mask, or its output is not finite.
        """
        network = copy.deepcopy(problem.network).to(runtime.device).eval().requires_grad_(False)
        images = search_images(problem.train, problem.val, problem.preprocess, config, runtime, seed, problem.spare)
        scored = _scored(network, images, config)
        logits = _finite_logits(network, images)
        self.head_only = fit_head(logits, images.train.labels, problem.num_classes)
        """The head fitted with all weights kept."""
        of_val = self.head_only(predict(network, images.val, images.preprocess))
        self.head_only_val_accuracy = accuracy(of_val, images.val.labels)
        self.problem = problem
        costs = weight_costs(scored, config, problem.weight_macs)
        head = _first_head(self.head_only, config, seed)
        self.objective = CrossEntropy(network, scored, head, learning_norms(network, config), runtime)
        source_accuracy, floor = problem.source_val_accuracy, config.accuracy_floor
        self.floor = source_accuracy - config.accuracy_tolerance if floor is None else floor
        """The val accuracy that candidates must reach."""
        cuts = BudgetCuts(self.objective, images, config, costs, self.floor, problem.num_classes)
        best = BestRound(self.objective, self.floor) if config.method == "drift" else None
        self._choice = cuts if best is None else best
        self.loop = SearchLoop(
            self.objective,
            dynamics_of(config, self.objective, images, costs),
            stop_of(config),
            images,
            config,
            runtime,
            best,
            inputs=(source_accuracy, None if costs is None else fingerprint(costs)),
        )

    def run(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> SearchResult:
        """All rounds, and the choice; arguments and errors as of `SearchLoop.run`."""
        self.loop.run(checkpoint, on_round)
        started = time.perf_counter()
        choice = self._choice.choose(self.loop.rounds)
        return SearchResult(
            masks=masks_of(self.objective.scored),
            head=_frozen(self.objective.head),
            head_only=self.head_only.cpu(),
            norms=norm_tensors(self.objective.network),
            rounds=tuple(self.loop.rounds),
            frontier=choice.frontier,
            candidates=choice.candidates,
            best=choice.best,
            floor=self.floor,
            source_val_accuracy=self.problem.source_val_accuracy,
            head_only_val_accuracy=self.head_only_val_accuracy,
            seconds=self.loop.seconds + time.perf_counter() - started,
        )


def weight_costs(
    scored: Scores, config: SearchConfig, weight_macs: Mapping[str, float] | None
) -> Float[Tensor, " weights"] | None:
    """Cost of every weight; None: all the same.

    Raises:
        SearchError: the config wants multiply-adds, and they are not there or not of every weight.
    """
    if config.cost == "weights":
        return None
    if config.cost == "milliseconds":
        raise SearchError("cost milliseconds: expected weights or macs of a search by scores", hint="cost")
    if weight_macs is None:
        raise SearchError("cost macs: expected the multiply-adds of every weight, got none.")
    tensors = scored.effective.by_name
    free = [name for name, weight in tensors.items() if weight.ndim > 1 and not weight_macs.get(name)]
    if free:
        raise SearchError(
            f"cost macs: the multiply-adds of {free[0]} are not counted (attention, or an unused layer)", hint="cost"
        )
    return scored.effective.spread(weight_macs)


def _scored(network: nn.Module, images: SearchImages, config: SearchConfig) -> Scores:
    assert config.structure != "hybrid", "two searches, see seam.search.hybrid"
    if config.structure == "weights":
        return ScoredWeights(network)
    groups = channel_groups(network, images.preprocess(images.train.images[:2]))
    return ScoredChannels(network, groups, config.channel_block)


def _finite_logits(network: nn.Module, images: SearchImages) -> Float[Tensor, "images source_classes"]:
    """Of the unchanged source on the training images."""
    logits = predict(network, images.train, images.preprocess)
    if not torch.isfinite(logits).all():
        raise SearchError(
            "expected finite logits of the source on the training images, got NaN or infinite ones",
            hint="normalisation",
        )
    return logits


def _first_head(fitted: TargetHead, config: SearchConfig, seed: int) -> TargetHead:
    """The head a search starts from, drawn by `seed` or as fitted."""
    torch.manual_seed(seed)
    linear = fitted.linear
    head = TargetHead(linear.in_features, linear.out_features).to(linear.weight.device)
    if config.head_start == "fitted":
        head.load_state_dict(fitted.state_dict())
    return head


def _frozen(head: nn.Module) -> TargetHead:
    assert isinstance(head, TargetHead)
    return head.cpu().requires_grad_(False)
