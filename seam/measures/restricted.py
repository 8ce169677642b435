"""What the original does on a target problem as it is, when it is told which classes to choose from."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def restricted_labels(
    logits: Float[Tensor, "batch source_classes"], target_indices: tuple[int, ...]
) -> Int[Tensor, " batch"]:
    """Target labels by the largest logit among the target classes alone (a problem of several classes)."""
    return logits[:, list(target_indices)].argmax(1)


def target_log_odds(logits: Float[Tensor, "batch source_classes"], target_index: int) -> Float[Tensor, " batch"]:
    """Log-odds of one class against all others: its logit minus the log-sum-exp of theirs."""
    others = [i for i in range(logits.shape[1]) if i != target_index]
    return logits[:, target_index] - logits[:, others].logsumexp(1)


def best_threshold(log_odds: Float[Tensor, " batch"], is_target: Bool[Tensor, " batch"]) -> float:
    """The threshold with the best accuracy of "target where log-odds >= threshold"; choose it on the validation images.

    Every threshold between two neighbouring scores does the same: its middle stands for the
    interval (beyond the outermost scores, a point 1 away). Of several best intervals the one whose
    middle is closest to 0 is taken.
    """
    scores, order = log_odds.double().sort()
    truth = is_target[order]
    cuts = torch.cat([scores[:1] - 1, (scores[1:] + scores[:-1]) / 2, scores[-1:] + 1])
    right_below = torch.cat([torch.zeros(1), (~truth).cumsum(0)])  # others among the i lowest scores
    right_above = truth.sum() - torch.cat([torch.zeros(1), truth.cumsum(0)])  # targets among the rest
    splits_ties = torch.cat([torch.tensor([False]), scores[1:] == scores[:-1], torch.tensor([False])])
    correct = (right_below + right_above).masked_fill(splits_ties, -1)
    best = cuts[correct == correct.max()]
    return float(best[best.abs().argmin()])
