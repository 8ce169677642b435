"""The mask search: gradient descent on a score a weight, for the weights a target problem needs.

Source: SeaM (ICSE'23) section 3; every difference is an option in `SearchConfig` or stated where it
is made.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.errors import SearchError
from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.scores import masks_of
from seam.masks.weights import ScoredWeights
from seam.masks.widths import Layout
from seam.networks.head import Reengineered, TargetHead, fit_head
from seam.networks.norms import norm_tensors
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.choose import BestRound, BudgetCuts
from seam.search.costs import layout_costs, weight_costs
from seam.search.dynamics import dynamics_of
from seam.search.images import SearchImages, search_images
from seam.search.loop import SearchLoop
from seam.search.objective import CrossEntropy, learning_norms
from seam.search.one_pass import OnePass
from seam.search.portfolio import best_of, distinct, train_briefly
from seam.search.problem import SearchProblem
from seam.search.result import Point, Round, SearchResult, Tried
from seam.search.stop import stop_of


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
        groups = _channel_groups(network, images, config)
        scored = ScoredWeights(network) if groups is None else ScoredChannels(network, groups, config.channel_block)
        logits = _finite_logits(network, images)
        self.head_only = fit_head(logits, images.train.labels, problem.num_classes)
        """The head fitted with all weights kept."""
        of_val = self.head_only(predict(network, images.val, images.preprocess))
        self.head_only_val_accuracy = accuracy(of_val, images.val.labels)
        self.problem = problem
        head = _first_head(self.head_only, config, seed)
        self.objective = CrossEntropy(network, scored, head, learning_norms(network, config), runtime)
        source_accuracy, floor = problem.source_val_accuracy, config.accuracy_floor
        self.floor = source_accuracy - config.accuracy_tolerance if floor is None else floor
        """The val accuracy that candidates must reach."""
        layouts = None if groups is None else layout_costs(problem, groups, config)
        self.one_pass = None if layouts is None else OnePass(self.objective, layouts, config.target)
        """Where that is the method."""
        self.costs = costs = None if self.one_pass else weight_costs(scored, config, problem.weight_macs)
        """Of every weight; None: all the same."""
        keep = self.one_pass.keep if self.one_pass else partial(scored.keep, costs=costs)
        self._cuts = BudgetCuts(self.objective, images, config, keep, self.floor, problem.num_classes)
        best = BestRound(self.objective, self.floor) if config.method == "drift" else None
        self._choice = self._cuts if best is None else best
        self.loop = SearchLoop(
            self.objective,
            self.one_pass or dynamics_of(config, self.objective, images, costs),
            stop_of(config),
            images,
            config,
            runtime,
            best,
            inputs=(source_accuracy, None if costs is None else fingerprint(costs), layouts and layouts.fingerprint()),
        )

    def run(
        self,
        checkpoint: Path | None = None,
        on_round: Callable[[Round], None] | None = None,
        training: FinetuneConfig | None = None,
    ) -> SearchResult:
        """All rounds, and the choice; arguments and errors as of `SearchLoop.run`.

        Where `config.layouts` is above 1, as many layouts are trained briefly, with the numbers of
        `training`, which follows the search; checkpoints of these lie beside that of the search.
        """
        self.loop.run(checkpoint, on_round)
        started = time.perf_counter()
        tried: list[Tried] = []
        if self.one_pass is not None and training is not None:
            proposed = distinct(self.one_pass.proposals(self.loop.config.target), self.loop.config.layouts)
            tried = self.try_layouts(proposed, training, checkpoint)
            self.one_pass.rule = tried[0].rules[0]
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
            tried=tuple(tried),
            chosen=None if self.one_pass is None else self.one_pass.chosen,
        )

    def try_layouts(
        self, proposed: Mapping[tuple[str, ...], Layout], training: FinetuneConfig, checkpoint: Path | None = None
    ) -> list[Tried]:
        """Train layouts for a short while, after the rounds.

        Args:
            proposed: rules -> layout that they propose.
            training: numbers of the fine-tuning that follows the search.
            checkpoint: of the search; those of the trainings lie beside it.

        Returns:
            The best on val first; a single one is not trained.
        """
        one_pass, loop, head = self.one_pass, self.loop, self.objective.head
        assert one_pass is not None
        assert isinstance(head, TargetHead)
        source = self.problem.network.to(loop.runtime.device)

        def try_out(layout: Layout) -> tuple[float, float]:
            self.put_layout(layout)
            masks = masks_of(self.objective.scored)
            path = checkpoint and checkpoint.with_name(f"{fingerprint(masks)[:16]}-{checkpoint.name}")
            model, epochs = Reengineered(self.objective.network, head), loop.config.trial_epochs
            return train_briefly(model, masks, loop.images, source, training, epochs, loop.runtime, path)

        return best_of(proposed, try_out)

    def put_layout(self, layout: Layout) -> Point:
        """Make the model that of a layout: mask, statistics of the normalisation layers, head; after the rounds."""
        one_pass, images = self.one_pass, self.loop.images
        assert one_pass is not None
        return self._cuts.cut(partial(one_pass.put, layout), images.train, len(self.loop.rounds) - 1)[0]


def _channel_groups(network: nn.Module, images: SearchImages, config: SearchConfig) -> ChannelGroups | None:
    """None where single weights are searched."""
    assert config.structure != "hybrid", "two searches, see seam.search.hybrid"
    if config.structure == "weights":
        return None
    return channel_groups(network, images.preprocess(images.train.images[:2]))


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
