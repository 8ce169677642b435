"""Networks whose weights are computed from other parameters, made plain: the weight that is used is the parameter.

A mask zeroes parameters. Where a layer computes its weight from them (weight norm, spectral norm,
weight standardisation, a pruning mask), a zero of the parameter need not be one of the weight, and
what is counted is not what runs. So such layers become torch's own with the weight as it comes out.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_leaves

from seam.errors import SourceError
from seam.networks.layers import HAVE_WEIGHTS
from seam.networks.plain_layers import as_plain_layer, perturbed
from seam.networks.products import Product, record
from seam.networks.scores import find_scores, give_found
from seam.networks.state_dicts import load_tensors

logger = logging.getLogger(__name__)
_TOLERANCE = 1e-5
"""Largest difference of the outputs, relative to the largest."""
_SHOWN = 5
_RUN = 2
"""Images of a run."""


def copy_of(network: nn.Module) -> nn.Module:
    """A deep copy; also of networks whose layers keep a tensor that was computed (old weight norm).

    Raises:
        SourceError: it holds something that cannot be copied.
    """
    known: dict[int, Any] = {}
    for module in network.modules():
        own = {name: value for name, value in vars(module).items() if name not in ("_parameters", "_modules")}
        computed = (value for value in tree_leaves(own) if isinstance(value, Tensor) and not value.is_leaf)
        known |= {id(value): value.detach().clone() for value in computed}
    try:
        return copy.deepcopy(network, known)
    except Exception as e:  # whatever the network's own parts raise
        raise SourceError(
            f"{type(network).__name__}: expected a network that can be copied, got {type(e).__name__}:"
            f" {' '.join(str(e).split())[:160]}; take the part that cannot be copied out of it."
        ) from e


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside what torch.compile, DataParallel and averaging of weights put around it."""
    inner = network._modules.get("_orig_mod")
    if inner is None and isinstance(network, nn.DataParallel | DistributedDataParallel | AveragedModel):
        inner = network.module
    return network if inner is None else unwrapped(inner)


