"""The tensors of the checkpoint that the parameters name.

A file, one that is fetched, or a version in the MLflow registry.
"""

from __future__ import annotations

import errno
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from seam.errors import SourceError
from seam.files import sha256_file
from seam.networks.checkpoints.read import files_of_checkpoint, read_state_dict
from seam.networks.checkpoints_online import fetch_state_dict, is_online
from seam.networks.own_imports import own_code
from tasks.project.environment import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

REGISTRY = "models:/"
SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".pt2")
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class Checkpoint:
    """A state dict and where it came from."""

    tensors: dict[str, Tensor]
    fetched_from: str | None
    """An address, or "models:/NAME/VERSION" (an alias is resolved); None: a file of the project."""


def is_file(checkpoint: str) -> bool:
    """Whether a checkpoint is named by its path."""
    return not checkpoint.startswith(REGISTRY) and not is_online(checkpoint)


def files_of(architecture: str, checkpoint: str | None, root: Path = Path()) -> list[str]:
    """The files outside the project's code that a network is made from.

    Args:
        architecture: as in the parameters; of a Python file all local files that it needs count.
        checkpoint: as in the parameters; of an index all files that it names count.
        root: the project, which the names in the parameters are relative to.

    Returns:
        Paths, relative to `root` where they are below it.
    """
    weights = files_of_checkpoint(root / checkpoint) if checkpoint and is_file(checkpoint) else []
    file, is_python, _ = architecture.rpartition(".py:")
    path = root / f"{file}.py"
    code = [] if not is_python else own_code(path).files if path.is_file() else [path]
    top = root.absolute()
    names = [p.relative_to(top) if p.is_relative_to(top) else p for p in (f.absolute() for f in (*weights, *code))]
    return [str(name) for name in dict.fromkeys(names)]


def digests_of_files(architecture: str, checkpoint: str | None, root: Path) -> dict[str, str]:
    """`files_of` -> their SHA-256, as 64 hex digits."""
    return {name: sha256_file(root / name) for name in files_of(architecture, checkpoint, root)}


def fetch_checkpoint(checkpoint: str, architecture: str, root: Path, sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint, wherever it is.

    Nothing is unpickled, and only `hub:` runs code (see `seam.networks.checkpoints_online`).

    Args:
        checkpoint: as in the parameters: a path relative to `root`, torchvision:WEIGHTS, an
            address, hub:OWNER/REPO:NAME, models:/NAME/VERSION or models:/NAME@ALIAS.
        architecture: as in the parameters.
        root: the project.
        sha256: of its file, where it is known.

    Raises:
        SourceError: it is not there, is another file, or is not a state dict.
        TrackingError: the MLflow store cannot be used.
    """
    if checkpoint.startswith(REGISTRY):
        return _from_registry(checkpoint, root, sha256)
    if is_online(checkpoint):
        return Checkpoint(fetch_state_dict(checkpoint, architecture, sha256), checkpoint)
    return Checkpoint(read_state_dict(root / checkpoint, sha256=sha256), None)


def _from_registry(checkpoint: str, root: Path, sha256: str | None) -> Checkpoint:
    """The one checkpoint file among the artifacts of a model version."""
    with tempfile.TemporaryDirectory() as folder:
        name, found = registered_files(checkpoint, root, Path(folder))
        return Checkpoint(_only_state_dict(found, name, sha256), name)


def registered_files(address: str, root: Path, folder: Path) -> tuple[str, Path]:
    """Fetch the artifacts of a registered model into `folder`.

    Args:
        address: models:/NAME/VERSION or models:/NAME@ALIAS.
        root: the project, whose MLflow store it is in.
        folder: where to put them.

    Returns:
        models:/NAME/VERSION, and where they are.

    Raises:
        SourceError: it is no such address, or there is no such version, or its files are gone.
        TrackingError: the MLflow store cannot be used.
    """
    match = _VERSION.fullmatch(address)
    if match is None:
        raise SourceError(f"{address}: expected models:/NAME/VERSION or models:/NAME@ALIAS", hint="address")
    from mlflow.artifacts import download_artifacts  # here: it takes seconds, and most checkpoints are files
    from mlflow.exceptions import MlflowException

    from tasks.tracking.store import connect, tracking_errors

    client, uri = connect(root), tracking_uri(root)
    with tracking_errors(uri):
        version = _version(client, match, uri)
        name = f"{REGISTRY}{version.name}/{version.version}"
        # a models:/ address would be looked up in the process-wide store
        location = client.get_model_version_download_uri(version.name, version.version)
        try:
            found = Path(
                download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=uri, registry_uri=uri)
            )
        except (OSError, MlflowException) as e:
            if isinstance(e, OSError) and e.errno == errno.ENOSPC:
                raise
            raise SourceError(
                f"{name}: expected its files at {location}, got {' '.join(str(e).split())}; register the model again."
            ) from e
        return name, found


def _version(client: MlflowClient, match: re.Match[str], uri: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    from tasks.tracking.store import one_line, shown

    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as e:
        if e.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise SourceError(
            f"{match[0]}: expected a version in the registry at {shown(uri)}, got none ({one_line(e)}); correct the"
            " name or register it."
        ) from e


def _only_state_dict(artifacts: Path, name: str, sha256: str | None) -> dict[str, Tensor]:
    """Of a folder of artifacts, or of the one file."""
    top = artifacts if artifacts.is_dir() else artifacts.parent
    files = sorted(f for f in ([artifacts] if artifacts.is_file() else artifacts.rglob("*")) if f.suffix in SUFFIXES)
    if len(files) != 1:
        others = sorted(str(f.relative_to(top)) for f in top.rglob("*") if f.is_file())
        found = ", ".join(str(f.relative_to(top)) for f in files) or f"none among {', '.join(others) or 'no files'}"
        raise SourceError(
            f"{name}: expected exactly one {', '.join(SUFFIXES)} file among its artifacts, got {found}; register a"
            " state dict alone."
        )
    shown = f"{name} ({files[0].relative_to(top)})"
    if not files[0].resolve().is_relative_to(top.resolve()):
        raise SourceError(f"{shown}: a link that leads out of its artifacts; register the file itself.")
    return read_state_dict(files[0], shown, sha256)
