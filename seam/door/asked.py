"""What is asked for, checked before anything is computed: a network, images, classes, and where it is computed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.data.splits import carve_val
from seam.door.given import Given, Labelled, folder_split, labelled, named
from seam.errors import DataError, SourceError, SuspectResultWarning
from seam.networks.activations import executed_layers
from seam.networks.plain import copy_of
from seam.networks.scores import find_scores, give_found, shown_output

Device = Literal["auto", "cpu", "cuda"]
VAL_SHARE = 0.2
"""Of the training images that become val where none are given."""


@dataclass(frozen=True)
class Wanted:
    """How images are to be read, and computed on."""

    mean: Sequence[float] | None
    """Of pixels in [0, 1], for images as stored; None: chosen on val."""
    std: Sequence[float] | None
    image_size: int | None
    seed: int
    device: Device


@dataclass(frozen=True)
class Images:
    """Train and val of the network's classes, and how they reach its input."""

    train: Labelled
    val: Labelled
    preprocess: nn.Module
    normalisation: str
    """In words, for the report."""
    carved: bool
    """Whether val was carved out of the training images."""

    @property
    def example(self) -> Tensor:
        """Three training images as the network takes them, on the CPU."""
        return self.train.example(self.preprocess)


def own_copy(network: Any) -> nn.Module:
    """A copy of the caller's network to work on: eval mode, float32, on the CPU.

    Raises:
        SourceError: it is no trained float32 network with its weights in memory.
    """
    if not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
        raise SourceError(f"expected a torch.nn.Module, got {type(network).__name__}; build the network, then load it.")
    parameters = dict(network.named_parameters())
    if not parameters:
        raise SourceError(f"{type(network).__name__}: expected a network with weights, got one without any.")
    for name, parameter in parameters.items():
        if parameter.is_meta:
            raise SourceError(f"'{name}' is on the meta device, expected weights in memory; load the weights first.")
        if parameter.dtype != torch.float32:
            raise SourceError(f"'{name}' is {parameter.dtype}, expected torch.float32; call network.float() first.")
        if not bool(torch.isfinite(parameter).all()):
            raise SourceError(
                f"'{name}' holds NaN or infinite values, expected finite weights; load a good checkpoint."
            )
    if len({parameter.device for parameter in parameters.values()}) > 1:
        raise SourceError("the network lies on several devices, expected one; call network.to('cpu') first.")
    return copy_of(network).cpu().eval().requires_grad_(False)


def read(train: Given, val: Given | None, wanted: Wanted) -> Images:
    """The images, each as it is; `preprocess` is left to be chosen where it is not given.

    Raises:
        DataError: see `seam.door.given.labelled`; or train and val are of different kinds.
    """
    found = labelled(train, "train", wanted.image_size)
    beside = folder_split(train, "val") if val is None else None
    given = beside if val is None else val
    if given is None:
        kept, held = _carved(found, wanted.seed)
        return Images(replace(found, data=kept), replace(found, data=held), nn.Identity(), "", carved=True)
    other = labelled(given, "val", wanted.image_size)
    kinds = [(f.as_stored, tuple(f.data.images.shape[1:])) for f in (found, other)]
    if kinds[0] != kinds[1]:
        shown = [f"{'uint8' if stored else 'float'} {shape}" for stored, shape in kinds]
        raise DataError(f"val: expected images as of train, {shown[0]}, got {shown[1]}; prepare both alike.")
    if found.classes and other.classes and found.classes != other.classes:
        raise DataError(
            f"val: expected the classes of train ({', '.join(found.classes[:5])}, ...), got"
            f" {', '.join(other.classes[:5])}, ...; give both the same classes."
        )
    return Images(found, other, nn.Identity(), "", carved=False)


def classes_of(images: Images, class_names: Sequence[str] | None, outputs: int) -> Images:
    """The same with the network's classes: names where they are known, and labels that are indices of its outputs.

    Args:
        images: with their own names, or numbers.
        class_names: of the network's outputs, in their order; None: those of the images.
        outputs: of the network.

    Raises:
        DataError: the classes are not the network's.
    """
    names = None if class_names is None else tuple(str(c) for c in class_names)
    if names is not None and len(names) != outputs:
        raise DataError(f"class_names: expected {outputs}, one for each output of the network, got {len(names)}.")
    own = images.train.classes
    if names is None and own is not None and len(own) != outputs:
        raise DataError(
            f"the network has {outputs} outputs and the images have {len(own)} classes: expected as many; give"
            " class_names (of the network's outputs, in their order), or transfer the network: seam.transfer."
        )
    wanted = names or own or tuple(map(str, range(outputs)))
    sides = [_renumbered(side, wanted, name) for side, name in ((images.train, "train"), (images.val, "val"))]
    return replace(images, train=sides[0], val=sides[1])


