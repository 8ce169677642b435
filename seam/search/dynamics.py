"""How scores move during a mask search.

Along a falling budget (ours), or by the drift of the cost term (as published). Of several problems'
scores, stacked along a first dimension, each problem's move as they would alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from seam.checkpoint import optimizer_tensors, restore_optimizer
from seam.configs.search import SearchConfig
from seam.masks.scores import backward
from seam.search.images import Epochs
from seam.search.objective import Objective
from seam.search.saliency import fisher_saliency

_MASK_STEPS = 8
"""Steps between two choices of what the budget pays for; it moves little in so many."""
_MOMENTUM, _DECAY = 0.9, 0.99


@runtime_checkable
class Dynamics(Protocol):
    """How scores become a mask, and how they and what learns along move."""

    def start(self) -> None:
        """Get the scores ready, before the first step of a search."""
        ...

    def before_step(self, step: int) -> None:
        """Set what the mask of a step's forward pass depends on."""
        ...

    def after_backward(self, step: int) -> None:
        """Move everything that learns, whose gradients are there, and clear these."""
        ...

    def end_round(self, steps: int) -> None:
        """Set what the mask of a round depends on that ended after `steps` steps in all."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint, beside the scores; the rest follows from the step's number."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave; the scores have been put back."""
        ...


def dynamics_of(config: SearchConfig, objective: Objective, images: Epochs, costs: Tensor | None = None) -> Dynamics:
    """The dynamics a config names.

    Args:
        config: the search's numbers.
        objective: what is descended.
        images: of the search.
        costs: of every weight; None: all the same.
    """
    if config.method == "drift":
        return Drift(objective, config, costs, images.steps)
    steps = images.steps * config.max_rounds
    return Budget(objective, config, costs, partial(fisher_saliency, objective, images), steps)


