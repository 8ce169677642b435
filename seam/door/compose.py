"""Modules of one or several networks put together, without training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seam.composition.composed import MOST_COLUMNS, Composed, read_out
from seam.composition.module import Module
from seam.data.images import LabelledImages
from seam.door.computing import doubting
from seam.door.given import Given, Labelled, labelled, named
from seam.door.parts import Modules, same_images
from seam.errors import DataError, SuspectResultWarning
from seam.measures.macs import count
from seam.measures.modules import best_threshold
from seam.networks.predict import accuracy, predict

Fitted = Literal["outputs", "scores"] | None
"""What a linear layer was fitted on: all outputs of every module's network, or a score a module."""


@dataclass(frozen=True, kw_only=True)
class CompositionReport:
    """What was put together, in numbers; `print` shows a table."""

    chosen: Mapping[str, str]
    """Class -> the source of its module, by name or number."""
    f1: Mapping[str, Mapping[str, float]]
    """Class -> source -> how well its module tells the class from all others on `train`, at its best
    threshold; empty where no images were given."""
    accuracy: float | None
    """Of the composed network among its classes, on `val`, or on `train` where that is all there is; None: no
    images were given."""
    params: int
    macs: int
    """Weights and multiply-adds of the composed network, what modules share counted once."""
    source_params: Mapping[str, int]
    source_macs: Mapping[str, int]
    """The same of each source."""
    fitted_on: Fitted
    """What the linear layer reads that was fitted on `train`, see `compose`; None: there is none."""
    seconds: float
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """What is said of the composed network, under the names of `seam.measures.macs.Counts`."""
        return {"params_nonzero": self.params, "macs_nonzero": self.macs}

    def __str__(self) -> str:
        """A table, and the doubts below it."""
        lines = [f"{len(self.chosen)} modules: {', '.join(self.chosen)}"]
        for name, origin in self.chosen.items():
            scores = ", ".join(f"{source} {100 * f1:.1f}%" for source, f1 in self.f1.get(name, {}).items())
            lines.append(f"  {name}: of {origin}" + (f" (F1 of {scores})" if scores else ""))
        lines.append(f"  weights {self.params:,}, multiply-adds {self.macs:,}; the sources:")
        lines += [
            f"    {s}: weights {p:,}, multiply-adds {self.source_macs[s]:,}" for s, p in self.source_params.items()
        ]
        if self.accuracy is not None:
            lines.append(f"  accuracy {100 * self.accuracy:.1f}%")
        return "\n".join([*lines, *(f"doubt: {text}" for text in self.doubts)])


@dataclass(frozen=True)
class Composition:
    """A network that is made of modules."""

    network: nn.Module
    """Images as the modules take them to a logit for each of `classes`; eval mode, on the CPU."""
    classes: tuple[str, ...]
    """In the order of the logits."""
    report: CompositionReport
    preprocess: nn.Module
    """uint8 NHWC images to what `network` takes; the identity where images came as floats."""
    example: Tensor
    """Zeros of the shape (1, channels, height, width) of one image as `network` takes it."""


def compose(
    modules: Modules | Sequence[Modules],
    classes: Sequence[str] | None = None,
    *,
    train: Given | Labelled | None = None,
    val: Given | Labelled | None = None,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
) -> Composition:
    """Put modules together: one network whose classes are those of its modules, without training.

    Where modules are of several networks, whatever their architectures, the best for each class is
    chosen by F1 on `train`, and a linear layer is fitted there that reads all outputs of the chosen
    modules' networks in the place of their heads (their scores, where outputs are more than a
    thousand). What modules of one network compute alike is computed once.

    Args:
        modules: what `seam.modularize` or `seam.load_modules` gave, once or several times.
        classes: of the new network, in this order, by name; None: all there are.
        train: images to choose and fit on, with the classes' labels, see `seam.modularize`; others may be
            among them. Needed where several networks have a module for a class; best where the networks
            have not seen them, or each only those of its own classes.
        val: further images, to measure the result on.
        class_names: of the labels, in their order, where images do not say them; None: the classes.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.

    Raises:
        DataError: no such class, or one named twice; modules take different images; images are not what
            they should be, or are needed and not there.

    Warns:
        SuspectResultWarning: the result is doubtful; `report.doubts` has the same texts.
    """
    begin = time.perf_counter()
    sources = _named_sources([modules] if isinstance(modules, Modules) else list(modules))
    wanted = _wanted(sources, classes)
    first = next(iter(sources.values()))
    for name, source in sources.items():
        same_images(first.takes, source.takes, f"modules of {name}")
    names = tuple(class_names) if class_names is not None else wanted
    chosen_on = None if train is None else _images(train, "train", first, names, wanted, image_size)
    measured_on = None if val is None else _images(val, "val", first, names, wanted, image_size)
    offered = {of: {s: m[of] for s, m in sources.items() if of in m.pieces} for of in wanted}
    with doubting() as doubts, torch.no_grad():
        f1 = _f1(offered, chosen_on, wanted, first)
        chosen = {of: max(offered[of], key=lambda s: f1.get(of, {}).get(s, 0.0)) for of in wanted}
        fitted_on = _fitted_on(sources, chosen) if chosen_on is not None else None
        network = joined(sources, chosen, fitted_on)
        if fitted_on is not None and chosen_on is not None:
            inside = _inside(chosen_on, len(wanted))
            network.mixed = read_out(predict(network, inside, first.preprocess), inside.labels, len(wanted))
        elif len(set(chosen.values())) > 1:
            text = "compose: scores of modules of several networks are compared as they are; give train to compare them"
            warnings.warn(SuspectResultWarning(text), stacklevel=2)
        right = _accuracy(network, measured_on or chosen_on, first, len(wanted))
        now = count(network, first.example)
    before = {s: count(m.source, m.example) for s, m in sources.items() if s in chosen.values()}
    report = CompositionReport(
        chosen=chosen,
        f1=f1,
        accuracy=right,
        params=now.params_nonzero,
        macs=now.macs_nonzero,
        source_params={s: c.params_nonzero for s, c in before.items()},
        source_macs={s: c.macs_nonzero for s, c in before.items()},
        fitted_on=fitted_on,
        seconds=time.perf_counter() - begin,
        doubts=tuple(doubts),
    )
    return Composition(network.requires_grad_(False), wanted, report, first.preprocess, first.example)


