"""What a network multiplies: every convolution and matrix product of one run, and the parameters in it.

Whoever asks which weights a network really uses (to make them plain, to count them) reads it here,
whatever the layers are called: a layer called twice, two layers with one tensor, a weight computed
from other parameters, a parameter given to a function of torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seam.networks.kept_tensors import forget_gradients
from seam.networks.multiplying import multiplied, multiplies_unknown, multiply_adds

_MADE = ("empty", "full", "ones", "zeros")
_BY_SHAPE = (*(f"new_{values}" for values in _MADE), *(f"{values}_like" for values in _MADE))
"""Operators whose result depends on nothing but the shape of what they are given."""


@dataclass(frozen=True, eq=False)
class Product:
    """One convolution or matrix product, and which of its two factors is a weight."""

    module: str
    """The innermost module that computes it."""
    operator: str
    """torch's name: "convolution", "addmm"."""
    args: tuple[Any, ...]
    """Of the operator."""
    factors: tuple[Tensor, Tensor]
    """What is multiplied."""
    macs: int
    """Multiply-adds."""
    weight: Tensor | None = None
    """The factor that does not depend on the input, or, where neither does, that which is a
    parameter; None: there is no such, or not one alone."""
    origins: frozenset[str] = frozenset()
    """The parameters it is made from by anything but products."""
    is_parameter: bool = False
    """Whether it is a parameter as it is, or a view of one."""
    is_constant: bool = False
    """Whether neither of its factors depends on the input."""
    is_needed: bool = True
    """Whether the network's output depends on it."""

    @property
    def macs_nonzero(self) -> int:
        """Multiply-adds without those by a weight that is zero."""
        if self.weight is None:
            return self.macs
        return self.macs * int(torch.count_nonzero(self.weight)) // self.weight.numel()


@dataclass(frozen=True)
class _Constant:
    """Of a tensor that does not depend on the input."""

    tensor: Tensor
    """Kept, so that its memory is not another's."""
    origins: frozenset[str]
    is_parameter: bool = False


@dataclass(frozen=True)
class _Step:
    """One operator of a run; its tensors are kept, so that their memory is not another's."""

    given: list[Tensor]
    made: list[Tensor]
    products: list[Product]


@dataclass(frozen=True)
class Run:
    """What one run of a network did."""

    output: Any
    products: tuple[Product, ...]
    uncounted: tuple[str, ...]
    """Operators that multiply and are not among the products, by torch's names."""
    pads: tuple[tuple[Any, ...], ...]
    """Arguments of each padding with a constant: (input, widths, value)."""
    inputs: dict[str, tuple[Any, ...]]
    """Module -> what it was called with last."""


def record(network: nn.Module, *inputs: Any) -> Run:
    """Run a network once and note what it multiplies.

    It runs with gradients on, so that attention runs as products and not as one operator; torch's
    global generators are left as they were.

    Args:
        network: in eval mode; its parameters should require gradients, and it is not changed.
        inputs: of its forward.
    """
    recorder, kept = _Recorder(network), ExitStack()
    with kept, torch.random.fork_rng(devices=_cuda_devices(network)), torch.enable_grad():
        torch.manual_seed(0)
        for name, module in network.named_modules():
            before = module.register_forward_pre_hook(recorder.enter(name), prepend=True)
            after = module.register_forward_hook(recorder.leave, always_call=True)
            kept.callback(before.remove)
            kept.callback(after.remove)
        with recorder:
            output = network(*inputs)
        forget_gradients(network)
    uncounted = tuple(sorted(recorder.uncounted))
    return Run(output, recorder.products_of(output), uncounted, tuple(recorder.pads), recorder.inputs)


def macs_by_parameter(network: nn.Module, image: Tensor) -> dict[str, int]:
    """Parameter (of several names the first) -> multiply-adds with its weights for these images.

    A weight that is computed from one parameter of its size counts as that parameter, one that is
    put together of several as those, by their sizes. Parameters that nothing is multiplied by are
    not there.
    """
    sizes = {name: p.numel() for name, p in network.named_parameters() if p.ndim > 1}
    macs: dict[str, int] = {}
    for product in record(network, image).products:
        shares = _shares(product, sizes)
        whole = sum(sizes[name] for name in shares)
        for name in shares:
            macs[name] = macs.get(name, 0) + product.macs * sizes[name] // whole
    return macs


