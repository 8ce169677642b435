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
from seam.composition.patched import CAUTION, Calibration, Patched, calibrate, unseen
from seam.door.arguments import Device, Wanted, own_copy
from seam.door.asked import Images, classes_of, outputs_of, read
from seam.door.computing import computing, doubting
from seam.door.given import Given, folder_split
from seam.door.parts import same_images
from seam.errors import DataError, SuspectResultWarning
from seam.measures.macs import count
from seam.measures.modules import Found, mended
from seam.networks.predict import predict


@dataclass(frozen=True)
class PatchReport:
    """A model before and after, on val; `print` shows a table."""

    of: str
    """The class."""
    before: Found
    after: Found
    """How well the class is found, each image by numbers that are learned without it."""
    rest_before: float
    rest_after: float
    """Fraction of the images of other classes that are right, all classes being possible."""
    accepted: bool
    calibration: Calibration
    """Learned on all of val."""
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
    caution: float = CAUTION,
    seed: int = 0,
    device: Device = "auto",
) -> Patch:
    """Let a module say how sure a model may be of one class, without training either.

    The logit of the class is made anew from the model's own evidence and the module's score, by
    three numbers that are learned on val; the others stay as they are. The class can never be surer
    than the model itself was of any image of val. The patch is accepted where F1 of the class rises
    and no more images of other classes are wrong, each image of val being judged by numbers that are
    learned without it.

    Args:
        weak: maps images to a score for each of its classes. It is not changed.
        module: `seam.modularize(...)["boot"]`, of a network that takes the same images.
        train: images of the model's classes, see `seam.modularize`; they stand for val where there is
            none.
        val: images that neither network was trained on, to learn the numbers and accept on; None: the
            folder `val` beside `train`, or `train` itself.
        of: the class, among the model's; None: it is called as the module's.
        class_names: of the model's outputs, in their order; None: as in `seam.modularize`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        caution: standard errors by which images of other classes have to gain: the more, the fewer are
            lost on new images, and the less is gained for the class.
        seed: of the computation.
        device: that computes; "auto": a GPU where there is one.

    Raises:
        DataError: images or classes are not what they should be, or model and module take different
            images.
        SourceError: the model does not take these images or gives no class scores.

    Warns:
        SuspectResultWarning: the patch was not accepted, or there was no val.
    """
    begin = time.perf_counter()
    if not isinstance(module, Module):
        raise DataError(f"module: expected one of seam.modularize, modules['name'], got {type(module).__name__}.")
    model, module = own_copy(weak), copy.deepcopy(module).cpu().eval()
    given = val if val is not None else folder_split(train, "val") or train
    asked = Wanted(None, None, image_size, seed, device)
    images = _as_the_module_takes(read(train, given, asked), module)
    images = classes_of(images, class_names, outputs_of(model, images, class_names or images.train.classes))
    names = images.train.classes or ()
    column = _column(of or module.of, names)
    example = images.example
    with doubting() as doubts, computing(device, example[0, 0].numel(), seed) as runtime, torch.no_grad():
        if given is train:
            text = "there is no val: a network that was trained on these images is surer of them than of others"
            warnings.warn(SuspectResultWarning(text, hint="val_seen"), stacklevel=2)
        model.to(runtime.device), module.to(runtime.device)
        seen, preprocess = images.val.data.to(runtime.device), images.preprocess.to(runtime.device)
        logits, scores = (predict(m, seen, preprocess).cpu() for m in (model, module.network))
        labels = images.val.data.labels
        model.cpu(), module.cpu(), images.preprocess.cpu()
        numbers = calibrate(logits, scores[:, 0], labels, column, caution)
        judged = mended(logits, unseen(logits, scores[:, 0], labels, column, caution), labels, column)
        patched = Patched(model, module, column, numbers).eval().requires_grad_(False)
        if not judged.accepted:
            text = f"patch of '{names[column]}' not accepted: on val {judged.why_not}"
            warnings.warn(SuspectResultWarning(text), stacklevel=2)
        sizes = count(model, example[:1]), count(patched, example[:1])
    report = PatchReport(
        of=names[column],
        before=judged.before,
        after=judged.after,
        rest_before=judged.rest_before,
        rest_after=judged.rest_after,
        accepted=judged.accepted,
        calibration=numbers,
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
