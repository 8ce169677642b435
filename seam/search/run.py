"""A search from its problem to its result, whatever is searched: single weights, channels, or one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.masks.masks import apply_masks
from seam.networks.norms import put_norm_tensors
from seam.runtime import Runtime
from seam.search.hybrid import search_hybrid
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.result import Round, SearchResult


def search(
    problem: SearchProblem,
    config: SearchConfig,
    runtime: Runtime,
    seed: int,
    checkpoint: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
    training: FinetuneConfig | None = None,
) -> SearchResult:
    """Find the weights, channels or both that a problem needs.

    Args:
        problem: what is searched, and for what; with `weight_macs` and `times` where the cost needs
            them.
        config: the search's numbers.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        checkpoint: where an unfinished search is kept; a killed one continues to the same result.
        on_round: called after every new round.
        training: how layouts are trained that are tried; None: the first guess is taken.

    Raises:
        SearchError: the network has nothing to mask, its output or the loss is not finite.
        NoChannelsError: none of its channels can be removed, and only channels are searched.
    """
    training = training if config.layouts > 1 else None
    if config.structure == "hybrid":
        prepare = partial(_prepared, problem, runtime, seed)
        return search_hybrid(prepare, config, checkpoint, on_round, training)
    return MaskSearch(problem, config, runtime, seed).run(checkpoint, on_round, training)


def _prepared(
    problem: SearchProblem, runtime: Runtime, seed: int, config: SearchConfig, left: SearchResult | None
) -> MaskSearch:
    """A search in the problem's network or, given an earlier one's result, in what that left of it."""
    if left is not None:
        network = copy.deepcopy(problem.network)
        apply_masks(network, left.masks)
        put_norm_tensors(network, left.norms)
        problem = replace(problem, network=network)
    return MaskSearch(problem, config, runtime, seed)
