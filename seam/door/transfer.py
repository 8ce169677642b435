"""A trained network for other classes, without its defects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seam.configs.methods import SETTINGS, TransferConfig
from seam.door.arguments import Device, Wanted, of_kind, own_copy, place_of
from seam.door.asked import Images, classes_of, need_every_class, outputs_of, read
from seam.door.computing import computing, doubting
from seam.door.given import Given
from seam.door.normalisation import normalised
from seam.door.progress import Shown
from seam.door.report import Report, Size
from seam.hardware import describe
from seam.measures.check_up import check_up
from seam.measures.findings import judge
from seam.measures.macs import count
from seam.methods.catalogue import STUDENTS, find
from seam.methods.protocol import Target, Watch
from seam.methods.transfer import Transferred as Made
from seam.methods.transfer import transfer as make_student
from seam.networks.plain import plain
from seam.networks.predict import accuracy, predict
from seam.training.loop import Epoch


@dataclass(frozen=True)
class Transferred:
    """A student: a network for the classes of other images."""

    network: nn.Module
    """Images as the given network takes them to a logit a class; eval mode, on the CPU. Its modules have
    the given network's names; the last layer is new."""
    masks: dict[str, Tensor]
    """Parameter -> which of its weights training began with; empty where the method removes none."""
    classes: tuple[str, ...]
    """In the order of the logits."""
    report: Report
    preprocess: nn.Module
    """uint8 NHWC images to what `network` takes; the identity where images came as floats."""
    example: Tensor
    """Zeros of the shape (1, channels, height, width) of one image as `network` takes it."""


def transfer(
    network: nn.Module,
    train: Given,
    *,
    val: Given | None = None,
    method: str = "seam",
    removal: float | None = None,
    class_names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    config: TransferConfig | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
) -> Transferred:
    """Teach a trained network the classes of other images, by one of the methods of `seam.methods.catalogue`.

    Args:
        network: trained on other classes; its last layer is replaced. It is not changed.
        train: images of the new classes, see `seam.reengineer`.
        val: further images, to choose on; None: the folder `val` beside `train`, or a fifth of `train`.
        method: its name, such as "seam", "remos", "standard".
        removal: share of the convolutions' weights to remove, in [0, 1); None: as `config` has it.
        class_names: of the new classes, by label; None: the folders of `train`, the `classes` of a
            Dataset, or numbers.
        mean: of pixels in [0, 1], one value or one a channel, for uint8 images; None: ImageNet's.
        std: see `mean`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        config: all numbers of search and training; None: those of `TransferConfig`, and the best on val of
            `seam.configs.methods.SETTINGS`, which is a training for each.
        seed: of everything drawn.
        folder: where the state is kept, so that a call that was interrupted continues to the same
            result; None: nothing is kept.
        device: that computes; "auto": a GPU where there is one.
        progress: whether to show bars with the time left.

    Raises:
        ConfigError: no such method, or one that removes nothing was to remove some.
        DataError: images or labels are not what they should be.
        SourceError: the network does not take these images, has no last layer to replace, or its
            check-up says that nothing can work (see `seam.measures.check_up`).

    Warns:
        SuspectResultWarning: the result is doubtful; `report.doubts` has the same texts.
    """
    begin, place = time.perf_counter(), place_of(folder)
    of_kind(config, TransferConfig, "config")
    wanted, row = Wanted(mean, std, image_size, seed, device), find(method, STUDENTS)
    numbers = config or TransferConfig(settings=SETTINGS)
    numbers = numbers if removal is None else row.with_removal(numbers, removal)
    source = own_copy(network)
    images = normalised(source, read(train, val, wanted), wanted, on_val=False)
    findings = check_up(source, images.example, outputs_of(source, images))
    plain(source, images.example.cpu())
    images = classes_of(images, class_names, _number_of_classes(images, class_names))
    need_every_class(images)
    numbers = numbers if images.train.as_stored else _not_augmented(numbers)
    classes, example = images.train.classes or (), images.example
    training = row.training_of(numbers)
    shown = _Passes(row.rounds_of(numbers), training.epochs, len(numbers.trainings(training)))
    with doubting() as doubts, computing(device, example[0, 0].numel(), seed) as runtime:
        judge(findings, type(network).__name__)
        target = Target(images.train.data, images.val.data, images.preprocess, len(classes))
        with Shown(progress).bar(row.label, shown.total, "pass") as on_step:
            watch = shown.watch(on_step, place)
            made = make_student(method, source, target, numbers, runtime, seed, watch)
    student, val_data = made.student.network.cpu(), images.val.data
    right = accuracy(predict(student, val_data, images.preprocess.cpu()), val_data.labels)
    report = Report(
        method=f"{row.label}, {100 * made.start.removal:.0f}% of the convolutions' weights removed",
        classes=classes,
        source=_size(source, example, None),
        result=_size(student, example, right),
        images={"train": len(images.train.data), "val": len(val_data)},
        normalisation=images.normalisation,
        seed=seed,
        seconds=time.perf_counter() - begin,
        settings={"transfer": asdict(numbers), "chosen": made.chosen},
        conditions={"torch": torch.__version__, "threads": runtime.threads, "machine": describe()},
        doubts=tuple(doubts),
    )
    return Transferred(student, _masks(made), classes, report, images.preprocess, torch.zeros_like(example[:1]))


@dataclass
class _Passes:
    """Passes over the training images, counted over search and trainings."""

    rounds: int
    epochs: int
    """Of each training."""
    trainings: int
    number: int = 0
    """Of the training at hand."""

    @property
    def total(self) -> int:
        """In all."""
        return self.rounds + self.epochs * self.trainings

    def watch(self, on_step: Callable[[int, str], None], folder: Path | None) -> Watch:
        """Tells a bar, and names the folder of the state."""

        def on_setting(number: int) -> None:
            self.number = number

        def on_epoch(epoch: Epoch) -> None:
            done = self.rounds + self.epochs * self.number + epoch.epoch
            on_step(done, f"training {self.number + 1} of {self.trainings}, val {epoch.val_accuracy:.3f}")

        return Watch(folder, lambda r: on_step(r.round + 1, f"val {r.val_accuracy:.3f}"), on_epoch, on_setting)


def _not_augmented(config: TransferConfig) -> TransferConfig:
    """The same for images that vary by what their own loader draws."""
    return replace(
        config,
        search=replace(config.search, augment="none"),
        training=replace(config.training, augment="none"),
        retrain=replace(config.retrain, augment="none"),
    )


def _number_of_classes(images: Images, class_names: Sequence[str] | None) -> int:
    if class_names is not None:
        return len(class_names)
    return len(images.train.classes or ()) or int(images.train.data.labels.max()) + 1


def _size(network: nn.Module, example: Tensor, right: float | None) -> Size:
    found = count(network, example)
    return Size(
        accuracy=right, params_total=found.params_total, params_nonzero=found.params_nonzero, macs=found.macs_nonzero
    )


def _masks(made: Made) -> dict[str, Tensor]:
    return {name: mask.cpu() for name, mask in (made.start.masks or {}).items()}
