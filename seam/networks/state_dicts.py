"""Weights in files: state dicts written and read, fitted to an architecture. Nothing in them is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from seam.files import write_bytes
from seam.networks.checkpoints.fit import fitted
from seam.networks.checkpoints.read import read_state_dict


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


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], where: str, chosen: str | None = None) -> None:
    """Load the weights that are in a checkpoint into `network`, in place, in the precision that it has.

    They may lie under any one name in it, and parts may have around them what DataParallel and
    torch.compile put there; one module may have another name; losses, metrics and counts beside
    them are left out. One line of the log says what was done.

    Args:
        network: of the architecture that the tensors are for.
        tensors: names -> tensors, from `read_state_dict`.
        where: names the checkpoint in messages.
        chosen: which of several sets of weights to take, by its name in the checkpoint; None: the
            averaged ones, with a `SuspectResultWarning`, or the only ones.

    Raises:
        SourceError: keys or shapes that differ, several sets of weights and nothing that says
            which, or weights that are quantised or not finite.
    """
    own = network.state_dict()
    network.load_state_dict({**own, **fitted(own, tensors, where, chosen)})
