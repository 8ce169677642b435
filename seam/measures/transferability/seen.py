"""What a network makes of the images that it is to be chosen for: one pass, from which every estimate is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.data.lazy import Images
from seam.errors import SourceError
from seam.measures.findings import taking
from seam.networks.activations import executed_layers, pooled

BATCH = 64


@dataclass(frozen=True)
class Seen:
    """Of each image, in order."""

    features: Float[Tensor, "images features"]
    """What the last convolution or linear layer receives, averaged over positions."""
    probabilities: Float[Tensor, "images source_classes"]
    """Of the network's own classes."""


@torch.no_grad()
def look(
    network: nn.Module, images: Images, preprocess: nn.Module, on_images: Callable[[int], None] = lambda done: None
) -> Seen:
    """Run a network over images once.

    Args:
        network: eval mode, on the CPU; gives its class scores alone.
        images: one or more.
        preprocess: images to the network's input.
        on_images: told how many are done.

    Raises:
        SourceError: it does not take the images, runs no convolution or linear layer, or gives numbers
            that are not finite.
    """
    example = preprocess(images[torch.arange(min(2, len(images)))])
    with taking(network, example, SourceError):
        executed, _ = executed_layers(network, example)
    if not executed:
        raise SourceError(f"{type(network).__name__}: expected a convolution or linear layer, got none executed.")
    received, given, done = list[Tensor](), list[Tensor](), 0
    hook = network.get_submodule(executed[-1]).register_forward_pre_hook(
        lambda module, inputs: received.append(pooled(module, inputs[0].float()))
    )
    try:
        for some in images.split(BATCH):
            given.append(network(preprocess(some)).float().softmax(1))
            done += len(some)
            on_images(done)
    finally:
        hook.remove()
    seen = Seen(torch.cat(received), torch.cat(given))
    if not bool(torch.isfinite(seen.features).all()) or not bool(torch.isfinite(seen.probabilities).all()):
        raise SourceError("expected finite features and class scores, got NaN or infinite ones", hint="normalisation")
    return seen
