"""Which code a stage uses, and one digest of it a stage: what DVC compares in place of every file.

A stage's code is its file and all that this imports, directly or not, in this project: at the top
or inside a function, by name or as a string (`import_module`, `python -m`), and the files beside a
module that it names (templates, tables). Every byte counts, comments too. Of what is installed the
versions of `LIBRARIES` count, for the stages that compute with them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from seam.files import write_json
from tasks.project.mentions import Mentions, MentionsCache
from tasks.project.own_code import OwnFiles, digest_with, link_files
from tasks.project.stages import DIGEST_STAGE, MODULARIZED, all_stages

PACKAGES = ("seam", "tasks")
"""What stages are made of; flows only call them."""

PLUMBING = {
    "seam.__init__": "the front door, for notebooks",
    "seam.configs": "parameters: DVC compares their values",
    "seam.errors": "names of errors",
    "tasks.__init__": "switches telemetry off",
    "tasks.project": "reads parameters, finds folders, calls the stage",
    "tasks.tracking.owner": "says which process works on a run",
    "tasks.tracking.experiments": "finds an experiment in MLflow",
    "tasks.tracking.runs": "finds a run in MLflow",
    "tasks.tracking.search_logger": "logs to MLflow what a search does",
    "tasks.tracking.store": "connects to MLflow",
}
"""Modules, or packages with all in them, that change no result, and why; what they import counts."""

LIBRARIES = ("torch", "torchvision", "numpy", "advertorch", "fvcore")
"""Packages whose versions shape what is computed; those of the engines stand beside the times."""

BEHIND_PLUMBING = {
    "seam.networks.own_imports": "finds the user's files, whose digests are compared",
    "seam.methods.catalogue": "parameters are checked against its names, and DVC compares their values",
    "tasks.tracking.evidence": "what MLflow shows of a run; stages that register a model import it themselves",
}
"""Modules that do not count where plumbing alone imports them, and why."""


@dataclass(frozen=True)
class Code:
    """The files of the packages as they are now."""

    files: Mapping[str, bytes]
    """By path, relative to the project."""
    modules: Mapping[str, str]
    """Path of each module, by dotted name."""
    mentions: Mapping[str, Mentions]
    """Of each module, by dotted name."""

    def files_of(self, stage: str) -> list[str]:
        """Paths of the code that a stage uses, sorted; plumbing is not among them."""
        counted = {name for name in self._modules_of(f"tasks.{stage}") if not is_plumbing(name)}
        data = {path for path, owners in self._owners.items() if not owners.isdisjoint(counted)}
        return sorted({*(self.modules[name] for name in counted), *data})

    def digest_of(self, stage: str) -> str:
        """16 hex digits over the paths and contents of `files_of`."""
        total = hashlib.sha256()
        for path in self.files_of(stage):
            total.update(f"{path} {self._hashes[path]}\n".encode())
        return total.hexdigest()[:16]

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}

    def _modules_of(self, first: str) -> set[str]:
        """Modules that run when `first` is imported and its functions are called."""
        waiting, seen = [(first, True)], set[tuple[str, bool]]()
        while waiting:
            name, used = waiting.pop()
            if (name, used) not in seen:
                seen.add((name, used))
                waiting += [(parent, False) for parent in _parents(name)]
                waiting += self._next(name, used)
        return {name for name, _ in seen}

    def _next(self, name: str, used: bool) -> Iterator[tuple[str, bool]]:
        """What a module leads to, and whether that is used.

        A package on the way to one of its modules is imported and not used: its functions are not
        called.
        """
        mentions, plumbing = self.mentions[name], is_plumbing(name)
        for imported in (*mentions.imported, *(mentions.later if used else ())):
            found = imported
            while found and found not in self.modules:
                found = found.rpartition(".")[0]
            if found and not (plumbing and found in BEHIND_PLUMBING):
                yield found, not imported.startswith(f"{found}.__")  # `from seam import __version__` uses nothing else
        if used and not plumbing:
            for text in mentions.texts:
                yield from ((module, True) for module in self._named(text, name))

    def _named(self, text: str, by: str) -> Iterator[str]:
        """Modules that a string names: one, all below a package (`seam.methods.`), or a file beside."""
        path = self.modules[by].rpartition("/")[0] + "/" + text
        if text.endswith("."):
            is_room = text[:-1] in self.modules and text[:-1] not in PACKAGES
            yield from (name for name in self.modules if is_room and name.startswith(text))
        elif text in self.modules:
            yield text
        elif text.endswith(".py") and path in self.files:
            yield module_of(path)

    @cached_property
    def _owners(self) -> dict[str, set[str]]:
        """The modules that each file that is not Python belongs to.

        Those beside it that name it, or name a file that names it; all beside it where none does.
        """
        folders: dict[str, list[str]] = {}
        for path in self.files.keys() - self.modules.values():
            folders.setdefault(self._package_around(path), []).append(path)
        owners = {}
        for package, paths in folders.items():
            beside = {name for name in self.modules if package in (name, name.rpartition(".")[0])}
            for path in paths:
                names = {path.rpartition("/")[2]}
                for _ in paths:  # at most so many name each other in a row
                    names |= {p.rpartition("/")[2] for p in paths if any(n.encode() in self.files[p] for n in names)}
                owners[path] = {m for m in beside if not names.isdisjoint(self.mentions[m].texts)} or beside
        return owners

    def _package_around(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        while folder.replace("/", ".") not in self.modules:
            folder = folder.rpartition("/")[0]
        return folder.replace("/", ".")


class CodeDigests:
    """The file of digests of one project, kept as the code is."""

    def __init__(self, root: Path, state: str = "") -> None:
        """Start from the `state` that an earlier process left, so that nothing is read where nothing has changed."""
        self._root = root
        self.state = state
        """Of the digests, all code and the libraries, by the times and sizes of files, when last looked at."""
        self._own = OwnFiles(root)

    def refresh(self) -> bool:
        """Write the digests anew if files have changed.

        Returns:
            Whether any file has changed since the last call, or this is the first.
        """
        own = self._own.by_stage()
        if self._state(own) == self.state:
            return False
        write_digests(self._root, own)
        self.state = self._state(own)
        return True

    def _state(self, own: Mapping[str, list[Path]]) -> str:
        paths = [f"{self._root}/{name}" for name in _paths(self._root)]
        paths += [str(file) for files in own.values() for file in files]
        if digests_path(self._root).is_file():
            paths.append(str(digests_path(self._root)))
        stats = ((path, os.stat(path)) for path in paths)  # noqa: PTH116  twice as fast
        listed = "".join(f"{path} {stat.st_mtime_ns} {stat.st_size}\n" for path, stat in stats)
        return hashlib.sha256(f"{listed}{libraries()}".encode()).hexdigest()[:24]


def digests_path(root: Path) -> Path:
    """Where the digests are: {"code": {stage: digest}, "libraries": versions}, a parameter file to DVC."""
    return root / "artifacts" / DIGEST_STAGE / "code.json"


def write_digests(root: Path, own: Mapping[str, list[Path]] | None = None) -> dict[str, str]:
    """Write the digest of every stage that has a file; digests that say the same already are left alone.

    Args:
        root: the project.
        own: the user's own files that are code of a stage, by stage; None: look them up. Links to
            them are kept where DVC looks.
    """
    code, path = read_code(root), digests_path(root)
    own = OwnFiles(root).by_stage() if own is None else own
    link_files(root, {file for files in own.values() for file in files})
    (root / "artifacts" / MODULARIZED).mkdir(parents=True, exist_ok=True)  # DVC refuses a dependency that is not there
    digests = {
        stage: digest_with(code.digest_of(stage), own.get(stage, ()))
        for stage in sorted(all_stages())
        if f"tasks.{stage}" in code.modules
    }
    content = {"code": digests, "libraries": libraries()}
    try:
        same = json.loads(path.read_bytes()) == content
    except (OSError, ValueError):
        same = False
    if not same:
        write_json(path, content)
    return digests


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Over paths and contents of every file of the packages that this process runs; 64 hex digits."""
    root, total = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in _paths(root):
        total.update(f"{path} {hashlib.sha256((root / path).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1)
def libraries() -> str:
    """The versions of `LIBRARIES`; of builds of one version for different machines the version alone counts."""
    found = []
    for package in LIBRARIES:
        try:
            found.append(f"{package} {version(package).partition('+')[0]}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def note_own_code(root: Path) -> None:
    """Take a user's own file that the parameters have named since into the digests, as `dvc repro` does not."""
    own = OwnFiles(root).by_stage()
    if own and digests_path(root).is_file():
        write_digests(root, own)


def read_code(root: Path) -> Code:
    """Read every file of the packages, and what the modules mention."""
    files = {path: (root / path).read_bytes() for path in _paths(root)}
    modules = {module_of(path): path for path in files if path.endswith(".py")}
    known = MentionsCache(root / ".dvc/tmp/mentions.json")
    return Code(files, modules, known.of({name: (files[path], _package(path)) for name, path in modules.items()}))


def is_plumbing(module: str) -> bool:
    """Whether a module changes no result."""
    return f"{module}.__init__" in PLUMBING or any(name in PLUMBING for name in (module, *_parents(module)))


def module_of(path: str) -> str:
    """Dotted name of the module in a file; a package's is in its `__init__.py`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _package(path: str) -> str:
    """Dotted name of the package a file is in."""
    return path.rpartition("/")[0].replace("/", ".")


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _paths(root: Path) -> list[str]:
    """Every file of the packages, sorted, but compiled and hidden ones."""
    found: list[str] = []
    waiting = [*PACKAGES]
    while waiting:
        folder = waiting.pop()
        for entry in os.scandir(root / folder):
            if entry.name.startswith(".") or entry.name.endswith(".pyc") or entry.name == "__pycache__":
                continue
            (waiting if entry.is_dir() else found).append(f"{folder}/{entry.name}")
    return sorted(found)
