"""Tables of the documentation that are made from the code: `python -m tasks.report.docs_tables [--check]`.

A page has them between `<!-- generated: NAME -->` and `<!-- /generated -->`; what stands there is
replaced, or, with `--check`, compared.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seam.data.formats.load import FORMATS, Format
from seam.errors import ConfigError
from seam.files import write_text
from seam.inference.engines import ENGINES, Engine
from tasks.report.markdown import table
from tasks.report.methods import markdown_table, modules_table
from tasks.report.parameters import parameters
from tasks.report.taken import pictures_and_folders, requests

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n)(?P<text>.*?)(<!-- /generated -->)", re.DOTALL)
_LOADS = {"onnx": "ONNX", "int8": "ONNX in 8 bits", "module": "the module"}


def engines() -> str:
    """Every engine: what it loads, what it does with zeros, what it needs."""
    header = ("engine", "in `benchmark_latency.engines`", "loads", "zeros are", "needs")
    return table(header, [_engine_row(name, engine) for name, engine in ENGINES.items()])


def _engine_row(name: str, engine: Engine) -> Sequence[str]:
    needs = ", ".join([*(f"`{package}`" for package in engine.packages), *filter(None, [engine.needs])])
    return engine.label, f"`{name}`", _LOADS[engine.takes], engine.zeros, needs


def data_kinds() -> str:
    """Every kind of raw data: what lies at its path, and its classes."""
    return table(("kind", "`data.path` is", "classes"), [_kind_row(kind, found) for kind, found in FORMATS.items()])


def _kind_row(kind: str, found: Format) -> Sequence[str]:
    about = found.published
    name = f"`{kind}`, [{about.title}]({about.page})" if about else f"`{kind}`"
    return name, found.path, found.order


TABLES: Mapping[str, Callable[[], str]] = {
    "methods": markdown_table,
    "module methods": modules_table,
    "data kinds": data_kinds,
    "pictures and folders": pictures_and_folders,
    "requests": requests,
    "engines": engines,
    "parameters": parameters,
}


def filled(text: str, tables: Mapping[str, Callable[[], str]], where: str) -> str:
    """A page with its tables as the code has them.

    Args:
        text: of the page.
        tables: by the name in the page.
        where: the page, for errors.

    Raises:
        ConfigError: it asks for a table that is not there.
    """

    def table_of(block: re.Match[str]) -> str:
        name = block["name"]
        if name not in tables:
            raise ConfigError(f"{where}: expected a table of {', '.join(tables)}, got '{name}'.")
        return f"{block[1]}{tables[name]()}\n{block[4]}"

    return _BLOCK.sub(table_of, text)


def stale(root: Path, tables: Mapping[str, Callable[[], str]] = TABLES, *, write: bool) -> list[str]:
    """Pages of `root`/docs whose tables are not as the code has them; with `write`, they are afterwards.

    Raises:
        ConfigError: a page asks for a table that is not there, or no page asks for one of `tables`.
    """
    pages = {path: path.read_text() for path in sorted((root / "docs").glob("*.md"))}
    asked = {block["name"] for text in pages.values() for block in _BLOCK.finditer(text)}
    changed = []
    for path, text in pages.items():
        wanted = filled(text, tables, f"docs/{path.name}")
        if wanted != text:
            changed.append(f"docs/{path.name}")
            if write:
                write_text(path, wanted)
    for name in tables:
        if name not in asked:
            raise ConfigError(f"docs: expected a page with <!-- generated: {name} -->, got none.")
    return changed


def main() -> None:
    """Write the tables, or, with `--check`, exit with one line where a page differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    try:
        changed = stale(ROOT, write=not check)
    except ConfigError as e:
        sys.exit(f"error: {e}")
    if check and changed:
        sys.exit(f"error: {', '.join(changed)}: expected the tables of the code, got others; run `make docs`.")


if __name__ == "__main__":
    main()
