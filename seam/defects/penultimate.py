"""The features of a network before its classifier, which the feature attack moves."""

from __future__ import annotations

import copy

from jaxtyping import Float
from torch import Tensor, nn

from seam.errors import SourceError
from seam.networks.activations import executed_layers, pooled

Images = Float[Tensor, "batch channels height width"]


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
        executed, _ = executed_layers(self.network, example_input)
        if not executed:
            raise SourceError(
                f"{type(network).__name__}: expected a convolution or linear layer to attack the features of, got none"
                " executed."
            )
        self.network.get_submodule(executed[-1]).register_forward_pre_hook(self._capture)

    def _capture(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured = pooled(module, inputs[0])

    def forward(self, x: Images) -> Float[Tensor, "batch features"]:
        """Run the network, return what its last layer received."""
        self.network(x)
        assert self._captured is not None
        features, self._captured = self._captured, None
        return features
