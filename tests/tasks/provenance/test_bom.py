"""The bill of materials: valid CycloneDX, and every hash in it that of what it names."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from mlflow import MlflowClient

from seam.files import read_json, sha256_file
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.provenance.bom import BOM, FOLDER, read_bom
from tasks.provenance.folder import files_in
from tasks.provenance.packages import differing, installed
from tasks.provenance.signing import SIGNATURE
from tasks.register_model import register_model
from tests.tasks.provenance.conftest import Signed


@pytest.fixture(scope="module")
def bill(registered: Signed) -> dict[str, Any]:
    return read_json(registered.folder / FOLDER / BOM)


def part(bill: dict[str, Any], ref: str) -> dict[str, Any]:
    return next(p for p in bill["components"] if p["bom-ref"] == ref)


def sha256(part: dict[str, Any]) -> str:
    (found,) = (h["content"] for h in part["hashes"] if h["alg"] == "SHA-256")
    return str(found)


def test_it_is_valid_and_an_ml_bom(bill: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    model = bill["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "seam-zero")
    card = model["modelCard"]
    assert {"type": "evaluate/reengineered_finetuned/accuracy", "value": "0.96"} in card["quantitativeAnalysis"][
        "performanceMetrics"
    ]
    (depends,) = (d["dependsOn"] for d in bill["dependencies"] if d["ref"] == "model")
    assert {"source", "data", "parameters", "code", "pypi:torch"} <= set(depends)


def test_source_data_and_parts_have_the_hashes_of_their_files(bill: dict[str, Any], registered: Signed) -> None:
    artifacts = registered.root / "artifacts"
    assert sha256(part(bill, "source")) == sha256_file(artifacts / "prepare_source/source.safetensors")
    assert sha256(part(bill, "data")) == sha256_file(artifacts / "validate_data/dataset.safetensors")
    weights = artifacts / "zero/finetune/reengineered_finetuned.safetensors"
    assert sha256(part(bill, "made_of:weights_sha256")) == sha256_file(weights)


def test_parameters_are_those_of_the_project(registered: Signed) -> None:
    params = load_params(registered.root / "params.yaml").model_dump(mode="json")
    found = read_bom(registered.folder / FOLDER / BOM)
    assert found.params == params
    assert found.params_sha256 == hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def test_every_file_of_the_version_but_bill_and_signature(bill: dict[str, Any], registered: Signed) -> None:
    files = files_in(registered.folder)
    listed = {p["name"]: sha256(p) for p in bill["components"] if p["bom-ref"].startswith("file:")}
    assert listed == {n: sha256_file(p) for n, p in files.items() if n not in (f"{FOLDER}/{BOM}", SIGNATURE)}


def test_packages_are_those_that_are_installed(bill: dict[str, Any]) -> None:
    listed = {p["name"].lower(): p for p in bill["components"] if p["bom-ref"].startswith("pypi:")}
    assert listed.keys() == {
        d.metadata["Name"].lower()
        for d in importlib.metadata.distributions()
        if "_vendor" not in Path(str(d.locate_file(""))).parts
    }
    version = importlib.metadata.version("torch")
    assert listed["torch"]["purl"] == f"pkg:pypi/torch@{version.replace('+', '%2B')}"


def test_a_package_that_differs_is_named() -> None:
    package = next(p for p in installed() if p.name == "numpy")
    name, version, digest = package.name, package.version, package.installed_sha256
    assert differing([(name, version, digest)]) == []
    assert differing([(name, "1.0", digest)]) == [f"numpy: 1.0 then, {version} here"]
    assert differing([(name, version, "0" * 64)]) == [f"numpy {version}: other files than then"]
    assert differing([("no-such-package", "1", digest)]) == ["no-such-package 1: not installed here"]


def test_the_same_result_is_one_version_signed_or_not(registry_project: StageContext) -> None:
    for _ in range(2):
        register_model(registry_project)
    uri = tracking_uri(registry_project.root)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (version,) = client.search_model_versions("name = 'seam-zero'")
    assert version.version in (1, "1")