def plain(network: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Make every layer whose weight is computed from other parameters a plain one, in place.

    Parametrizations and the hooks of weight norm, spectral norm and pruning are removed, the weight
    stays as it is in eval mode. A module that computes the weight of one convolution or linear
    layer, and is otherwise no more than that layer (and zero padding), becomes torch's layer of
    that weight under its name. Networks without such layers are left as they are.

    Args:
        network: set to eval mode; `copy_of` copies one that is not to be changed.
        example: an input of it, on its device; only shape and type are used.

    Returns:
        Names of the layers that were made plain.

    Raises:
        SourceError: the result would differ from the network, or a weight stays computed in such a
            way that masked weights would not be zero in it.
    """
    return _made_plain(network, example)[0]


def plain_scores(network: nn.Module, example: Tensor, num_classes: int) -> None:
    """Make a network plain (`plain`) and let it give its class scores alone (`give_scores`), in one run of it.

    Args:
        network: see `plain`.
        example: see `plain`.
        num_classes: scores that it should give.

    Raises:
        SourceError: see `plain`.
    """
    _, output = _made_plain(network, example)
    give_found(network, find_scores(output, _RUN, num_classes))


def _made_plain(network: nn.Module, example: Tensor) -> tuple[tuple[str, ...], Any]:
    """Names of the layers that were made plain, and what the network gives for `_RUN` images."""
    network.eval()
    _check_python(network)
    with _needing_gradients(network):
        before = record(network, _images(example))
        changed = [*_without_parametrizations(network), *_without_hooks(network)]
        suspects = {p.module for p in before.products if p.weight is not None and not p.is_parameter}
        inputs = {name: before.inputs.get(name, ()) for name in sorted(suspects)}
        for name in _computing(network, inputs) if suspects else ():
            layer = as_plain_layer(network.get_submodule(name), inputs[name])
            if layer is not None:
                _replace(network, name, layer)
                changed.append(name)
        if suspects or changed:
            after = record(network, _images(example))
            _check_same(before.output, after.output, changed)
            _check_zeros_stay(network, example, after.products)
    names = tuple(dict.fromkeys(changed))
    if names:
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        logger.info("%d layers compute their weight, and hold it as it comes out from now on: %s.", len(names), shown)
    return names, before.output


def _check_python(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise SourceError(
                f"{name or type(network).__name__}: expected layers in Python, got one compiled as TorchScript; build"
                " it without torch.jit.script or torch.jit.trace, and load its weights."
            )


def load_either_form(
    network: nn.Module, tensors: Mapping[str, Tensor], where: str, example: Tensor, chosen: str | None = None
) -> None:
    """Load a checkpoint into `network`, in place: of its weights as it computes them, or as they come out.

    Args:
        network: of the architecture that the tensors are for; made plain where they are of its
            plain form.
        tensors: names -> tensors, from `read_state_dict`.
        where: names the checkpoint in messages.
        example: an input of the network, on its device.
        chosen: which of several sets of weights to take, by its name in the checkpoint.

    Raises:
        SourceError: see `load_tensors`; it is about the network as it is given.
    """
    try:
        load_tensors(network, tensors, where, chosen)
    except SourceError as e:
        tried = copy_of(network)
        if not plain(tried, example):
            raise
        try:
            load_tensors(tried, tensors, where, chosen)
        except SourceError:
            raise e from None
        plain(network, example)
        load_tensors(network, tensors, where, chosen)


def _images(example: Tensor) -> Tensor:
    drawn = torch.randn((_RUN, *example.shape[1:]), generator=torch.Generator().manual_seed(0))
    return drawn.to(example)


def _computing(network: nn.Module, inputs: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Of these modules those that are no whole network, and were called with one tensor."""
    modules = dict(network.named_modules())
    return [
        name
        for name, given in inputs.items()
        if name and name in modules and len(given) == 1 and isinstance(given[0], Tensor)
    ]


@contextmanager
def _needing_gradients(network: nn.Module) -> Iterator[None]:
    """Within the context all parameters require gradients, so that attention runs as products."""
    frozen = [p for p in network.parameters() if not p.requires_grad and p.is_floating_point()]
    every = all(not p.requires_grad for p in network.parameters())
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in network.parameters() if every else frozen:
            parameter.requires_grad_(False)


def _without_parametrizations(network: nn.Module) -> list[str]:
    """Remove torch.nn.utils.parametrize's parametrizations of tensors; the layers that had some."""
    changed = []
    for name, module in list(network.named_modules()):
        if parametrize.is_parametrized(module):
            kind = type(module)  # copies share it, and what is removed from it is gone from all of them
            module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for tensor in list(module.parametrizations):
                parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
            changed.append(name)
    return changed


def _without_hooks(network: nn.Module) -> list[str]:
    """Remove the hooks by which torch.nn.utils computed weights before parametrizations; the layers that had some."""
    changed = []
    for name, module in list(network.named_modules()):
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
            else:
                continue
            changed.append(name)
    return changed


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of a module, under all of its names."""
    old = network.get_submodule(name)
    for parent in list(network.modules()):
        for child, module in list(parent.named_children()):
            if module is old:
                setattr(parent, child, layer)


@torch.no_grad()
def _check_same(expected: Any, got: Any, changed: list[str]) -> None:
    for one, other in zip(tree_leaves(expected), tree_leaves(got), strict=True):
        if isinstance(one, Tensor) and one.is_floating_point():
            difference, scale = (one - other).abs().max(), one.abs().max()
            if not difference <= _TOLERANCE * scale.clamp(min=1e-6):  # also when it is NaN
                raise SourceError(
                    f"{', '.join(changed[:_SHOWN])}: expected the same outputs with the weights that these layers"
                    f" compute as parameters, got a difference of {float(difference):.3g}; give a network whose layers"
                    " hold their weights."
                )


def _check_zeros_stay(network: nn.Module, example: Tensor, products: tuple[Product, ...]) -> None:
    """Raise a SourceError where a computed weight keeps no zeros of the parameters that can be masked."""
    names = {p: n for n, p in network.named_parameters()}
    masked = {
        names[p]
        for m in network.modules()
        if isinstance(m, HAVE_WEIGHTS)
        for p in m.parameters(recurse=False)
        if p.ndim > 1
    }
    if not any(_follows(p, masked) for p in products):
        return
    with perturbed(network, zeroed=True):
        for product in record(network, _images(example)).products:
            if _follows(product, masked) and product.weight is not None:
                kept = int(torch.count_nonzero(product.weight)) / product.weight.numel()
                if kept > 0.75:  # half of the parameter is zero
                    origin = ", ".join(sorted(product.origins & masked)[:_SHOWN])
                    raise SourceError(
                        f"{product.module or type(network).__name__}: expected layers that use their weights as they"
                        f" are, got one that computes its weight from {origin} in such a way that zeros do not stay"
                        " zero; let a module of its own do no more than this one layer, or give a network with plain"
                        " weights."
                    )


def _follows(product: Product, masked: set[str]) -> bool:
    return product.weight is not None and not product.is_parameter and bool(product.origins & masked)
