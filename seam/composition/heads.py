"""From a network's outputs to the score of one class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seam.errors import MaskError

HIDDEN = 10
"""Units between the two layers. Source: GradSplitter's published code, *same*."""


class ReadOut(nn.Module):
    """The network's own output of the class."""

    def __init__(self, outputs: int, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch 1"]:
        """Its score."""
        return logits.narrow(1, self.index, 1)


class LinearHead(nn.Module):
    """A linear layer on the outputs; at first the output of the class alone."""

    def __init__(self, outputs: int, index: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # what is drawn is replaced
            self.linear = nn.Linear(outputs, 1)
            self.linear.weight.zero_()[0, index] = 1
            self.linear.bias.zero_()

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch 1"]:
        """The class's score."""
        score: Tensor = self.linear(logits)
        return score


class TwoLayerHead(nn.Module):
    """ReLU, ten units, ReLU, one unit.

    Source: GradSplitter's published code, *same* but for the sigmoid behind it.
    """

    def __init__(self, outputs: int, index: int) -> None:
        super().__init__()
        self.hidden, self.linear = nn.Linear(outputs, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch 1"]:
        """The class's score."""
        score: Tensor = self.linear(F.relu(self.hidden(F.relu(logits))))
        return score


class ContrastHead(nn.Module):
    """ReLU, then how much more a linear layer says "of the class" than "of others".

    Source: SeaM's head of a binary problem, as one score.
    """

    def __init__(self, outputs: int, index: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # what is drawn is replaced
            self.linear = nn.Linear(outputs, 2)

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch 1"]:
        """The class's score."""
        both: Tensor = self.linear(F.relu(logits))
        return both.narrow(1, 0, 1) - both.narrow(1, 1, 1)


HEADS: dict[str, type[ReadOut | LinearHead | TwoLayerHead | ContrastHead]] = {
    "read_out": ReadOut,
    "linear": LinearHead,
    "two_layers": TwoLayerHead,
    "contrast": ContrastHead,
}


def make_head(kind: str, outputs: int, index: int) -> nn.Module:
    """A head for the output `index` of so many.

    Raises:
        MaskError: there is no such kind, or no such output.
    """
    if kind not in HEADS:
        raise MaskError(f"expected a head of one of the kinds {', '.join(HEADS)}, got '{kind}'.")
    if not 0 <= index < outputs:
        raise MaskError(f"expected a class among the network's {outputs} outputs, got number {index}.")
    return HEADS[kind](outputs, index)


def kind_of(head: nn.Module) -> str:
    """Its name in `HEADS`."""
    return next(name for name, kind in HEADS.items() if type(head) is kind)


class Heads(nn.Module):
    """The heads of all modules of a network, computed side by side: head number i is for output number i."""

    def __init__(self, kind: str, outputs: int) -> None:
        """Draw them from torch's global generator."""
        super().__init__()
        self.kind, self.outputs = kind, outputs
        own = [make_head(kind, outputs, i) for i in range(outputs)]
        names = [name for name, _ in own[0].named_parameters()]
        self.stacked = nn.ParameterDict(
            {n.replace(".", "_"): nn.Parameter(torch.stack([h.get_parameter(n).detach() for h in own])) for n in names}
        )

    def forward(
        self, logits: Float[Tensor, "some batch classes"], modules: Int[Tensor, " some"]
    ) -> Float[Tensor, "some batch"]:
        """Scores of some modules."""
        p = {name: value[modules] for name, value in self.stacked.items()}
        if self.kind == "two_layers":
            logits = F.relu(torch.baddbmm(p["hidden_bias"][:, None], F.relu(logits), p["hidden_weight"].mT))
        return torch.baddbmm(p["linear_bias"][:, None], logits, p["linear_weight"].mT).squeeze(2)

    def head(self, index: int, shift: float = 0.0) -> nn.Module:
        """One of them, on the CPU and frozen, with `shift` added to its score."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            head = make_head(self.kind, self.outputs, index)
            for name, parameter in head.named_parameters():
                parameter.copy_(self.stacked[name.replace(".", "_")][index])
            head.get_parameter("linear.bias").add_(shift)
        return head.requires_grad_(False)
