"""Normalisation layers of a masked network: which there are, letting them learn, and their tensors.

With nine weights in ten removed, what a layer puts out has another mean and spread than its
BatchNorm was trained for. Their statistics, scales and shifts are few (784 channels in ResNet20),
cost nothing at inference and are no weights in the paper's count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seam.errors import MaskError
from seam.files import write_bytes

_KINDS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def norm_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Scales and shifts of every BatchNorm, LayerNorm and GroupNorm, in the order of the modules."""
    return [p for _, layer in _layers(network) for p in layer.parameters(recurse=False)]


def norm_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Scales, shifts and statistics by their name in the network: copies, on the CPU."""
    return {name: t.detach().cpu().clone() for name, t in _tensors(network).items()}


@torch.no_grad()
def put_norm_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `norm_tensors` took, in place."""
    for name, tensor in _tensors(network).items():
        tensor.copy_(tensors[name])


def save_norms(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write what `norm_tensors` took as safetensors, atomically."""
    write_bytes(path, save(dict(tensors)))


def load_norms(network: nn.Module, path: Path) -> None:
    """Put what `save_norms` wrote into a network of the same architecture, in place.

    Raises:
        MaskError: missing, damaged, or of another network.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as e:
        raise MaskError(
            f"{path}: expected the tensors of normalisation layers, got {e}", hint="rerun_producer", path=path
        ) from e
    wanted, found = ({name: tuple(t.shape) for name, t in some.items()} for some in (_tensors(network), tensors))
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise MaskError(
            f"{path}: expected the source's {len(wanted)} normalisation tensors, {odd[0]} differs",
            hint="rerun_producer",
            path=path,
        )
    put_norm_tensors(network, tensors)


def use_batch_statistics(network: nn.Module, on: bool) -> None:
    """Let BatchNorm normalise by the batch and keep running statistics, or use what it has.

    Nothing else changes its mode.
    """
    for _, layer in _layers(network):
        layer.train(on)


@torch.no_grad()
def recalibrate(network: nn.Module, forward: Iterable[object]) -> None:
    """Make BatchNorm's statistics the mean over batches.

    Args:
        network: in eval mode, before and after.
        forward: iterating over it runs the network, a batch at a time.
    """
    layers = [layer for _, layer in _layers(network) if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
        layer.train()
    for _ in forward:
        pass
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, _KINDS))


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for prefix, layer in _layers(network):
        for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            found[f"{prefix}.{name}" if prefix else name] = tensor
    return found
