"""What is installed: versions, and a digest over the files that each package brought."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

_OF_THE_INSTALLER = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
_VENDORED = "_vendor"
"""A folder of packages inside a package, which is in the path once setuptools was imported: not installed."""


@dataclass(frozen=True)
class Package:
    """One that is installed."""

    name: str
    version: str
    installed_sha256: str
    """Over the paths and hashes in its RECORD, without compiled files and what the installer adds."""


@lru_cache(maxsize=1)
def installed() -> tuple[Package, ...]:
    """Every package of this environment, by name; read once a process."""
    found: dict[str, Package] = {}
    for package in distributions():
        if _VENDORED in Path(str(package.locate_file(""))).parts:
            continue
        if name := package.metadata["Name"]:
            found.setdefault(name.lower(), Package(name, package.version, _digest(package)))
    return tuple(found[name] for name in sorted(found))


def differing(said: Iterable[tuple[str, str, str]]) -> list[str]:
    """What is installed otherwise here, of packages given as (name, version, installed_sha256), in words."""
    here = {package.name.lower(): package for package in installed()}
    words = []
    for name, version, digest in said:
        found = here.get(name.lower())
        if found is None:
            words.append(f"{name} {version}: not installed here")
        elif found.version != version:
            words.append(f"{name}: {version} then, {found.version} here")
        elif found.installed_sha256 != digest:
            words.append(f"{name} {version}: other files than then")
    return words


def _digest(package: Distribution) -> str:
    total = hashlib.sha256()
    for line in sorted((package.read_text("RECORD") or "").splitlines()):
        path, _, rest = line.rpartition(",sha256=")
        installer = path.rpartition("/")[2] in _OF_THE_INSTALLER or path.startswith("../")
        if path and not installer and not path.endswith(".pyc"):
            total.update(f"{path} {rest.partition(',')[0]}\n".encode())
    return total.hexdigest()
