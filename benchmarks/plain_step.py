"""The floor of a search's step: a plain training step of the same network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.search import SearchConfig
from seam.networks.norms import use_batch_statistics
from seam.runtime import Runtime


def plain_step(
    network: nn.Module, head: nn.Module, runtime: Runtime, config: SearchConfig
) -> Callable[[Tensor, Tensor], None]:
    """A training step of a network with a head: all weights, SGD with momentum, the search's precision and mode.

    Args:
        network: of its own; it is trained.
        head: after it; a copy is trained.
        runtime: device and precision.
        config: of the search, which says whether BatchNorm takes the batch's statistics.
    """
    network = network.to(runtime.device).eval().requires_grad_(True)
    use_batch_statistics(network, config.norm_layers == "learn")
    head = copy.deepcopy(head).to(runtime.device).requires_grad_(True)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=1e-4, momentum=0.9)

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with runtime.autocast():
            logits = network(images)
        F.cross_entropy(head(logits.float()), labels).backward()
        optimizer.step()

    return step
