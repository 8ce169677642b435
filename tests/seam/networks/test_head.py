"""The head of a target problem, and the source seen through one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seam.networks.head import STRENGTHS, SourceOnProblem, fit_head


def test_fit_head_reaches_the_optimum_of_the_regularised_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    head = fit_head(logits, labels, 3, weight_decay=0.01).requires_grad_(True)
    loss = nn.functional.cross_entropy(head(logits), labels) + 0.005 * head.linear.weight.square().sum()
    loss.backward()
    assert head.linear.weight.grad is not None
    assert head.linear.weight.grad.abs().max() < 1e-4


def of_two_classes(seed: int, count: int = 200) -> tuple[Tensor, Tensor]:
    """The first of five logits says the class with a chance of 3 in 4; the others say nothing."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(count, 5, generator=generator)
    labels = torch.arange(count) % 2
    said = torch.where(torch.rand(count, generator=generator) < 0.75, labels, 1 - labels)
    logits[:, 0] = 3 * said
    return logits, labels


def test_val_chooses_the_strength() -> None:
    """The fit to train at each strength, measured on val, where the labels are sure, and where they are noise."""
    logits, labels = of_two_classes(0)
    sure, unsure = (logits, (logits[:, 0] > 0).long()), (logits, labels.flip(0))
    for of_val, wanted in ((sure, min(STRENGTHS)), (unsure, max(STRENGTHS))):
        losses = {
            w: float(nn.functional.cross_entropy(fit_head(logits, labels, 2, w)(of_val[0]), of_val[1]))
            for w in STRENGTHS
        }
        assert min(losses, key=lambda w: losses[w]) == wanted
        found, alone = fit_head(logits, labels, 2, val=of_val), fit_head(logits, labels, 2, wanted)
        torch.testing.assert_close(found.linear.weight, alone.linear.weight, rtol=1e-3, atol=1e-4)


def test_a_strength_in_between_and_the_same_head_twice() -> None:
    logits, labels = of_two_classes(0, 20)
    of_val = of_two_classes(1)
    losses = [
        float(nn.functional.cross_entropy(fit_head(logits, labels, 2, w)(of_val[0]), of_val[1])) for w in STRENGTHS
    ]
    best = losses.index(min(losses))
    assert 0 < best < len(STRENGTHS) - 1
    found = fit_head(logits, labels, 2, val=of_val)
    alone = fit_head(logits, labels, 2, STRENGTHS[best])
    torch.testing.assert_close(found.linear.weight, alone.linear.weight, rtol=1e-3, atol=1e-4)
    assert torch.equal(found.linear.weight, fit_head(logits, labels, 2, val=of_val).linear.weight)
    assert not found.linear.weight.requires_grad


def test_source_on_problem_follows_the_unrestricted_argmax() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [4.0, 1.0, 0.0], [0.0, 1.0, 9.0]])
    images = logits.view(3, 3, 1, 1)  # nn.Flatten() as network: the "logits" are the image's channels
    binary = SourceOnProblem(nn.Flatten(), (1,), 3)(images)
    assert binary.tolist() == [[5.0, 2.0], [1.0, 4.0], [1.0, 9.0]]
    pair = SourceOnProblem(nn.Flatten(), (0, 1), 3)(images)
    assert pair.argmax(1).tolist() == [1, 0, 2]  # the last is outside the problem: an error whatever its label
    assert torch.equal(SourceOnProblem(nn.Flatten(), (0, 1, 2), 3)(images), logits)
