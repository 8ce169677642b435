"""What a file of Python code mentions: the modules it imports, and the names of modules and files in its strings.

Parsing takes a millisecond a file, so that what a content mentions is kept, by its hash, from one
process to the next.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from seam.files import write_text

_NAME = re.compile(r"\w+(\.\w+)*\.?")
"""What names a module, a package (`seam.methods.`, of an f-string) or a file."""


@dataclass(frozen=True)
class Mentions:
    """Dotted names, as written: `from seam import files` is `seam.files`."""

    imported: tuple[str, ...]
    """When the file is imported."""
    later: tuple[str, ...]
    """Inside its functions."""
    texts: tuple[str, ...]
    """Strings that may name a module or a file: `seam.inference.latency`, `words.json`."""


def mentions_of(source: bytes, package: str) -> Mentions:
    """Read one file of a package, whose dotted name the relative imports are resolved by.

    What stands under `if TYPE_CHECKING` is never imported, and left out. A file that is not Python
    mentions nothing: whoever imports it says so.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Mentions((), (), ())
    imported: dict[str, None] = {}
    later: dict[str, None] = {}
    for node, at_once in _statements(tree.body, True):
        (imported if at_once else later).update(dict.fromkeys(_imports(node, package)))
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    named = sorted(text for text in texts if "." in text and _NAME.fullmatch(text))
    return Mentions(tuple(imported), tuple(later), tuple(named))


class MentionsCache:
    """Mentions by content, kept in a file."""

    def __init__(self, path: Path) -> None:
        """Read `path`, if it is there and whole."""
        self._path = path
        self._known: dict[str, Mentions] = {}
        try:
            content = json.loads(path.read_bytes())
            self._known = {key: Mentions(**{k: tuple(v) for k, v in entry.items()}) for key, entry in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            pass

    def of(self, modules: Mapping[str, tuple[bytes, str]]) -> dict[str, Mentions]:
        """Mentions of several modules: what is not known yet is parsed, what is no longer there is forgotten.

        Args:
            modules: content and package of each, by name.
        """
        keys = {name: _key(*module) for name, module in modules.items()}
        known = {key: self._known.get(key) or mentions_of(*modules[name]) for name, key in keys.items()}
        if known.keys() != self._known.keys():
            self._known = known
            self._save()
        return {name: known[key] for name, key in keys.items()}

    def _save(self) -> None:
        """A project that cannot be written to is parsed each time."""
        try:
            write_text(self._path, json.dumps({key: asdict(entry) for key, entry in self._known.items()}))
        except OSError:
            return


def _key(source: bytes, package: str) -> str:
    return hashlib.sha256(package.encode() + b"\0" + source).hexdigest()[:32]


def _statements(body: Iterable[ast.AST], at_once: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every statement, and whether it runs when the file is imported."""
    for node in body:
        yield node, at_once
        if isinstance(node, ast.If) and _is_for_types(node.test):
            yield from _statements(node.orelse, at_once)
            continue
        inside = at_once and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, name, ()), inside)


def _is_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)