def joined(sources: Mapping[str, Modules], chosen: Mapping[str, str], fitted_on: Fitted) -> Composed:
    """The modules of some classes beside each other, eval mode, without a linear layer on what they say.

    Args:
        sources: by name.
        chosen: class -> name of the source of its module, in the order of the logits.
        fitted_on: what that layer will read.
    """
    first = next(iter(sources.values()))
    if fitted_on == "outputs":
        networks = [sources[name].without_head(of) for of, name in chosen.items()]
    else:
        networks = [sources[name][of].network for of, name in chosen.items()]
    return Composed(networks, first.example).eval()


def _fitted_on(sources: Mapping[str, Modules], chosen: Mapping[str, str]) -> Fitted:
    """Modules of one network were told of each other: their scores are logits."""
    if len(set(chosen.values())) == 1:
        return None
    return "outputs" if sum(sources[name].outputs for name in chosen.values()) <= MOST_COLUMNS else "scores"


def _named_sources(given: list[Modules]) -> dict[str, Modules]:
    """By their names; those without one by number."""
    if not given or not all(isinstance(m, Modules) for m in given):
        kinds = ", ".join(sorted({type(m).__name__ for m in given})) or "nothing"
        raise DataError(f"modules: expected what seam.modularize gave, once or several times, got {kinds}.")
    names = [m.name or f"source {i + 1}" for i, m in enumerate(given)]
    if len(set(names)) < len(names):
        raise DataError(f"modules: expected sources of different names, got {', '.join(names)}; use modules.called().")
    return dict(zip(names, given, strict=True))


def _wanted(sources: Mapping[str, Modules], classes: Sequence[str] | None) -> tuple[str, ...]:
    """The classes of the new network."""
    there = tuple(dict.fromkeys(of for m in sources.values() for of in m.classes))
    wanted = there if classes is None else tuple(map(str, [classes] if isinstance(classes, str | int) else classes))
    if unknown := [c for c in wanted if c not in there]:
        raise DataError(f"expected classes that there is a module for ({', '.join(there[:8])}), got '{unknown[0]}'.")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"every class must be named once, got {', '.join(wanted)}.")
    if len(wanted) < 2:
        raise DataError(f"expected two classes or more to tell apart, got {len(wanted)}; modules['name'] is one alone.")
    return wanted


def _images(
    given: Given | Labelled,
    what: str,
    modules: Modules,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    image_size: int | None,
) -> LabelledImages:
    """Images whose labels are indices into the wanted classes; those behind them are of other classes."""
    found: Labelled = labelled(given, what, image_size)
    found = found if found.classes is not None else named(found, names)
    own = found.classes or ()
    if found.as_stored != (modules.takes.scale is not None):
        kind = "uint8 images" if modules.takes.scale is not None else "float images"
        raise DataError(f"{what}: expected {kind}, as the modules were found on, got others.")
    shape = tuple(found.example(modules.preprocess).shape[1:])
    if shape != modules.takes.shape:
        raise DataError(f"{what}: expected images of shape {modules.takes.shape}, as the modules take, got {shape}.")
    low, high = int(found.data.labels.min()), int(found.data.labels.max())
    if low < 0 or high >= len(own):
        raise DataError(f"{what}: expected labels in 0..{len(own) - 1}, got {low}..{high}; give class_names.")
    if missing := [c for c in wanted if c not in own or not bool((found.data.labels == own.index(c)).any())]:
        raise DataError(f"{what}: expected images of every class, none of: {', '.join(missing[:5])}; add some.")
    order = torch.tensor([wanted.index(c) if c in wanted else len(wanted) for c in own])
    return LabelledImages(found.data.images, order[found.data.labels])


def _f1(
    offered: Mapping[str, Mapping[str, Module]],
    images: LabelledImages | None,
    wanted: tuple[str, ...],
    modules: Modules,
) -> dict[str, dict[str, float]]:
    """Class -> source -> F1 of its module."""
    if images is None:
        doubled = [of for of, by_source in offered.items() if len(by_source) > 1]
        if doubled:
            raise DataError(
                f"{len(offered[doubled[0]])} sources have a module for '{doubled[0]}': expected images to choose on,"
                " got none; give train."
            )
        return {}

    def f1(part: Module, number: int) -> float:
        scores = predict(part.network, images, modules.preprocess)[:, 0]
        return best_threshold(scores, images.labels == number)[1]

    return {of: {s: f1(part, i) for s, part in offered[of].items()} for i, of in enumerate(wanted)}


def _inside(images: LabelledImages, classes: int) -> LabelledImages:
    """Those of the wanted classes."""
    rows = (images.labels < classes).nonzero()[:, 0]
    return Labelled(images, None, as_stored=False).rows(rows)


def _accuracy(network: nn.Module, images: LabelledImages | None, modules: Modules, classes: int) -> float | None:
    if images is None:
        return None
    inside = _inside(images, classes)
    return accuracy(predict(network, inside, modules.preprocess), inside.labels)
