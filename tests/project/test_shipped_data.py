"""The data that comes with the project: complete, balanced, unseen where it is test, and stored once."""

import hashlib
import json

import numpy as np
import pytest
from ruamel.yaml import YAML

from seam.configs.networks import SourceConfig
from seam.data.formats.load import load_raw
from tasks.inputs.fashion import CLASSES, HELD_OUT, TEST, TRAIN
from tasks.inputs.manifest import assemble
from tests.defaults import ROOT, committed

STORE = ROOT / "storage" / "files" / "md5"


def _blob(md5):
    return STORE / md5[:2] / md5[2:]


def _yaml(name):
    return YAML(typ="safe").load(committed(name))


@pytest.fixture(scope="module")
def listed():
    """Where each file of data/ lies in the store, by its name."""
    (out,) = _yaml("data.dvc")["outs"]
    return {entry["relpath"]: _blob(entry["md5"]) for entry in json.loads(_blob(out["md5"]).read_text())}


@pytest.fixture(scope="module")
def data(listed, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "fashion.safetensors"
    path.symlink_to(listed["fashion.safetensors"])
    return assemble(load_raw("safetensors", path))


def test_the_files_are_what_the_parameters_name(listed):
    params = _yaml("params.yaml")
    source = SourceConfig(**params["prepare_source"])
    assert set(listed) == {"fashion.safetensors", "fashion_resnet20.safetensors", "LICENSE"}
    assert params["data"]["path"] == "data/fashion.safetensors"
    assert source.checkpoint == "data/fashion_resnet20.safetensors" and source.expected_accuracy
    assert hashlib.sha256(listed["fashion_resnet20.safetensors"].read_bytes()).hexdigest() == source.sha256
    assert "The MIT License" in listed["LICENSE"].read_text()


def test_every_class_has_as_many_images_and_none_is_there_twice(data):
    assert data.classes == CLASSES
    assert np.bincount(data.y_train).tolist() == [TRAIN] * len(CLASSES)
    assert np.bincount(data.y_test).tolist() == [HELD_OUT + TEST] * len(CLASSES)
    images = [image.tobytes() for part in (data.x_train, data.x_test) for image in part[:]]
    assert len(set(images)) == len(images) == 15_000


def test_the_store_has_them_once(listed):
    outs = {out["path"]: out["md5"] for out in _yaml("dvc.lock")["stages"]["validate_data"]["outs"]}
    assert _blob(outs["artifacts/validate_data/dataset.safetensors"]) == listed["fashion.safetensors"]
    (source,) = (
        out["md5"]
        for out in _yaml("dvc.lock")["stages"]["prepare_source"]["outs"]
        if out["path"].endswith("source.safetensors")
    )
    assert _blob(source) == listed["fashion_resnet20.safetensors"]
