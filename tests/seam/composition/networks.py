"""Networks whose channels go together in different ways, untrained but with statistics of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.masks.groups import ChannelGroups, channel_groups
from tests.seam.door.stripes import Net

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(5))
OUTPUTS = 4


class Residual(nn.Module):
    """A stem, a residual block, a convolution that halves the side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.a, self.b = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 12, 1)
        self.down, self.last = nn.Conv2d(12, 20, 3, stride=2, padding=1), nn.Linear(20, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.b(F.relu(self.a(x))))
        logits: Tensor = self.last(F.relu(self.down(x)).mean((2, 3)))
        return logits


class Concatenating(nn.Module):
    """Two branches beside each other, one of them into the next layer as well, activations in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.one, self.three = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 10, 3, padding=1)
        self.join, self.act = nn.Conv2d(16, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True)
        self.last = nn.Linear(12 * 16, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = torch.cat([F.relu(self.one(x), inplace=True), self.three(x).relu_()], 1)
        x = F.max_pool2d(self.act(self.join(x)), 2)
        logits: Tensor = self.last(x.flatten(1))
        return logits


class Squeezing(nn.Module):
    """Depthwise convolutions, and channels weighed by what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.norm = nn.BatchNorm2d(12)
        self.down, self.up = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.point, self.last = nn.Conv2d(12, 20, 1), nn.Linear(20, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.depthwise(self.stem(x))))
        x = x * self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        logits: Tensor = self.last(F.relu(self.point(x)).mean((2, 3)))
        return logits


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, OUTPUTS)
    )


KINDS: dict[str, Callable[[], nn.Module]] = {
    "residual": Net,
    "concatenating": Concatenating,
    "squeezing": Squeezing,
    "dense": dense,
}


def seeded(kind: str, seed: int = 0) -> nn.Module:
    """The same at every call; BatchNorm has shifts and scales that matter."""
    torch.manual_seed(seed)
    network = KINDS[kind]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values, 0.5, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval().requires_grad_(False)


def groups_and_some(network: nn.Module, seed: int = 0, share: float = 0.6) -> tuple[ChannelGroups, Tensor]:
    """Its groups, and some of them: every layer keeps one."""
    groups = channel_groups(network, IMAGES)
    kept = torch.rand(groups.number, generator=torch.Generator().manual_seed(seed)) < share
    for ids in groups.outputs.values():
        free = ids[ids >= 0]
        if len(free):
            kept[free[0]] = True
    return groups, kept
