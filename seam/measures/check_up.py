"""A look at a network before anything is computed: what it takes and gives, and what can be removed from it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from seam.errors import NoChannelsError, SearchError, SourceError
from seam.inference.export import write_unchecked
from seam.masks.groups import channel_groups
from seam.masks.masks import counted, maskable, outside_mask
from seam.measures.findings import Finding
from seam.networks.plain import copy_of, plain
from seam.networks.scores import Scores, find_scores, give_scores, shown_output

Images = Float[Tensor, "batch channels height width"]
_ALIKE = 1e-3
"""Largest difference of logits that are to be the same, relative to the largest."""
_OUTSIDE = 0.05
"""Share of a network's weights that may lie in layers that a mask does not reach, before it is doubtful."""


def check_up(network: nn.Module, images: Images, num_classes: int) -> list[Finding]:
    """Look at a network; it is not changed, and nothing is drawn from torch's global generator.

    Args:
        network: of any mode, on the CPU; its weights may be random ones.
        images: three or more, different, as it takes them.
        num_classes: scores that it should give.

    Returns:
        What was found, in the order it was looked at; nothing is looked at after the first finding
        that says stop.
    """
    found: list[Finding] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        twin = copy_of(network).eval()
        for look in (_input, _output, _repeated, _alone, _training, _plain, _weights, _channels, _exported):
            found += look(twin, images, num_classes)
            twin.eval()
            if any(finding.verdict == "stop" for finding in found):
                break
    return found


