"""How scores move during a mask search.

Along a falling budget (ours), or by the drift of the cost term (as published).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seam.checkpoint import optimizer_tensors, restore_optimizer
from seam.configs.search import SearchConfig
from seam.masks.weights import ScoredWeights

Parameters = Sequence[Tensor]

_MASK_STEPS = 8
"""Steps between two choices of what the budget pays for; it moves little in so many."""
_MOMENTUM, _DECAY = 0.9, 0.99


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
        weights: ScoredWeights,
        head: Parameters,
        norms: Parameters,
        config: SearchConfig,
        costs: Tensor | None,
        saliency: Callable[[], Tensor],
        steps: int,
    ) -> None:
        """Take what moves.

        Args:
            weights: whose scores move.
            head: parameters of the head, which learns along.
            norms: parameters of the normalisation layers that learn along; may be empty.
            config: the search's numbers.
            costs: of every weight; None: all the same.
            saliency: of what each score is for, asked for once, by `start`; only its order counts.
            steps: of the whole search.
        """
        self._weights, self._config, self._costs, self._saliency, self._steps = weights, config, costs, saliency, steps
        self._kept = 1.0
        self._momentum = torch.zeros_like(weights.scores)
        self._square = torch.zeros_like(weights.scores)
        self._optimizer = torch.optim.Adam(_groups(head, norms, config))
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    def start(self) -> None:
        """Rank the weights; before the first step of a search."""
        saliency, costs = self._saliency(), self._weights.score_costs(self._costs)
        worth = saliency if costs is None else saliency / (costs + 1e-3 * costs.mean())
        self._weights.scores.copy_(worth.argsort(stable=True).argsort().float() / self._weights.num_scores)

    def before_step(self, step: int) -> None:
        """Set what the step's forward pass depends on."""
        if step % _MASK_STEPS == 0:
            self._keep(self.budget(step))

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Move scores, head and normalisation layers, whose gradients are there."""
        self._weights.backward(0.0)
        gradient = self._weights.scores.grad
        assert gradient is not None
        self._momentum.lerp_(gradient, 1 - _MOMENTUM)
        self._square.mul_(_DECAY).addcmul_(gradient, gradient, value=1 - _DECAY)
        n = step + 1
        size = self._config.lr_scores * self._decay(step) / (1 - _MOMENTUM**n) * math.sqrt(1 - _DECAY**n)
        scale = torch.add(self._square, self._square.mean() + 1e-30, out=gradient).sqrt_()
        self._weights.scores.addcdiv_(self._momentum, scale, value=-size)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._decay(step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def end_round(self, steps: int) -> None:
        """Make the mask of the round that ended after `steps` steps in all."""
        self._keep(self.budget(steps))

    def _keep(self, budget: float) -> None:
        self._kept = budget
        self._weights.keep(budget, self._costs)

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

    def __init__(
        self,
        weights: ScoredWeights,
        head: Parameters,
        norms: Parameters,
        config: SearchConfig,
        costs: Tensor | None,
        steps_per_round: int,
    ) -> None:
        """Start the scores at 1; arguments as for `Budget`."""
        self._weights, self._config, self._steps_per_round = weights, config, steps_per_round
        share = 1 / len(weights) if costs is None else costs / costs.sum()
        self._drift = config.alpha * share
        along = _groups(head, norms, config)
        self._joint = torch.optim.Adam(
            [{"params": [weights.scores], "lr": config.lr_scores}, *along], eps=config.adam_eps, fused=True
        )
        self._head_only = torch.optim.Adam(_groups(head, norms, config), eps=config.adam_eps, fused=True)

    def start(self) -> None:
        """Nothing: the scores are 1."""

    def before_step(self, step: int) -> None:
        """Nothing: the threshold stays 0."""

    def after_backward(self, step: int) -> None:
        """Move scores and head, whose gradients are there."""
        every = self._config.head_only_every
        if every and (step // self._steps_per_round) % every == 0:
            self._head_only.step()
        else:
            self._weights.backward(self._drift)
            self._joint.step()
        self._head_only.zero_grad(set_to_none=True)

    def end_round(self, steps: int) -> None:
        """Nothing: the mask is what the scores say."""

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint, beside the scores; the rest follows from the step's number."""
        return {**optimizer_tensors(self._joint, "joint"), **optimizer_tensors(self._head_only, "head_only_adam")}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave."""
        restore_optimizer(self._joint, tensors, "joint")
        restore_optimizer(self._head_only, tensors, "head_only_adam")


Dynamics = Budget | Drift


def _groups(head: Parameters, norms: Parameters, config: SearchConfig) -> list[dict[str, Any]]:
    """What learns beside the scores, with its rates."""
    groups: list[dict[str, Any]] = [{"params": list(head), "lr": config.lr_head}]
    return [*groups, {"params": list(norms), "lr": config.lr_norms}] if norms else groups


def fisher_saliency(signals: Iterable[Float[Tensor, " scores"]]) -> Float[Tensor, " scores"]:
    """Mean square over batches of the gradient with respect to the mask.

    How much the loss feels each weight, or each channel.

    Source: the diagonal of the empirical Fisher information, as in Theis et al. 2018, with batch
    gradients.
    """
    total, count = torch.zeros(()), 0
    for signal in signals:
        total = signal.square() if count == 0 else total.add_(signal.square())
        count += 1
    return total / max(count, 1)
