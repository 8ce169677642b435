"""The stage that mends a weak model: what it writes, what it takes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mlflow import MlflowClient
from mlflow.pyfunc import load_model
from rich.console import Console
from safetensors.torch import load_file, save_file

from flows.closing import show_closing, show_next
from seam.data.images import images_of
from seam.data.prepared import load_prepared
from seam.errors import ConfigError, DataError
from seam.files import read_json, sha256_file, write_json
from seam.networks.source import load_source
from tasks.modularize import modularize
from tasks.patch import patch
from tasks.prepare_source import prepare_source
from tasks.project.environment import tracking_uri
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext, execute
from tasks.project.stages import PATCH
from tasks.project.subject import Subject
from tasks.register_patch import register_patch
from tasks.validate_data import validate_data
from tests.defaults import POLICY, give_registry
from tests.tasks.transfer_project import CLASSES, NETWORK, make_images

RED = CLASSES.index("red")
FIX = {"of": "parts", "class": "red", "weak": {"checkpoint": "weak.safetensors", "expected_accuracy": 0.667}}
VALUES: dict[str, Any] = {
    "problems": {"warm": ["red"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
    "split_dataset": {"val_fraction": 0.4, "val_from": "train"},
    "prepare_source": {"architecture": "tiny.py:tiny", "epochs": 10, "batch_size": 8},
    "profile_source": {"repeats": 10, "batch_size": 2},
    "modularizations": {"parts": {"method": "decomposition"}},
    "patches": {"fix": FIX},
}


def context(root: Path, stage: str = "patch", **changes: Any) -> StageContext:
    fix = Subject("patch", "fix")
    subjects = {"patch": fix, "register_patch": fix, "modularize": Subject("modularization", "parts")}
    return StageContext(stage, parse_params({**VALUES, **changes}, "test"), root, subjects.get(stage))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with modules of a good source, and a model that never says red."""
    root = tmp_path_factory.mktemp("patch")
    make_images(root / "flowers")
    (root / "tiny.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(root)
        validate_data(context(root, "validate_data"))
        prepare_source(context(root, "prepare_source"))
        modularize(context(root, "modularize"))
        weights = load_file(root / "artifacts/prepare_source/source.safetensors")
        last = max(k for k in weights if k.endswith(".bias") and weights[k].shape == (3,))
        weights[last][RED] -= 1000.0
        save_file(weights, root / "weak.safetensors")
    return root


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_the_class_is_found_and_the_file_is_what_was_measured(project: Path) -> None:
    result = patch(context(project))
    folder = project / "artifacts/fix/patch"
    assert {Path(f).name for f in result.files} == {
        *("network.onnx", "source.safetensors", "source.json"),
        *("metrics.json", "before.svg", "after.svg", "report.html"),
    }
    metrics = read_json(folder / "metrics.json")
    weak, patched = metrics["weak"], metrics["patched"]
    assert metrics["accepted"] and result.summary["accepted"] and metrics["class"] == "red"
    assert (weak["recall"], weak["f1"]) == (0, 0) and patched["f1"] > 0.9 and patched["rest"] >= weak["rest"]
    assert patched["params_nonzero"] > weak["params_nonzero"] and patched["latency_ms_p50"] > 0
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    test = images_of(data, "test", np.arange(len(data.y_test)))
    images = load_source(project / "artifacts/prepare_source").preprocess()(test.images).numpy()
    (logits,) = onnxruntime.InferenceSession(str(folder / "network.onnx")).run(None, {"input": images})
    said, labels = logits.argmax(1), test.labels.numpy()
    counts = [[int(((said == j) & (labels == i)).sum()) for j in range(3)] for i in range(3)]
    assert counts == patched["confusion"]
    assert patched["accuracy"] == pytest.approx(sum(counts[i][i] for i in range(3)) / len(labels))
    assert patched["recall"] == counts[RED][RED] / sum(counts[RED])
    assert patched["precision"] == counts[RED][RED] / sum(row[RED] for row in counts)
    assert patched["rest"] == pytest.approx(sum(counts[i][i] for i in range(3) if i != RED) / (len(labels) - 8))
    hashes = metrics["hashes"]
    assert hashes["network_sha256"] == sha256_file(folder / "network.onnx")
    assert hashes["source_sha256"] == sha256_file(project / "artifacts/prepare_source/source.safetensors")
    assert hashes["weak_sha256"] == sha256_file(folder / "source.safetensors") != hashes["source_sha256"]
    assert metrics["files"] == {
        "weak.safetensors": sha256_file(project / "weak.safetensors"),
        "tiny.py": sha256_file(project / "tiny.py"),
    }
    page = (folder / "report.html").read_text()
    assert "accepted: on" in page and "F1 of &#39;red&#39;" in page


def test_its_closing(project: Path) -> None:
    patch(context(project))
    console = Console(record=True, width=160)
    show_closing(project, Params.model_validate(VALUES), PATCH, [Subject("patch", "fix")], console, finished=True)
    show_next({PATCH: [Subject("patch", "fix")]}, console)
    said = [line.strip() for line in console.export_text().splitlines()]
    assert "fix (parts)" in said and any(line.startswith("│ F1 of 'red'") for line in said)
    assert any(line.startswith("accepted: on 18 val images F1 of 'red' +") for line in said)
    assert "report   artifacts/fix/patch/report.html" in said
    assert any(line.startswith("seam report --patch fix --open") for line in said)


def test_a_patch_that_is_not_accepted_leaves_the_model_as_it_is(project: Path) -> None:
    """The source itself finds red: there is nothing to be gained."""
    patch(context(project, patches={"fix": {"of": "parts", "class": "red"}}))
    folder = project / "artifacts/fix/patch"
    metrics = read_json(folder / "metrics.json")
    assert not metrics["accepted"] and metrics["weak"]["f1"] == 1
    assert [w for w in metrics["warnings"] if w.startswith("not accepted: on val F1 does not rise (100.0%")]
    source = load_source(project / "artifacts/prepare_source")
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"))
    (logits,) = session.run(None, {"input": images.numpy()})
    assert np.allclose(logits, source.network(images).detach().numpy(), atol=1e-4)


def test_it_is_registered_once_and_serves(
    project: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(context(project))
    give_registry(project, empty_mlflow_store)
    first, again = (register_patch(context(project, "register_patch")) for _ in range(2))
    assert first.summary == again.summary
    assert first.summary == {"registered_model": "seam-patch-fix", "version": 1, "aliases": "champion"}
    card = read_json(project / "artifacts/fix/register_patch/card.json")
    client = MlflowClient(tracking_uri=tracking_uri(project), registry_uri=tracking_uri(project))
    run, version = client.get_run(card["run_id"]), client.get_model_version("seam-patch-fix", "1")
    metrics = read_json(project / "artifacts/fix/patch/metrics.json")
    assert run.data.metrics["patch/patched/f1"] == metrics["patched"]["f1"]
    assert {"source_sha256", "pack_sha256", "head_sha256", "weak_sha256", "network_sha256"} <= set(card["hashes"])
    for name, value in metrics["hashes"].items():
        assert card["hashes"][name] == run.data.tags[f"seam.{name}"] == version.tags[f"seam.{name}"] == value
    assert {"report.html", "metrics.json", "before.svg"} <= {f.path for f in client.list_artifacts(card["run_id"])}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    answer: Any = load_model("models:/seam-patch-fix@champion").predict(data.x_test)
    counts = [[0] * 3 for _ in CLASSES]
    for label, said in zip(data.y_test, answer["class"], strict=True):
        counts[label][CLASSES.index(said)] += 1
    assert counts == metrics["patched"]["confusion"]
    (project / "mlflow/registry.yaml").write_text(POLICY.partition("network_gates")[0])
    assert register_patch(context(project, "register_patch")).summary["aliases"] == "champion", "it stays"
    card = read_json(project / "artifacts/fix/register_patch/card.json")
    assert "no longer meets network_gates" in card["doubt"], "no gate: nothing is promoted"
    none = context(project, patches={"fix": {"of": "parts", "class": "red"}})
    patch(none)
    assert register_patch(replace(none, stage="register_patch")).summary["registered_model"] is None
    card = read_json(project / "artifacts/fix/register_patch/card.json")
    assert card["not_registered"].startswith("the patch is not accepted: on 18 val images F1 of 'red'")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"class": "pink"}, r"^patches\.fix\.class: expected a class of the data \(blue, green, red\), got 'pink'"),
        ({"of": "nowhere"}, r"^patches\.fix\.of: expected the folder of modules .* got 'nowhere' without modules"),
        ({"weak": {"mean": [0.5], "std": [0.5], "epochs": 1}}, r"^patches\.fix\.weak: expected images normalised as"),
    ],
)
def test_what_does_not_fit_is_one_line_and_publishes_nothing(
    project: Path, entry: dict[str, Any], message: str, tmp_path: Path
) -> None:
    wrong = context(project, patches={"wrong": {**FIX, **entry}, "fix": {**FIX, **entry}})
    before = read_json(project / "artifacts/fix/patch/metrics.json")
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        execute(patch, wrong)
    assert "\n" not in str(caught.value)
    assert read_json(project / "artifacts/fix/patch/metrics.json") == before


def test_a_class_without_a_module_is_one_line(project: Path) -> None:
    card = project / "artifacts/parts/modularize/modules/modules.json"
    whole = card.read_text()
    pack = read_json(card)
    pack["modules"] = [m for m in pack["modules"] if m["class"] != "red"]
    try:
        write_json(card, pack)
        with pytest.raises(
            ConfigError, match=r"expected a class that has a module in parts \(blue, green\), got 'red'"
        ):
            patch(context(project))
    finally:
        card.write_text(whole)
