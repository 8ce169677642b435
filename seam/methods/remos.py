"""ReMoS: leave out the weights that the target hardly uses and that are large in the source, then fine-tune.

What it does: the source sees the target's training images. A channel of a convolution's input or
output is active on an image where its mean, after scaling the layer's values for that image to [0,
1], is above 0.5. A kernel (o, i) scores the number of images on which i is active plus that on
which o is. All weights of all convolutions are ranked by their kernel's score, and by |w|; those
with the lowest rank of score minus rank of |w| are set to zero: little used by the target, and
large. Then the student is fine-tuned.

When to use it: the published defence against inherited defects before SeaM; needs no search, one
pass over the images.

Differences from the paper: every training image is profiled (the code drops a last incomplete
batch); ranks are 64-bit integers (its float32 ranks are inexact above 16.8 million weights); a 1x1
convolution that is replaced as classifier is left out. *Same*: equal scores are ranked in the order
of layers and channels, which favours later layers a little, and the weights at the boundary go with
those below it, so that a few weights more than the ratio may be removed.

Published settings: ratio 0.1 (ResNet18), 0.03 (ResNet50); SGD 0.005 for the network and 0.05 for
the classifier, no momentum, weight decay 1e-4, batch 64, 30,000 steps, label smoothing 0.1, spatial
dropout 0.1, the last step is kept; removed weights regrow.

Claimed: by SeaM, means over its five data sets of accuracy / share of the right answers lost under
the attack on the source: ResNet18 74 / 40%, ResNet50 82 / 19%; ResNet18 with dropout loses 20%.

Source: Z. Zhang et al., "ReMoS: Reducing Defect Inheritance in Transfer Learning via Relevant Model
Slicing", ICSE 2022, section 4, and its published code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from seam.configs.methods import TransferConfig
from seam.masks.masks import Masks, split_like
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch, convolution_layers, fresh_student, remove
from seam.runtime import Runtime

Profile = dict[str, tuple[Int[Tensor, " inputs"], Int[Tensor, " outputs"]]]
"""Convolution -> on how many images each of its input and output channels was active."""


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """Remove `config.remos.ratio` of the convolutions' weights.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: `remos` counts.
        runtime: device.
        seed: of the fresh classifier.
        watch: not used.

    Raises:
        SourceError: the source has no classifier to replace, or no convolution.
    """
    learner = fresh_student(source, target, seed).to(runtime.device)
    layers = convolution_layers(learner)
    here = target.to(runtime.device)
    images = (here.preprocess(some) for some in here.train.images.split(config.remos.batch_size))
    profile = coverage_profile(learner.network, layers, images, config.remos.threshold)
    return remove(learner, slice_masks(layers, profile, config.remos.ratio))


@torch.no_grad()
def coverage_profile(
    network: nn.Module, layers: Mapping[str, nn.Conv2d], batches: Iterable[Float[Tensor, "_ 3 _ _"]], threshold: float
) -> Profile:
    """How often each channel of each convolution is active.

    Args:
        network: in eval mode; it is not changed.
        layers: its convolutions to profile, by name. The output profiled is the convolution's own,
            before normalisation and ReLU.
        batches: normalised images, on the network's device.
        threshold: of the scaled mean of an active channel.
    """
    device = next(network.parameters()).device
    profile: Profile = {
        name: (
            torch.zeros(layer.in_channels, dtype=torch.int64, device=device),
            torch.zeros(layer.out_channels, dtype=torch.int64, device=device),
        )
        for name, layer in layers.items()
    }
    hooks = [layer.register_forward_hook(partial(_count, profile[name], threshold)) for name, layer in layers.items()]
    try:
        for images in batches:
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return profile


def active_channels(
    values: Float[Tensor, "images channels height width"], threshold: float
) -> Bool[Tensor, "images channels"]:
    """Where the mean of a channel, after scaling all values of its image to [0, 1], is above the threshold.

    Nowhere if all are equal.
    """
    flat = values.float().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    means = values.float().mean((2, 3))
    return (means - low) / (high - low) > threshold  # 0 / 0 is not above anything


def _count(
    counts: tuple[Tensor, Tensor], threshold: float, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    counts[0].add_(active_channels(inputs[0], threshold).sum(0))
    counts[1].add_(active_channels(output, threshold).sum(0))


def kernel_scores(
    layer: nn.Conv2d, inputs: Int[Tensor, " inputs"], outputs: Int[Tensor, " outputs"]
) -> Int[Tensor, "outputs kernels"]:
    """Score of every kernel (o, j) of a convolution.

    Images on which its input and its output channel are active, added up.

    In a convolution of several groups the j-th kernel of an output channel reads the j-th channel
    of its group.
    """
    groups = layer.groups
    read = inputs.view(groups, 1, -1).expand(groups, layer.out_channels // groups, -1).reshape(layer.out_channels, -1)
    return read + outputs[:, None]


def slice_masks(layers: Mapping[str, nn.Conv2d], profile: Profile, ratio: float) -> Masks:
    """The masks, on the CPU, that remove the weights with the lowest rank of coverage minus rank of magnitude.

    Args:
        layers: convolutions by name.
        profile: of these.
        ratio: share of their weights to remove, in (0, 1); the weight at index int(ratio * weights)
            of the sorted differences, and those equal to it, are removed too.
    """
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in layers.items()}
    magnitude = torch.cat([w.abs().reshape(-1) for w in weights.values()])
    scores = [kernel_scores(layer, *profile[name]).reshape(-1) for name, layer in layers.items()]
    sizes = [
        torch.full_like(score, layer.weight[0, 0].numel()) for score, layer in zip(scores, layers.values(), strict=True)
    ]
    difference = coverage_ranks(torch.cat(scores), torch.cat(sizes)) - positions(magnitude)
    boundary = difference.sort().values[int(ratio * len(difference))]
    return split_like((difference > boundary).cpu(), weights)


def coverage_ranks(scores: Int[Tensor, " kernels"], sizes: Int[Tensor, " kernels"]) -> Int[Tensor, " weights"]:
    """For every weight, the number of weights in kernels that come before its own by score.

    Of equal scores the first comes first.

    Args:
        scores: of the kernels.
        sizes: how many weights each has, which follow each other in the result.
    """
    order = scores.argsort(stable=True)
    before = sizes[order].cumsum(0) - sizes[order]
    ranks = torch.empty_like(before)
    ranks[order] = before
    return ranks.repeat_interleave(sizes)


def positions(values: Shaped[Tensor, " weights"]) -> Int[Tensor, " weights"]:
    """Position of every value in ascending order, from 0; of equal values the first comes first."""
    order = values.argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks
