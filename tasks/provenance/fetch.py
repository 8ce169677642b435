"""A version's files out of the registry, into a folder of ours: within limits, and no link is followed."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from seam.errors import ConfigError, ProvenanceError
from tasks.project.environment import tracking_uri
from tasks.provenance.folder import DEEPEST, check_limits, files_in
from tasks.provenance.signing import NOT_SIGNED, SIGNATURE
from tasks.provenance.verify import Expected
from tasks.tracking.store import connect, one_line, tracking_errors
from tasks.tracking.versions import RESULT

_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d{1,9}))")


@dataclass(frozen=True)
class Fetched:
    """A version's files in a folder."""

    folder: Path
    name: str
    version: str
    expected: Expected
    """What the registry says of it."""


def fetch(root: Path, address: str, folder: Path) -> Fetched:
    """Copy a version's files into the new folder `folder`.

    Args:
        root: the project, whose tracking store is asked.
        address: models:/NAME@ALIAS or models:/NAME/VERSION.
        folder: where to.

    Raises:
        ConfigError: another address, or there is no such version.
        ProvenanceError: its files are more than the limits, or links.
        TrackingError: the store cannot be used.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(f"{address}: expected models:/NAME@ALIAS, models:/NAME/VERSION or a folder.")
    client, uri = connect(root), tracking_uri(root)
    with tracking_errors(uri):
        version = _version(client, address, **found.groupdict())
        where = client.get_model_version_download_uri(version.name, version.version)
        _copy(where, uri, folder)
    expected = Expected(str(version.name), version.tags.get(RESULT))
    return Fetched(folder, str(version.name), str(version.version), expected)


def _version(client: MlflowClient, address: str, name: str, alias: str | None, version: str | None) -> Any:
    try:
        if alias is not None:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, str(version))
    except MlflowException as e:
        if e.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ConfigError(f"{address}: not in the registry ({one_line(e, 120)}); `seam status` lists what is.") from e


def _copy(where: str, uri: str, folder: Path) -> None:
    """Copy what is at an artifact address of the tracking store at `uri`."""
    parts = urlsplit(where)
    folder.mkdir(parents=True)
    if parts.scheme in ("", "file"):
        for name, path in files_in(Path(unquote(parts.path))).items():
            if name == SIGNATURE or name not in NOT_SIGNED:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name, follow_symlinks=False)
        return
    repository: Any = get_artifact_repository(where, tracking_uri=uri, registry_uri=uri)
    _check_size(repository, where)
    repository.download_artifacts("", str(folder))
    files_in(folder)


def _is_inside(path: str) -> bool:
    """Whether the path that a store names is one below the folder it is copied to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith(("/", "\\")) and ".." not in parts and "\\" not in path


def _check_size(repository: Any, where: str) -> None:
    """Before anything is fetched, by what the store says."""
    files = size = 0
    waiting = [("", 0)]
    while waiting:
        path, depth = waiting.pop()
        for entry in repository.list_artifacts(path or None):
            if not _is_inside(entry.path):
                raise ProvenanceError(f"{where}: expected files in its own folder, got {entry.path!r}.")
            if entry.is_dir:
                waiting.append((entry.path, depth + 1))
            else:
                files, size = files + 1, size + (entry.file_size or 0)
        check_limits(where, files, size, depth)
        if len(waiting) > 1_000:
            raise ProvenanceError(f"{where}: expected at most {DEEPEST} folders deep, got thousands of folders.")
