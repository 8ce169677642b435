"""Which local files a user's Python file needs: what it imports, directly or not, and the files that it names.

Read off the code, which is not run. What is installed, and this library, is not local.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NEVER_LOCAL = frozenset({__name__.partition(".")[0], "torch", "torchvision", "numpy", *sys.stdlib_module_names})
"""Packages that a file of the same name does not stand for."""
_PROJECT = (".git", "pyproject.toml", "dvc.yaml")
"""One of these lies in the top folder of a project."""


@dataclass
class OwnCode:
    """A Python file of the user's, and what it needs."""

    path: Path
    """Absolute."""
    search: tuple[Path, ...]
    """Folders whose modules it can import: its own, the one around its package, its project's."""
    files: list[Path] = field(default_factory=list)
    """It, and all local files that it needs; absolute, sorted."""
    tops: set[str] = field(default_factory=set)
    """First parts of the names under which it and they import local modules."""
    package: Path | None = None
    """Top folder of the package that it is in, or is taken to be in by its relative imports."""

    @property
    def name(self) -> str:
        """Dotted name of its module; the first part is a valid one whatever the folder is called."""
        if self.package is None:
            return f"own_{self.path.stem}"
        inside = self.path.relative_to(self.package).with_suffix("").parts
        return ".".join((self.package.name.replace(".", "_"), *(p for p in inside if p != "__init__")))


def own_code(path: Path) -> OwnCode:
    """Read a Python file and all that it needs.

    Raises:
        OSError: it cannot be read.
    """
    path = path.absolute()
    chain = _packages_around(path.parent)
    around = [folder for folder in path.parents if any((folder / name).exists() for name in _PROJECT)][:1]
    search = dict.fromkeys([path.parent, *(folder.parent for folder in chain[-1:]), *around])
    code = OwnCode(path, tuple(search), package=chain[-1] if chain else None)
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _needed(file, code) if file.suffix == ".py" else []
    code.files = sorted(found)
    return code


def _packages_around(folder: Path) -> list[Path]:
    """The folder and those around it as far as they are packages, the innermost first."""
    found = []
    while (folder / "__init__.py").is_file():
        found.append(folder)
        folder = folder.parent
    return found


def _needed(file: Path, code: OwnCode) -> list[Path]:
    """Local files that one needs directly: modules, the `__init__` of packages around it, files that it names."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []  # running it says so
    found = [folder / "__init__.py" for folder in _packages_around(file.parent)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _absolute(alias.name.split("."), code)
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                names = [*parts, alias.name]
                found += _relative(file, node.level, names, code) if node.level else _absolute(names, code)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _named(file, node.value)
            if node.value.replace(".", "a").isidentifier():  # import_module("blocks.wide")
                found += _absolute(node.value.split("."), code)
    return found


def _relative(file: Path, level: int, names: list[str], code: OwnCode) -> list[Path]:
    """A relative import; its folder is a package from now on, whether it has an `__init__` or not."""
    base = file.parents[level - 1] if level <= len(file.parents) else file.parent
    if code.path.is_relative_to(base) and (code.package is None or code.package.is_relative_to(base)):
        code.package = base
    return list(_modules(base, names))


def _absolute(names: list[str], code: OwnCode) -> list[Path]:
    """An import by name: of a neighbour, or through the name of a folder around the file."""
    if names[0] in NEVER_LOCAL:
        return []
    around = [folder.parent for folder in code.path.parents if folder.name == names[0]][:1]
    for folder in dict.fromkeys([*code.search, *around]):
        if found := list(_modules(folder, names)):
            code.tops.add(names[0])
            code.search = tuple(dict.fromkeys([*code.search, folder]))
            return found
    return []


def _modules(folder: Path, names: list[str]) -> Iterator[Path]:
    """Files of the modules on the way to a name below a folder; the last part may be no module."""
    for name in names:
        if (folder / name / "__init__.py").is_file():
            yield folder / name / "__init__.py"
        elif (folder / f"{name}.py").is_file():
            yield folder / f"{name}.py"
        folder = folder / name


def _named(file: Path, text: str) -> list[Path]:
    """The file beside it that a string names, `blocks.json`."""
    if not 0 < len(text) < 200 or "\n" in text or "\0" in text or "." not in text:
        return []
    beside = file.parent / text
    return [beside] if not Path(text).is_absolute() and ".." not in Path(text).parts and beside.is_file() else []
