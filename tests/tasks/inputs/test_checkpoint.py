"""Checkpoints out of the MLflow registry."""

import shutil
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import save_file
from torch import nn

from seam.errors import SourceError, TrackingError
from seam.files import write_json
from tasks.inputs.checkpoint import fetch_checkpoint, is_file

WEIGHTS = {"fc.weight": torch.ones(2, 3)}


@pytest.fixture
def registry(tmp_path, empty_mlflow_store, monkeypatch):
    """A function that registers a version of `net` made of the given files (name -> what writes it)."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    shutil.copyfile(empty_mlflow_store, tmp_path / "mlflow/mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow/mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("net")

    def register(**files):
        number = len(client.search_model_versions("name = 'net'")) + 1
        folder = tmp_path / f"version{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        for name, write in files.items():
            write(folder / "data" / name.replace("_", "."))
        return client.create_model_version("net", folder.as_uri()).version

    registered: Any = register
    registered.root, registered.client = tmp_path, client
    return registered


def _safetensors(path):
    save_file(WEIGHTS, path)


def _wrapped(path):
    torch.save({"state_dict": WEIGHTS}, path)


def test_what_is_a_file():
    assert is_file("a.pth") and is_file("models/a.pt")
    assert not any(map(is_file, ("models:/a/1", "https://host/a.pth", "hub:a/b:c", "torchvision:DEFAULT")))


def test_versions_and_aliases(registry):
    first, second = registry(a_safetensors=_safetensors), registry(b_pth=_wrapped)
    registry.client.set_registered_model_alias("net", "best", first)
    for checkpoint, version in (
        (f"models:/net/{first}", first),
        (f"models:/net/{second}", second),
        ("models:/net@best", first),
    ):
        found = fetch_checkpoint(checkpoint, "resnet20", registry.root)
        assert found.fetched_from == f"models:/net/{version}"
        (tensor,) = found.tensors.values()
        assert torch.equal(tensor, WEIGHTS["fc.weight"])


def test_a_version_that_is_one_file(registry):
    _safetensors(registry.root / "alone.safetensors")
    version = registry.client.create_model_version("net", (registry.root / "alone.safetensors").as_uri()).version
    assert list(fetch_checkpoint(f"models:/net/{version}", "resnet20", registry.root).tensors) == ["fc.weight"]


def test_versions_that_cannot_be_used(registry):
    registry(a_safetensors=_safetensors, b_pt=_wrapped)
    registry()
    registry(model_pth=lambda path: torch.save(nn.Linear(2, 2), path))
    registry(a_pt=_wrapped)
    shutil.rmtree(registry.root / "version4")
    for checkpoint, said in (
        (
            "models:/net/1",
            (
                r"expected exactly one .* file among its artifacts, got data/a.safetensors, data/b.pt; register a state"
                r" dict alone"
            ),
        ),
        ("models:/net/2", "got none among MLmodel; register a state dict alone"),
        ("models:/net/3", r"models:/net/3 \(data/model.pth\): refused, it is not a plain state dict"),
        ("models:/net/4", "models:/net/4: expected its files at .*version4"),
        ("models:/net/9", "expected a version in the registry at sqlite:///.*, got none"),
        ("models:/none/1", "expected a version in the registry at sqlite:///.*, got none"),
        ("models:/net@best", "expected a version in the registry at sqlite:///.*, got none"),
        ("models:/net", "expected models:/NAME/VERSION or models:/NAME@ALIAS"),
    ):
        with pytest.raises(SourceError, match=said) as caught:
            fetch_checkpoint(checkpoint, "resnet20", registry.root)
        assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer(registry, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="does not answer"):
        fetch_checkpoint("models:/net/1", "resnet20", registry.root)


def test_an_alias_that_moved_makes_the_source_stale(registry):
    from flows.staleness import source_changed
    from tasks.project.subject import StageRun

    run = StageRun("prepare_source")

    first, second = registry(a_safetensors=_safetensors), registry(b_pth=_wrapped)
    registry.client.set_registered_model_alias("net", "best", first)
    params = registry.root / "params.yaml"
    params.write_text("problems: {p: a}\nprepare_source: {checkpoint: models:/net@best}\n")
    assert not source_changed(registry.root, run)  # nothing was read yet
    write_json(registry.root / "artifacts/prepare_source/source.json", {"fetched_from": f"models:/net/{first}"})
    assert not source_changed(registry.root, run)
    registry.client.set_registered_model_alias("net", "best", second)
    assert source_changed(registry.root, run)
    params.write_text(f"problems: {{p: a}}\nprepare_source: {{checkpoint: models:/net/{second}}}\n")
    assert not source_changed(registry.root, run)  # another name is another parameter: DVC sees it


def test_what_mlflow_exports_is_read(registry):
    def exported(path):
        program = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).eval(), (torch.zeros(2, 3),))
        torch.export.save(program, path)

    version = registry(model_pt2=exported)
    found = fetch_checkpoint(f"models:/net/{version}", "resnet20", registry.root)
    assert found.tensors.keys() == {"1.weight", "1.bias"}
