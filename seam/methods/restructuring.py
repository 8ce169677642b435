"""What DeepArc and its controls share: a network without some blocks, some parts of which are trained again."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from seam.checkpoint import digest_of, fingerprint
from seam.compaction.blocks import Chain, without_blocks
from seam.configs.methods import RestructureConfig
from seam.data.images import LabelledImages
from seam.data.lazy import in_memory, select
from seam.methods.protocol import SILENT, Target, Watch
from seam.networks.predict import accuracy, predict
from seam.networks.products import macs_by_parameter
from seam.runtime import Runtime
from seam.training.loop import Epoch
from seam.training.partly import train_partly


@dataclass(frozen=True)
class Change:
    """One way to change a network, and what it gives on val."""

    name: str
    """Of the way: "deeparc", or that of a control."""
    removed: tuple[str, ...]
    """Blocks that went."""
    trained: tuple[str, ...]
    """Modules that trained; "" is all of the network."""
    trained_share: float
    """Of the weights that are left, in [0, 1]."""
    val_accuracy_before: float
    """Without the removed blocks, before any training."""
    val_accuracy: float
    """At the end."""
    epochs: tuple[Epoch, ...] = ()
    """Of the training; none where there was none."""
    seconds: float = 0.0
    """That the training took here."""


def few(data: LabelledImages, count: int) -> LabelledImages:
    """At most so many of the images, evenly from first to last."""
    rows = torch.linspace(0, len(data) - 1, min(count, len(data))).round().long().to(data.labels.device)
    return LabelledImages(select(data.images, rows.cpu()), data.labels[rows])


def on_val(network: nn.Module, target: Target, val: LabelledImages) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    logits = predict(network, val, target.preprocess)
    return float(F.cross_entropy(logits.float(), val.labels)), accuracy(logits, val.labels)


def share_of(network: nn.Module, names: Collection[str]) -> float:
    """Of a network's parameters, those of modules."""
    chosen = {p for name in names for p in network.get_submodule(name).parameters()}
    return sum(p.numel() for p in chosen) / sum(p.numel() for p in network.parameters())


def within_share(network: nn.Module, names: Sequence[str], head: str, share: float) -> tuple[str, ...]:
    """The head and, of these blocks in this order, those that fit into a share of the weights; one at least."""
    taken = [head]
    for name in names:
        if share_of(network, [*taken, name]) <= share:
            taken.append(name)
    if len(taken) == 1 and names:
        taken.append(min(names, key=lambda name: share_of(network, [name])))
    return tuple(taken)


def beside(chain: Chain, removed: Collection[str]) -> tuple[str, ...]:
    """The blocks that follow removed ones, then those that come before them."""
    names = [block.name for block in chain.blocks]
    kept = [place for place, name in enumerate(names) if name not in removed]
    gone = [places for places in range(len(names)) if places not in kept]
    after = [min((k for k in kept if k > place), default=None) for place in gone]
    before = [max((k for k in kept if k < place), default=None) for place in gone]
    return tuple(dict.fromkeys(names[k] for k in (*after, *before) if k is not None))


@dataclass(frozen=True)
class Ways:
    """Ways to change one network, all trained alike."""

    source: nn.Module
    """Eval mode, on the runtime's device; it is not changed. It teaches where blocks went."""
    chain: Chain
    target: Target
    config: RestructureConfig
    runtime: Runtime
    seed: int
    watch: Watch = SILENT

    def changed(
        self, name: str, removed: Sequence[str], trained: Sequence[str], epochs: int | None = None
    ) -> tuple[nn.Module, Change]:
        """The network without blocks, with some parts trained.

        Args:
            name: of this way, for the result and for the file of its state.
            removed: blocks that go.
            trained: modules that train; "" is all of the network; none: nothing is trained.
            epochs: of the training; None: as configured.

        Raises:
            DivergedError: the loss is not finite.
        """
        config = self.config.training if epochs is None else replace(self.config.training, epochs=epochs)
        network, target = without_blocks(self.source, removed), self.target
        _, before = on_val(network, target, target.val)
        start, history = time.perf_counter(), list[Epoch]()
        if trained and config.epochs:
            train, val = target.train, target.val
            content = fingerprint(network.state_dict(), train.images, train.labels, val.images, val.labels)
            key = digest_of(name, list(removed), list(trained), asdict(config), self.seed, repr(self.runtime), content)
            history = train_partly(
                network,
                trained,
                target.preprocess,
                train,
                val,
                config,
                self.runtime,
                self.seed,
                teacher=self.source if removed else None,
                checkpoint=None if self.watch.folder is None else self.watch.folder / f"{name}.safetensors",
                key=key,
                on_epoch=self.watch.on_epoch,
            )
        seconds = time.perf_counter() - start
        after = on_val(network, target, target.val)[1] if history else before
        share = share_of(network, trained) if trained else 0.0
        made = Change(name, tuple(removed), tuple(trained), share, before, after, tuple(history), seconds)
        return network.eval().requires_grad_(False), made

    def controls(self, chosen: Change) -> Iterator[Change]:
        """Random draws of as many blocks, untrained; without the last ones; all weights, for the same counted time."""
        head, share = self.chain.head, self.config.trained_share
        if chosen.removed:
            known: dict[tuple[str, ...], Change] = {}
            for names in random_choices(self.chain, len(chosen.removed), self.config, self.seed):
                if names not in known:
                    known[names] = self.changed("random", names, ())[1]
                yield known[names]
        if not self.config.controls:
            return
        if chosen.removed:
            last = self.chain.removable[-len(chosen.removed) :]
            small = without_blocks(self.source, last)
            yield self.changed("last", last, within_share(small, beside(self.chain, last), head, share))[1]
        yield self.changed("full", chosen.removed, ("",), self.full_epochs(chosen))[1]

    def full_epochs(self, chosen: Change) -> int:
        """Epochs in which a training of all weights computes as much as that of parts did, rounded up."""
        network = without_blocks(self.source, chosen.removed)
        image = self.target.preprocess(in_memory(few(self.target.train, 1).images))
        parts, whole = (
            step_cost(network, self.chain, names, image, bool(chosen.removed)) for names in (chosen.trained, ("",))
        )
        return max(1, math.ceil(self.config.training.epochs * parts / whole - 1e-9))


def step_cost(network: nn.Module, chain: Chain, trained: Collection[str], image: torch.Tensor, taught: bool) -> float:
    """What a training step computes, a forward pass of the network being 1: counted in multiply-adds.

    Forward; backward through all that comes after the first part that trains; the gradients of what
    trains; and a forward pass of the teacher.

    Args:
        network: as it is trained.
        chain: its blocks, whether or not they are still there.
        trained: modules that train; "" is all of the network.
        image: one, as the network takes it.
        taught: whether a teacher is asked.
    """
    if "" in trained:
        return 3.0 + taught
    macs = macs_by_parameter(network, image)
    total = sum(macs.values())

    def inside(names: Collection[str]) -> int:
        return sum(n for parameter, n in macs.items() if any(parameter.startswith(f"{name}.") for name in names))

    names = [block.name for block in chain.blocks]
    first = min((names.index(name) for name in trained if name in names), default=len(names))
    back = total - inside(names[:first])
    return 1.0 + back / total + inside(trained) / total + taught


def random_choices(chain: Chain, count: int, config: RestructureConfig, seed: int) -> list[tuple[str, ...]]:
    """Draws of so many of the blocks that can go, in the order of the chain."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(config.random_draws):
        places = torch.randperm(len(chain.removable), generator=generator)[:count].sort().values.tolist()
        drawn.append(tuple(chain.removable[place] for place in places))
    return drawn
