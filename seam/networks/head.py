"""The target head: maps the source's logits to the labels of the target problem."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class TargetHead(nn.Module):
    """ReLU, then a linear layer, on the source's logits.

    Source: SeaM section 3.2 calls it a fully connected layer; the published code applies ReLU first
    (*same* as the code).
    """

    def __init__(self, num_source_classes: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_source_classes, num_classes)

    def forward(self, logits: Float[Tensor, "batch source_classes"]) -> Float[Tensor, "batch classes"]:
        """Logits over the target labels."""
        scores: Tensor = self.linear(F.relu(logits))
        return scores


class Reengineered(nn.Module):
    """A network over the source's classes, followed by a target head."""

    def __init__(self, network: nn.Module, head: TargetHead) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch classes"]:
        """Logits over the target labels."""
        scores: Tensor = self.head(self.network(x))
        return scores


class SourceOnProblem(nn.Module):
    """The unchanged source, seen through a target problem.

    Returns the logits of the target classes and, where the source has other classes, the largest of
    theirs as a last column: label 1 ("other") of a binary problem; an error of a superclass, as an
    image is never labelled so. Source: the published protocol for the original model's accuracy
    (unrestricted arg-max), *same*.
    """

    def __init__(self, network: nn.Module, target_indices: tuple[int, ...], num_source_classes: int) -> None:
        super().__init__()
        self.network = network
        self.target = list(target_indices)
        self.others = [i for i in range(num_source_classes) if i not in target_indices]

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch columns"]:
        """Logits of the target classes, then the largest other one."""
        logits: Tensor = self.network(x)
        if not self.others:
            return logits
        return torch.cat([logits[:, self.target], logits[:, self.others].amax(1, keepdim=True)], dim=1)


def fit_head(
    logits: Float[Tensor, "images source_classes"],
    labels: Int[Tensor, " images"],
    num_classes: int,
    weight_decay: float = 1e-3,
) -> TargetHead:
    """The head that fits fixed logits best: multinomial logistic regression by L-BFGS from zero, deterministic.

    Args:
        logits: of the source with all weights kept, float32.
        labels: target labels.
        num_classes: number of target labels.
        weight_decay: L2 penalty of the head's weights, which keeps the optimum finite on separable
            data.
    """
    head = TargetHead(logits.shape[1], num_classes).to(logits.device, torch.float64)
    features = F.relu(logits).double()
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=300, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head.linear(features), labels) + 0.5 * weight_decay * head.linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.float().requires_grad_(False)
