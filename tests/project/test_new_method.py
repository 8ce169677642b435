"""A new method is its file, its row in the catalogue and its test: everything else finds it there.

The project is copied, a method is added to the copy as a user adds one, and the real commands run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seam.methods.catalogue import find
from tests.defaults import POLICY, ROOT, write_params

BIN = Path(sys.executable).parent
COPIED, NEW = find("magnitude"), "smallest_gone"
LABEL, WORDS, MARK = "smallest gone", "What is small is gone, then fine-tuned; made up.", "<"
FILES = ("benchmarks/digits.py", "dvc.yaml", "data.dvc", "pyproject.toml", ".dvc/config", ".gitignore", ".dvcignore")
NETWORK = """
from torch import nn


def tiny(num_classes):
    body = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
METHODS = ("standard", f"{NEW}-40", NEW, "seam")
TRAINING = {"epochs": 3, "batch_size": 8, "head_start": "fitted"}
TRANSFER = {
    "methods": list(METHODS),
    "architecture": "tiny.py:tiny",
    "checkpoint": "tiny.safetensors",
    "num_classes": 7,
    "search": {"rounds": 2, "batch_size": 8},
    "training": TRAINING,
    "whitebox": {"steps": 1, "fab_steps": 1},
    "whitebox_images": 6,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(folder: Path, *command: str) -> str:
    """What a command says, run in the copy and on its code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    own = {"PYTHONPATH": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env={**environment, **own, "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def add_method(folder: Path) -> None:
    """The three files of a new method."""
    methods, tests = folder / "seam/methods", folder / "tests/seam/methods"
    shutil.copyfile(methods / f"{COPIED.name}.py", methods / f"{NEW}.py")
    test = (tests / f"test_{COPIED.name}.py").read_text()
    (tests / f"test_{NEW}.py").write_text(test.replace(f'"{COPIED.name}"', f'"{NEW}"'))
    catalogue = (methods / "catalogue.py").read_text()
    name = catalogue.index(f'name="{COPIED.name}"')
    start, end = catalogue.rindex("    Method(", 0, name), catalogue.index("    ),\n", name) + len("    ),\n")
    row = catalogue[start:end]
    for ours, theirs in ((COPIED.name, NEW), (COPIED.label, LABEL), (COPIED.words, WORDS), (COPIED.mark, MARK)):
        assert row.count(f'"{ours}"') == 1
        row = row.replace(f'"{ours}"', f'"{theirs}"')
    (methods / "catalogue.py").write_text(catalogue[:end] + row + catalogue[end:])


def make_images(folder: Path) -> None:
    """Three classes that their colour tells apart: 15 images of each to train on, 8 to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 15), ("test", 8)):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 140, (16, 16, 3))
                pixels[..., channel] += 60
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{i}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the new method and a target."""
    folder = tmp_path_factory.mktemp("new") / "project"
    for name in ("seam", "tasks", "flows", "tests", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    add_method(folder)
    (folder / "mlflow").mkdir()
    (folder / "mlflow/registry.yaml").write_text(POLICY.replace("against: standard\n", f"against: {NEW}\n"))
    make_images(folder / "flowers")
    (folder / "tiny.py").write_text(NETWORK)
    torch.manual_seed(0)
    namespace: dict[str, Any] = {}
    exec(NETWORK, namespace)
    save_file(namespace["tiny"](7).state_dict(), folder / "tiny.safetensors")
    sections = {"runtime": {"device": "cpu", "threads": 1}, "evaluate_robustness": {"batch_size": 8, "steps": 2}}
    targets = {"flowers": {"kind": "image_folder", "path": "flowers", "image_size": 16}}
    write_params(folder / "params.yaml", targets=targets, transfer=TRANSFER, **sections)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "project"]):
        subprocess.run([*git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def test_it_is_judged_by_every_test_of_methods(folder: Path) -> None:
    said = run(folder, "python", "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "tests/seam/methods", "-k", NEW)
    passed = {line.split("::")[-1] for line in said.splitlines() if line.startswith("PASSED")}
    for test in (
        f"test_same_seed_same_start_and_the_source_stays_as_it_is[{NEW}]",
        f"test_an_all_ones_mask_leaves_the_outputs_bit_identical[{NEW}]",
        f"test_merged_equals_masked[{NEW}]",
        f"test_compacted_equals_masked[{NEW}]",
        f"test_students_survive_a_file[{NEW}]",
        f"test_cards_are_whole[{NEW}]",
        "test_no_weight_that_is_removed_is_larger_than_one_that_is_kept",
    ):
        assert test in passed
    run(folder, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/seam/methods/test_catalogue.py")


def test_it_is_listed_and_has_its_card(folder: Path) -> None:
    (line,) = [line for line in run(folder, "seam", "methods").splitlines() if line.startswith(NEW)]
    assert LABEL in line and "student" in line and WORDS in line
    said = run(folder, "seam", "methods", NEW)
    assert said.startswith(f"{NEW} ({LABEL}): makes a student\n{COPIED.card().title[:60]}")
    assert "nothing yet" in said
    table = run(folder, "python", "-c", "from tasks.report.methods import markdown_table; print(markdown_table())")
    assert f"| `{NEW}` | {LABEL} | {WORDS} | `transfer.removal` |" in table


def test_it_is_a_default_of_the_parameters(folder: Path) -> None:
    code = "from tasks.project.transfer_params import TransferParams; print(*TransferParams().methods)"
    assert NEW in run(folder, "python", "-c", code).split()


def test_it_trains_and_stands_in_the_table_the_figures_and_the_gates(folder: Path) -> None:
    said = run(folder, "seam", "transfer")
    assert f"{NEW}-40" in said
    compared = folder / "artifacts/flowers/compare_transfers"
    comparison = json.loads((compared / "comparison.json").read_text())
    rows = comparison["methods"]
    assert tuple(rows) == METHODS and {row["base"] for row in rows.values()} == {"standard", NEW, "seam"}
    assert rows[f"{NEW}-40"]["removal"] == 0.4 and rows[NEW]["removal"] == 0.5
    assert rows[f"{NEW}-40"]["density_start"]["mean"] == pytest.approx(0.6, abs=2e-3)
    assert (comparison["registered"]["method"], len(comparison["gates"])) == ("seam", 2)
    assert all(f"of {NEW}" in gate["text"] for gate in comparison["gates"])
    for line in (compared / "comparison.csv").read_text().splitlines()[2:4]:
        assert line.startswith(NEW)
    figure, page = (compared / "pareto.svg").read_text(), (compared / "report.html").read_text()
    assert f">{LABEL}<" in figure
    assert f"{LABEL}, 40% removed" in page and WORDS in page
