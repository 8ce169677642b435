"""What is asked for, checked before anything is computed: a network, images, classes, and where it is computed."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.data.splits import carve_val
from seam.door.arguments import Wanted
from seam.door.given import Given, Labelled, folder_split, labelled, named
from seam.errors import DataError, SourceError, SuspectResultWarning
from seam.measures.findings import taking
from seam.networks.activations import executed_layers
from seam.networks.scores import find_scores, give_found, shown_output

_SHOWN = 8
VAL_SHARE = 0.2
"""Of the training images that become val where none are given."""


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


def read(train: Given, val: Given | None, wanted: Wanted) -> Images:
    """The images, each as it is; `preprocess` is left to be chosen where it is not given.

    Raises:
        DataError: see `seam.door.given.labelled`; or train and val are of different kinds.
    """
    found = _of_size(labelled(train, "train", wanted.image_size), "train", wanted.image_size)
    beside = folder_split(train, "val") if val is None else None
    given = beside if val is None else val
    if given is None:
        kept, held = _carved(found, wanted.seed)
        return Images(replace(found, data=kept), replace(found, data=held), nn.Identity(), "", carved=True)
    other = _of_size(labelled(given, "val", wanted.image_size), "val", wanted.image_size)
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


def _of_size(found: Labelled, name: str, size: int | None) -> Labelled:
    """The same; a DataError for images of arrays and loaders, which come in their own size, unless it is this one."""
    sides = found.sides
    if size is not None and sides != (size, size):
        raise DataError(
            f"{name}: expected images of {size} x {size} pixels, as image_size says, got {sides[0]} x {sides[1]};"
            " resize them, or leave image_size out."
        )
    return found


def classes_of(images: Images, class_names: Sequence[str] | None, outputs: int) -> Images:
    """The same with the network's classes: names where they are known, and labels that are indices of its outputs.

    Args:
        images: with their own names, or numbers.
        class_names: of the network's outputs, in their order; None: those of the images.
        outputs: of the network.

    Raises:
        DataError: the classes are not the network's.
    """
    if isinstance(class_names, str):
        raise DataError(f"class_names: expected a list of names, got the text '{class_names}'; give one a class.")
    names = None if class_names is None else tuple(str(c) for c in class_names)
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"class_names: expected every name once, got '{twice}' twice; give each class its own.")
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
            f"{name}: expected labels in 0..{len(wanted) - 1}, one for each class, got {low}..{high}; number the"
            " classes so."
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
    known, example = None if class_names is None else len(class_names), images.example
    with taking(network, example, SourceError), torch.no_grad():
        output = network(example.clone())
        found = find_scores(output, len(example), known)
        if found is None and known is None:
            found = find_scores(output, len(example), _width(network, example))
    give_found(network, found)
    scores = output if found is None else found.take(output)
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        several = "" if isinstance(scores, Tensor) else "; let it return them by the name 'logits'"
        raise SourceError(
            f"expected class scores of shape (images, classes) from the network, got {shown_output(scores)}{several}."
        )
    if scores.dtype != torch.float32:
        raise SourceError(
            f"expected class scores in torch.float32, got {scores.dtype}; let the network compute in that."
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
    given = [classes] if isinstance(classes, str) or not isinstance(classes, Iterable) else list(classes)
    names = [_name(c, images.train.classes) for c in given]
    problem = TargetProblem.of("classes", names, images.train.classes)
    for side, name in ((images.train, "train"), (images.val, "val")):
        _need_all(problem.target_labels(side.data.labels.numpy()), problem.classes, name)
    return problem


def need_every_class(images: Images) -> None:
    """Raise a DataError unless there are two classes or more, with images of each in train and in val."""
    classes = images.train.classes or ()
    if len(classes) < 2:
        raise DataError(f"train: expected images of two or more classes, got {len(classes)}; add another class.")
    for side, name in ((images.train, "train"), (images.val, "val")):
        _need_all(side.data.labels.numpy(), classes, name)


def _need_all(labels: npt.NDArray[np.int64], classes: Sequence[str], name: str) -> None:
    found = set(np.unique(labels).tolist())
    missing = [c for label, c in enumerate(classes) if label not in found]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise DataError(f"{name}: expected images of every class, none of: {shown}; add some.")


def _name(given: Any, names: tuple[str, ...]) -> str:
    """Of a class that is given by its name or, where no class is called so, by its number."""
    if isinstance(given, str):
        return given
    try:
        number = operator.index(given)
    except TypeError as e:
        raise DataError(f"classes: expected names or numbers of classes, got {given!r}; give a list of them.") from e
    return names[number] if str(number) not in names and 0 <= number < len(names) else str(number)


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


def doubt_source(known: float, labels: Tensor) -> None:
    """Warn of a network that is right on val no more often than one that always gives the same answer."""
    if known <= float(labels.bincount().max()) / len(labels):
        text = (
            f"the given network is right on {known:.0%} of val, no more often than by chance: check the normalisation"
        )
        warnings.warn(SuspectResultWarning(f"{text}, and that classes are in the order of its outputs"), stacklevel=2)
