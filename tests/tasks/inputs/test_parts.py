"""Modules that an entry names, with their sources; sources that differ from the problems'."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seam.composition.heads import make_head
from seam.composition.module import Piece, Takes
from seam.configs.networks import SourceConfig
from seam.door.parts import Modules
from seam.errors import ConfigError, MaskError, SourceError
from seam.files import sha256_file
from seam.networks.source import load_source, save_source
from tasks.inputs.made_source import made_source
from tasks.inputs.own_source import own_source
from tasks.inputs.parts import PACK, parts
from tasks.prepare_source import prepare_source
from tasks.project.own_code import OwnFiles
from tasks.project.params import parse_params
from tasks.project.source_changes import changed_source
from tasks.project.stage import StageContext
from tasks.project.stages import KINDS, PROBLEM, Stage
from tasks.project.subject import Subject
from tasks.validate_data import validate_data
from tests.tasks.transfer_project import CLASSES, NETWORK, make_images

TAKEN = replace(
    PROBLEM, name="taken", section="problems", first=(), then=(Stage("take"),), registers=None, reports="take"
)
MENDED = replace(
    TAKEN,
    name="mended",
    section="patches",
    then=(Stage("mend"),),
    reports="mend",
    made_of="taken",
    source="prepare_source",
)


def context(root: Path, stage: str = "mend", of: Any = "warm", **weak: Any) -> StageContext:
    values = {
        "problems": {"warm": ["red"]},
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
        "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
        "prepare_source": {"architecture": "tiny.py:tiny", "epochs": 8, "batch_size": 8},
        "patches": {"fix": {"of": of, "class": "red", "weak": weak or None}},
    }
    subject = Subject("mended", "fix") if stage == "mend" else None
    return StageContext(stage, parse_params(values, "test"), root, subject)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a source, and with its modules, all of it kept, where a stage would have put them."""
    monkeypatch.setitem(KINDS, "taken", TAKEN)
    monkeypatch.setitem(KINDS, "mended", MENDED)
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "flowers")
    (tmp_path / "tiny.py").write_text(NETWORK)
    validate_data(context(tmp_path, "validate_data"))
    prepare_source(context(tmp_path, "prepare_source"))
    pack(tmp_path / "artifacts/prepare_source", tmp_path / "artifacts/warm/take")
    return tmp_path


def pack(source_folder: Path, folder: Path) -> None:
    source = load_source(source_folder)
    masks = {n: torch.ones(len(p), dtype=torch.bool) for n, p in source.network.named_parameters() if p.ndim == 4}
    pieces = {c: Piece(masks, make_head("read_out", len(CLASSES), i)) for i, c in enumerate(CLASSES)}
    folder.mkdir(parents=True)
    save_source(source.network, source.info, folder)
    takes = Takes.of(source.preprocess(), source.example())
    Modules(source.network, pieces, takes, None, {}, len(CLASSES)).save(folder / PACK)


def test_modules_are_found_by_the_name_of_what_they_were_taken_from(project: Path) -> None:
    (part,) = parts(context(project))
    assert (part.name, part.modules.classes, part.modules.name) == ("warm", CLASSES, "warm")
    assert part.files == {} and not part.may_have_seen
    assert part.hashes["source_sha256"] == part.source.info.sha256
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(part.modules["red"](x), part.source.network(x)[:, CLASSES.index("red")])


def test_modules_that_were_made_elsewhere_are_read_from_their_folder(project: Path) -> None:
    shutil.copytree(project / "artifacts/warm/take", project / "packs/shoes")
    (part,) = parts(context(project, of="packs/shoes"))
    assert part.name == "packs/shoes" and part.may_have_seen
    assert part.files["packs/shoes/source.json"] == sha256_file(project / "packs/shoes/source.json")
    assert set(part.files) == {
        f"packs/shoes/{f}" for f in ("modules/modules.json", "source.json", "source.safetensors")
    }


