"""benchmarks/reproduce_rq3.py on a few images, through the real stages.

Card, plot, page, and what a second run does again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seam.errors import ConfigError
from seam.files import read_json
from seam.networks.build import build
from tests.defaults import write_params

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import projects
import reproduce_rq3
import results_page
import results_rq3

SMALL = (
    *(
        "transfer.methods=[standard, seam-50]",
        "transfer.seeds=[0]",
        "transfer.architecture=resnet20",
        "transfer.num_classes=7",
    ),
    *(
        "transfer.search.rounds=1",
        "transfer.training.epochs=1",
        "transfer.retrain.epochs=1",
        "transfer.settings=[{lr: 0.001}, {lr: 0.01, momentum: 0.9, head_start: random}]",
        "transfer.whitebox_images=4",
        "transfer.whitebox.steps=1",
    ),
    *("runtime.threads=1", "split_dataset.val_fraction=0.25", "evaluate_robustness.steps=2"),
)


@pytest.fixture
def images(brightness_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small data set; cards and page go to the test's folder."""
    monkeypatch.setattr(projects, "DEFAULTS", write_params(tmp_path / "defaults.yaml"))
    monkeypatch.setattr(reproduce_rq3, "WORK", tmp_path / "work")
    for module in (reproduce_rq3, results_rq3):
        monkeypatch.setattr(module, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(results_page, "PAGE", tmp_path / "results.md")
    return brightness_npz


@pytest.mark.slow
def test_a_target_gives_a_card_and_a_table_and_is_not_computed_twice(images: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build("resnet20", 7).state_dict(), tmp_path / "net.safetensors")
    settings = [*SMALL, f"transfer.checkpoint={tmp_path / 'net.safetensors'}"]
    reproduce_rq3.reproduce("three", images, 16, "rq3", settings)
    card = read_json(tmp_path / "cards" / "three-rq3.json")
    assert list(card["methods"]) == ["standard", "seam-50"]
    assert card["methods"]["seam-50"]["seeds"] == [0]
    assert card["num_test"] == 12
    assert card["attack"]["steps"] == 2
    assert {cost["passes"] for cost in card["seconds"].values()} == {2, 3}  # two settings, and a round of the search
    assert card["source"] == {"architecture": "resnet20", "checkpoint": "net.safetensors"}
    assert str(tmp_path) not in str(card)
    assert (tmp_path / "cards" / "three-rq3.svg").is_file()
    results_page.render()
    page = (tmp_path / "results.md").read_text()
    assert "\n| SeaM, 50% removed" in page
    assert "| accuracy on val | rate 0.001, " in page and ", chosen |" in page
    assert "- SeaM, 50% removed: DIR at most half of standard's: " in page
    made = (
        tmp_path / "work" / "three-rq3" / "artifacts" / "three" / "students" / "standard-seed0" / "student.safetensors"
    )
    before = made.stat().st_mtime_ns
    reproduce_rq3.reproduce("three", images, 16, "rq3", settings)
    assert made.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["flowers"], "--data flowers=: expected NAME=PATH"),
        (["flowers=/not/there"], "--data flowers=/not/there: expected NAME=PATH of a folder"),
        ([], "expected images to transfer to, got none: give --data NAME=PATH, or unpack one of mit67"),
    ],
)
def test_images_that_are_not_there_are_one_clear_line(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        reproduce_rq3.targets(given, tmp_path)


def test_published_sets_in_the_data_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "cub200").mkdir()
    assert reproduce_rq3.targets([], tmp_path) == {"cub200": tmp_path / "cub200"}


def test_an_unknown_preset_is_one_clear_line(images: Path) -> None:
    with pytest.raises(ConfigError, match="--preset nope: expected the name of a file in presets/"):
        reproduce_rq3.reproduce("three", images, 16, "nope", [])
