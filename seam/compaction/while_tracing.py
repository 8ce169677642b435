"""What is otherwise in torch and in Python while a network is traced."""

from __future__ import annotations

import builtins
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from torch import Tensor, fx
from torch.fx import _symbolic_trace
from torch.utils._pytree import tree_leaves

_TRACED_AS_ONE = ("stochastic_depth",)
"""Functions that their makers keep in one piece (torch.fx.wrap), as they are random while training."""
_BY_SIZES = ("zeros", "ones", "full", "empty", "arange", "linspace", "eye")
"""Functions of torch that make a tensor of sizes alone, which stand-ins can be."""
_ONE_AT_A_TIME = threading.RLock()
"""Of threads: what each puts back is what it found."""


@contextmanager
def functions_opened() -> Iterator[None]:
    """Trace into functions that their makers keep in one piece for torch.fx, all but random ones."""
    wrapped = _symbolic_trace._wrapped_fns_to_patch
    before = dict(wrapped)
    for key in before:
        if key[1] not in _TRACED_AS_ONE:
            del wrapped[key]
    try:
        yield
    finally:
        wrapped.clear()
        wrapped.update(before)


@contextmanager
def sizes_followed() -> Iterator[None]:
    """Within the context what is made of a stand-in for a size, or asked by `len` of one for a tensor, is one too."""
    with _ONE_AT_A_TIME:
        yield from _sizes_followed()


def _sizes_followed() -> Iterator[None]:
    made, length = {name: getattr(torch, name) for name in _BY_SIZES}, builtins.len

    def first_size(value: Any) -> Any:
        is_tensor = issubclass(type(value), fx.Proxy) and isinstance(value.tracer.values.get(value.node), Tensor)
        return value.size(0) if is_tensor else length(value)

    for name, function in made.items():
        setattr(torch, name, _following(function))
    builtins.len = first_size
    try:
        yield
    finally:
        builtins.len = length
        for name, function in made.items():
            setattr(torch, name, function)


def _following(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        stand_in = next((leaf for leaf in tree_leaves((args, kwargs)) if issubclass(type(leaf), fx.Proxy)), None)
        if stand_in is None:
            return function(*args, **kwargs)
        return stand_in.tracer.create_proxy("call_function", function, args, kwargs)

    return called


@contextmanager
def types_unchecked() -> Iterator[None]:
    """No run-time checks of jaxtyping's annotations: tracing calls the network with a proxy, which is no tensor."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
