"""A trained network taken apart into a module a class."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from seam.composition.module import Takes
from seam.configs.modules import ModulesConfig
from seam.door.arguments import Device, Wanted, place_of
from seam.door.asked import Images
from seam.door.computing import computing, doubting
from seam.door.given import Given
from seam.door.measured_parts import measure_parts
from seam.door.parts import Modules, PartsReport, modules_of
from seam.door.progress import Shown
from seam.door.start import begin
from seam.methods.catalogue import MODULES, find
from seam.methods.modules import Classes, ModulesWatch
from seam.methods.modules import modularize as make_modules
from seam.networks.predict import accuracy


def modularize(
    network: nn.Module,
    train: Given,
    *,
    val: Given | None = None,
    method: str = "gradsplitter",
    class_names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    config: ModulesConfig | None = None,
    name: str = "",
    seed: int = 0,
    folder: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
) -> Modules:
    """Take a trained network apart: for each of its classes a module, which scores images of that class.

    A module is a mask over the network's kernels and a small head, a few kilobytes. Modules of one
    or several networks are put together by `seam.compose`, or mend a weak network by `seam.patch`;
    neither needs training. Same arguments, machine and number of threads: same modules.

    Args:
        network: trained; maps images to a score for each of its classes. It is not changed.
        train: images of the network's classes, with their labels: a folder with one folder a class, a
            torch Dataset or DataLoader of (float image (channels, height, width), label), or (images,
            labels): uint8 (n, height, width, channels), or float (n, channels, height, width).
        val: further images, to choose on; None: the folder `val` beside `train`, or a fifth of `train`.
        method: one that makes modules, see `seam methods`.
        class_names: of the network's outputs, in their order; None: the folders of `train`, sorted,
            the `classes` of a Dataset, or numbers.
        mean: of pixels in [0, 1], 1 or 3 values, for uint8 images; None: common ones are tried on val.
        std: see `mean`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        config: all numbers; None: those of `ModulesConfig`.
        name: what the network is called, to tell modules of several networks apart.
        seed: of everything drawn.
        folder: where the state is kept, so that a call that was interrupted continues to the same
            result; None: nothing is kept.
        device: that computes; "auto": a GPU where there is one.
        progress: whether to show a bar with the time left.

    Raises:
        ConfigError: no such method.
        DataError: images, labels or classes are not what they should be.
        SourceError: the network does not take these images or gives no class scores.
        NoChannelsError: none of its channels can be removed, which this method needs.

    Warns:
        SuspectResultWarning: the result is doubtful; the report's `doubts` has the same texts.
    """
    began, row, numbers = time.perf_counter(), find(method, MODULES), config or ModulesConfig()
    start = begin(network, train, val, class_names, Wanted(mean, std, image_size, seed, device))
    source, images, example = start.source, start.images, start.example
    classes = _every_class(images)
    place = place_of(folder)
    with doubting() as doubts, computing(device, example[0, 0].numel(), seed) as runtime:
        start.judge()
        with Shown(progress).bar(row.label, row.cycles_of(numbers), "cycle") as on_step:
            watch = ModulesWatch(
                place, lambda c: on_step(c.number, f"{100 * c.kept:.0f}% kept, val {c.val_accuracy:.3f}")
            )
            pieces = make_modules(method, source, classes, numbers, runtime, seed, watch)
        takes = Takes.of(images.preprocess.cpu(), example)
        made = modules_of(source, pieces, takes, {}, len(classes.names), name)
        found = measure_parts(made, images.val.data)
    report = PartsReport(
        method=row.label,
        modules=found.sizes,
        source_accuracy=accuracy(found.source_logits, images.val.data.labels),
        composed_accuracy=accuracy(found.composed_logits, images.val.data.labels),
        jaccard=found.in_common,
        images={"train": len(images.train.data), "val": len(images.val.data)},
        normalisation=images.normalisation,
        seed=seed,
        seconds=time.perf_counter() - began,
        settings=asdict(getattr(numbers, method)),
        doubts=tuple(doubts),
    )
    return modules_of(source, pieces, takes, report.to_dict(), len(classes.names), name, str(report))


def _every_class(images: Images) -> Classes:
    """The images as methods take them."""
    names = images.train.classes or ()
    made = Classes(images.train.data, images.val.data, images.preprocess, names)
    made.check()
    return made
