"""A trained network taken apart into a module a class, by one of the methods that make modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.checkpoint import digest_of, fingerprint
from seam.composition.module import Piece
from seam.composition.splitting import Cycle
from seam.configs.modules import ModulesConfig
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.errors import DataError
from seam.methods.catalogue import MODULES, find
from seam.runtime import Runtime


@dataclass(frozen=True)
class Classes:
    """The classes of a network and images of them. The test split is no part of it: no method may see it."""

    train: LabelledImages
    """To learn from; labels are the network's outputs."""
    val: LabelledImages
    """To choose on."""
    preprocess: nn.Module
    """Images as they lie in `train` to the network's input."""
    names: tuple[str, ...]
    """In the order of the network's outputs."""

    def check(self) -> None:
        """Raise a DataError where there is one class alone, or a class has no image in train or val."""
        if len(self.names) < 2:
            raise DataError(f"expected a network of two classes or more, got {len(self.names)}.")
        for side, where in ((self.train, "train"), (self.val, "val")):
            counts = side.labels.bincount(minlength=len(self.names))
            if missing := [name for name, number in zip(self.names, counts.tolist(), strict=True) if not number]:
                shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
                raise DataError(f"{where}: expected images of every class, none of: {shown}; add some.")

    def example(self) -> Float[Tensor, "2 c h w"]:
        """Two training images as the network takes them, on the CPU."""
        images: Tensor = self.preprocess.cpu()(self.train.images[torch.tensor([0, len(self.train) - 1])].cpu())
        return images


@dataclass(frozen=True)
class ModulesWatch:
    """Where a long computation keeps its state, and whom it tells of its progress."""

    folder: Path | None = None
    """Of this call alone; one that was killed continues from what lies there to the same result. None:
    nothing is kept."""
    on_cycle: Callable[[Cycle], None] | None = None
    """Called after every new cycle of a search."""


UNWATCHED = ModulesWatch()
MakeModules = Callable[[nn.Module, Classes, ModulesConfig, Runtime, int, ModulesWatch], dict[str, Piece]]
"""(source, classes, config, runtime, seed, watch) -> class -> what makes its module, on the CPU. The
source, in eval mode, is not changed. The same seed gives the same pieces."""


def modularize(
    method: str,
    source: nn.Module,
    classes: Classes,
    config: ModulesConfig,
    runtime: Runtime,
    seed: int,
    watch: ModulesWatch = UNWATCHED,
) -> dict[str, Piece]:
    """Take a network apart by one of `seam.methods.catalogue.MODULES`.

    Args:
        method: its name.
        source: the trained network, in eval mode, on the CPU; it is not changed.
        classes: of the source, without the test split.
        config: the numbers of every method.
        runtime: device and precision.
        seed: of everything drawn.
        watch: where to keep the state, and whom to tell of progress.

    Raises:
        ConfigError: no such method.
        NoChannelsError: the method removes kernels, and the source has none that can go.
    """
    start: MakeModules = import_module(f"seam.methods.{find(method, MODULES).name}").start
    return start(source, classes, config, runtime, seed, watch)


def spread(data: LabelledImages, count: int) -> LabelledImages:
    """At most `count` of the images, evenly spread over them."""
    if len(data) <= count:
        return data
    rows = torch.linspace(0, len(data) - 1, count).round().long()
    return LabelledImages(select(data.images, rows), data.labels[rows.to(data.labels.device)])


def key_of(source: nn.Module, classes: Classes, config: Any, runtime: Runtime, seed: int) -> str:
    """A digest of all that a method's result depends on; `config` is its own."""
    known = dict(classes.preprocess.named_buffers())
    content = [fingerprint(d.images, d.labels) for d in (classes.train, classes.val)]
    return digest_of(asdict(config), seed, repr(runtime), fingerprint(source.state_dict(), known), *content)
