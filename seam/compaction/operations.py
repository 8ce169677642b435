"""Operations by what they do to channels, named as `Traced.kind` names them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

ACTIVATIONS = (
    *("relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "sigmoid", "logsigmoid"),
    *("tanh", "hardtanh", "hardswish", "hardsigmoid", "clamp", "identity", "contiguous", "clone", "detach", "dropout"),
    *("stochasticdepth", "float", "softsign", "tanhshrink", "hardshrink", "softshrink", "threshold"),
    *("rrelu", "alphadropout", "featurealphadropout", "zeroslike", "oneslike"),
    *("neg", "abs", "square", "pow", "sqrt", "rsqrt", "reciprocal", "exp", "log", "log1p", "sin", "cos", "erf"),
)
"""And other functions of one number, each applied to all."""
PRODUCTS = ("mul", "imul")
ARITHMETIC = ("add", "iadd", "sub", "isub", "div", "truediv", "itruediv", "maximum", "minimum", "where", *PRODUCTS)
CONCATENATIONS = ("cat", "concat", "concatenate")
POOLS = ("avgpool", "maxpool", "adaptiveavgpool", "adaptivemaxpool")
RESAMPLING = (
    *("interpolate", "upsample", "upsamplingnearest", "upsamplingbilinear"),
    *("reflectionpad", "replicationpad", "circularpad"),
)
TRAINING = {"dropout": 2, "alphadropout": 2, "featurealphadropout": 2, "rrelu": 3, "stochasticdepth": 3}
"""Function that is random while training -> position of the argument that says so."""
OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    **{operator.add: operator.add, operator.iadd: operator.add, torch.add: torch.add},
    **{operator.mul: operator.mul, operator.imul: operator.mul, torch.mul: torch.mul},
}
"""Sum or product, of which an operand can become a tensor of its own -> the same, not in place."""


def is_random(kind: str, node: fx.Node) -> bool:
    """Whether a function is called as while training, and is random then."""
    at = TRAINING.get(kind)
    return (
        at is not None
        and node.op == "call_function"
        and node.kwargs.get("training", (*node.args, 1, 1, 1)[at]) is not False
    )