def test_what_is_no_such_folder_is_one_line(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"^patches\.fix\.of: .* got 'packs' without modules/modules\.json; copy all"):
        parts(context(project, of="packs"))
    shutil.rmtree(project / "artifacts/warm/take/modules")
    with pytest.raises(MaskError, match="no such file"):
        parts(context(project))


def test_modules_of_another_source_are_refused(project: Path) -> None:
    other = own_source(context(project, lr=0.01), {"lr": 0.01}, "weak")
    save_source(other.network, other.info, project / "artifacts/warm/take")
    with pytest.raises(MaskError, match="made for the source with sha256"):
        parts(context(project))


def test_a_source_without_changes_is_the_prepared_one_and_one_with_changes_is_trained(project: Path) -> None:
    prepared = load_source(project / "artifacts/prepare_source")
    assert own_source(context(project), None, "weak").info == prepared.info
    other = own_source(context(project, epochs=1), {"epochs": 1}, "weak")
    expected = made_source(
        replace(
            context(project),
            params=context(project).params.model_copy(
                update={"prepare_source": SourceConfig(architecture="tiny.py:tiny", epochs=1, batch_size=8)}
            ),
        ),
        project / "artifacts/validate_data/dataset.safetensors",
        project,
    )
    assert all(torch.equal(v, other.network.state_dict()[k]) for k, v in expected.network.state_dict().items())
    assert other.info.sha256 != prepared.info.sha256 and other.info.trained_here
    assert isinstance(other.network, nn.Module) and not (project / "artifacts/fix/mend").exists()


def test_a_checkpoint_of_its_own_is_read(project: Path) -> None:
    weights = "artifacts/prepare_source/source.safetensors"
    found = own_source(context(project), {"checkpoint": weights}, "weak")
    assert not found.info.trained_here and weights in found.info.files
    with pytest.raises(SourceError, match=r"got 1\.000; .*patches\.fix\.weak\.mean"):
        own_source(context(project), {"checkpoint": weights, "expected_accuracy": 0.1}, "weak")
    with pytest.raises(SourceError, match="nowhere"):
        own_source(context(project), {"checkpoint": "nowhere.safetensors"}, "weak")


def test_changes_go_over_what_the_problems_source_has() -> None:
    base = SourceConfig(architecture="resnet32", checkpoint="a.pt", expected_accuracy=0.9, epochs=7)
    assert changed_source(base, None, "x") == base
    assert changed_source(base, {"checkpoint": None, "epochs": 1}, "x") == SourceConfig(
        architecture="resnet32", epochs=1
    )
    other = changed_source(base, {"architecture": "resnet20"}, "x")
    assert other == SourceConfig(architecture="resnet20", epochs=7), "the checkpoint is of another network"
    assert changed_source(base, {"checkpoint": "b.pt"}, "x").expected_accuracy is None
    with pytest.raises(
        ConfigError, match=r"^x: epochs is of a training, and the checkpoint a\.pt is trained; leave it"
    ):
        changed_source(base, {"epochs": 1}, "x")


@pytest.mark.parametrize(
    ("weak", "message"),
    [
        ({"epohcs": 1}, "patches.fix.weak.epohcs: unknown key 'epohcs' of prepare_source; did you mean 'epochs'?"),
        ({"epochs": 0}, "patches.fix.weak.epochs: epochs must be >= 1, got 0"),
        ({"mean": [0.5]}, "mean and std go together"),
    ],
)
def test_changes_that_are_not_allowed_are_one_line(weak: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        context(tmp_path, "validate_data", **weak)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_architecture_of_its_own_is_code_of_the_stage(project: Path) -> None:
    (project / "mine.py").write_text(NETWORK)
    (project / "params.yaml").write_text(
        "problems: {warm: [red]}\npatches: {fix: {of: warm, class: red, weak: {architecture: 'mine.py:tiny'}}}\n"
    )
    assert [f.name for f in OwnFiles(project).by_stage()["mend"]] == ["mine.py"]
