"""The claims about modules, one function each: what is measured of a source, as JSON."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from modules_lab import MEAN, STD, Lab, Splits, Trained, both, given, logits_of, right
from torch import Tensor, nn

import seam
from seam.composition.composed import read_out
from seam.composition.patched import calibrate, combined
from seam.configs.inference import ProfileConfig
from seam.configs.modules import CnnSplitterConfig, GradSplitterConfig, ModulesConfig
from seam.data.images import LabelledImages
from seam.door.compose import Composition
from seam.door.parts import Modules
from seam.door.times import measured
from seam.measures.macs import count
from seam.measures.modules import found
from seam.methods.catalogue import MODULES

DEFAULT = ModulesConfig()
WAYS: dict[str, tuple[str, ModulesConfig]] = {
    m.name: (m.name, DEFAULT)
    for m in MODULES
    if m.name != "seam_modules"  # single weights, no kernels
} | {
    "gradsplitter, small": ("gradsplitter", ModulesConfig(gradsplitter=GradSplitterConfig(tolerance=0.04))),
    "gradsplitter, none shared": ("gradsplitter", ModulesConfig(gradsplitter=GradSplitterConfig(shared=0.0))),
    "equal draws": ("cnnsplitter", ModulesConfig(cnnsplitter=CnnSplitterConfig(search="draws"))),
}
"""Ways to take a source apart: method and numbers."""
WEAK = 3
"""Weak sources that are put together."""
LEAST = {"train": 10, "val": 3}
"""Images of a class that a weak source has at least."""
STARVED = 0.02
"""Share of the images of its class that a starved model sees."""
SOME = 3
"""Classes of a new task, from each of its two sources; and those that are kept of all."""


def one_source(lab: Lab, images: Splits) -> dict[str, Any]:
    """All modules of one source put together, by each way."""
    source = lab.train(images, "source")
    card: dict[str, Any] = {"source": {"test": source.right(), "cpu_seconds": source.cpu_seconds}, "ways": {}}
    for way, (method, config) in WAYS.items():
        modules, seconds = lab.parts(source, "source", method, config)
        sizes = modules.report["modules"].values()
        composed = seam.compose(modules)
        card["ways"][way] = {
            "test": right(composed.network, images.test),
            **{k: statistics.mean(size[k] for size in sizes) for k in ("kernels", "params", "macs")},
            "composed_macs": composed.report.macs / composed.report.source_macs["source"],
            "composed_ms": _times_as_long(source.network, composed, lab.seed),
            "jaccard": modules.report["jaccard"],
            "cpu_seconds": seconds,
        }
    return card


def _times_as_long(source: nn.Module, composed: Composition, seed: int) -> float:
    """Milliseconds of a call of the composed network, as a multiple of the source's."""
    (before, after), _ = measured(source, composed.network, _two(composed), ProfileConfig(), seed)
    return after / before


def _two(composed: Composition) -> Tensor:
    return composed.example.expand(2, -1, -1, -1).clone()


def weak_sources(lab: Lab, images: Splits) -> dict[str, Any]:
    """Sources with few images of some classes (Dirichlet), and the best modules of all of them."""
    rng = np.random.default_rng((lab.seed, 2))
    weak = list[Trained]()
    for number in range(WEAK):
        weak.append(lab.train(skewed(images, rng), f"weak{number}"))
    parts = [lab.parts(s, f"weak{i}", "gradsplitter", DEFAULT)[0] for i, s in enumerate(weak)]
    composed = seam.compose(parts, images.classes, train=given(images.val), class_names=images.classes)
    single = [right(s.network, images.test) for s in weak]
    anew = list[float]()
    for source in weak:
        read = read_out(logits_of(source.network, images.val), images.val.labels, len(images.classes))
        anew.append(_accuracy(read(logits_of(source.network, images.test)), images.test))
    mean = torch.stack([logits_of(s.network, images.test).softmax(1) for s in weak]).mean(0)
    return {
        "single": single,
        "single_read_anew": anew,
        "images": [len(s.images.train) for s in weak],
        "averaged": _accuracy(mean, images.test),
        "composed": right(composed.network, images.test),
        "composed_macs": composed.report.macs / next(iter(composed.report.source_macs.values())),
        "chosen": dict(composed.report.chosen),
    }


def skewed(images: Splits, rng: np.random.Generator) -> Splits:
    """Of every class a share of the images: Dirichlet(1), divided by its largest."""
    shares = rng.dirichlet(np.ones(len(images.classes)))
    shares = shares / shares.max()
    parts = {split: _shares(getattr(images, split), shares, least, rng) for split, least in LEAST.items()}
    return Splits(images.name, images.classes, parts["train"], parts["val"], images.test)


def _shares(data: LabelledImages, shares: Any, least: int, rng: np.random.Generator) -> LabelledImages:
    """Of every class that share of the images, `least` at least."""
    labels, chosen = data.labels.numpy(), list[Any]()
    for number, share in enumerate(shares):
        rows = rng.permutation(np.flatnonzero(labels == number))
        chosen.append(rows[: max(least, round(float(share) * len(rows)))])
    rows = torch.from_numpy(rng.permutation(np.concatenate(chosen)))
    return LabelledImages(data.images[rows], data.labels[rows])


