"""How many candidates for modules do on images, several in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.masks.gate import Gated
from seam.runtime import Runtime


@dataclass(frozen=True)
class Judged:
    """What masks are judged on."""

    gated: Gated
    data: LabelledImages
    preprocess: nn.Module
    modules_at_once: int
    runtime: Runtime

    @torch.no_grad()
    def scores(self, kept: Bool[Tensor, "candidates groups"], of: Tensor) -> Float[Tensor, "candidates images"]:
        """Of each candidate the network's output of its class, number `of`, on the CPU."""
        device = self.data.labels.device
        rows = []
        for gates, own in zip(kept.split(self.modules_at_once), of.split(self.modules_at_once), strict=True):
            columns = []
            for images in self.data.images.split(128):
                given = self.preprocess(images)
                with self.runtime.autocast():
                    logits = self.gated(given.repeat(len(gates), *[1] * (given.ndim - 1)), gates.float().to(device))
                columns.append(logits.float().cpu()[torch.arange(len(gates)), :, own])
            rows.append(torch.cat(columns, 1))
        return torch.cat(rows)

    def accuracy(self, kept: Bool[Tensor, "classes groups"]) -> float:
        """Of one module a class, all together."""
        scores = self.scores(kept, torch.arange(len(kept)))
        return float((scores.argmax(0) == self.data.labels.cpu()).double().mean())