def _shares(product: Product, sizes: dict[str, int]) -> list[str]:
    """The parameters that a product's weight is."""
    if product.weight is None:
        return []
    found = sorted(name for name in product.origins if name in sizes)
    same = [name for name in found if sizes[name] == product.weight.numel()]
    if len(same) == 1 or len(found) == 1:
        return same or found
    return found if sum(sizes[name] for name in found) == product.weight.numel() else []


class _Recorder(TorchDispatchMode):
    """Follows which tensors depend on the input, from operator to operator."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uncounted: set[str] = set()
        self.pads: list[tuple[Any, ...]] = []
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self._steps: list[_Step] = []
        self._stack: list[str] = []
        self._known: dict[int, _Constant] = {}
        for _, buffer in network.named_buffers():
            self._known[_memory(buffer)] = _Constant(buffer, frozenset())
        for name, parameter in network.named_parameters():
            self._known[_memory(parameter)] = _Constant(parameter, frozenset([name]), True)

    def enter(self, name: str) -> Callable[..., None]:
        """A hook that notes the start of a module."""

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._stack.append(name)
            self.inputs[name] = inputs

        return hook

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A hook that notes the end of a module."""
        self._stack.pop()

    def products_of(self, output: Any) -> tuple[Product, ...]:
        """All products, and which of them the network's output depends on."""
        needed = {_memory(t) for t in tree_leaves(output) if isinstance(t, Tensor)}
        found: list[Product] = []
        for step in reversed(self._steps):
            is_needed = not needed.isdisjoint(map(_memory, step.made))
            if is_needed:
                needed.update(map(_memory, step.given))
            found += [replace(product, is_needed=is_needed) for product in reversed(step.products)]
        return tuple(reversed(found))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        name = func.overloadpacket.__name__
        constants = [] if name in _BY_SHAPE else [self._known.get(_memory(t)) for t in given]
        result = func(*args, **kwargs)
        if name == "constant_pad_nd":
            self.pads.append(args)
        factors = multiplied(name, args)
        if not factors and multiplies_unknown(name):
            self.uncounted.add(name)
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if func._schema.is_mutable and given:
            made.append(given[0])
        self._steps.append(_Step(given, made, [self._product(name, args, pair, result) for pair in factors]))
        by_chance = torch.Tag.nondeterministic_seeded in func.tags and not factors  # attention's dropout is off
        if by_chance or any(c is None for c in constants):
            self._forget(made)
        else:
            origins = frozenset[str]().union(*(c.origins for c in constants if c is not None and not factors))
            self._keep(made, origins)
        return result

    def _product(self, name: str, args: Any, factors: tuple[Tensor, Tensor], result: Any) -> Product:
        first, second = factors
        known = [self._known.get(_memory(t)) for t in factors]
        module = self._stack[-1] if self._stack else ""
        constant = known[0] is not None and known[1] is not None
        macs = multiply_adds(name, first, second, args, result)
        product = Product(module, name, tuple(args), factors, macs, is_constant=constant)
        one_constant = [at for at in (0, 1) if known[at] is not None and known[1 - at] is None]
        one_parameter = [at for at in (0, 1) if (k := known[at]) is not None and k.is_parameter]
        at = one_constant or one_parameter
        if len(at) == 1 and (factor := known[at[0]]) is not None:
            product = replace(product, weight=factors[at[0]], origins=factor.origins, is_parameter=factor.is_parameter)
        return product

    def _forget(self, tensors: Sequence[Tensor]) -> None:
        """Note what depends on the input, or on chance: new memory, or memory that was written to."""
        for tensor in tensors:
            known = self._known.get(_memory(tensor))
            if known is not None and not known.is_parameter:
                del self._known[_memory(tensor)]

    def _keep(self, tensors: Sequence[Tensor], origins: frozenset[str]) -> None:
        """Note what depends on parameters alone."""
        for tensor in tensors:
            known = self._known.get(_memory(tensor))
            if known is None:
                self._known[_memory(tensor)] = _Constant(tensor, origins)
            elif not known.is_parameter:
                self._known[_memory(tensor)] = _Constant(tensor, known.origins | origins)


def _memory(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _cuda_devices(network: nn.Module) -> list[torch.device]:
    return list({p.device for p in network.parameters() if p.is_cuda})
