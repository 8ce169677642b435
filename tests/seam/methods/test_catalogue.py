"""The one list of methods: what a row says holds, and nothing is listed twice."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from seam.configs.methods import RemosConfig, TransferConfig
from seam.errors import ConfigError
from seam.methods import catalogue
from seam.methods.catalogue import CATALOGUE, FLOOR, PARTS, STUDENTS, YARDSTICK, find, names, read_card

ROOT = Path(__file__).parents[3]
CONFIG = TransferConfig(removal=0.4, remos=RemosConfig(ratio=0.2))
NO_METHODS = {"__init__", "catalogue", "modules", "protocol", "restructuring", "student_training", "transfer"}
"""Files of the folder that hold no method."""
ENTRIES = {"student": "start", "modules": "start", "segments": "segments"}
"""What a method of each kind has."""


def test_every_file_of_a_method_has_its_row_and_every_row_its_file() -> None:
    files = {path.stem for path in (ROOT / "seam/methods").glob("*.py")} - NO_METHODS
    assert files == set(names()) and len(CATALOGUE) == len(files)
    for method in CATALOGUE:
        assert callable(getattr(import_module(f"seam.methods.{method.name}"), ENTRIES[method.makes]))


def test_no_two_methods_look_alike_in_tables_and_figures() -> None:
    for of in ("label", "mark", "words"):
        assert len({getattr(m, of) for m in CATALOGUE}) == len(CATALOGUE), of
    assert [m.name for m in CATALOGUE if m.role == "yardstick"] == [YARDSTICK.name]
    assert [m.name for m in CATALOGUE if m.role == "floor"] == [FLOOR.name]
    assert not any(m.removes for m in (YARDSTICK, FLOOR))


@pytest.mark.parametrize("name", names())
def test_cards_are_whole(name: str) -> None:
    card = find(name).card()
    assert [part for part in card.parts if part != "Source"] == list(PARTS)
    assert all(card.parts.values()) and card.title.endswith(".")
    assert card.title == " ".join((inspect.getdoc(import_module(f"seam.methods.{name}")) or "").splitlines()[:1])


def test_a_card_that_lacks_a_part_or_has_another_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "method.py"
    whole = "\n\n".join(["Title.", *(f"{part}: it is so: really." for part in PARTS)])
    path.write_text(f'"""{whole}\n"""\nraise RuntimeError("not imported")\n')
    assert read_card(path).parts == dict.fromkeys(PARTS, "it is so: really.")
    path.write_text(f'"""{whole.replace("Claimed", "Boasted")}\n"""\n')
    with pytest.raises(ConfigError, match="got 'Boasted: it is so"):
        read_card(path)
    path.write_text('"""Title.\n\nWhat it does: this.\n"""\n')
    with pytest.raises(ConfigError, match=r"expected a paragraph 'When to use it: \.\.\.'"):
        read_card(path)


def test_a_percentage_sets_the_number_that_the_row_names() -> None:
    assert find("seam").with_removal(CONFIG, 0.9) == TransferConfig(removal=0.9, remos=RemosConfig(ratio=0.2))
    assert find("remos").with_removal(CONFIG, 0.05) == TransferConfig(removal=0.4, remos=RemosConfig(ratio=0.05))
    assert {m: find(m).removal_of(CONFIG) for m in ("standard", "seam", "remos", "magnitude", "retrain")} == {
        "standard": 0.0,
        "seam": 0.4,
        "remos": 0.2,
        "magnitude": 0.4,
        "retrain": 0.0,
    }
    with pytest.raises(ConfigError, match="got 'standard', which removes none"):
        find("standard").with_removal(CONFIG, 0.5)


def test_rows_name_sections_that_there_are() -> None:
    known = {field.name for field in fields(TransferConfig)}
    for method in STUDENTS:
        assert {method.training, method.search or "search"} <= known
    assert (find("seam").rounds_of(CONFIG), find("remos").rounds_of(CONFIG)) == (CONFIG.search.rounds, 0)
    assert find("retrain").training_of(CONFIG) is CONFIG.retrain is not find("remos").training_of(CONFIG)


@pytest.mark.parametrize(
    ("name", "suffix", "line"),
    [
        ("sem", "", "got 'sem'; did you mean 'seam'?"),
        ("sem", "-50", "got 'sem-50'; did you mean 'seam-50'?"),
        ("xyz", "", "got 'xyz'; `seam methods` lists them."),
    ],
)
def test_an_unknown_name_is_one_line(name: str, suffix: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(name, suffix=suffix)
    assert str(caught.value) == f"expected a method, one of {', '.join(names())}, {line}"


def test_the_catalogue_needs_no_torch() -> None:
    code = "from seam.methods.catalogue import CATALOGUE; [m.card() for m in CATALOGUE]"
    ends = f"import sys; {code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ends], cwd=ROOT, check=False).returncode == 0


def test_no_list_of_methods_is_typed_again() -> None:
    """No tuple, list, set or dictionary of the code but the catalogue names three methods or more."""
    found = []
    for path in [p for folder in ("seam", "tasks", "flows", "benchmarks") for p in (ROOT / folder).rglob("*.py")]:
        if path == Path(catalogue.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            items = (
                node.keys
                if isinstance(node, ast.Dict)
                else getattr(node, "elts", [])
                if isinstance(node, ast.expr)
                else []
            )
            values = {item.value for item in items if isinstance(item, ast.Constant)}
            if len(values & set(names())) >= 3:
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    assert found == []
