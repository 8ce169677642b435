"""seam rebuild: from a commit and the DVC remote alone, the same mask and outputs; otherwise what differs is named."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from seam.errors import ConfigError, ProvenanceError
from seam.masks.pack import load_mask_pack
from seam.measures.macs import count
from tasks.finetune import finetune
from tasks.inputs.problem import load_model, problem_source
from tasks.prepare_source import prepare_source
from tasks.profile_source import profile_source
from tasks.project.code_digests import write_digests
from tasks.project.params import load_params, parse_params
from tasks.project.stage import StageContext
from tasks.project.stages import kind_of
from tasks.project.subject import Subject
from tasks.provenance.bom import BOM, FOLDER, NETWORK, ReadBom, read_bom
from tasks.provenance.clone import Clone
from tasks.provenance.fetch import fetch
from tasks.provenance.rebuild import compared, rebuild
from tasks.register_model import register_model
from tasks.search import search
from tasks.split_dataset import split_dataset
from tasks.validate_data import validate_data
from tests.defaults import give_registry, write_params
from tests.flows.small_project import PROBLEM, SMALL, make_small_project
from tests.registry_project import write_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALLER = {"prepare_source": {"epochs": 1}, "search": {**SMALL["search"], "max_rounds": 6}, "finetune": {"epochs": 1}}
STAGES = (validate_data, split_dataset, prepare_source, profile_source, search, finetune)


@dataclass(frozen=True)
class Made:
    """A registered version, and the repository that it was made in."""

    root: Path
    folder: Path
    bill: ReadBom


def commit(root: Path) -> str:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    subprocess.run([*git, "commit", "-qam", "more"], cwd=root, check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_store: Path) -> Made:
    """The default problem, shortly trained; what is measured of it is made up. Its repository has gone on since."""
    folder = tmp_path_factory.mktemp("rebuild")
    root = make_small_project(folder / "project")
    write_params(root / "params.yaml", **{**SMALL, **SMALLER})
    head = commit(root)
    give_registry(root, empty_mlflow_store)
    params = load_params(root / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_digests(root)
        for stage in STAGES:
            subject = Subject("problem", PROBLEM) if kind_of(stage.__name__) else None
            stage(StageContext(stage.__name__, params, root, subject))
        context = StageContext("register_model", params, root, Subject("problem", PROBLEM))
        source = problem_source(context)
        whole = asdict(count(source.network, source.example()))
        write_results(context, whole, load_model(context, params.register_model.model))
        register_model(context)
        found = fetch(root, f"models:/seam-{PROBLEM}/1", folder / "model")
    bill = read_bom(found.folder / FOLDER / BOM)
    assert bill.code["git_commit"] == head.strip()
    (root / "params.yaml").write_text("problems: {}\n")
    (root / "tasks/search.py").write_text("raise SystemExit('not the code of that version')\n")
    commit(root)
    return Made(root, found.folder, bill)


def test_the_same_mask_and_outputs_come_out_of_a_fresh_clone(made: Made, tmp_path: Path) -> None:
    said: list[str] = []
    found = rebuild(made.root, made.folder, made.bill, tmp_path / "clone", said.append)
    assert found.inputs == []
    assert found.is_same and found.same_source and found.same_file
    assert found.mask_sha256[0] == load_mask_pack(made.folder / FOLDER / "mask.safetensors").mask_sha256
    assert (found.deviation, found.other_labels) == (0.0, 0)
    assert found.images > 100
    assert said == [*(stage.__name__ for stage in STAGES), "compare"]


def test_what_differs_is_named(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_results(clone: Clone, stage: str, arguments: Sequence[str] = (), tracking: str | None = None) -> None:
        """In place of a run: what the project has of it."""
        folder = Path("artifacts", *arguments[1:], stage)
        shutil.copytree(made.root / folder, clone.root / folder)

    monkeypatch.setattr(Clone, "run", copy_results)
    other = copy.deepcopy(made.bill)
    other.params["seed"] = 1
    other.code |= {"code.search": "0" * 16, "machine": "another CPU, 3 cores, no GPU"}
    other.data["sha256"] = "1" * 64
    other.packages = [(n, "1.0" if n == "torch" else v, s) for n, v, s in other.packages]
    other.made_of["mask_sha256"] = "2" * 64
    model = shutil.copytree(made.folder, tmp_path / "model")
    (model / FOLDER / "times.json").write_text('{"measured": "then"}')
    found = rebuild(made.root, model, other, tmp_path / "clone")
    assert not found.is_same
    assert not found.same_mask
    assert found.mask_sha256 == ("2" * 64, made.bill.made_of["mask_sha256"])
    named = {words.partition(":")[0] for words in found.inputs}
    assert named == {"package torch", "parameter seed", "code of stage search", "data", "machine"}
    times = tmp_path / "clone/artifacts/profile_source/times.json"
    assert times.read_text() == '{"measured": "then"}', "they come with the version, and are not taken anew"


def test_other_outputs_are_numbers(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a served network whose last bias was moved, so that every image is of the other class."""
    root = tmp_path / "project"
    shutil.copytree(made.root, root, ignore=shutil.ignore_patterns("storage"))
    network = onnx.load(made.folder / NETWORK)
    last = [n for n in network.graph.node if n.op_type == "Gemm"][-1]
    bias = next(t for t in network.graph.initializer if t.name == last.input[2])
    moved = onnx.numpy_helper.to_array(bias) + np.array([0, 100], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    shutil.copytree(made.folder, tmp_path / "model")
    onnx.save(network, tmp_path / "model" / NETWORK)
    params = parse_params(made.bill.params, "test")
    context = StageContext("register_model", params, root, Subject("problem", PROBLEM))
    monkeypatch.chdir(root)
    found = compared(context, tmp_path / "model", made.bill, [])
    assert found.same_mask and not found.same_file and not found.is_same
    assert found.deviation > 0.5
    assert 0 < found.other_labels < found.images


def test_a_commit_that_is_not_there_is_one_line(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="expected commit 0000"):
        Clone(made.root, "0" * 40, tmp_path / "clone")
    with pytest.raises(ProvenanceError, match="expected a git repository"):
        Clone(tmp_path, "0" * 40, tmp_path / "clone")


def test_a_remote_without_the_data_is_one_line(made: Made, tmp_path: Path) -> None:
    clone = Clone(made.root, made.bill.code["git_commit"], tmp_path / "clone")
    for path in (clone.root / "storage/files").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(ProvenanceError, match=r"dvc pull data.dvc: expected it in the DVC remote") as caught:
        clone.pull("data.dvc")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_made_again_is_one_line(made: Made, tmp_path: Path) -> None:
    other = copy.deepcopy(made.bill)
    other.properties["kind"] = "patch"
    with pytest.raises(ConfigError, match="a version of a target problem, got one of a patch"):
        rebuild(made.root, made.folder, other, tmp_path / "clone")
    other = copy.deepcopy(made.bill)
    del other.code["git_commit"]
    with pytest.raises(ProvenanceError, match="no commit is known"):
        rebuild(made.root, made.folder, other, tmp_path / "clone")
