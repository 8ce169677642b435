"""A search on a network small enough to know what it must find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from tests.seam.left_or_right import left_or_right

CONFIG = SearchConfig(target=0.15, batch_size=16, max_rounds=40, augment="none")
DRIFT = SearchConfig(method="drift", batch_size=16, max_rounds=60, patience=60, augment="none", lr_scores=0.1)
RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
WEIGHTS = 8 * 27 + 48 + 3


class Needle(nn.Module):
    """Reads the brightness of the left and right half; every other weight is noise that cancels out or is useless."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).relu()
        scores: Tensor = self.fc(torch.cat([x[..., :4].mean((2, 3)), x[..., 4:].mean((2, 3))], dim=1))
        return scores


def needle() -> SearchProblem:
    """The same at every call."""
    torch.manual_seed(0)
    preprocess = Preprocess((0.3,) * 3, (0.3,) * 3)
    return SearchProblem(Needle().eval(), preprocess, left_or_right(0), left_or_right(1), 2, source_val_accuracy=0.9)


def search(config: SearchConfig = CONFIG, seed: int = 3, **changes: Any) -> MaskSearch:
    """A search for the needle; `changes` are to its problem."""
    return MaskSearch(replace(needle(), **changes), config, RUNTIME, seed)
