"""Checkpoints that are not files: torchvision's weights, a file at an address, the models of a torch.hub repository.

    torchvision:DEFAULT      the weights of that name that torchvision publishes for the architecture `torchvision:NAME`
    https://host/net.pth     a state dict or safetensors file, read as a local one is: nothing in it is executed
    hub:OWNER/REPO:NAME      torch.hub.load(OWNER/REPO, NAME, pretrained=True): RUNS THAT REPOSITORY'S CODE here

Of all three only the state dict is used, in the architecture that the parameters name.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from torch import Tensor, nn

from seam.errors import SourceError
from seam.networks.checkpoints.read import read_state_dict

PREFIXES = ("torchvision:", "https://", "http://", "hub:")
SILENCE_SECONDS = 30.0
"""A host that sends nothing for so long does not answer."""
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
"""torch's convention: the start of the file's SHA-256, as in resnet18-f37072fd.pth."""


def is_online(checkpoint: str) -> bool:
    """Whether `fetch_state_dict` knows this kind of checkpoint."""
    return checkpoint.startswith(PREFIXES)


def fetch_state_dict(checkpoint: str, architecture: str, sha256: str | None = None) -> dict[str, Tensor]:
    """Get the tensors of a checkpoint that is not a file.

    `hub:` downloads and runs the repository's code (hubconf.py and what it imports), as torch.hub
    does: name only repositories that you trust. The other kinds execute nothing.

    Args:
        checkpoint: starts with one of `PREFIXES`.
        architecture: for `torchvision:`, whose weights.
        sha256: of the file at an address, where it is known.

    Raises:
        SourceError: no such weights, the network does not answer, or what came is not a state dict.
    """
    if sha256 is not None and checkpoint.startswith(("torchvision:", "hub:")):
        raise SourceError(
            f"{checkpoint}: a sha256 is of a file or of one at an address, got one for weights that come without; leave"
            " it out (torchvision's are checked by its own hash)."
        )
    if checkpoint.startswith("torchvision:"):
        return _from_torchvision(checkpoint, architecture)
    if checkpoint.startswith("hub:"):
        return _from_hub(checkpoint)
    return _from_address(checkpoint, sha256)


def _from_torchvision(checkpoint: str, architecture: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights  # here: it takes seconds

    kind, _, model = architecture.partition(":")
    if kind != "torchvision":
        raise SourceError(
            f"{checkpoint}: expected an architecture torchvision:NAME, got '{architecture}'", hint="architecture"
        )
    names: Any = get_model_weights(model)
    name = checkpoint.partition(":")[2]
    if name not in names.__members__:
        known = ", ".join(names.__members__) or "none"
        raise SourceError(f"{checkpoint}: torchvision has no weights of that name for {model}; it has: {known}.")
    with _network(checkpoint):
        tensors: dict[str, Tensor] = names[name].get_state_dict(progress=_show_progress(), check_hash=True)
    return tensors


def _from_address(address: str, sha256: str | None) -> dict[str, Tensor]:
    name = Path(unquote(urlsplit(address).path)).name or "checkpoint"
    hashed = _HASH_IN_NAME.search(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        with _network(address):
            torch.hub.download_url_to_file(address, str(file), hashed and hashed[1], progress=_show_progress())
        return read_state_dict(file, address, sha256)


def _from_hub(checkpoint: str) -> dict[str, Tensor]:
    repository, _, name = checkpoint.removeprefix("hub:").rpartition(":")
    if repository.count("/") != 1 or not name:
        raise SourceError(
            f"{checkpoint}: expected hub:OWNER/REPO:NAME, for example"
            " hub:chenyaofo/pytorch-cifar-models:cifar10_resnet20."
        )
    with _network(checkpoint):
        try:
            network: object = torch.hub.load(repository, name, pretrained=True, trust_repo=True, verbose=False)
        except OSError:
            raise
        except Exception as e:  # the repository's own code
            raise SourceError(
                f"{checkpoint}: torch.hub could not build it, got {type(e).__name__}: {_one_line(e)}; check the"
                " repository and the name."
            ) from e
    if not isinstance(network, nn.Module):
        raise SourceError(
            f"{checkpoint}: expected a torch.nn.Module, got {type(network).__name__}; choose another name of that"
            " repository."
        )
    return {k: v.detach().cpu() for k, v in network.state_dict().items()}


@contextmanager
def _network(checkpoint: str) -> Iterator[None]:
    """One line for every way in which a download fails; none waits for ever."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        yield
    # URLError is an OSError; a wrong hash a RuntimeError; what is not an address a ValueError
    except (OSError, HTTPException, RuntimeError, ValueError) as e:
        if isinstance(e, SourceError) or (isinstance(e, OSError) and e.errno == errno.ENOSPC):
            raise  # said already; a full disk is the caller's to name
        raise SourceError(
            f"{checkpoint}: expected to download it, got {type(e).__name__}: {_one_line(e)}", hint="checkpoint"
        ) from e
    finally:
        socket.setdefaulttimeout(patience)


def _show_progress() -> bool:
    """Whether torch may draw its bar: on a terminal that is not ours (`seam run` has a bar of its own)."""
    return "TQDM_DISABLE" not in os.environ and sys.stderr.isatty()


def _one_line(error: BaseException, most: int = 300) -> str:
    return " ".join(str(error).split())[:most]
