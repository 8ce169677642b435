"""Masks found without a search, at a given density: what a searched mask of that density must beat.

All rank the weights of the whole network together (no quota a layer) and keep the first
round(density * number of weights).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seam.data.images import LabelledImages
from seam.masks.masks import Masks, keep_highest, maskable
from seam.networks.head import TargetHead


def random_mask(network: nn.Module, density: float, seed: int) -> Masks:
    """Keep weights drawn at random, each with the same chance.

    Args:
        network: the source; it is not changed.
        density: share of the weights to keep, in [0, 1].
        seed: of the draw, which is the same on every device.

    Raises:
        MaskError: the density is out of range.
        SearchError: the network has nothing to mask.
    """
    parameters = maskable(network)
    ranks = torch.randperm(sum(p.numel() for p in parameters.values()), generator=torch.Generator().manual_seed(seed))
    return keep_highest(parameters, ranks, density)


def magnitude_mask(network: nn.Module, density: float) -> Masks:
    """Keep the weights of the largest |w|; the problem plays no part.

    Source: S. Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
    NeurIPS 2015; once and without training in between, over all layers together (*differs*: they
    prune layer by layer and retrain).

    Args:
        network: the source; it is not changed.
        density: share of the weights to keep, in [0, 1].

    Raises:
        MaskError: the density is out of range, or a weight is not finite.
        SearchError: the network has nothing to mask.
    """
    parameters = maskable(network)
    return keep_highest(parameters, _flat(p.detach().abs() for p in parameters.values()), density)


def taylor_mask(
    network: nn.Module,
    head: TargetHead,
    preprocess: nn.Module,
    train: LabelledImages,
    density: float,
    batch_size: int = 64,
) -> Masks:
    """Keep the weights of the largest |w * dL/dw|: to first order, the change of the loss when one of them is removed.

    L is the mean cross-entropy of head(network(images)) over all of `train`, every image once and
    as it is; float32.

    Source: P. Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", ICLR 2017, and "Importance Estimation for Neural Network Pruning", CVPR 2019, for
    single weights (*differs*: they remove filters, in steps). The same criterion as N. Lee et al.,
    "SNIP", ICLR 2019, on trained weights (*differs*: they take one batch at initialisation).

    Args:
        network: the source, eval mode, on the device of `train`; it is not changed.
        head: fitted with all weights kept, on the same device; it is not changed.
        preprocess: uint8 NHWC images to the network's input.
        train: images of the problem.
        density: share of the weights to keep, in [0, 1].
        batch_size: images whose gradient is computed at once.

    Raises:
        MaskError: the density is out of range, or a gradient is not finite.
        SearchError: the network has nothing to mask.
    """
    weights = {name: p.detach().requires_grad_() for name, p in maskable(network).items()}
    for images, labels in zip(train.images.split(batch_size), train.labels.split(batch_size), strict=True):
        logits = head(functional_call(network, weights, (preprocess(images),)))
        (F.cross_entropy(logits, labels, reduction="sum") / len(train)).backward(inputs=list(weights.values()))
    return keep_highest(weights, _flat(_removal_cost(w) for w in weights.values()), density)


def _removal_cost(weight: Tensor) -> Tensor:
    """|w * dL/dw|; zero where the loss does not depend on the weight."""
    return torch.zeros_like(weight) if weight.grad is None else (weight.detach() * weight.grad).abs()


def _flat(tensors: Iterable[Tensor]) -> Shaped[Tensor, " weights"]:
    return torch.cat([t.reshape(-1).cpu() for t in tensors])
