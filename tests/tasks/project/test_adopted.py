"""A network that a run made and another starts from is a file of the project then, not a result of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from seam.errors import ConfigError
from tasks.project.change_params import proposed
from tasks.project.params import load_params
from tests.defaults import write_params

MADE = "artifacts/flat/restructure"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose restructuring `flat` was made."""
    write_params(tmp_path / "params.yaml", restructurings={"flat": {}})
    made = tmp_path / MADE
    made.mkdir(parents=True)
    (made / "network.py").write_text("def network(): ...\n")
    (made / "network.safetensors").write_bytes(b"weights")
    (made / "source.yaml").write_text(
        f"prepare_source:\n  architecture: {MADE}/network.py:network\n  checkpoint: {MADE}/network.safetensors\n"
        "restructurings: {}\n"
    )
    return tmp_path


def taken(project: Path) -> Path:
    """The folder where the source is once it was asked for."""
    proposed(project / "params.yaml", overlay=project / MADE / "source.yaml").write()
    source = load_params(project / "params.yaml").prepare_source
    assert source.checkpoint is not None
    folder = Path(source.checkpoint).parent
    assert source.architecture == f"{folder}/network.py:network"
    return project / folder


def test_it_is_copied_out_of_the_results(project: Path) -> None:
    folder = taken(project)
    assert folder.parent == project / "sources" and folder.name.startswith("flat-")
    assert (folder / "network.safetensors").read_bytes() == b"weights"
    assert (folder / "network.py").read_text() == (project / MADE / "network.py").read_text()


def test_nothing_is_copied_before_the_change_is_written(project: Path) -> None:
    change = proposed(project / "params.yaml", overlay=project / MADE / "source.yaml")
    assert change.lines and not (project / "sources").exists()


def test_the_same_again_changes_nothing_and_another_network_has_another_place(project: Path) -> None:
    first = taken(project)
    assert not proposed(project / "params.yaml", overlay=project / MADE / "source.yaml").lines
    (project / MADE / "network.safetensors").write_bytes(b"other weights")
    second = taken(project)
    assert second != first and (first / "network.safetensors").read_bytes() == b"weights"


def test_a_value_that_is_set_is_treated_alike(project: Path) -> None:
    proposed(project / "params.yaml", [f"prepare_source.checkpoint={MADE}/network.safetensors"]).write()
    checkpoint = load_params(project / "params.yaml").prepare_source.checkpoint
    assert checkpoint is not None and checkpoint.startswith("sources/flat-")
    assert (project / checkpoint).read_bytes() == b"weights"


@pytest.mark.parametrize("checkpoint", ["given.pth", "torchvision:DEFAULT", "models:/seam-x/1", "artifacts/none.pth"])
def test_everything_else_is_left_as_it_is(project: Path, checkpoint: str) -> None:
    (project / "given.pth").write_bytes(b"")
    proposed(project / "params.yaml", [f"prepare_source.checkpoint={checkpoint}"]).write()
    assert load_params(project / "params.yaml").prepare_source.checkpoint == checkpoint
    assert not (project / "sources").exists()


def test_a_refused_change_copies_nothing(project: Path) -> None:
    with pytest.raises(ConfigError):
        proposed(project / "params.yaml", ["search.nonsense=1"], project / MADE / "source.yaml")
    assert not (project / "sources").exists()


def test_null_stays_a_word(project: Path) -> None:
    path = project / "params.yaml"
    proposed(path, ["seed=7"]).write()
    assert "image_size: null\n" in path.read_text()
    assert YAML(typ="safe").load(path.read_text())["data"]["image_size"] is None
