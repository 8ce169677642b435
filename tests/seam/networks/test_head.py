"""The head of a target problem, and the source seen through one."""

from __future__ import annotations

import torch
from torch import nn

from seam.networks.head import SourceOnProblem, fit_head


def test_fit_head_reaches_the_optimum_of_the_regularised_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    head = fit_head(logits, labels, 3, weight_decay=0.01).requires_grad_(True)
    loss = nn.functional.cross_entropy(head(logits), labels) + 0.005 * head.linear.weight.square().sum()
    loss.backward()
    assert head.linear.weight.grad is not None
    assert head.linear.weight.grad.abs().max() < 1e-4


def test_source_on_problem_follows_the_unrestricted_argmax() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [4.0, 1.0, 0.0], [0.0, 1.0, 9.0]])
    images = logits.view(3, 3, 1, 1)  # nn.Flatten() as network: the "logits" are the image's channels
    binary = SourceOnProblem(nn.Flatten(), (1,), 3)(images)
    assert binary.tolist() == [[5.0, 2.0], [1.0, 4.0], [1.0, 9.0]]
    pair = SourceOnProblem(nn.Flatten(), (0, 1), 3)(images)
    assert pair.argmax(1).tolist() == [1, 0, 2]  # the last is outside the problem: an error whatever its label
    assert torch.equal(SourceOnProblem(nn.Flatten(), (0, 1, 2), 3)(images), logits)
