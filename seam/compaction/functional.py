"""Functions called with the weights of a layer, made calls of a layer with these weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class _Form:
    """How a function is called."""

    names: tuple[str, ...]
    """Its arguments, in order."""
    tensors: tuple[str, ...]
    """Those that a layer holds, under the same names."""
    make: Callable[[Mapping[str, Tensor], Mapping[str, Any]], nn.Module | None]
    """A layer of the right sizes, on the meta device, given the tensors and the other arguments.

    None: there is none.
    """


def as_layers(traced: fx.GraphModule, network: nn.Module) -> None:
    """Replace functions by layers, in place, where one module has all their tensors and nothing else reads these.

    The layers hold the same tensors as those of `network`, under the same names. So `F.conv2d(x,
    self.weight, ...)` of a class of one's own, or of one derived from torch's, is what it would be
    in a network of torch's layers.
    """
    owned = defaultdict(list)
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            owned[str(node.target).rpartition(".")[0]].append(node)
    for owner, nodes in owned.items():
        calls = list(dict.fromkeys(user for node in nodes for user in node.users))
        layers = [_layer(network.get_submodule(owner), call, owner) for call in calls] if owner else []
        first = layers[0] if layers else None
        called = any(n.op == "call_module" and n.target == owner for n in traced.graph.nodes)
        if first is None or called or any(other is None or repr(other) != repr(first) for other in layers):
            continue
        for name, child in traced.get_submodule(owner).named_children():
            first.add_module(name, child)
        traced.set_submodule(owner, first)
        for call in calls:
            with traced.graph.inserting_before(call):
                new = traced.graph.call_module(owner, (call.args[0],))
            new.name = call.name
            call.replace_all_uses_with(new)
            traced.graph.erase_node(call)
        for node in nodes:
            traced.graph.erase_node(node)
    traced.recompile()


def _layer(module: nn.Module, call: fx.Node, owner: str) -> nn.Module | None:
    """The layer that does what `call` does, with the tensors of `module`, named `owner`; None if there is none."""
    form = _FORMS.get(call.target) if call.op == "call_function" else None
    if form is None or len(call.args) > len(form.names):
        return None
    given = dict(zip(form.names, call.args, strict=False)) | call.kwargs
    tensors = {name: given.pop(name, None) for name in form.tensors}
    held = {name: node for name, node in tensors.items() if node is not None}
    if given.pop("input", None) not in call.args[:1] or any(isinstance(v, fx.Node) for v in given.values()):
        return None
    if any(not isinstance(node, fx.Node) or node.target != f"{owner}.{name}" for name, node in held.items()):
        return None
    values = {name: getattr(module, name) for name in held}
    with torch.device("meta"):
        layer = form.make(values, given) if values else None
    for name in (*form.tensors, "num_batches_tracked") if layer is not None else ():
        if hasattr(layer, name):
            setattr(layer, name, getattr(module, name, None))
    return layer


def _linear(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
    weight = tensors["weight"]
    return None if options else nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in tensors)


def _conv(kind: type[nn.Conv1d | nn.Conv2d | nn.Conv3d], rank: int) -> Any:
    def make(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
        weight, groups = tensors["weight"], options.get("groups", 1)
        sizes = {name: _sizes(options.get(name, 1), rank) for name in ("stride", "dilation")}
        padding = options.get("padding", 0)
        return kind(
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),  # type: ignore[arg-type]
            padding=padding if isinstance(padding, str) else _sizes(padding, rank),
            groups=groups,
            bias="bias" in tensors,
            **sizes,
        )

    return make


def _sizes(value: Any, rank: int) -> Any:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _batch_norm(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
    mean, training = tensors.get("running_mean"), options.get("training", False)
    if "running_var" not in tensors or mean is None or ("weight" in tensors) != ("bias" in tensors):
        return None
    settings = {"eps": options.get("eps", 1e-5), "momentum": options.get("momentum", 0.1)}
    return _AnyBatchNorm(len(mean), affine="weight" in tensors, **settings).train(training)


def _layer_norm(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
    shape = options.get("normalized_shape")
    if "weight" not in tensors or not isinstance(shape, list | tuple):
        return None
    return nn.LayerNorm(tuple(shape), options.get("eps", 1e-5), bias="bias" in tensors)


def _rms_norm(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
    shape = options.get("normalized_shape")
    return nn.RMSNorm(tuple(shape), options.get("eps")) if isinstance(shape, list | tuple) else None


def _group_norm(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> nn.Module | None:
    groups, weight = options.get("num_groups"), tensors.get("weight")
    if not isinstance(groups, int) or weight is None or "bias" not in tensors:
        return None
    return nn.GroupNorm(groups, len(weight), options.get("eps", 1e-5))


class _AnyBatchNorm(nn.BatchNorm2d):
    """BatchNorm of images or vectors."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


_CONV_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_OF_NORM = ("running_mean", "running_var", "weight", "bias")
_FORMS: dict[Any, _Form] = {
    F.linear: _Form(("input", "weight", "bias"), ("weight", "bias"), _linear),
    F.conv1d: _Form(_CONV_ARGUMENTS, ("weight", "bias"), _conv(nn.Conv1d, 1)),
    F.conv2d: _Form(_CONV_ARGUMENTS, ("weight", "bias"), _conv(nn.Conv2d, 2)),
    F.conv3d: _Form(_CONV_ARGUMENTS, ("weight", "bias"), _conv(nn.Conv3d, 3)),
    F.layer_norm: _Form(("input", "normalized_shape", "weight", "bias", "eps"), ("weight", "bias"), _layer_norm),
    F.rms_norm: _Form(("input", "normalized_shape", "weight", "eps"), ("weight",), _rms_norm),
    F.group_norm: _Form(("input", "num_groups", "weight", "bias", "eps"), ("weight", "bias"), _group_norm),
    F.batch_norm: _Form(("input", *_OF_NORM, "training", "momentum", "eps"), _OF_NORM, _batch_norm),
}
