"""Networks of several data sets in one project: each is taken apart on its own, one network is put together of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.pyfunc import load_model

from seam.data.images import images_of
from seam.data.lazy import LazyImages
from seam.data.prepared import load_prepared
from seam.errors import ConfigError, DataError
from seam.files import read_json, sha256_file
from seam.networks.source import load_source
from tasks.compose import compose
from tasks.inputs.parts import Part, parts
from tasks.inputs.pooled import pooled
from tasks.modularize import modularize
from tasks.project.environment import tracking_uri
from tasks.project.params import parse_params
from tasks.project.stage import execute
from tasks.register_composition import register_composition
from tests.defaults import give_registry
from tests.tasks.compose_project import PARTS, context, make_modules
from tests.tasks.transfer_project import CLASSES

LEAVES = {"kind": "npz", "path": "leaves.npz"}
"""Classes `long` and `red`, the latter of the flowers too."""
OTHERS: dict[str, Any] = {
    "good": PARTS,
    "leaves": {**PARTS, "data": LEAVES, "source": {"architecture": "tiny.py:tiny"}},
    "again": {**PARTS, "data": LEAVES, "source": {"architecture": "tiny.py:tiny", "epochs": 2}},
    "small": {**PARTS, "data": {**LEAVES, "image_size": 8}, "source": {"epochs": 1}},
    "bright": {**PARTS, "data": LEAVES, "source": {"epochs": 1, "mean": [0.1], "std": [0.5]}},
}
ENTRIES = {
    "few": {"of": ["good", "leaves"], "classes": ["long", "blue", "red"]},
    "all": {"of": ["leaves", "good"]},
    "twice": {"of": ["leaves", "again"]},
    "sizes": {"of": ["good", "small"]},
    "lights": {"of": ["leaves", "bright"]},
}
CHANGES = {"modularizations": OTHERS, "compositions": ENTRIES}


def make_leaves(path: Path) -> None:
    """Long ones have stripes across; red ones are like the red flowers."""
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 15), ("test", 10)):
        images = rng.integers(0, 140, (2 * count, 16, 16, 3)).astype(np.uint8)
        images[:count, ::2] //= 4
        images[count:, ..., 0] += 60
        arrays |= {f"x_{split}": images, f"y_{split}": np.repeat([0, 1], count)}
    np.savez(path, classes=np.array(["long", "red"]), **arrays)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own_images")
    make_leaves(root / "leaves.npz")
    make_modules(root, "good")
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(root)
        for name in OTHERS.keys() - {"good"}:
            modularize(context(root, "modularize", name, **CHANGES))
    return root


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_a_network_of_its_own_images_is_taken_apart(project: Path) -> None:
    folder = project / "artifacts/leaves/modularize"
    metrics, data = read_json(folder / "metrics.json"), load_prepared(folder / "data/dataset.safetensors")
    assert metrics["classes"] == ["long", "red"] == list(data.classes) and metrics["num_test"] == 20
    assert metrics["files"] == {"leaves.npz": sha256_file(project / "leaves.npz")}
    assert read_json(folder / "data/validation.json")["success"]
    source, first = load_source(folder), load_source(project / "artifacts/prepare_source")
    assert source.info.classes == ("long", "red") and source.info.trained_here
    assert source.info.mean == first.info.mean and source.info.std == first.info.std  # so both take the same images
    test = images_of(data, "test", np.arange(20))
    with torch.no_grad():
        right = source.network(source.preprocess()(test.images)).argmax(1) == test.labels
    assert metrics["source"]["accuracy"] == pytest.approx(float(right.float().mean()))
    about = read_json(folder / "data/about.json")
    assert about["own"] and about["path"] == "leaves.npz"
    mark = read_json(project / "artifacts/modularized/leaves.json")
    assert mark["images_sha256"] == about["dataset_sha256"] == sha256_file(folder / "data/dataset.safetensors")
    assert "modularization.data.path" in (folder / "report.html").read_text()


def test_of_the_projects_images_a_line_alone_is_kept(project: Path) -> None:
    folder = project / "artifacts/good/modularize/data"
    assert [path.name for path in folder.iterdir()] == ["about.json"]
    about = read_json(folder / "about.json")
    assert not about["own"] and about["path"] == "flowers"
    assert about["dataset_sha256"] == sha256_file(project / "artifacts/validate_data/dataset.safetensors")
    assert "images_sha256" not in read_json(project / "artifacts/modularized/good.json")


def test_one_network_for_classes_of_both(project: Path) -> None:
    compose(context(project, "compose", "few", **CHANGES))
    metrics = read_json(project / "artifacts/few/compose/metrics.json")
    assert metrics["chosen"]["long"] == "leaves" and metrics["chosen"]["blue"] == "good"
    assert set(metrics["f1_on_val"]["red"]) == {"good", "leaves"}
    assert metrics["num_test"] == 8 + 8 + 10 + 10  # blue and red flowers, long and red leaves
    counts = np.array(metrics["composed"]["confusion"])
    assert counts.sum(1).tolist() == [10, 8, 18]
    assert metrics["composed"]["accuracy"] == pytest.approx(counts.trace() / 36)
    assert metrics["best_source"] is None and metrics["each"]["leaves"]["classes"] == ["long", "red"]
    digest = sha256_file(project / "artifacts/leaves/modularize/data/dataset.safetensors")
    assert metrics["hashes"]["leaves.images_sha256"] == digest


def test_every_class_without_naming_any(project: Path) -> None:
    compose(context(project, "compose", "all", **CHANGES))
    metrics = read_json(project / "artifacts/all/compose/metrics.json")
    assert metrics["classes"] == ["long", "red", *(name for name in CLASSES if name != "red")]


def test_a_data_set_of_two_networks_counts_once(project: Path) -> None:
    compose(context(project, "compose", "twice", **CHANGES))
    metrics = read_json(project / "artifacts/twice/compose/metrics.json")
    assert metrics["num_test"] == 20 and metrics["num_val"] == 12  # 40% of 30
    assert set(metrics["f1_on_val"]["long"]) == {"leaves", "again"}


def test_a_folder_made_elsewhere_brings_its_images(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "artifacts/leaves/modularize", tmp_path / "leaves")
    entry = {"of": [str(tmp_path / "leaves"), "good"], "classes": ["long", "green"]}
    compose(context(project, "compose", "few", **{**CHANGES, "compositions": {"few": entry}}))
    metrics = read_json(project / "artifacts/few/compose/metrics.json")
    assert metrics["num_test"] == 10 + 8 and f"{tmp_path}/leaves/data/dataset.safetensors" in metrics["files"]


def test_consumers_load_it(
    project: Path, tmp_path: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root)
    give_registry(root, empty_mlflow_store)
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))
    compose(context(root, "compose", "few", **CHANGES))
    register_composition(context(root, "register_composition", "few", **CHANGES))
    card = read_json(root / "artifacts/few/register_composition/card.json")
    assert card["hashes"]["dataset_sha256"] == card["hashes"]["leaves.images_sha256"]  # the first class is of leaves
    model = load_model("models:/seam-composition-few/1")
    answers: Any = model.predict(np.load(root / "leaves.npz")["x_test"])
    metrics = read_json(root / "artifacts/few/compose/metrics.json")
    assert set(answers["class"]) <= {"long", "blue", "red"} and len(answers) == 20
    assert (answers["class"][:10] == "long").sum() == metrics["composed"]["confusion"][0][0]


def test_small_and_large_data_sets_go_together(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_of = parts(context(project, "compose", "few", **CHANGES))
    held = pooled(context(project, "compose", "few", **CHANGES), made_of)
    monkeypatch.setattr("seam.data.prepared.IN_MEMORY", 16_000)
    monkeypatch.setattr("seam.data.images.IN_MEMORY", 10_000)  # of the flowers, not of the leaves, are more
    read = pooled(context(project, "compose", "few", **CHANGES), made_of)
    assert held.classes == read.classes == (*CLASSES, "long") and held.val_from == "train"
    assert isinstance(read.val.images, LazyImages) and isinstance(read.test.images, LazyImages)
    for one, other in ((held.val, read.val), (held.test, read.test)):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images[torch.arange(len(one))], other.images[torch.arange(len(other))])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sizes", r"^modules of small: expected images of shape \(3, 16, 16\), as .* got \(3, 8, 8\); take networks"),
        ("lights", r"^modules of bright: expected images normalised as for the others .* same mean and std"),
    ],
)
def test_networks_of_other_images_do_not_go_together(project: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        execute(compose, context(project, "compose", name, **CHANGES))
    assert "\n" not in str(caught.value) and not (project / f"artifacts/{name}/compose").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"data": {**LEAVES, "path": "nowhere.npz"}}, r"nowhere\.npz.* set modularizations\.good\.data\.path to where"),
        ({"data": LEAVES, "source": {"checkpoint": "nowhere.pt"}}, r"nowhere\.pt"),
    ],
)
def test_what_cannot_work_is_one_line_and_changes_nothing(project: Path, entry: dict[str, Any], message: str) -> None:
    before = sha256_file(project / "artifacts/good/modularize/metrics.json")
    wrong = {**CHANGES, "modularizations": {"good": {**PARTS, **entry}}}
    with pytest.raises(Exception, match=message) as caught:
        execute(modularize, context(project, "modularize", "good", **wrong))
    assert "\n" not in str(caught.value)
    assert sha256_file(project / "artifacts/good/modularize/metrics.json") == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "npz"}, "modularizations.good.data: data must have a path, got none"),
        (
            {**LEAVES, "sise": 8},
            "unknown parameter 'modularizations.good.data.sise'; known: drop_copies, exif, follow_links",
        ),
        ({**LEAVES, "image_size": 2}, "modularizations.good.data.image_size: image_size must be null or >= 8, got 2"),
    ],
)
def test_data_that_is_none(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_params({"problems": {"a": ["x"]}, "modularizations": {"good": {"data": data}}}, "test")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_parts_know_their_images(project: Path) -> None:
    found: tuple[Part, ...] = parts(context(project, "compose", "few", **CHANGES))
    assert found[0].images is None and found[1].images is not None
    assert found[1].images.config.path == "leaves.npz"
