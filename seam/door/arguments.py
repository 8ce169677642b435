"""What a call is given beside images, checked: its numbers and places, and the network, of which it takes a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seam.errors import ConfigError, SourceError
from seam.networks.plain import copy_of, unwrapped

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Wanted:
    """How images are to be read, and computed on."""

    mean: float | Sequence[float] | None
    """Of pixels in [0, 1], for images as stored; None: chosen on val."""
    std: float | Sequence[float] | None
    image_size: int | None
    seed: int
    device: Device

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed: expected a whole number of 0 or more, got {self.seed!r}; give another.")
        size = self.image_size
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ConfigError(f"image_size: expected the side in pixels, a whole number, got {size!r}; give one.")


def place_of(folder: str | Path | None) -> Path | None:
    """Where the state of a call is kept.

    Raises:
        ConfigError: there is a file.
    """
    if folder is None:
        return None
    place = Path(folder)
    there = next((path for path in (place, *place.absolute().parents) if path.exists()), place)
    if there.exists() and not there.is_dir():
        raise ConfigError(f"folder: expected a folder for the state, got the file {there}; give another place.")
    return place


def of_kind(given: Any, kind: type, name: str) -> None:
    """Raise a ConfigError unless an argument is None or of this kind."""
    if given is not None and not isinstance(given, kind):
        raise ConfigError(
            f"{name}: expected a {kind.__name__}, got {type(given).__name__}; make one, seam.configs has it."
        )


def own_copy(network: Any) -> nn.Module:
    """A copy of the caller's network to work on: eval mode, float32, on the CPU, without what is put around networks.

    Raises:
        SourceError: it is no trained float32 network with its weights in memory.
    """
    if not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
        raise SourceError(f"expected a torch.nn.Module, got {type(network).__name__}; build the network, then load it.")
    network = unwrapped(network)
    parameters = dict(network.named_parameters())
    if not parameters:
        raise SourceError(f"{type(network).__name__}: expected a network with weights, got one without any.")
    in_memory(network)
    for name, tensor in (*parameters.items(), *network.named_buffers()):
        _check_numbers(name, tensor, is_weight=name in parameters)
    if len({parameter.device for parameter in parameters.values()}) > 1:
        raise SourceError("the network lies on several devices, expected one; call network.to('cpu') first.")
    return copy_of(network).cpu().eval().requires_grad_(False)


def in_memory(network: nn.Module) -> None:
    """Raise a SourceError for a network that has no numbers yet."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise SourceError(f"'{name}' has no shape yet, expected weights; run the network once, then load them.")
        if tensor.is_meta:
            raise SourceError(f"'{name}' is on the meta device, expected weights in memory; load the weights first.")


def _check_numbers(name: str, tensor: Tensor, *, is_weight: bool) -> None:
    """Raise a SourceError for a tensor of a network that cannot be worked with."""
    if tensor.layout != torch.strided:
        raise SourceError(f"'{name}' is a {tensor.layout} tensor, expected a dense one; call its to_dense() first.")
    if tensor.dtype in (torch.float16, torch.bfloat16) or (is_weight and tensor.dtype != torch.float32):
        raise SourceError(f"'{name}' is {tensor.dtype}, expected torch.float32; call network.float() first.")
    if is_weight and not bool(torch.isfinite(tensor).all()):
        raise SourceError(f"'{name}' holds NaN or infinite values, expected finite weights; load a good checkpoint.")
