"""Networks that are chains of blocks, written in several ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """relu(x + f(x)), or what it is where it has another number of channels."""

    def __init__(self, channels: int, channels_out: int | None = None) -> None:
        super().__init__()
        out = channels_out or channels
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.norm = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.norm(self.conv(x)))


class Gate(nn.Module):
    """Squeeze and excitation: scales its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class PostNorm(nn.Module):
    """norm(x + f(x)), on tokens; takes a second argument, as attention with a mask does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, scale: float, *, mask: Tensor | None = None) -> Tensor:
        return self.norm(x + scale * self.linear(x))


class Tokens(nn.Module):
    """A transformer of such blocks in a list, called one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.ModuleList(PostNorm(16) for _ in range(3))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, 0.5, mask=None)
        return self.head(x.mean(1))


class Chain(nn.Sequential):
    """A stem, a gate, three residual blocks of which the second widens, a container of two more, a classifier."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.add_module("stem", nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
        self.add_module("gate", Gate(8))
        self.add_module("first", Residual(8))
        self.add_module("wider", Residual(8, 12))
        self.add_module("rest", nn.Sequential(Residual(12), Residual(12)))
        self.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        self.add_module("fc", nn.Linear(12, classes))


class Branches(nn.Module):
    """Modules that keep shapes, and beside which there is another way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.tail = nn.Conv2d(3, 8, 3, padding=1), Residual(8), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.branch(x)
        return self.fc(self.tail(x).mean((2, 3)))


class Shared(nn.Module):
    """One block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(3, 8, 3, padding=1), Residual(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.block(self.stem(x))).mean((2, 3)))


def drawn(network: nn.Module) -> nn.Module:
    """With weights, norms and statistics away from where layers begin; eval mode."""
    generator = torch.Generator().manual_seed(0)
    for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
        tensor.data = torch.rand(tensor.shape, generator=generator) * 0.5 + (0.1 if tensor.ndim < 2 else -0.25)
    return network.eval()
