"""Spatial dropout after every stage of a network, whatever the architecture.

Whole channels of an image are zeroed in training.

Where: the modules a network executes one after another form a chain. `nn.Sequential`s in it are
opened, and so is any module that lowers the resolution more than once (a backbone inside a
wrapper); residual blocks and the like stay whole; a module executed at several places is left out.
A *stage* is a run of this chain with one resolution (height and width of the output) that holds at
least two convolutions, so a stem of one convolution is none. It ends before the next change of
resolution, or before the classifier; the dropout follows its last module. For torchvision's ResNets
that is after layer1, layer2, layer3 and layer4.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, takewhile

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seam.errors import SourceError
from seam.networks.student import classifier_name

Images = Float[Tensor, "batch channels height width"]
Resolution = tuple[int, int]


@contextmanager
def spatial_dropout(network: nn.Module, example_input: Images, p: float) -> Iterator[list[str]]:
    """Within the context, drop channels of `network` after every stage while it is in training mode.

    It is as before afterwards.

    Source: ReMoS's published code and SeaM figure 8: Dropout2d (p = 0.1) after each of the four
    stages of a ResNet, *same* there.

    Args:
        network: ends with a classifier; changed only by hooks, which are removed.
        example_input: normalised, on the network's device.
        p: chance of a channel, in [0, 1); 0 does nothing.

    Yields:
        The names of the modules that a dropout follows.

    Raises:
        SourceError: the network has no stage.
    """
    names = stage_ends(network, example_input) if p else []
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, out: F.dropout2d(out, p, module.training)
        )
        for name in names
    ]
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()


def stage_ends(network: nn.Module, example_input: Images) -> list[str]:
    """Names of the modules that end the stages of a network, in the order of execution.

    See the module's text for the rule.

    Raises:
        SourceError: there is no stage.
    """
    classifier = classifier_name(network, example_input)
    chain = _Chain(network, example_input)
    units = list(takewhile(lambda name: not (classifier == name or classifier.startswith(f"{name}.")), chain.units()))
    ends = []
    for resolution, run in groupby(units, lambda name: chain.executed[name].resolution):
        names = list(run)
        if resolution is not None and sum(chain.convolutions(name) for name in names) >= 2:
            ends.append(chain.outermost(names[-1]))
    if not ends:
        raise SourceError(
            f"{type(network).__name__}: expected two or more convolutions of one resolution in a row, got none",
            hint="spatial_dropout",
        )
    return ends


@dataclass
class _Executed:
    """What one module did in one pass over the network."""

    module: nn.Module
    calls: int = 0
    entered: Resolution | None = None
    """Of its first input, where that is an image."""
    resolution: Resolution | None = None
    """Of its last output, where that is an image."""
    within: list[Resolution] = field(default_factory=list)
    """Of the outputs of the convolutions in it."""


class _Chain:
    """The modules a network executes, in the order in which they end."""

    def __init__(self, network: nn.Module, example_input: Images) -> None:
        probe = copy.deepcopy(network).eval()
        self.executed: dict[str, _Executed] = {}
        for name, module in probe.named_modules():
            module.register_forward_hook(partial(self._note, name))
        with torch.no_grad():
            probe(example_input[:1])
        for name, done in self.executed.items():
            inside = [
                e for other, e in self.executed.items() if _holds(name, other) and isinstance(e.module, nn.Conv2d)
            ]
            done.within = [e.resolution for e in inside if e.resolution is not None]

    def _note(self, name: str, module: nn.Module, inputs: Sequence[object], output: object) -> None:
        done = self.executed.setdefault(name, _Executed(module))
        done.calls += 1
        done.entered = done.entered or _resolution(inputs[0] if inputs else None)
        done.resolution = _resolution(output)

    def units(self) -> Iterator[str]:
        """Names of the modules of the chain."""
        for name, done in self.executed.items():
            above = [other for other in self.executed if other != name and _holds(other, name)]
            if done.calls == 1 and not self._opened(name) and all(self._opened(other) for other in above):
                yield name

    def convolutions(self, name: str) -> int:
        """How many convolutions a module holds; a convolution holds itself."""
        return len(self.executed[name].within)

    def outermost(self, name: str) -> str:
        """The largest Sequential, executed once, whose output is that of `name`; or `name`."""
        above, _, own = name.rpartition(".")
        done = self.executed.get(above)
        if (
            not above
            or done is None
            or done.calls != 1
            or not _is_sequential(done.module)
            or next(reversed(dict(done.module.named_children()))) != own
        ):
            return name
        return self.outermost(above)

    def _opened(self, name: str) -> bool:
        done = self.executed[name]
        if name == "" or _is_sequential(done.module):
            return True
        # a convolution with an output of 1x1 may be part of a gate (squeeze and excitation)
        lower = {r for r in done.within if r != (1, 1) and done.entered is not None and r < done.entered}
        return len(lower) > 1


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _holds(above: str, name: str) -> bool:
    return above in ("", name) or name.startswith(f"{above}.")


def _resolution(value: object) -> Resolution | None:
    return (value.shape[2], value.shape[3]) if isinstance(value, Tensor) and value.ndim == 4 else None
