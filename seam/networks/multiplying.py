"""Which of torch's operators multiply, what they multiply, and how often."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

_PRODUCTS = ("convolution", "mm", "bmm", "mv", "dot")
_ADDED_TO = ("addmm", "baddbmm", "addmv")
"""Products that are added to something, their first argument."""
_LSTM = "mkldnn_rnn_layer"
"""A layer of an LSTM in one direction, where torch computes it in one operator."""
_ATTENTION = "_scaled_dot_product"
"""How the names of operators for softmax(q k') v begin."""
_UNKNOWN = ("attention", "_transformer", "_trilinear", "addbmm", "_cdist", "rnn", "deform_conv", "int_mm", "scaled_mm")
"""Parts of the names of others that multiply."""


def multiplied(name: str, args: Any) -> list[tuple[Tensor, Tensor]]:
    """The pairs of tensors that an operator multiplies; none where it is no product, or an unknown one."""
    if name in _PRODUCTS:
        return [(args[0], args[1])]
    if name in _ADDED_TO:
        return [(args[1], args[2])]
    if name == _LSTM:  # the input with its weights, and with those of the state
        return [(args[0], args[1]), (args[0], args[2])]
    if name.startswith(_ATTENTION):  # queries with keys, and with values
        return [(args[0], args[1]), (args[0], args[2])]
    return []


def multiplies_unknown(name: str) -> bool:
    """Whether an operator without such pairs multiplies."""
    return any(part in name for part in _UNKNOWN)


def multiply_adds(name: str, first: Tensor, second: Tensor, args: Any, result: Any) -> int:
    """Of one pair that an operator multiplies."""
    if name == _LSTM:
        return math.prod(first.shape[:-1]) * int(second.numel())
    if name.startswith(_ATTENTION):
        return math.prod(first.shape[:-1]) * math.prod(second.shape[-2:])
    if name != "convolution":
        return int(math.prod(result.shape) * first.shape[-1])
    positions: Tensor = first if args[6] else result  # of a transposed convolution those it reads
    return int(positions.numel() * second[0].numel())
