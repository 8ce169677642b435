"""Channels first, then single weights of what is left.

Fewer multiply-adds for every engine, and zeros for those that skip them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.errors import NoChannelsError, SuspectResultWarning
from seam.masks.masks import Masks
from seam.search.mask_search import MaskSearch
from seam.search.result import Round, SearchResult


def search_hybrid(
    prepare: Callable[[SearchConfig, SearchResult | None], MaskSearch],
    config: SearchConfig,
    checkpoint: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
    training: FinetuneConfig | None = None,
) -> SearchResult:
    """Search for channels down to `config.channels_target`, then for weights down to `config.target`.

    Each takes half of the rounds, or the channels one pass and the weights the rest.

    Args:
        prepare: makes the search of these numbers in the source or, given the result of the first
            search, in what that left of it.
        config: `structure` is "hybrid".
        checkpoint: of the second search; the first one's is "channels-" + its name. A killed search
            continues to the same result.
        on_round: called after every new round of both.
        training: as of `MaskSearch.run`.

    Returns:
        The second search's result with the masks of both; rounds and seconds are of both together.
        Where the channels cannot be searched, a search for weights alone, with a
        SuspectResultWarning.
    """
    half = 1 if config.method == "one_pass" else config.max_rounds // 2
    channels = replace(config, structure="channels", target=config.channels_target, max_rounds=half, accuracy_floor=0.0)
    cost = "macs" if config.cost == "milliseconds" else config.cost
    weights = replace(config, structure="weights", method="budget", cost=cost, max_rounds=config.max_rounds - half)
    try:
        search = prepare(channels, None)
    except NoChannelsError as e:
        warnings.warn(f"{e.what}; single weights were searched instead.", SuspectResultWarning, stacklevel=2)
        return prepare(replace(weights, max_rounds=config.max_rounds), None).run(checkpoint, on_round)
    first = search.run(checkpoint and checkpoint.with_name(f"channels-{checkpoint.name}"), on_round, training)

    def shifted(found: Round) -> Round:
        return replace(found, round=found.round + half)

    def both(masks: Masks) -> dict[str, Tensor]:
        return {name: mask & masks[name] if name in masks else mask for name, mask in first.masks.items()}

    second = prepare(weights, first).run(checkpoint, on_round and (lambda found: on_round(shifted(found))))
    return replace(
        second,
        masks=both(second.masks),
        head_only=first.head_only,
        head_only_val_accuracy=first.head_only_val_accuracy,
        rounds=(*first.rounds, *map(shifted, second.rounds)),
        frontier=tuple(replace(point, round=point.round + half) for point in second.frontier),
        candidates=tuple(map(both, second.candidates)),
        best=replace(second.best, round=second.best.round + half),
        seconds=first.seconds + second.seconds,
        tried=first.tried,
        chosen=first.chosen,
    )