def patch(lab: Lab, images: Splits) -> dict[str, Any]:
    """Two weak models and a module of the source for the class each is weak at."""
    rng = np.random.default_rng((lab.seed, 3))
    source = lab.train(images, "source")
    modules, _ = lab.parts(source, "source", "gradsplitter", DEFAULT)
    few = np.ones(len(images.classes))
    starved = int(rng.integers(len(few)))
    few[starved] = STARVED
    fewer = Splits(images.name, images.classes, _shares(images.train, few, 3, rng), images.val, images.test)
    early = lab.train(images, "underfit", epochs=max(1, lab.epochs // 12))
    weakest = _weakest(logits_of(early.network, images.val), images.val.labels, len(few))
    starving = lab.train(fewer, "starved")
    models = {"underfit": (early.network, weakest), "starved": (starving.network, starved)}
    return {kind: _patched(model, modules, images, number) for kind, (model, number) in models.items()}


def _patched(model: nn.Module, modules: Modules, images: Splits, number: int) -> dict[str, Any]:
    """Before and after, on test; and what the model's own score alone gives, calibrated likewise."""
    name = images.classes[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it was accepted stands on the card
        mended = seam.patch(
            model, modules[name], given(images.train), val=given(images.val), class_names=images.classes
        )
    own, before = logits_of(model, images.val), logits_of(model, images.test)
    numbers = calibrate(own, torch.zeros(len(own)), images.val.labels, number)
    alone = combined(before, torch.zeros(len(before)), number, numbers)
    labels = images.test.labels
    return {
        "class": name,
        "accepted": mended.accepted,
        "before": _of_class(before, labels, number),
        "after": _of_class(logits_of(mended.network, images.test), labels, number),
        "own_score_alone": _of_class(alone, labels, number),
    }


def _of_class(logits: Tensor, labels: Tensor, number: int) -> dict[str, float]:
    """How well a class is found, and how many of the others are right."""
    said, positive = logits.argmax(1), labels == number
    one = found(said == number, positive)
    rest = float((said == labels)[~positive].double().mean())
    return {"precision": one.precision, "recall": one.recall, "f1": one.f1, "rest": rest}


def _weakest(logits: Tensor, labels: Tensor, classes: int) -> int:
    return min(range(classes), key=lambda i: _of_class(logits, labels, i)["f1"])


def halves(lab: Lab, images: Splits) -> dict[str, Any]:
    """A new task of classes from two sources that know one half of the classes each."""
    middle = len(images.classes) // 2
    return new_task(lab, images.only(images.classes[:middle]), images.only(images.classes[middle:]))


def new_task(lab: Lab, one: Splits, other: Splits) -> dict[str, Any]:
    """A task of some classes of each of two sources: their modules, against training from scratch."""
    rng = np.random.default_rng((lab.seed, 4))
    sources = [lab.train(side, f"of-{len(side.classes)}") for side in (one, other)]
    parts = [lab.parts(s, s.images.classes[0], "gradsplitter", DEFAULT) for s in sources]
    chosen = [[side.classes[i] for i in sorted(rng.permutation(len(side.classes))[:SOME])] for side in (one, other)]
    task = one.only(chosen[0]).beside(other.only(chosen[1]))
    known = both(task.train, task.val)  # as the network that is trained from scratch sees, too
    made, seconds = _timed(
        lambda: seam.compose([m for m, _ in parts], task.classes, train=given(known), class_names=task.classes)
    )
    scratch = lab.train(task, "scratch")
    return {
        "classes": list(task.classes),
        "images": task.counts(),
        "composed": right(made.network, task.test),
        "scratch": scratch.right(),
        "cpu_seconds": {"composed": seconds, "scratch": scratch.cpu_seconds, "modules": sum(s for _, s in parts)},
    }


def some_classes(lab: Lab, images: Splits) -> dict[str, Any]:
    """Three of the classes: composed of their modules, and re-engineered."""
    rng = np.random.default_rng((lab.seed, 5))
    kept = [images.classes[i] for i in sorted(rng.permutation(len(images.classes))[:SOME])]
    source, task = lab.train(images, "source"), images.only(kept)
    modules, seconds = lab.parts(source, "source", "gradsplitter", DEFAULT)
    composed, compose_seconds = _timed(lambda: seam.compose(modules, kept))
    small, small_seconds = _timed(
        lambda: seam.reengineer(
            source.network,
            given(images.train),
            kept,
            val=given(images.val),
            class_names=images.classes,
            mean=MEAN,
            std=STD,
            seed=lab.seed,
            device="cpu",
            progress=False,
        )
    )
    example = _two(composed)
    ways = {"source": source.network, "composed": composed.network, "reengineered": small.network}
    columns = [images.classes.index(c) for c in kept]
    times = {w: measured(n, n, example, ProfileConfig(), lab.seed) for w, n in ways.items()}
    accuracies = {w: right(ways[w], task.test) for w in ("composed", "reengineered")}
    accuracies["source"] = _accuracy(logits_of(source.network, task.test)[:, columns], task.test)
    return {
        "classes": kept,
        "test": accuracies,
        **{k: {w: getattr(count(n, example[:1]), f"{k}_nonzero") for w, n in ways.items()} for k in ("params", "macs")},
        "ms": {w: found_[0][1] for w, found_ in times.items()},
        "conditions": times["source"][1],
        "cpu_seconds": {"composed": compose_seconds, "reengineered": small_seconds, "modules": seconds},
    }


def _timed(make: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    made: Composition | Any = make()
    return made, time.process_time() - begin


def _accuracy(logits: Tensor, data: LabelledImages) -> float:
    return float((logits.argmax(1) == data.labels).double().mean())


CLAIMS: dict[str, Callable[[Lab, Splits], dict[str, Any]]] = {
    "one_source": one_source,
    "weak_sources": weak_sources,
    "patch": patch,
    "new_task": halves,
    "some_classes": some_classes,
}
"""Key of a card -> what is measured."""
