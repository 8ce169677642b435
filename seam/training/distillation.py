"""What a source teaches while a network is fine-tuned: its answers (logits) and what it computes inside (features)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction.layers import fold_norms
from seam.compaction.trace import NotFollowedError, Traced, trace, trains_alike
from seam.errors import SourceError
from seam.networks.head import Reengineered
from seam.training.loop import Loss
from seam.training.narrow import Left, Narrowed
from seam.training.taps import stage_ends, tapped

TEMPERATURE = 4.0
"""Of distillation by logits."""


@dataclass(frozen=True)
class Features:
    """Values inside a student and its source that are compared."""

    weight: float
    """Of the comparison, in the loss."""
    points: tuple[str, ...]
    """Names of the values in the source's graph."""
    student: fx.GraphModule
    """(images) -> (logits, [value at each point]); it has the layers of the student."""
    source: fx.GraphModule
    """(images) -> (logits or None, [value at each point]); a copy, made for speed: it computes the same
    up to rounding."""
    left: tuple[Left | None, ...]
    """Channels of each value that are compared; None: all."""


@torch.no_grad()
def features_of(
    network: nn.Module,
    source: nn.Module,
    images: Float[Tensor, "batch channels h w"],
    weight: float,
    stages: int,
    *,
    narrowed: Narrowed | None = None,
    logits: bool = False,
) -> Features:
    """Find the ends of the last stages in a source, and the same values in its student.

    Values that a narrow student no longer computes, or of which nothing in it reads a channel, are
    left out.

    Args:
        network: the student; left in eval mode.
        source: of the same architecture, eval mode.
        images: two or more, normalised, on the device of both.
        weight: of the comparison.
        stages: how many of the last stages; of fewer, all.
        narrowed: trained in the place of `network`; None: `network` itself is.
        logits: whether the source's are needed as well.

    Raises:
        SourceError: the student cannot be followed, has no stages, or is no part of the source.
    """
    teacher = _follow(source, images)
    points = stage_ends(teacher)[-stages:]
    if not points:
        raise _refused("images with channels, or tokens, inside the source", "none")
    graph, left = (_trainable(network, images), {}) if narrowed is None else (narrowed.network, narrowed.left)
    there = {node.name for node in graph.graph.nodes}
    if narrowed is not None:
        points = tuple(name for name in points if name in there and (name not in left or len(left[name].wide)))
    elif not there.issuperset(points):
        raise _refused(f"a student with the value '{next(iter(set(points) - there))}' of its source", "another network")
    student, asked = tapped(graph, points), _quick(tapped(teacher.module, points, output=logits), images)
    channels = [_compared(left.get(name), images.device) for name in points]
    values = zip(points, student.eval()(images)[1], asked(images)[1], channels, strict=True)
    return Features(weight, points, student, asked, tuple(_needed(*value) for value in values))


def distilled(model: Reengineered, teacher: nn.Module, weight: float, features: Features | None = None) -> Loss:
    """Cross-entropy on the target labels, and what the teacher adds to it, as the terms of a sum.

    Logits, over the source's classes: weight * T^2 * KL(softmax(teacher / T) || softmax(network / T)).
    Features: their weight * the sum over points of mean((network - teacher)^2) / mean(teacher^2).

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", T = `TEMPERATURE`.
    One class against the rest says little about an image; what the source takes it for says more.
    Features: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets". *Differs*: at several points,
    and together with the labels instead of before them; the student is a part of its teacher, so
    its channels are compared with the same ones there, without a layer in between; the error is
    relative, so one weight serves all points.

    Args:
        model: learns; its network has the classes of `teacher`.
        teacher: the source, eval mode; run once a batch, for both terms.
        weight: of the logits; 0: without.
        features: of `model.network` and `teacher`; None: without.

    Returns:
        (images, labels) -> cross-entropy, then the term of the logits and that of the features,
        where there are such.
    """

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        logits, own = (model.network(images), []) if features is None else features.student(images)
        with torch.no_grad():
            answers, wanted = (teacher(images), []) if features is None else features.source(images)
        terms = [F.cross_entropy(model.head(logits).float(), labels)]
        if weight:
            terms.append(weight * divergence(logits, answers))
        if features is not None:
            terms.append(features.weight * relative_error(own, wanted, features.left))
        return torch.stack(terms)

    return loss


def relative_error(own: Sequence[Tensor], wanted: Sequence[Tensor], left: Sequence[Left | None]) -> Float[Tensor, ""]:
    """Sum over points of mean((own - wanted)^2) / mean(wanted^2).

    Args:
        own: the student's values.
        wanted: the source's.
        left: channels of both that are compared; None: all.
    """
    total = torch.zeros((), device=own[0].device if own else None)
    for value, target, channels in zip(own, wanted, left, strict=True):
        if channels is not None:
            value = value.index_select(channels.axis, channels.narrow)  # noqa: PLW2901
            target = target.index_select(channels.axis, channels.wide)  # noqa: PLW2901
        scale = target.float().square().mean().clamp(min=torch.finfo(torch.float32).tiny)
        total = total + F.mse_loss(value.float(), target.float()) / scale
    return total


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """T^2 * KL(softmax(wanted / T) || softmax(logits / T)), the mean over the batch."""
    likely = F.softmax(wanted.float() / TEMPERATURE, dim=1)
    own = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(own, likely, reduction="batchmean")


def _follow(network: nn.Module, images: Tensor) -> Traced:
    try:
        return trace(network.eval(), images)
    except NotFollowedError as e:
        raise _refused(f"{type(network).__name__}: a network that can be followed", str(e)) from e


def _trainable(network: nn.Module, images: Tensor) -> fx.GraphModule:
    """The network as a graph that may train in its place."""
    traced = _follow(network, images)
    if not trains_alike(network, images):
        found = "one that does other things while it trains"
        raise _refused(f"{type(network).__name__}: a network that can be followed", found)
    return traced.module


def _quick(source: fx.GraphModule, images: Tensor) -> fx.GraphModule:
    """A copy with its BatchNorms in the convolutions before them, and with the channels of a pixel side by side."""
    copied = _follow(copy.deepcopy(source), images)
    fold_norms(copied)
    copied.clean()
    copied.module.to(memory_format=torch.channels_last)
    return copied.module.requires_grad_(False)


def _compared(left: Left | None, device: torch.device) -> Left | None:
    return None if left is None else Left(left.axis, left.narrow.to(device), left.wide.to(device))


def _needed(name: str, own: Tensor, wanted: Tensor, left: Left | None) -> Left | None:
    """None where all channels of both are compared.

    Raises:
        SourceError: the student's value has another shape than the source's.
    """
    if left is not None and (len(left.narrow), len(left.wide)) != (own.shape[left.axis], wanted.shape[left.axis]):
        own, wanted = own.index_select(left.axis, left.narrow), wanted.index_select(left.axis, left.wide)
    else:
        left = None
    if own.shape != wanted.shape:
        raise _refused(f"'{name}' of the shape {tuple(wanted.shape)} in the student too", f"{tuple(own.shape)}")
    return left


def _refused(expected: str, found: str) -> SourceError:
    return SourceError(f"features of the source as a teacher: expected {expected}, got {found}", hint="features")
