"""A trained network with fewer blocks, or with some of its blocks trained again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.configs.inference import ProfileConfig
from seam.configs.methods import RestructureConfig
from seam.door.arguments import Device, Wanted, place_of
from seam.door.computing import computing, doubting
from seam.door.given import Given
from seam.door.progress import Shown
from seam.door.report import Report, Size
from seam.door.start import begin
from seam.door.times import measured
from seam.hardware import describe
from seam.measures.macs import count
from seam.methods.catalogue import find
from seam.methods.deeparc import Restructured as Made
from seam.methods.deeparc import restructure as by_deeparc
from seam.methods.protocol import Target, Watch
from seam.methods.restructuring import Change
from seam.training.loop import Epoch


@dataclass(frozen=True)
class Restructured:
    """A network for the classes of the given one, of fewer blocks or with some trained again."""

    network: nn.Module
    """Images as the given network takes them to a logit a class; eval mode, on the CPU. Its modules have
    the given network's names; in the place of a removed one is one that does nothing."""
    removed: tuple[str, ...]
    """Names of the blocks that went."""
    trained: tuple[str, ...]
    """Names of the modules that trained."""
    blocks: tuple[str, ...]
    """All of the given network's, in their order."""
    cka: Float[Tensor, "values values"]
    """How alike what goes into the first block (row 0) and what comes out of each (row i: block i - 1)
    are; 1: the same up to rotation and scale."""
    segments: tuple[tuple[int, int], ...]
    """Rows of `cka` that are nearly the same, half-open."""
    change: Change
    """What was done, in numbers."""
    controls: tuple[Change, ...]
    """Other ways beside it: random blocks, the last blocks, all weights trained."""
    classes: tuple[str, ...]
    """In the order of the logits."""
    report: Report
    preprocess: nn.Module
    """uint8 NHWC images to what `network` takes; the identity where images came as floats."""
    example: Tensor
    """Zeros of the shape (1, channels, height, width) of one image as `network` takes it."""


def restructure(
    network: nn.Module,
    train: Given,
    *,
    val: Given | None = None,
    class_names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    config: RestructureConfig | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
) -> Restructured:
    """Take redundant blocks out of a trained network and train only their neighbours again (DeepArc).

    With `config.aim` "adversarial" or "repair" nothing is removed, and the blocks that need it train.
    `seam.reengineer` takes the result like any network: channels and weights go after blocks.

    Args:
        network: trained; maps images to a score for each of its classes. It is not changed.
        train: images of its classes, see `seam.reengineer`.
        val: further images, to choose on; None: the folder `val` beside `train`, or a fifth of `train`.
        class_names: of the network's outputs, in their order; None: the folders of `train`, sorted,
            the `classes` of a Dataset, or numbers.
        mean: of pixels in [0, 1], 1 or 3 values, for uint8 images; None: common ones are tried on val.
        std: see `mean`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        config: all numbers; None: those of `seam.configs.methods.RestructureConfig`.
        seed: of everything drawn.
        folder: where the state is kept, so that a call that was interrupted continues to the same
            result; None: nothing is kept.
        device: that computes; "auto": a GPU where there is one.
        progress: whether to show a bar with the time left.

    Raises:
        DataError: images, labels or classes are not what they should be, or fewer than 4 images.
        SourceError: the network does not take these images, gives no class scores, or has no blocks
            that can be removed.

    Warns:
        SuspectResultWarning: the result is doubtful; `report.doubts` has the same texts.
    """
    began, numbers = time.perf_counter(), config or RestructureConfig()
    start = begin(network, train, val, class_names, Wanted(mean, std, image_size, seed, device))
    source, images, example = start.source, start.images, start.example
    if not images.train.as_stored:  # images vary by what their own loader draws
        numbers = replace(numbers, training=replace(numbers.training, augment="none"))
    place = place_of(folder)
    with doubting() as doubts, computing(device, example[0, 0].numel(), seed) as runtime:
        start.judge()
        target = Target(images.train.data, images.val.data, images.preprocess, len(images.train.classes or ()))
        trainings, epochs = 1 + 2 * numbers.controls, numbers.training.epochs
        with Shown(progress).bar("restructure", trainings * epochs, "pass") as on_step:
            done = iter(range(1, trainings * epochs + 1))

            def on_epoch(epoch: Epoch) -> None:
                on_step(next(done), f"val {epoch.val_accuracy:.3f}")

            made = by_deeparc(source, target, numbers, runtime, seed, Watch(place, on_epoch=on_epoch))
    small, source = made.network.cpu(), source.cpu()
    times, conditions = measured(source, small, example, ProfileConfig(), seed)
    report = Report(
        method=_method(made),
        classes=images.train.classes or (),
        source=_size(source, example, made.source_val_accuracy, times[0]),
        result=_size(small, example, made.change.val_accuracy, times[1]),
        images={"train": len(images.train.data), "val": len(images.val.data)},
        normalisation=images.normalisation,
        seed=seed,
        seconds=time.perf_counter() - began,
        settings={"restructure": asdict(numbers)},
        conditions={**conditions, "torch": torch.__version__, "threads": runtime.threads, "machine": describe()},
        doubts=tuple(doubts),
    )
    return Restructured(
        network=small,
        removed=made.change.removed,
        trained=made.change.trained,
        blocks=tuple(block.name for block in made.segments.chain.blocks),
        cka=made.segments.cka,
        segments=made.segments.runs,
        change=made.change,
        controls=made.controls,
        classes=images.train.classes or (),
        report=report,
        preprocess=images.preprocess.cpu(),
        example=torch.zeros_like(example[:1]),
    )


def _method(made: Made) -> str:
    change, chain = made.change, made.segments.chain
    went = f"{len(change.removed)} of {len(chain.blocks)} blocks removed"
    return f"{find('deeparc').label}, {went}, {100 * change.trained_share:.1f}% of the weights trained"


def _size(network: nn.Module, example: Tensor, right: float, milliseconds: float) -> Size:
    found = count(network, example)
    return Size(
        accuracy=right,
        params_total=found.params_total,
        params_nonzero=found.params_nonzero,
        macs=found.macs_nonzero,
        latency_ms_p50=milliseconds,
    )
