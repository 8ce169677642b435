"""The features of a network before its classifier, which the feature attack moves."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from seam.errors import SourceError

Images = Float[Tensor, "batch 3 height width"]


class PenultimateFeatures(nn.Module):
    """What the last convolution or linear layer of a network receives, averaged over positions where it has any.

    For a ResNet: the pooled features before the classifier, as published. The layer is found by one
    forward pass.
    """

    def __init__(self, network: nn.Module, example_input: Images) -> None:
        """Take a frozen copy of `network`; `example_input` is run through it once.

        Raises:
            SourceError: no convolution or linear layer is executed.
        """
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._captured: Tensor | None = None
        executed: list[nn.Module] = []
        layers = [m for m in self.network.modules() if isinstance(m, (_ConvNd, nn.Linear))]
        hooks = [m.register_forward_pre_hook(lambda module, inputs: executed.append(module)) for m in layers]
        with torch.no_grad():
            self.network(example_input)
        for hook in hooks:
            hook.remove()
        if not executed:
            raise SourceError(
                f"{type(network).__name__}: expected a convolution or linear layer to attack the features of, got none"
                " executed."
            )
        self._positions_last = isinstance(executed[-1], _ConvNd)
        executed[-1].register_forward_pre_hook(self._capture)

    def _capture(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured = inputs[0]

    def forward(self, x: Images) -> Float[Tensor, "batch features"]:
        """Run the network, return what its last layer received."""
        self.network(x)
        assert self._captured is not None
        features, self._captured = self._captured, None
        if features.ndim == 2:
            return features
        return features.flatten(2).mean(2) if self._positions_last else features.flatten(1, -2).mean(1)
