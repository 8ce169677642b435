"""The blocks that a network is a chain of, and the network without some of them.

A block is a module that everything passes on its way from images to output. It can go where what
comes out has the shape of what goes in, and would still depend on it with every weight of the
block at zero: so it adds to what it is given, as residual blocks and the layers of transformers do.
All of that is found by running the network, whatever its classes are called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_MOST = 0.5
"""Share of a module's weights from which on the blocks inside it are the blocks, and not itself."""


@dataclass(frozen=True)
class Block:
    """One block of the chain."""

    name: str
    """Of the module."""
    removable: bool
    """Whether the network runs without it: it changes no shapes, and adds to what it is given."""
    weights: int
    """All parameters inside it."""


@dataclass(frozen=True)
class Chain:
    """The blocks of a network, and its classifier."""

    blocks: tuple[Block, ...]
    """In the order in which images pass them; empty where none could be removed."""
    head: str
    """Name of the last layer that runs of those with weights."""

    @property
    def removable(self) -> tuple[str, ...]:
        """Names of the blocks that can go."""
        return tuple(block.name for block in self.blocks if block.removable)


class Through(nn.Module):
    """What stands in the place of a removed block: gives back what it is given."""

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Tensor:
        """The input, whatever else is handed to the block."""
        return x


@torch.no_grad()
def find_blocks(network: nn.Module, images: Tensor) -> Chain:
    """The blocks that a network is a chain of.

    Of modules inside each other the innermost are the blocks, as long as they hold most of the
    outer one's weights. Siblings of the blocks that can go, such as those that halve the resolution,
    are blocks of the chain too. A gate, which scales what it is given, is none.

    Args:
        network: eval mode; it is not changed.
        images: as it takes them, on its device; the first two count.
    """
    tried = copy.deepcopy(network).eval().requires_grad_(False)
    calls = _passed_by_all(tried, images[:2])
    removable = _without_which_it_runs(tried, _innermost(tried, "", calls), images[:2])
    parents = {name.rpartition(".")[0] for name in removable}
    beside = [n for n in calls if n.rpartition(".")[0] in parents and _has_parts(tried.get_submodule(n))]
    holds_some = [n for n in beside if any(name.startswith(f"{n}.") for name in removable)]
    chain = [n for n in calls if n in removable or (n in beside and n not in holds_some)]
    blocks = tuple(Block(name, name in removable, _weights(tried.get_submodule(name))) for name in chain)
    return Chain(blocks, _classifier(tried, images[:2]))


def without_blocks(network: nn.Module, names: Collection[str]) -> nn.Module:
    """A copy of a network without these blocks; all other modules keep their names and weights.

    Args:
        network: is not changed.
        names: of modules that `find_blocks` calls removable.
    """
    small = copy.deepcopy(network)
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(small.get_submodule(parent), child, Through())
    return small


@dataclass
class _Call:
    """What a module was called with."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    same_shape: bool
    """Whether it gave the shape that it was given."""
    step: Any
    """Of autograd, that made what it gave."""
    times: int = 1


def _passed_by_all(network: nn.Module, images: Tensor) -> dict[str, _Call]:
    """The modules with weights that are called once and that every path from images to output goes through.

    In the order in which they end; those that give one tensor of images or tokens.
    """
    calls: dict[str, _Call] = {}
    given: dict[str, Tensor] = {}

    def begin(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                given[name] = inputs[0].detach().clone()  # some change it in place

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], value: Any) -> None:
            if name in calls:
                calls[name].times += 1
            elif name in given and isinstance(value, Tensor) and value.ndim > 2:
                same = value.shape == given[name].shape
                calls[name] = _Call((given[name], *inputs[1:]), options, same, value.grad_fn)

        return hook

    hooks = []
    for name, module in network.named_modules():
        if name and any(p.ndim > 1 for p in module.parameters()):
            hooks.append(module.register_forward_pre_hook(begin(name)))
            hooks.append(module.register_forward_hook(end(name), with_kwargs=True))
    with torch.enable_grad():
        output = network(images.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    if not isinstance(output, Tensor) or output.grad_fn is None:
        return {}
    once = {name: call for name, call in calls.items() if call.times == 1 and call.step is not None}
    return {name: call for name, call in once.items() if not _reaches(output.grad_fn, call.step)}


def _reaches(start: Any, without: Any) -> bool:
    """Whether autograd gets from a step to the images, the only leaf, without passing another step."""
    seen, waiting = {without}, [start]
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        if hasattr(step, "variable"):
            return True
        waiting += [further for further, _ in step.next_functions if further is not None]
    return False


def _adds(module: nn.Module, call: _Call) -> bool:
    """Whether a module gives the shape that it is given and, all of its matrices zero, adds no more than a constant.

    With vectors of ones, so that what is added is no zero, which a gate would give as well.
    """
    if not call.same_shape:
        return False
    emptied = copy.deepcopy(module)
    for parameter in emptied.parameters():
        parameter.fill_(0.0 if parameter.ndim > 1 else 1.0)

    def run(x: Tensor) -> Tensor:
        value: Tensor = emptied(x.clone(), *call.arguments[1:], **call.options)
        return value

    given = call.arguments[0] / call.arguments[0].abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    value, other, doubled = run(given), run(given.flip(0)), run(2 * given)
    left = value != 0
    scales = torch.allclose(doubled, 2 * value) and not torch.allclose(value[left], given[left])
    return not torch.equal(value, other) and bool(torch.isfinite(value).all()) and not scales


def _innermost(network: nn.Module, name: str, calls: Mapping[str, _Call]) -> list[str]:
    """The names below a module, or its own, that are blocks."""
    module = network.get_submodule(name)
    children = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
    below = [found for child in children for found in _innermost(network, child, calls)]
    if name not in calls or sum(_weights(network.get_submodule(n)) for n in below) > _MOST * _weights(module):
        return below
    return [name] if _adds(module, calls[name]) else below


def _without_which_it_runs(network: nn.Module, names: list[str], images: Tensor) -> list[str]:
    """All of them where it runs without all, otherwise those without each of which it runs."""
    if _runs_without(network, names, images):
        return names
    return [name for name in names if _runs_without(network, [name], images)]


def _runs_without(network: nn.Module, names: Collection[str], images: Tensor) -> bool:
    try:
        output = without_blocks(network, names)(images.clone())
    except Exception:  # whatever the network's own code raises
        return False
    return isinstance(output, Tensor) and bool(torch.isfinite(output).all())


def _has_parts(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _classifier(network: nn.Module, images: Tensor) -> str:
    """The last layer with a matrix that a run of the network comes to."""
    last = [""]

    def begin(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            last[0] = name

        return hook

    hooks = [
        module.register_forward_pre_hook(begin(name))
        for name, module in network.named_modules()
        if any(p.ndim > 1 for p in module.parameters(recurse=False))
    ]
    network(images.clone())
    for hook in hooks:
        hook.remove()
    return last[0]