def _renumbered(side: Labelled, wanted: tuple[str, ...], name: str) -> Labelled:
    labels = side.data.labels
    if side.classes is not None and side.classes != wanted:
        unknown = [c for c in side.classes if c not in wanted]
        if unknown:
            raise DataError(
                f"{name}: expected classes among class_names, got '{unknown[0]}'; name it as the images do."
            )
        labels = torch.tensor([wanted.index(c) for c in side.classes])[labels]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(wanted):
        raise DataError(
            f"{name}: expected labels in 0..{len(wanted) - 1}, the network's outputs, got {low}..{high}; number the"
            " classes as the network does."
        )
    return named(replace(side, data=LabelledImages(side.data.images, labels)), wanted)


def outputs_of(network: nn.Module, images: Images, class_names: Sequence[str] | None = None) -> int:
    """Let the network give its class scores alone, in place, where they are one of several outputs; how many it gives.

    Args:
        network: of which one logit counts as those of two classes.
        images: as it takes them.
        class_names: of its outputs; None: it may have other classes than the images.

    Raises:
        SourceError: it does not take such images, or gives no finite class scores.
    """
    shape = tuple(images.example.shape[1:])
    try:
        with torch.no_grad():
            known, example = None if class_names is None else len(class_names), images.example
            output = network(example.clone())
            found = find_scores(output, len(example), known)
            if found is None and known is None:
                found = find_scores(output, len(example), _width(network, example))
            give_found(network, found)
            scores = output if found is None else found.take(output)
    except Exception as e:  # whatever the network's own code raises
        why = " ".join(str(e).split())[:160]
        raise SourceError(f"the network does not take images of shape {shape}: {why}", hint="image_size") from e
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        several = "" if isinstance(scores, Tensor) else "; let it return them by the name 'logits'"
        raise SourceError(
            f"expected class scores of shape (images, classes) from the network, got {shown_output(scores)}{several}."
        )
    if not bool(torch.isfinite(scores).all()):
        raise SourceError("expected finite class scores, got NaN or infinite ones", hint="normalisation")
    return scores.shape[1]


def _width(network: nn.Module, example: Tensor) -> int | None:
    """Outputs of the last layer that the network runs."""
    executed, _ = executed_layers(network, example)
    last = network.get_submodule(executed[-1]) if executed else None
    return last.out_features if isinstance(last, nn.Linear) else None


def problem_of(classes: Sequence[str | int], images: Images) -> TargetProblem:
    """The target problem.

    Raises:
        DataError: a class that the network has not, one named twice, or none; or one without images.
    """
    assert images.train.classes is not None
    given = [classes] if isinstance(classes, str | int) else list(classes)
    names = [_name(c, images.train.classes) for c in given]
    problem = TargetProblem.of("classes", names, images.train.classes)
    for side, name in ((images.train, "train"), (images.val, "val")):
        found = problem.target_labels(side.data.labels.numpy())
        missing = [c for label, c in enumerate(problem.classes) if not (found == label).any()]
        if missing:
            raise DataError(f"{name}: expected images of every class, none of: {', '.join(missing)}; add some.")
    return problem


def _name(given: str | int, names: tuple[str, ...]) -> str:
    """Of a class that is given by its name or, where no class is called so, by its number."""
    by_number = not isinstance(given, str) and str(given) not in names and 0 <= given < len(names)
    return names[int(given)] if by_number else str(given)


def _carved(found: Labelled, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Train and val out of one split; images that are read when asked for are told apart by their rows alone."""
    images, labels = found.data.images, found.data.labels.numpy()
    told = images.flatten(1).contiguous().numpy() if isinstance(images, Tensor) else np.arange(len(labels))[:, None]
    rows = carve_val(told.view(np.uint8), labels, VAL_SHARE, seed)
    if not len(rows.val):
        raise DataError("expected images for val, got none: every class has a single image, or copies; give val.")
    return found.rows(torch.from_numpy(rows.train)), found.rows(torch.from_numpy(rows.val))


def doubt_val(images: Images) -> None:
    """Warn where val may have been trained on."""
    if images.carved:
        text = "val was carved out of train, which the network may have been trained on: accuracy on it flatters"
        warnings.warn(SuspectResultWarning(text, hint="val_seen"), stacklevel=3)
