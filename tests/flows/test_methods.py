"""`seam methods`, as a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seam.methods.catalogue import CATALOGUE, PARTS, names
from tasks.report.methods import measured

ROOT = Path(__file__).parents[2]


def seam(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_lists_every_method_on_a_line_of_its_own_from_anywhere(tmp_path: Path) -> None:
    done = seam("methods", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert tuple(line.split()[0] for line in lines) == names()
    for line, method in zip(lines, CATALOGUE, strict=True):
        assert all(text in line for text in (method.label, method.makes, method.words))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", CATALOGUE, ids=names())
def test_a_card_has_every_part_in_full(method) -> None:
    done = seam("methods", method.name)
    assert done.returncode == 0 and done.stderr == ""
    said = " ".join(done.stdout.split())
    assert method.label in said and method.card().title in said
    for heading in PARTS:
        text = method.card().parts[heading]
        assert f"{heading} {text[:1].upper()}{text[1:]}" in said
    lines = list(measured(method, ROOT))
    assert all(line in done.stdout for line in lines or ["nothing yet"])
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_what_was_measured_is_shown() -> None:
    assert (
        "flowers17 (rq3-gentle, 3 seeds), 80% removed: accuracy 81.27%, inherited 12.77%"
        in seam("methods", "seam").stdout
    )


def test_an_unknown_name_is_one_line() -> None:
    done = seam("methods", "reemos")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: expected a method, one of ")
    assert done.stderr.endswith("got 'reemos'; did you mean 'remos'?\n") and done.stderr.count("\n") == 1


def test_it_imports_neither_torch_nor_a_server() -> None:
    code = """
import sys
from flows.cli import app
app(["methods", "seam"], standalone_mode=False)
sys.exit(any(name in sys.modules for name in ("torch", "mlflow", "prefect", "matplotlib")))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0