def _input(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    channels, (height, width) = images.shape[1], images.shape[2:]
    first = next((m for m in network.modules() if isinstance(m, _ConvNd)), None)
    other = next(((n, t) for n, t in network.named_parameters() if t.dtype != images.dtype), None)
    given = images.clone()
    try:
        network(given)
    except Exception as e:  # whatever the network's own code raises
        wanted = None if first is None else first.in_channels
        if wanted is not None and wanted != channels and f"{wanted} channels" in str(e):
            text = (
                f"expected a network that takes images of {channels} channels, got one of {wanted}; give images of"
                f" {wanted} channels, or a network whose first layer takes {channels}."
            )
            yield Finding("input", text, "stop")
        elif other is not None:
            text = f"'{other[0]}' is {other[1].dtype}, the images are {images.dtype}; call network.float() first."
            yield Finding("input", text, "stop")
        elif not isinstance(e, RuntimeError | ValueError):
            text = f"its forward fails on a batch of images: {type(e).__name__}: {_line(e)}; mend it."
            yield Finding("input", text, "stop")
        else:
            text = f"it does not take images of {height} x {width} pixels: {_line(e)}"
            yield Finding("input", text, "stop", "image_size")
        return
    if not torch.equal(given, images):
        text = (
            "it changes the images that it is given, by an operation in place, so that what is given them next sees"
            " others; make its first operation one that is not in place."
        )
        yield Finding("input", text, "stop")
        return
    yield Finding("input", f"images of {height} x {width} pixels, {channels} channels")


def _output(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    """What is looked at after it gives its class scores alone."""
    output, expected = network(images), (len(images), num_classes)
    found = find_scores(output, len(images), num_classes)
    if found is None:
        several = ", under the name 'logits' where there are several outputs"
        text = (
            f"expected class scores of shape {expected}, got {shown_output(output)}; give a network that returns them"
        )
        yield Finding("scores", f"{text}{'' if isinstance(output, Tensor) else several}.", "stop")
        return
    bounded = _within_bounds(network, images, found)
    give_scores(network, images, num_classes)
    scores = network(images)
    if not bool(torch.isfinite(scores).all()):
        yield Finding("scores", "expected finite class scores, got NaN or infinite ones", "stop", "normalisation")
    elif bounded and found.alone:
        text = "expected one logit for two classes, got what lies in 0 to 1 as a probability; leave out its sigmoid."
        yield Finding("scores", text, "stop")
    elif bounded:
        text = (
            "it gives probabilities, not logits: their gradients vanish where it is sure, and a head on them learns"
            " slowly; leave out its softmax or sigmoid."
        )
        yield Finding("scores", text, "doubt")
    else:
        kind = "log-probabilities" if bool((scores.logsumexp(1).abs() < _ALIKE).all()) else "logits"
        parts = (str(found),) if found.alone else (f"{num_classes} {kind}", str(found))
        yield Finding("scores", ", ".join(filter(None, parts)))


def _repeated(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    if not _differ(network(images), network(images)):
        yield Finding("repeated", "the same images give the same scores")
        return
    scores = []
    for _ in range(2):
        torch.manual_seed(0)
        scores.append(network(images))
    cause = (
        "something is drawn at random, such as F.dropout(x) without training=self.training; make it depend on the mode"
    )
    if _differ(*scores):
        cause = "something is kept from one call to the next; leave it as it is in eval mode"
    text = f"the same images give other scores the second time, in eval mode: {cause}."
    yield Finding("repeated", text, "stop")


def _alone(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    together = network(images)[:1]
    error = None
    try:
        differ = _differ(network(images[:1]), together)
    except Exception as e:  # whatever the network's own code raises
        error, differ = e, True
    if not differ:
        yield Finding("alone", "an image's scores do not depend on its batch")
        return
    text = "an image's scores depend on the other images of its batch, in eval mode"
    cause = "something mixes images of a batch, such as F.batch_norm(x, None, None, training=True); make it treat each"
    cause += " for itself"
    norms = ((name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm))
    name, norm = next(((n, m) for n, m in norms if m.training or m.running_mean is None), ("", None))
    if norm is not None and norm.running_mean is None:
        cause = f"{name} is a BatchNorm with track_running_stats=False; train it with running statistics"
    elif norm is not None:
        cause = f"{name} is a BatchNorm that network.eval() leaves in training mode; leave it to its running statistics"
    elif error is not None:
        text, cause = "it does not take one image alone", f"{_line(error)}; take the batch from the images' shape"
    yield Finding("alone", f"{text}: {cause}.", "stop")


def _training(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    try:
        scores = network.train()(images)
    except Exception as e:  # whatever the network's own code raises
        yield Finding("training", f"it cannot be run in training mode: {_line(e)}; mend its forward.", "stop")
        return
    if not isinstance(scores, Tensor) or scores.shape != (len(images), num_classes):
        got = shown_output(scores)
        text = (
            f"expected class scores alone while it trains, got {got}; build it without auxiliary outputs (of"
            " torchvision's: aux_logits=False), or return the scores of the last head."
        )
        yield Finding("training", text, "stop")
    else:
        yield Finding("training", "class scores alone")


def _plain(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    """What is looked at after it is the plain network, as it is worked on."""
    try:
        changed = plain(network, images)
    except SourceError as e:
        yield Finding("layers", str(e), "stop")
        return
    if changed:
        number = len(changed)
        yield Finding("layers", f"{number} compute their weight ({changed[0]}): it is used as it comes out")


def _weights(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    try:
        weights = maskable(network)
    except SearchError as e:
        yield Finding("weights", str(e), "stop")
        return
    total, inside = (sum(p.numel() for p in some) for some in (counted(network), weights.values()))
    outside, text = outside_mask(network), f"{inside:,} of {total:,} weights can be masked ({inside / total:.0%})"
    if sum(outside.values()) <= _OUTSIDE * total:
        yield Finding("weights", text)
        return
    most = sorted(outside, key=lambda name: -outside[name])
    shown = ", ".join(f"{name} {outside[name]:,}" for name in most[:3])
    rest = f" and {len(most) - 3} more" if len(most) > 3 else ""
    yield Finding("weights", f"{text}; a mask of single weights leaves these as they are: {shown}{rest}.", "doubt")


def _channels(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    try:
        groups = channel_groups(network, images[:2])
    except NoChannelsError as e:
        yield Finding("channels", f"{e.what}: only single weights can be removed")
        return
    channels = sum(len(ids) for ids in groups.outputs.values())
    free = sum(int((ids >= 0).sum()) for ids in groups.outputs.values())
    yield Finding("channels", f"{free} of {channels} channels can go, {len(groups.dispensable)} layers whole")


def _exported(network: nn.Module, images: Images, num_classes: int) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        try:
            write_unchecked(network, images[:1], Path(folder) / "network.onnx")
        except Exception as e:  # the exporter raises many kinds, none its own
            text = f"it does not export to ONNX, which engines need: {_line(e)}; replace that operator."
            yield Finding("export", text, "stop")
            return
    yield Finding("export", "exports to ONNX")


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or bool((one - other).abs().max() > _ALIKE * max(1e-3, float(one.abs().max())))


def _within_bounds(network: nn.Module, images: Images, found: Scores) -> bool:
    """Whether scores lie in 0 to 1 whatever the images: those given, their negatives, and both magnified; not all 0."""
    scores = [replace(found, alone=False).take(network(images * scale)) for scale in (1, -1, 100, -100)]
    inside = all(bool(((some >= 0) & (some <= 1)).all()) for some in scores)
    return inside and any(bool((some > 0).any()) for some in scores)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
