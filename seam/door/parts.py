"""The modules of a network, as the door gives them: taken one by one, written to a folder, read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.composition.module import Module, Piece, Takes, extract, groups_for, without_head
from seam.composition.pack import Pack, load_pack, save_pack
from seam.door.arguments import own_copy
from seam.errors import DataError, MaskError
from seam.masks.groups import ChannelGroups
from seam.networks.plain import plain


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """One module against its source; fractions, 1 is as much as the source has."""

    kernels: float
    """Kept of those that can go; of masks over single weights, weights kept."""
    params: float
    macs: float
    f1: float
    """Of its class on val, all modules together, by the largest score."""


@dataclass(frozen=True, kw_only=True)
class PartsReport:
    """What was made, in numbers; `print` shows a table."""

    method: str
    """In words."""
    modules: Mapping[str, PartSize]
    source_accuracy: float
    """On val, in [0, 1]."""
    composed_accuracy: float
    """Of all modules put together, on val."""
    jaccard: float
    """Mean over pairs of modules of what both keep as a fraction of what one of them keeps: 1 for equal masks."""
    images: Mapping[str, int]
    """Split -> number of images."""
    normalisation: str
    seed: int
    seconds: float
    settings: Mapping[str, Any]
    """JSON: the numbers of the method."""
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A table, and the doubts below it."""
        header = ["", "kernels", "weights", "multiply-adds", "F1 on val"]
        rows = [header] + [
            [name, *(f"{100 * v:.1f}%" for v in (size.kernels, size.params, size.macs, size.f1))]
            for name, size in self.modules.items()
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [f"{self.method}: {len(self.modules)} modules"]
        lines += ["  ".join([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        lines += [
            f"accuracy on val: {100 * self.composed_accuracy:.1f}% all together, {100 * self.source_accuracy:.1f}% the"
            f" source; masks in common: {100 * self.jaccard:.0f}%",
            f"normalisation: {self.normalisation}; seed {self.seed}; {self.seconds:.0f} s",
        ]
        return "\n".join([*lines, *(f"doubt: {text}" for text in self.doubts)])


@dataclass(frozen=True)
class Modules(Mapping[str, Module]):
    """The modules of one network, by class: `modules["boot"]` is a network that scores images of boots."""

    source: nn.Module
    """A copy of the network that was taken apart; eval mode, on the CPU."""
    pieces: Mapping[str, Piece]
    """Class -> its masks and head: all that is kept of a module but the source's weights."""
    takes: Takes
    """The images that all of them take."""
    groups: ChannelGroups | None
    report: Mapping[str, Any]
    """Of the making, as JSON; `print(modules)` shows a table where it was made just now."""
    outputs: int
    """Of the source."""
    name: str = ""
    """What its source is called, to tell modules of several sources apart."""
    text: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""
        return tuple(self.pieces)

    @property
    def preprocess(self) -> nn.Module:
        """uint8 NHWC images to what modules take; the identity where images came as floats."""
        return self.takes.preprocess()

    @property
    def example(self) -> Tensor:
        """Zeros of the shape (1, channels, height, width) of one image as modules take it."""
        return self.takes.example()

    def __getitem__(self, of: str) -> Module:
        """The module of a class: the source without what the class does not need.

        Raises:
            KeyError: there is none.
        """
        return extract(self.source, self.pieces[of], self.groups, self.takes, of, self.name)

    def without_head(self, of: str) -> nn.Module:
        """The module of a class to all outputs of the source, (batch, outputs), instead of the class's score.

        Raises:
            KeyError: there is none.
        """
        return without_head(self.source, self.pieces[of], self.groups, self.takes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def __str__(self) -> str:
        return self.text or f"{len(self)} modules: {', '.join(self.classes)}"

    def called(self, name: str) -> Modules:
        """The same under another name."""
        return replace(self, name=name)

    def save(self, folder: str | Path) -> Path:
        """Write masks and heads, a few kilobytes a module, into a folder; `load_modules` reads them.

        The source's weights are not among them. The folder holds the old pack or the new one whole.
        """
        place = Path(folder)
        about = {"takes": asdict(self.takes), "name": self.name, "report": dict(self.report)}
        digest = fingerprint(self.source.state_dict())
        save_pack(Pack(self.pieces, digest, self.outputs, about), place)
        return place


def load_modules(folder: str | Path, network: nn.Module) -> Modules:
    """Read modules that `Modules.save` wrote.

    Args:
        folder: of the pack.
        network: that was taken apart, with the same weights. It is not changed.

    Raises:
        MaskError: no such pack, damaged, or of another network.
        SourceError: the network is not in float32, or its weights are not in memory.
    """
    source = own_copy(network)
    known = load_pack(Path(folder)).about
    try:
        given = {k: None if v is None else tuple(v) for k, v in known["takes"].items()}
        takes = Takes(given["shape"] or (), given["scale"], given["shift"])
        name, report = str(known["name"]), dict(known["report"])
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise MaskError(f"{folder}: expected a pack of modules, got {e}", hint="rerun_producer") from e
    plain(source, takes.example())
    pack = load_pack(Path(folder), fingerprint(source.state_dict()))
    return modules_of(source, pack.pieces, takes, report, pack.outputs, name)


def modules_of(
    source: nn.Module,
    pieces: Mapping[str, Piece],
    takes: Takes,
    report: Mapping[str, Any],
    outputs: int,
    name: str = "",
    text: str = "",
) -> Modules:
    """Modules of a source in eval mode on the CPU.

    Raises:
        MaskError: there are none.
    """
    if not pieces:
        raise MaskError("expected at least one module, got none.")
    groups = groups_for(source, next(iter(pieces.values())), takes.example())
    return Modules(source, pieces, takes, groups, report, outputs, name, text)


def same_images(first: Takes, other: Takes, what: str) -> None:
    """Raise a DataError where two networks take different images."""
    if first.shape != other.shape:
        raise DataError(
            f"{what}: expected images of shape {first.shape}, as the others take, got {other.shape}; take networks"
            " apart on images of one size and as many channels."
        )
    if (first.scale, first.shift) != (other.scale, other.shift):
        shown = ["floats as they come" if t.scale is None else _numbers(t) for t in (first, other)]
        raise DataError(
            f"{what}: expected images normalised as for the others ({shown[0]}), got {shown[1]}; take networks apart"
            " with the same mean and std."
        )


def _numbers(takes: Takes) -> str:
    """The normalisation of pixels in [0, 1]."""
    std = [1 / (255 * value) for value in takes.scale or ()]
    mean = [-shift * s for shift, s in zip(takes.shift or (), std, strict=True)]
    return f"mean {[round(v, 4) for v in mean]}, std {[round(v, 4) for v in std]}"
