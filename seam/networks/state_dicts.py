"""Weights in files: state dicts written and read, fitted to an architecture. Nothing in them is executed."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from seam.errors import SourceError
from seam.files import write_bytes

logger = logging.getLogger(__name__)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a state dict as safetensors, atomically; the bytes depend on the weights alone."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(network.state_dict().items())}
    write_bytes(path, save(tensors))


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint into `network`, in place.

    Raises:
        SourceError: missing, truncated, would execute code, or keys and shapes that differ.
    """
    load_tensors(network, read_state_dict(path), str(path))


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into `network`, in place; one module that has another name in it is renamed.

    Args:
        network: of the architecture that the tensors are for.
        tensors: names -> tensors, from `read_state_dict`.
        where: names the state dict in errors.

    Raises:
        SourceError: keys or shapes that differ, or weights that are not finite.
    """
    tensors = _renamed(network.state_dict(), tensors, where)
    _check_fits(network, tensors, where)
    network.load_state_dict({**_counters(network), **tensors})


def read_state_dict(path: Path, where: str = "") -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch checkpoint; wrappers (`state_dict`, `module.`) are removed.

    Nothing is unpickled but tensors and plain containers.

    Args:
        path: the file.
        where: names it in errors; its path unless given.

    Raises:
        SourceError: missing, truncated, or not a state dict.
    """
    where = where or str(path)
    if not path.is_file():
        raise SourceError(f"{where}: no such checkpoint file; give an existing .safetensors, .pt or .pth file.")
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as e:
        raise SourceError(
            f"{where}: refused, it is not a plain state dict (loading it would execute code); save `model.state_dict()`"
            " instead."
        ) from e
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as e:
        raise SourceError(f"{where}: expected a checkpoint, got a damaged or truncated file ({_first_line(e)}).") from e
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise SourceError(f"{where}: expected a state dict (names -> tensors), got {type(content).__name__}.")
    if all(k.startswith("module.") for k in content):
        content = {k.removeprefix("module."): v for k, v in content.items()}
    return dict(content)


def _renamed(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> Mapping[str, Tensor]:
    """The tensors under the architecture's names when they differ in the name of one module, and in nothing else."""
    missing, unexpected = _lacking(expected, tensors), _lacking(tensors, expected)
    ours, theirs = _module_of(missing), _module_of(unexpected)
    if not ours or not theirs or any(_below(k, ours) for k in tensors) or any(_below(k, theirs) for k in expected):
        return tensors
    renamed = {ours + k.removeprefix(theirs) if _below(k, theirs) else k: v for k, v in tensors.items()}
    if (
        _lacking(expected, renamed)
        or _lacking(renamed, expected)
        or any(renamed[k].shape != expected[k].shape for k in missing)
    ):
        return tensors
    logger.info("%s: its module '%s' is '%s' in the architecture, and is loaded as that.", where, theirs, ours)
    return renamed


def _lacking(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [k for k in wanted if k not in found and not _is_counter(k)]


def _module_of(names: Sequence[str]) -> str:
    """The innermost module that holds all of these weights; "" when that is the whole network."""
    paths = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)


def _below(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")


def _is_counter(name: str) -> bool:
    """BatchNorm's count of batches: old checkpoints lack it, and nothing reads it."""
    return name.endswith("num_batches_tracked")


def _counters(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if _is_counter(k)}


def _check_fits(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    expected = network.state_dict()
    missing = _lacking(expected, tensors)
    unexpected = [k for k in tensors if k not in expected]
    if missing or unexpected:
        raise SourceError(
            f"{where}: keys do not match the architecture: missing {_some(missing)}, unexpected {_some(unexpected)}."
        )
    for k, v in tensors.items():
        if v.shape != expected[k].shape:
            shapes = f"{tuple(v.shape)}, expected {tuple(expected[k].shape)}"
            raise SourceError(f"{where}: '{k}' has shape {shapes}; check the architecture and the number of classes.")
        if v.is_floating_point() and not torch.isfinite(v).all():
            raise SourceError(f"{where}: '{k}' holds NaN or infinite values, expected finite weights.")


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