class Budget:
    """The mask keeps the highest scores, as many as a budget pays for that falls along a cubic to the target.

    Scores start as ranks of the weights' saliency, in [0, 1], and descend the gradient of the
    cross-entropy with momentum, divided by the root of its own mean square plus that of all scores.
    So a step is at most as long as Adam's, and, unlike in Adam, a weight that hardly matters hardly
    moves: its gradient is mostly noise. When the target is reached, the rates decay to 0 along a
    cosine, so that the mask settles.

    Source: gradual schedule, Zhu and Gupta 2017; movement of scores, Sanh et al. 2020. *Differs*
    from SeaM, see `Drift`.
    """

    def __init__(
        self,
        objective: Objective,
        config: SearchConfig,
        costs: Tensor | None,
        saliency: Callable[[], Tensor],
        steps: int,
    ) -> None:
        """Take what moves.

        Args:
            objective: whose scores move, and what learns along with them.
            config: the search's numbers.
            costs: of every weight; None: all the same.
            saliency: of what each score is for, asked for once, by `start`; only its order counts.
            steps: of the whole search.
        """
        self._scored, self._config, self._costs = objective.scored, config, costs
        self._saliency, self._steps = saliency, steps
        self._kept = 1.0
        self._momentum = torch.zeros_like(self._scored.scores)
        self._square = torch.zeros_like(self._scored.scores)
        fused = True if self._scored.scores.is_cuda else None
        self._optimizer = torch.optim.Adam(_groups(objective, config), fused=fused)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    def start(self) -> None:
        """Rank the weights; before the first step of a search."""
        scores, saliency = self._scored.scores, self._saliency()
        costs = self._scored.score_costs(self._costs)
        worth = saliency if costs is None else saliency / (costs + 1e-3 * costs.mean(-1, keepdim=True))
        scores.copy_(worth.argsort(stable=True).argsort().float() / scores.shape[-1])

    def before_step(self, step: int) -> None:
        """Set what the step's forward pass depends on."""
        if step % _MASK_STEPS == 0:
            self._keep(self.budget(step))

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Move scores, head and normalisation layers, whose gradients are there."""
        gradient = self._scored.signal()
        self._momentum.lerp_(gradient, 1 - _MOMENTUM)
        self._square.mul_(_DECAY).addcmul_(gradient, gradient, value=1 - _DECAY)
        n = step + 1
        size = self._config.lr_scores * self._decay(step) / (1 - _MOMENTUM**n) * math.sqrt(1 - _DECAY**n)
        mean_square = self._square.mean(-1, keepdim=True)
        scale = torch.add(self._square, mean_square.add_(1e-30), out=gradient).sqrt_()
        self._scored.scores.addcdiv_(self._momentum, scale, value=-size)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._decay(step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def end_round(self, steps: int) -> None:
        """Make the mask of the round that ended after `steps` steps in all."""
        self._keep(self.budget(steps))

    def _keep(self, budget: float) -> None:
        self._kept = budget
        self._scored.keep(budget, self._costs)

    def budget(self, step: int) -> float:
        """Share of the cost kept at a step."""
        left = 1 - min(1.0, step / (self._config.ramp * self._steps))
        return self._config.target + (1 - self._config.target) * left**3

    def _decay(self, step: int) -> float:
        share, ramp = step / self._steps, self._config.ramp
        return 1.0 if share <= ramp else 0.5 * (1 + math.cos(math.pi * (share - ramp) / (1 - ramp)))

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint, beside the scores; the rest follows from the step's number."""
        kept = torch.tensor([self._kept], dtype=torch.float64)  # a round need not begin with a new mask
        return {
            "momentum": self._momentum,
            "square": self._square,
            "kept": kept,
            **optimizer_tensors(self._optimizer, "adam"),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave."""
        self._momentum.copy_(tensors["momentum"])
        self._square.copy_(tensors["square"])
        self._keep(float(tensors["kept"]))
        restore_optimizer(self._optimizer, tensors, "adam")


class Drift:
    """The cost is a term of the objective, whose gradient is the same at every step; Adam moves scores that start at 1.

    Source: SeaM section 3 and its published code, *same* where the options say so: in rounds 0, n,
    2n, ... of `head_only_every` = n only the head (and what learns along with it) learns, with an
    Adam of its own.
    """

    def __init__(self, objective: Objective, config: SearchConfig, costs: Tensor | None, steps_per_round: int) -> None:
        """Take what moves.

        Args:
            objective: whose scores move, and what learns along with them.
            config: the search's numbers.
            costs: of every weight; None: all the same.
            steps_per_round: of the search.
        """
        self._scored, self._config, self._steps_per_round = objective.scored, config, steps_per_round
        total = len(self._scored.effective) if costs is None else costs.sum(-1, keepdim=True)
        of_scores = self._scored.score_costs(costs)
        self._drift = config.alpha * ((1 if of_scores is None else of_scores) / total)
        scores = {"params": [self._scored.scores], "lr": config.lr_scores}
        self._joint = torch.optim.Adam([scores, *_groups(objective, config)], eps=config.adam_eps, fused=True)
        self._head_only = torch.optim.Adam(_groups(objective, config), eps=config.adam_eps, fused=True)

    def start(self) -> None:
        """Nothing: the scores are 1."""

    def before_step(self, step: int) -> None:
        """Keep what has a score above 0."""
        self._scored.keep_above(0.0)

    def after_backward(self, step: int) -> None:
        """Move scores and head, whose gradients are there."""
        every = self._config.head_only_every
        if every and (step // self._steps_per_round) % every == 0:
            self._head_only.step()
        else:
            backward(self._scored, self._drift)
            self._joint.step()
        self._head_only.zero_grad(set_to_none=True)

    def end_round(self, steps: int) -> None:
        """Keep what has a score above 0."""
        self._scored.keep_above(0.0)

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint, beside the scores; the rest follows from the step's number."""
        return {**optimizer_tensors(self._joint, "joint"), **optimizer_tensors(self._head_only, "head_only_adam")}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave."""
        self._scored.keep_above(0.0)
        restore_optimizer(self._joint, tensors, "joint")
        restore_optimizer(self._head_only, tensors, "head_only_adam")


def _groups(objective: Objective, config: SearchConfig) -> list[dict[str, Any]]:
    """What learns beside the scores, with its rates."""
    groups: list[dict[str, Any]] = [{"params": list(objective.head.parameters()), "lr": config.lr_head}]
    return [*groups, {"params": list(objective.norms), "lr": config.lr_norms}] if objective.norms else groups
