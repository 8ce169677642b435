"""The weights of a network under a mask, all in one flat buffer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from seam.masks.masks import maskable


class EffectiveWeights:
    """Frozen weights, the same under a mask (weight * mask), and the gradient of a loss with respect to these.

    Each lies in one flat buffer, so that a step costs a few elementwise passes whatever the number
    of tensors. Those of several networks lie along a first dimension, the stack, see `stacked`.
    """

    def __init__(self, network: nn.Module, others: Iterable[str] = ()) -> None:
        """Take the maskable weights of `network`, on its device, all kept; the network itself is not changed.

        Args:
            network: whose weights they are.
            others: names of further parameters of it.
        """
        parameters = {**maskable(network), **{name: network.get_parameter(name) for name in others}}
        self.others = frozenset(others)
        self._shapes = {name: p.shape for name, p in parameters.items()}
        self._take(torch.cat([p.detach().reshape(-1) for p in parameters.values()]))

    @classmethod
    def stacked(cls, members: Sequence[EffectiveWeights]) -> EffectiveWeights:
        """Those of several copies of one network, in tensors with a first dimension for the copies."""
        made = copy.copy(members[0])
        made._take(torch.stack([own.weights for own in members]))
        return made

    def _take(self, weights: Float[Tensor, "*stack weights"]) -> None:
        self.weights = weights
        self.flat: Float[Tensor, "*stack weights"] = weights.clone()
        """weight * mask, as `put` left it."""
        self.gradient: Float[Tensor, "*stack weights"] = torch.zeros_like(weights)
        """Of the loss with respect to `flat`, as the last backward pass left it."""
        self.by_name = {name: view.requires_grad_() for name, view in self.split(self.flat.detach()).items()}
        """Parameter name -> its part of `flat`, a leaf tensor to run the network with."""
        for view, gradient in zip(self.by_name.values(), self.split(self.gradient).values(), strict=True):
            view.grad = gradient

    def leaf(self) -> Float[Tensor, "*stack weights"]:
        """`flat` as one leaf tensor, whose gradient is `gradient`; `split` it at every run of the network.

        One for all tensors takes fewer kernels of a backward pass than `by_name`, and, where these
        are a stack's, they do not lie as a gradient is made.
        """
        leaf = self.flat.detach().requires_grad_()
        leaf.grad = self.gradient
        return leaf

    def __len__(self) -> int:
        return self.weights.shape[-1]

    @torch.no_grad()
    def put(self, mask: Bool[Tensor, "*stack weights"]) -> None:
        """Keep the weights of `mask` alone, and clear the gradient."""
        torch.mul(self.weights, mask, out=self.flat)
        self.gradient.zero_()

    def spread(self, values: Mapping[str, float]) -> Float[Tensor, " weights"]:
        """One value a tensor, repeated for each of its weights; 0 for a tensor that is not in `values`."""
        pieces = [
            torch.full((shape.numel(),), values.get(name, 0.0), device=self.weights.device)
            for name, shape in self._shapes.items()
        ]
        return torch.cat(pieces)

    def split(self, flat: Shaped[Tensor, "*stack weights"]) -> dict[str, Tensor]:
        """Views of a flat tensor by parameter name, of its shape behind the leading dimensions of `flat`."""
        pieces = torch.split(flat, [s.numel() for s in self._shapes.values()], dim=-1)
        return {
            name: piece.view(*flat.shape[:-1], *shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }
