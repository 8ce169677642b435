"""A look at a network before anything is computed: what it takes and gives, and what can be removed from it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seam.compaction import compact
from seam.compaction.trace import DecidesByContentError
from seam.errors import ExportError, NoChannelsError, SearchError, SourceError
from seam.inference.export import check_runs, write_unchecked
from seam.masks.groups import channel_groups
from seam.masks.masks import counted, maskable, outside_mask
from seam.measures.findings import Finding, not_taken, one_line, sides
from seam.networks.plain import copy_of, plain
from seam.networks.scores import find_scores, give_found, shown_output, within_bounds

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
        twin = _Twin(copy_of(network).eval(), images, num_classes)
        for look in (_input, _output, _repeated, _alone, _training, _plain, _weights, _channels, _exported):
            found += look(twin)
            twin.network.eval()
            if any(finding.verdict == "stop" for finding in found):
                break
    return found


@dataclass
class _Twin:
    """A copy of a network, to be looked at and run as often as is needed, and no more."""

    network: nn.Module
    images: Images
    num_classes: int
    output: Any = None
    """What it gives for the images in eval mode: all of it, then its class scores alone."""


def _input(twin: _Twin) -> Iterator[Finding]:
    images, given = twin.images, twin.images.clone()
    try:
        twin.output = twin.network(given)
    except Exception as e:  # whatever the network's own code raises
        yield not_taken(twin.network, images, e)
        return
    if not torch.equal(given, images):
        text = (
            "it changes the images that it is given, by an operation in place, so that what is given them next sees"
            " others; make its first operation one that is not in place."
        )
        yield Finding("input", text, "stop")
        return
    yield Finding("input", f"images of {sides(images)} pixels, {images.shape[1]} channels")


def _output(twin: _Twin) -> Iterator[Finding]:
    """What is looked at after it gives its class scores alone."""
    images, num_classes, output = twin.images, twin.num_classes, twin.output
    found = find_scores(output, len(images), num_classes)
    if found is None:
        expected = len(images), num_classes
        several = ", under the name 'logits' where there are several outputs"
        text = (
            f"expected class scores of shape {expected}, got {shown_output(output)}; give a network that returns them"
        )
        yield Finding("scores", f"{text}{'' if isinstance(output, Tensor) else several}.", "stop")
        return
    bounded = within_bounds(twin.network, images, found, output)
    give_found(twin.network, found)
    scores = twin.output = found.take(output)
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


def _repeated(twin: _Twin) -> Iterator[Finding]:
    if not _differ(twin.network(twin.images), twin.output):
        yield Finding("repeated", "the same images give the same scores")
        return
    scores = []
    for _ in range(2):
        torch.manual_seed(0)
        scores.append(twin.network(twin.images))
    cause = (
        "something is drawn at random, such as F.dropout(x) without training=self.training; make it depend on the mode"
    )
    if _differ(*scores):
        cause = "something is kept from one call to the next; leave it as it is in eval mode"
    text = f"the same images give other scores the second time, in eval mode: {cause}."
    yield Finding("repeated", text, "stop")


def _alone(twin: _Twin) -> Iterator[Finding]:
    error = None
    try:
        differ = _differ(twin.network(twin.images[:1]), twin.output[:1])
    except Exception as e:  # whatever the network's own code raises
        error, differ = e, True
    if not differ:
        yield Finding("alone", "an image's scores do not depend on its batch")
        return
    text = "an image's scores depend on the other images of its batch, in eval mode"
    cause = "something mixes images of a batch, such as F.batch_norm(x, None, None, training=True); make it treat each"
    cause += " for itself"
    norms = ((name, m) for name, m in twin.network.named_modules() if isinstance(m, _BatchNorm))
    name, norm = next(((n, m) for n, m in norms if m.training or m.running_mean is None), ("", None))
    if norm is not None and norm.running_mean is None:
        cause = f"{name} is a BatchNorm with track_running_stats=False; train it with running statistics"
    elif norm is not None:
        cause = f"{name} is a BatchNorm that network.eval() leaves in training mode; leave it to its running statistics"
    elif error is not None:
        text, cause = "it does not take one image alone", f"{one_line(error)}; take the batch from the images' shape"
    yield Finding("alone", f"{text}: {cause}.", "stop")


def _training(twin: _Twin) -> Iterator[Finding]:
    try:
        scores = twin.network.train()(twin.images)
    except Exception as e:  # whatever the network's own code raises
        yield Finding("training", f"it cannot be run in training mode: {one_line(e)}; mend its forward.", "stop")
        return
    if not isinstance(scores, Tensor) or scores.shape != (len(twin.images), twin.num_classes):
        got = shown_output(scores)
        text = (
            f"expected class scores alone while it trains, got {got}; build it without auxiliary outputs (of"
            " torchvision's: aux_logits=False), or return the scores of the last head."
        )
        yield Finding("training", text, "stop")
    else:
        yield Finding("training", "class scores alone")


def _plain(twin: _Twin) -> Iterator[Finding]:
    """What is looked at after it is the plain network, as it is worked on."""
    try:
        changed = plain(twin.network, twin.images)
    except SourceError as e:
        yield Finding("layers", str(e), "stop")
        return
    if changed:
        number = len(changed)
        yield Finding("layers", f"{number} compute their weight ({changed[0]}): it is used as it comes out")


def _weights(twin: _Twin) -> Iterator[Finding]:
    network = twin.network
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


def _channels(twin: _Twin) -> Iterator[Finding]:
    try:
        groups = channel_groups(twin.network, twin.images[:2])
    except NoChannelsError as e:
        text, one_way = f"{e.what}: only single weights can be removed", isinstance(e.__cause__, DecidesByContentError)
        if one_way:
            text += ", and a file of it goes one way for all images; let torch.where choose between the two results."
        yield Finding("channels", text, "doubt" if one_way else "ok")
        return
    channels = sum(len(ids) for ids in groups.outputs.values())
    free = sum(int((ids >= 0).sum()) for ids in groups.outputs.values())
    yield Finding("channels", f"{free} of {channels} channels can go, {len(groups.dispensable)} layers whole")


def _exported(twin: _Twin) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        try:
            file = Path(folder) / "network.onnx"
            write_unchecked(twin.network, twin.images[:1], file)
        except Exception as e:  # the exporter raises many kinds, none its own
            text = f"it does not export to ONNX, which engines need: {one_line(e)}; replace that operator."
            yield Finding("export", text, "stop")
            return
        wrong = _wrong_in(twin, file)
        if wrong:
            yield Finding("export", wrong, "stop")
            return
    yield Finding("export", "exports to ONNX, whose runtime computes the same")


def _wrong_in(twin: _Twin, file: Path) -> str:
    """What is wrong in an exported file, and in that of the network as it is followed; empty: it is right."""
    try:
        check_runs(file, twin.network, [twin.images])
    except ExportError:
        try:
            write_unchecked(compact(twin.network, twin.images).module, twin.images[:1], file)
            check_runs(file, twin.network, [twin.images])
        except Exception as e:  # the exporter raises many kinds
            said = e.what if isinstance(e, ExportError) else one_line(e)
            return said.removeprefix(f"{file.parent}/")
    return ""


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or bool((one - other).abs().max() > _ALIKE * max(1e-3, float(one.abs().max())))
