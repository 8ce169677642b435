"""Resumable state: tensors and a few values in one safetensors file, written whole, tied to the inputs it came from."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from seam.files import write_bytes

logger = logging.getLogger(__name__)

_PIECE = 1 << 26
"""Bytes that are brought from a GPU at once."""
SAVE_SECONDS = 1.0
"""The least time between two saves: rounds may take milliseconds, and what a kill costs is at most
this."""


class Pacer:
    """Says when a checkpoint is due: after every round, but at most once in SAVE_SECONDS."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether to save now; counts as saved if so."""
        now = time.monotonic()
        if now - self._last < SAVE_SECONDS:
            return False
        self._last = now
        return True


def digest_of(*inputs: Any) -> str:
    """A key for everything a computation depends on; inputs must be JSON-able or have a stable `repr`."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=repr).encode()).hexdigest()


@runtime_checkable
class Told(Protocol):
    """Images that are not in memory, see `seam.data.lazy`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, ...)."""
        ...

    def identity(self) -> Iterator[Tensor]:
        """What tells them from others, a piece at a time."""
        ...


def fingerprint(*parts: Tensor | npt.NDArray[Any] | Mapping[str, Tensor] | Told) -> str:
    """SHA-256 of data by content: names, types, shapes and every byte, in the order given.

    Other values, the same values in another order, labels swapped or images mirrored: another
    fingerprint. Where the data lies (device, strides, tensor or array) makes no difference.

    Args:
        parts: tensors, arrays, images that are not in memory, or tensors by name, such as the state
            of a network.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            digest.update(json.dumps(list(part)).encode())
        for values in part.values() if isinstance(part, Mapping) else (part,):
            kind = str(values.dtype).removeprefix("torch.") if isinstance(values, Tensor | np.ndarray) else "lazy"
            digest.update(json.dumps([kind, list(values.shape)]).encode())
            for piece in _bytes_of(values):
                digest.update(piece)
    return digest.hexdigest()


def _bytes_of(values: Tensor | npt.NDArray[Any] | Told) -> Iterator[memoryview]:
    """The values as they lie in memory, row by row, a piece at a time."""
    if not isinstance(values, Tensor | np.ndarray):
        for told in values.identity():
            yield from _bytes_of(told)
        return
    if isinstance(values, np.ndarray):
        yield np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        return
    flat = values.detach().contiguous().reshape(-1).view(torch.uint8)
    for piece in flat.split(_PIECE):
        yield piece.cpu().numpy().data


def save_state(path: Path, key: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: a .safetensors file.
        key: `digest_of` what the computation depends on.
        tensors: on any device.
        values: JSON-able.
    """
    about = json.dumps({"key": key, "values": dict(values)})
    apart = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}  # safetensors refuses shared memory
    write_bytes(path, save(apart, metadata={"seam": about}))


def load_state(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint at `path`, or None when there is none, it is damaged, or its inputs were others."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as f:
            about = json.loads(f.metadata()["seam"])
            if about["key"] != key:
                logger.info("%s: made from other inputs, starting afresh", path)
                return None
            return {name: f.get_tensor(name) for name in f.keys()}, about["values"]  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        logger.warning("%s: damaged checkpoint ignored (%s)", path, e)
        return None


def optimizer_tensors(optimizer: Optimizer, prefix: str) -> dict[str, Tensor]:
    """The state of an optimizer whose state is all tensors, by flat names."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{i}.{name}": t for i, slots in state.items() for name, t in slots.items() if isinstance(t, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            index, slot = name.removeprefix(f"{prefix}.").split(".", 1)
            state.setdefault(int(index), {})[slot] = tensor.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
