"""What a search spends: the cost of every weight, or of every layout of the channels."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from seam.configs.search import SearchConfig
from seam.errors import SearchError
from seam.masks.groups import ChannelGroups
from seam.masks.layout_costs import LayoutCosts, macs_costs
from seam.masks.masks import maskable
from seam.masks.scores import Scores
from seam.masks.widths import units_of
from seam.search.problem import SearchProblem
from seam.search.time_costs import time_costs


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
    layers = [name for name in tensors if name not in scored.effective.others]
    free = [name for name in layers if tensors[name].ndim > 1 and not weight_macs.get(name)]
    if free:
        raise SearchError(
            f"cost macs: the multiply-adds of {free[0]} are not counted (attention, or an unused layer)", hint="cost"
        )
    return scored.effective.spread(weight_macs)


def layout_costs(problem: SearchProblem, groups: ChannelGroups, config: SearchConfig) -> LayoutCosts | None:
    """Cost of every layout, where the config's method chooses one; otherwise None.

    Raises:
        SearchError: multiply-adds or times are needed, and they are not there.
    """
    if config.method != "one_pass":
        return None
    network, units = problem.network, units_of(groups, config.channel_block)
    if config.cost == "weights":
        return macs_costs(network, groups, units, dict.fromkeys(maskable(network), 1.0))
    if problem.weight_macs is None:
        raise SearchError(f"cost {config.cost}: expected the multiply-adds of every weight, got none.")
    if config.cost == "macs":
        return macs_costs(network, groups, units, problem.weight_macs)
    if problem.times is None:
        raise SearchError("cost milliseconds: expected a time table of the source, got none.")
    return time_costs(problem.times, network, groups, units, problem.weight_macs)
