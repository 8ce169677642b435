"""A part of a trained network: only what some of its classes need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.door.arguments import Device, Wanted, of_kind, place_of
from seam.door.asked import problem_of
from seam.door.computing import computing, doubting
from seam.door.given import Given
from seam.door.progress import Shown
from seam.door.start import begin
from seam.door.work import Small, Work

SEARCH = SearchConfig(
    method="one_pass", structure="channels", cost="milliseconds", target=0.4, layouts=4, accuracy_floor=0.0
)
"""Whole channels and residual blocks, chosen by the milliseconds they take on this machine."""
TRAINING = FinetuneConfig(
    epochs=20, lr=0.05, lr_head=0.05, momentum=0.9, schedule="cosine", weight_decay=5e-4, features=16.0
)
"""With the network's features as teacher."""


def reengineer(
    network: nn.Module,
    train: Given,
    classes: Sequence[str | int],
    *,
    val: Given | None = None,
    class_names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    target: float | None = None,
    search_config: SearchConfig | None = None,
    training: FinetuneConfig | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
) -> Small:
    """Keep of a trained network what some of its classes need, and train that to be as good.

    By default whole channels and residual blocks go, chosen by the milliseconds they take in ONNX
    Runtime on this machine; the given network's features then teach what is left. A network without
    channels that can go loses single weights instead, with a doubt. Same arguments, machine and
    number of threads: same result, but for the times that milliseconds are measured in.

    Args:
        network: trained; maps images to a score for each of its classes. It is not changed.
        train: images of the network's classes, with their labels: a folder with one folder a class, a
            torch Dataset or DataLoader of (float image (channels, height, width), label), or (images,
            labels): uint8 (n, height, width, channels), or float (n, channels, height, width).
        classes: those to keep, by name or by number; one: it against the rest.
        val: further images, to choose on; None: the folder `val` beside `train`, or a fifth of `train`.
        class_names: of the network's outputs, in their order; None: the folders of `train`, sorted,
            the `classes` of a Dataset, or numbers.
        mean: of pixels in [0, 1], one value or one a channel, for uint8 images; None: common ones are tried on val.
        std: see `mean`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        target: share of the cost that is kept, in (0, 1]; None: 0.4 of the milliseconds or, where no
            widths of the layers reach that, of the multiply-adds, or as near as they can.
        search_config: all numbers of the search; None: as above.
        training: all numbers of the training after it; None: 20 epochs, see `TRAINING`.
        seed: of everything drawn.
        folder: where the state is kept, so that a call that was interrupted continues to the same
            result; None: nothing is kept.
        device: that computes; "auto": a GPU where there is one.
        progress: whether to show bars with the time left.

    Raises:
        DataError: images, labels or classes are not what they should be.
        SourceError: the network does not take these images or gives no class scores.
        SearchError: it has nothing to remove.

    Warns:
        SuspectResultWarning: the result is doubtful; `report.doubts` has the same texts.
    """
    began, place = time.perf_counter(), place_of(folder)
    of_kind(search_config, SearchConfig, "search_config")
    of_kind(training, FinetuneConfig, "training")
    as_near, config = target is None and search_config is None, search_config or SEARCH
    config = config if target is None else replace(config, target=target)
    start = begin(network, train, val, class_names, Wanted(mean, std, image_size, seed, device))
    source, images = start.source, start.images
    problem = problem_of(classes, images)
    training = training or TRAINING
    if not images.train.as_stored:  # images vary by what their own loader draws
        config, training = replace(config, augment="none"), replace(training, augment="none")
    with doubting() as doubts, computing(device, start.example[0, 0].numel(), seed) as runtime:
        start.judge()
        work = Work(source, images, problem, config, training, runtime, seed, place, Shown(progress), as_near)
        made = work.done()
    report = replace(made.report, doubts=tuple(doubts), seconds=time.perf_counter() - began)
    return replace(made, report=report)
