"""The stage that registers compositions: what consumers get, once; what it is held against, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.pyfunc import load_model

from seam.data.prepared import load_prepared
from seam.errors import DataError, ExportError
from seam.files import read_json, write_json
from seam.networks.source import load_source
from tasks.compose import compose
from tasks.modularize import modularize
from tasks.project.environment import tracking_uri
from tasks.project.stage import execute
from tasks.provenance.bom import BOM, FOLDER, read_bom
from tasks.provenance.fetch import fetch
from tasks.provenance.keys import make_keys, public_keys
from tasks.provenance.signing import Trust
from tasks.provenance.verify import verify
from tasks.register_composition import register_composition
from tasks.tracking import registration
from tasks.tracking.made_networks import tag_name
from tests.defaults import POLICY, give_registry
from tests.tasks.compose_project import context, make_modules
from tests.tasks.transfer_project import CLASSES

ELSEWHERE = "packs/Two of them"
ALL = {"few": {"of": [ELSEWHERE, "good", "weak"]}}
SMALLER = {"method": "decomposition", "decomposition": {"form": "channels", "removal": 0.5}}
FIRST = {"registered_model": "seam-composition-few", "version": 1, "aliases": "champion"}
METRICS = "artifacts/few/compose/metrics.json"
Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composition, modules of two sources, and of one of them a copy elsewhere, without its last class."""
    root = make_modules(tmp_path_factory.mktemp("register"), "good", "weak")
    shutil.copytree(root / "artifacts/good/modularize", root / ELSEWHERE)
    card = root / ELSEWHERE / "modules/modules.json"
    pack = read_json(card)
    write_json(card, {**pack, "modules": [m for m in pack["modules"] if m["class"] != CLASSES[-1]]})
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(root)
        compose(context(root, "compose"))
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it with a policy and an empty registry."""
    root = tmp_path / "project"
    shutil.copytree(made, root)
    give_registry(root, empty_mlflow_store)
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))
    return root


def register(project: Path, **changes: Any) -> dict[str, Any]:
    return dict(register_composition(context(project, "register_composition", **changes)).summary)


def metrics_of(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(project / METRICS)
    return found


def card_of(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(project / "artifacts/few/register_composition/card.json")
    return found


def versions(project: Path) -> list[ModelVersion]:
    found: list[ModelVersion] = MlflowClient(tracking_uri(project)).search_model_versions("")
    return found


def test_a_consumer_gets_the_network_that_was_exported(project: Path) -> None:
    """Of three parts, one with a path for a name, all outputs of which a layer reads."""
    compose(context(project, "compose", compositions=ALL))
    assert register(project, compositions=ALL) == FIRST
    metrics = metrics_of(project)
    assert metrics["fitted_on"] == "outputs" and set(metrics["chosen"].values()) == {ELSEWHERE, "good"}
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    images = load_source(project / "artifacts/good/modularize").preprocess()(torch.from_numpy(data.x_test)).numpy()
    session = onnxruntime.InferenceSession(str(project / "artifacts/few/compose/network.onnx"))
    expected = torch.from_numpy(session.run(None, {"input": images})[0]).softmax(1).numpy()
    answer: Any = load_model("models:/seam-composition-few@champion").predict(data.x_test)
    given = np.array([[row[name] for name in metrics["classes"]] for row in answer["probabilities"]])
    assert np.abs(given - expected).max() < 1e-4
    counts = [[0] * len(CLASSES) for _ in CLASSES]
    for label, said in zip(data.y_test, answer["class"], strict=True):
        counts[metrics["classes"].index(CLASSES[label])][metrics["classes"].index(said)] += 1
    assert counts == metrics["composed"]["confusion"]
    the_hashes_of_all_parts_are_on_card_run_and_version(project, metrics)


def the_hashes_of_all_parts_are_on_card_run_and_version(project: Path, metrics: dict[str, Any]) -> None:
    card = card_of(project)
    client = MlflowClient(tracking_uri(project))
    run, (version,) = client.get_run(card["run_id"]), versions(project)
    kinds = ("pack_sha256", "source_sha256", "heads_sha256")
    expected = {f"{name}.{kind}" for name in (ELSEWHERE, "good") for kind in kinds}
    assert set(card["hashes"]) >= expected | {"network_sha256", "dataset_sha256"}
    assert not any(name.startswith("weak") for name in card["hashes"]), "no module of it was taken"
    for name in (*expected, "network_sha256"):
        assert card["hashes"][name] == run.data.tags[tag_name(name)] == version.tags[tag_name(name)]
    assert {k: card["hashes"][k] for k in metrics["hashes"]} == metrics["hashes"]
    (gate,) = card["gates"]
    assert gate["passed"] and " of best_source on 24 test images" in gate["text"]
    assert card["best_source"]["name"] == ELSEWHERE and card["not_registered"] is None
    assert run.data.metrics["compose/composed/accuracy"] == metrics["composed"]["accuracy"]
    assert run.data.metrics["compose/best_source/macs_nonzero"] == metrics["best_source"]["macs_nonzero"]
    assert len(run.data.params) > 100 and {"modularization.good.method", "modularization.weak.method"} <= set(
        run.data.params
    )
    assert json.loads(run.data.params["composition.of"]) == ALL["few"]["of"]
    assert {"report.html", "metrics.json", "card.json"} <= {f.path for f in client.list_artifacts(card["run_id"])}


def test_killed_run_again_and_composed_again_it_is_one_version(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Like kill -9: no handler of the stage sees it as an error."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(registration, "settle", kill)
        with pytest.raises(Killed):
            register(project)
    assert register(project) == FIRST
    compose(context(project, "compose"))
    assert register(project) == FIRST
    client, run_id = MlflowClient(tracking_uri(project)), card_of(project)["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and len(client.search_logged_models([run.info.experiment_id])) == 1
    (project / "mlflow/registry.yaml").write_text(POLICY.partition("network_gates")[0])
    assert register(project)["aliases"] == "champion" and "network_gates" in card_of(project)["doubt"], "it stays"


def test_another_choice_of_classes_is_another_version(project: Path) -> None:
    register(project)
    other = {"few": {"of": ["good"], "classes": ["red", "green"]}}
    compose(context(project, "compose", compositions=other))
    assert register(project, compositions=other)["version"] == 2


def test_where_no_source_has_all_classes_each_is_asked_about_its_own(project: Path) -> None:
    for folder, unknown in (("packs/a", "red"), ("packs/b", "blue")):
        shutil.copytree(project / "artifacts/good/modularize", project / folder)
        for file in ("source.json", "modules/modules.json"):  # the class has another name there
            path = project / folder / file
            path.write_text(path.read_text().replace(f'"{unknown}"', '"grey"'))
    entry = {"few": {"of": ["packs/a", "packs/b"], "classes": ["red", "blue"]}}
    compose(context(project, "compose", compositions=entry))
    assert register(project, compositions=entry) == FIRST
    card = card_of(project)
    assert card["best_source"] is None and " of sources on 16 test images" in card["gates"][0]["text"]


def test_a_network_that_is_worse_than_the_best_source_is_a_challenger(project: Path, edit_json: Edit) -> None:
    def worse(metrics: dict[str, Any]) -> None:
        metrics["composed"]["accuracy"] = metrics["best_source"]["accuracy"] - 2 / 16

    edit_json(project / METRICS, worse)
    assert register(project) == {**FIRST, "aliases": "challenger"}
    assert "2 images fewer right" in card_of(project)["gates"][0]["text"]


def other_modules(project: Path) -> None:
    modularize(context(project, "modularize", "good", modularizations={"good": SMALLER}))


def other_parts(project: Path) -> None:
    shutil.rmtree(project / "artifacts/good/modularize")
    shutil.copytree(project / "artifacts/weak/modularize", project / "artifacts/good/modularize")


def other_file(project: Path) -> None:
    (project / "artifacts/few/compose/network.onnx").write_bytes(b"another")


@pytest.mark.parametrize(
    ("change", "name"),
    [(other_modules, "good.pack_sha256"), (other_parts, "good.pack_sha256"), (other_file, "network_sha256")],
)
def test_what_was_not_composed_is_one_line(project: Path, change: Callable[[Path], None], name: str) -> None:
    stage = context(project, "register_composition")
    change(project)
    message = rf"few: expected {name} \w{{64}}, as when it was composed, got \w{{64}}; run the stage compose again\.$"
    with pytest.raises(DataError, match=message) as caught:
        execute(register_composition, stage)
    assert "\n" not in str(caught.value) and versions(project) == []
    assert not stage.folder("register_composition").exists()


def test_parts_that_are_no_longer_named_are_one_line(project: Path) -> None:
    with pytest.raises(DataError, match=r"few: expected good\.pack_sha256 \w{64}, as when it was composed, got none;"):
        register(project, compositions={"few": {"of": ["weak"]}})


def test_other_counts_than_were_published_are_refused(project: Path, edit_json: Edit) -> None:
    def more(metrics: dict[str, Any]) -> None:
        metrics["composed"]["params_nonzero"] += 1

    edit_json(project / METRICS, more)
    with pytest.raises(
        ExportError, match=r"model\.onnx: expected [\d,]+ non-zero weights .* run the stage compose again\."
    ):
        register(project)
    assert versions(project) == []


def test_names_of_parts_are_tags_of_their_own() -> None:
    names = ("good", "packs/good", "packs-good", "packs/Good", "packs good", "../packs/good", "a" * 300, "a" * 301, "ü")
    tags = [tag_name(f"{name}.pack_sha256") for name in names]
    assert len({tag.lower() for tag in tags}) == len(names)
    assert tags[0] == "seam.good.pack_sha256" and tags[1].startswith("seam.packs-good.pack_sha256:")
    assert all(len(tag) <= 250 and tag.isascii() and "/" not in tag for tag in tags)


def test_it_says_what_it_is_made_of_and_is_signed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_KEYS", str(project.parent / "keys"))
    make_keys(project)
    register_composition(context(project, "register_composition"))
    found = fetch(project, "models:/seam-composition-few/1", project / "fetched")
    source = project / "artifacts/prepare_source"
    checks = verify(found.folder, Trust(public_keys(project)), source, found.expected)
    assert [(check.name, check.passed) for check in checks] == [("signature", True), ("bill of materials", True)]
    bill = read_bom(found.folder / FOLDER / BOM)
    hashes = read_json(project / METRICS)["hashes"]
    assert hashes.items() <= bill.made_of.items()
    assert list(bill.params["compositions"]) == ["few"]
