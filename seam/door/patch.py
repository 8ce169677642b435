"""A weak model mended by a module for a class that it is weak at."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seam.composition.module import Module, Takes
from seam.composition.patched import Calibration, Patched, calibrate
from seam.door.asked import Device, Images, Wanted, classes_of, doubt_val, outputs_of, own_copy, read
from seam.door.computing import computing, doubting
from seam.door.given import Given
from seam.door.parts import same_images
from seam.errors import DataError, SuspectResultWarning
from seam.measures.macs import count
from seam.measures.modules import Found, found
from seam.networks.predict import predict


@dataclass(frozen=True)
class PatchReport:
    """A model before and after, on val; `print` shows a table."""

    of: str
    """The class."""
    before: Found
    after: Found
    """How well the class is found."""
    rest_before: float
    rest_after: float
    """Fraction of the images of other classes that are right, all classes being possible."""
    accepted: bool
    calibration: Calibration
    params: tuple[int, int]
    """Weights of the model, and of the patched one."""
    macs: tuple[int, int]
    seconds: float
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """What is said of the patched network, or of the model where it stays, as in `seam.measures.macs.Counts`."""
        return {"params_nonzero": self.params[self.accepted], "macs_nonzero": self.macs[self.accepted]}

    def __str__(self) -> str:
        """A table, and the doubts below it."""
        rows = [
            ("precision", self.before.precision, self.after.precision),
            ("recall", self.before.recall, self.after.recall),
            ("F1", self.before.f1, self.after.f1),
            ("others right", self.rest_before, self.rest_after),
        ]
        lines = [f"patch of '{self.of}': {'accepted' if self.accepted else 'not accepted'}", f"{'':<14}before   after"]
        lines += [f"{name:<14}{100 * a:5.1f}%  {100 * b:5.1f}%" for name, a, b in rows]
        lines.append(f"weights {self.params[0]:,} -> {self.params[1]:,}; {self.seconds:.0f} s")
        return "\n".join([*lines, *(f"doubt: {text}" for text in self.doubts)])


@dataclass(frozen=True)
class Patch:
    """A model and what a module made of it."""

    network: nn.Module
    """Images as the model takes them to its logits; eval mode, on the CPU. The model as it was, where the
    patch was not accepted."""
    accepted: bool
    """On val the class is found better, and no more images of other classes are wrong."""
    classes: tuple[str, ...]
    """In the order of the logits."""
    report: PatchReport
    preprocess: nn.Module
    """uint8 NHWC images to what `network` takes; the identity where images came as floats."""
    example: Tensor
    """Zeros of the shape (1, channels, height, width) of one image as `network` takes it."""


def patch(
    weak: nn.Module,
    module: Module,
    train: Given,
    *,
    val: Given | None = None,
    of: str | None = None,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> Patch:
    """Let a module say how sure a model may be of one class, without training either.

    The logit of the class is made anew from the model's own evidence and the module's score, by
    three numbers that are learned on `train`; the others stay as they are. The class can never be
    surer than the model itself was of any image of `train`. The patch is accepted where, on val, F1
    of the class rises and no more images of other classes are wrong.

    Args:
        weak: maps images to a score for each of its classes. It is not changed.
        module: `seam.modularize(...)["boot"]`, of a network that takes the same images.
        train: images of the model's classes, see `seam.modularize`; best such that the model has not
            been trained on.
        val: further images, to accept on; None: the folder `val` beside `train`, or a fifth of `train`.
        of: the class, among the model's; None: it is called as the module's.
        class_names: of the model's outputs, in their order; None: as in `seam.modularize`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        seed: of the split, where val is carved out of `train`.
        device: that computes; "auto": a GPU where there is one.

    Raises:
        DataError: images or classes are not what they should be, or model and module take different
            images.
        SourceError: the model does not take these images or gives no class scores.

    Warns:
        SuspectResultWarning: the patch was not accepted, or val was carved out of train.
    """
    begin = time.perf_counter()
    if not isinstance(module, Module):
        raise DataError(f"module: expected one of seam.modularize, modules['name'], got {type(module).__name__}.")
    model, module = own_copy(weak), copy.deepcopy(module).cpu().eval()
    images = _as_the_module_takes(read(train, val, Wanted(None, None, image_size, seed, device)), module)
    images = classes_of(images, class_names, outputs_of(model, images, class_names or images.train.classes))
    names = images.train.classes or ()
    column = _column(of or module.of, names)
    example = images.example
    with doubting() as doubts, computing(device, example[0, 0].numel(), seed) as runtime, torch.no_grad():
        doubt_val(images)
        model.to(runtime.device), module.to(runtime.device)
        sides = {s: getattr(images, s).data.to(runtime.device) for s in ("train", "val")}
        preprocess = images.preprocess.to(runtime.device)
        logits, scores = (
            {s: predict(m, data, preprocess).cpu() for s, data in sides.items()} for m in (model, module.network)
        )
        labels = {s: getattr(images, s).data.labels for s in ("train", "val")}
        numbers = calibrate(logits["train"], scores["train"][:, 0], labels["train"], column)
        model.cpu(), module.cpu(), images.preprocess.cpu()
        patched = Patched(model, module, column, numbers).eval().requires_grad_(False)
        after = patched.combined(logits["val"], scores["val"][:, 0])
        report = _report(names[column], numbers, logits["val"], after, labels["val"], column)
        if not report.accepted:
            warnings.warn(SuspectResultWarning(_why_not(report)), stacklevel=2)
        sizes = count(model, example[:1]), count(patched, example[:1])
    report = replace(
        report,
        params=(sizes[0].params_nonzero, sizes[1].params_nonzero),
        macs=(sizes[0].macs_nonzero, sizes[1].macs_nonzero),
        seconds=time.perf_counter() - begin,
        doubts=tuple(doubts),
    )
    network = patched if report.accepted else model
    return Patch(network, report.accepted, names, report, images.preprocess, torch.zeros_like(example[:1]))


def _as_the_module_takes(images: Images, module: Module) -> Images:
    """The images with the module's normalisation, which must be the model's too.

    Raises:
        DataError: they are of another shape, or of another kind.
    """
    if images.train.as_stored != (module.takes.scale is not None):
        kind = "uint8 images" if module.takes.scale is not None else "float images"
        raise DataError(f"train: expected {kind}, as the module of '{module.of}' takes, got others.")
    found_images = replace(images, preprocess=module.takes.preprocess(), normalisation="the module's")
    same_images(module.takes, Takes.of(found_images.preprocess, found_images.example), "train")
    return found_images


def _column(of: str, names: tuple[str, ...]) -> int:
    if of not in names:
        raise DataError(f"expected a class of the model ({', '.join(names[:8])}), got '{of}'; say which one: of.")
    return names.index(of)


def _report(of: str, numbers: Calibration, before: Tensor, after: Tensor, labels: Tensor, column: int) -> PatchReport:
    positive = labels == column
    one, other = (found(logits.argmax(1) == column, positive) for logits in (before, after))
    rest = [float((logits.argmax(1) == labels)[~positive].double().mean()) for logits in (before, after)]
    accepted = other.f1 > one.f1 and rest[1] >= rest[0]
    return PatchReport(of, one, other, rest[0], rest[1], accepted, numbers, (0, 0), (0, 0), 0.0, ())


def _why_not(report: PatchReport) -> str:
    if report.rest_after < report.rest_before:
        fall = 100 * (report.rest_before - report.rest_after)
        return f"patch of '{report.of}' not accepted: on val {fall:.2f} points fewer images of other classes are right"
    return f"patch of '{report.of}' not accepted: on val F1 does not rise ({100 * report.before.f1:.1f}%)"
