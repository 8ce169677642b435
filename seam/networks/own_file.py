"""Runs the user's own Python file, as Python would run it as a script or as part of its package.

It may import its neighbours by name (`from blocks import Block`) or relative to itself (`from .blocks
import Block`, whether its folder is a package or not), at its top or while its function builds. Two
files in different folders with neighbours of one name each get their own, and `sys.path` and
`sys.modules` are afterwards what they were.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from seam.networks.own_imports import NEVER_LOCAL, OwnCode, own_code

_loading = threading.RLock()


@contextmanager
def running(path: Path) -> Iterator[ModuleType]:
    """Run a Python file; until the end of the block its neighbours can be imported.

    Nothing is written beside it (no `__pycache__`).

    Raises:
        OSError: it cannot be read.
        Exception: what it raises.
    """
    code = own_code(path)
    with _loading:
        before, paths, quiet = dict(sys.modules), list(sys.path), sys.dont_write_bytecode
        tops = (code.tops | {code.name.partition(".")[0]}) - NEVER_LOCAL
        hidden = {n: m for n, m in before.items() if n.partition(".")[0] in tops and not _is_local(m, code)}
        for name in hidden:
            del sys.modules[name]
        sys.path[:0], sys.dont_write_bytecode = [str(folder) for folder in code.search], True
        importlib.invalidate_caches()
        try:
            yield _execute(code)
        finally:
            sys.path[:], sys.dont_write_bytecode = paths, quiet
            for name in _own_names(before, hidden, code):
                del sys.modules[name]
            sys.modules.update(hidden)


def _execute(code: OwnCode) -> ModuleType:
    """The module of the file, in its package where it has one."""
    if code.package is not None:
        top = code.name.partition(".")[0]
        if not (code.package / "__init__.py").is_file() and top not in sys.modules:
            package = ModuleType(top)
            package.__path__ = [str(code.package)]
            sys.modules[top] = package
        return importlib.import_module(code.name)
    spec = importlib.util.spec_from_file_location(code.name, code.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[code.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _own_names(before: Mapping[str, ModuleType], hidden: Mapping[str, ModuleType], code: OwnCode) -> list[str]:
    """Names of modules that were loaded for the file; those of packages of the running program stay."""
    program = {name.partition(".")[0] for name in before if name not in hidden}
    new = [name for name in sys.modules if name not in before or name in hidden]
    own = code.name.partition(".")[0]
    return [
        name
        for name in new
        if (top := name.partition(".")[0]) == own or (top not in program and _is_local(sys.modules[name], code))
    ]


def _is_local(module: ModuleType, code: OwnCode) -> bool:
    """Whether a module lies in a folder that the file can import from, and is not installed there."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    paths = [Path(place) for place in places if isinstance(place, str)]
    installed = any({"site-packages", "dist-packages"} & {*path.parts} for path in paths)
    roots = (*code.search, *(() if code.package is None else (code.package,)))
    return not installed and any(path.is_relative_to(root) for path in paths for root in roots)
