"""Tables of the documentation: made from the code, and what differs is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel

from seam.configs.check import Ge, Gt, Le, NotEmpty, config
from seam.configs.search import SearchConfig
from seam.data.formats.load import FORMATS
from seam.errors import ConfigError
from seam.inference.engines import ENGINES
from tasks.project.params import Params
from tasks.report.docs_tables import TABLES, filled, stale
from tasks.report.parameters import parameters

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    return tmp_path


def test_the_pages_are_as_the_code_has_them(copy: Path) -> None:
    assert stale(copy, write=False) == []


@pytest.mark.parametrize(
    ("page", "cell", "wrong"),
    [
        ("inference.md", "| computed |", "| skipped |"),
        ("own-network.md", "`trnid` and `valid`", "`trnid`"),
        ("parameters.md", "| `0.2` | number in (0, 1) |", "| `0.3` | number in (0, 1) |"),
        ("transfer.md", "| `transfer.remos.ratio` |", "| `transfer.removal` |"),
    ],
)
def test_a_wrong_cell_is_reported_and_mended(copy: Path, page: str, cell: str, wrong: str) -> None:
    path = copy / "docs" / page
    right = path.read_text()
    assert cell in right
    path.write_text(right.replace(cell, wrong, 1))
    assert stale(copy, write=False) == [f"docs/{page}"]
    assert path.read_text() != right
    assert stale(copy, write=True) == [f"docs/{page}"]
    assert path.read_text() == right


def test_the_command_ends_with_one_line_where_a_page_differs(copy: Path) -> None:
    code = (
        "import sys, pathlib; from tasks.report import docs_tables;"
        f" docs_tables.ROOT = pathlib.Path({str(copy)!r}); sys.argv = ['docs_tables', '--check']; docs_tables.main()"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stderr == ""
    path = copy / "docs" / "inference.md"
    path.write_text(path.read_text().replace("| skipped |", "| computed |"))
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: docs/inference.md: expected the tables of the code, got others; run `make docs`.\n",
    )


def test_a_table_that_is_not_there_or_that_no_page_has_is_an_error(copy: Path) -> None:
    page = "a\n<!-- generated: planets -->\nold\n<!-- /generated -->\nb\n"
    assert filled(page, {"planets": lambda: "new"}, "x.md") == page.replace("old", "new")
    with pytest.raises(ConfigError, match=r"x\.md: expected a table of engines, got 'planets'"):
        filled(page, {"engines": str}, "x.md")
    with pytest.raises(ConfigError, match="expected a page with <!-- generated: moons -->, got none"):
        stale(copy, {**TABLES, "moons": str}, write=False)


def test_every_engine_kind_of_data_and_parameter_has_its_row() -> None:
    assert [row.split("`")[1] for row in TABLES["engines"]().splitlines()[2:]] == list(ENGINES)
    assert [row.split("`")[1] for row in TABLES["data kinds"]().splitlines()[2:]] == list(FORMATS)
    text = parameters()
    sections = dict(section.split("\n", 1) for section in text.split("## ")[1:])
    assert set(sections) >= {"search", "transfer", "transfer.training", "transfer.backdoor.training"}
    keys = [line.split("`")[1] for line in sections["search"].splitlines() if line.startswith("| `")]
    assert keys == [field.name for field in fields(SearchConfig)]
    assert "| |" not in text, "a parameter without its line"
    assert all(f"`{name}`" in text or f"## {name}\n" in text for name in Params.model_fields)


@config
class Inside:
    """One more."""

    share: Annotated[float, Gt(0), Le(1)] = 0.5
    """Of the whole;
    all of it at 1."""


@config
class Section:
    """What it is for.

    And more of it.
    """

    names: Annotated[tuple[str, ...], NotEmpty()] = ("a", "b")
    """Some names."""
    count: Annotated[int, Ge(1)] | None = None
    """How many."""
    mode: Literal["x", "y"] = "x"
    """Which."""
    on: bool = False
    """Whether."""
    inside: Inside = Inside(share=0.25)
    """Elsewhere."""


class Small(BaseModel):
    """Parameters of a test."""

    seed: int = 0
    """Of draws."""
    section: Section = Section()


def test_parameters_have_default_bounds_and_their_line() -> None:
    assert parameters(Small) == "\n".join(
        [
            "| parameter | meaning |",
            "|---|---|",
            "| `seed` | Of draws. |",
            "",
            "## section",
            "",
            "What it is for.",
            "",
            "| key | default | allowed | meaning |",
            "|---|---|---|---|",
            "| `names` | `[a, b]` | list of: text, not empty | Some names. |",
            "| `count` | `null` | null or whole number >= 1 | How many. |",
            "| `mode` | `x` | `x`, `y` | Which. |",
            "| `on` | `false` | true or false | Whether. |",
            "",
            "## section.inside",
            "",
            "One more.",
            "",
            "| key | default | allowed | meaning |",
            "|---|---|---|---|",
            "| `share` | `0.25` | number in (0, 1] | Of the whole; all of it at 1. |",
        ]
    )
