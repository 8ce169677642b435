"""The stage that loads or trains the source."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.data.splits import carve_val
from seam.errors import ConfigError, SourceError
from seam.files import read_json, sha256_file
from seam.hardware import in_words
from seam.networks.build import build
from seam.networks.source import load_source
from tasks.inputs.made_source import _is_near_chance
from tasks.prepare_source import prepare_source
from tasks.project.params import parse_params
from tasks.project.stage import StageContext

NETWORK = """
from torch import nn
class Grey(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4, num_classes)
    def forward(self, x):
        features = self.conv(x).relu().mean((2, 3))
        return {"logits": self.linear(features), "features": features}
def grey(num_classes):
    return Grey(num_classes)
def small(num_classes):
    body = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(4, num_classes))
def forgets_classes(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
def has_no_weights(num_classes):
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(num_classes))
def wants_big_images(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 11), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def stage(tmp_path):
    """A function that runs the stage with the given parameters on 60 images of three brightnesses."""
    labels = np.arange(60) % 3
    images = (labels[:, None, None, None] * 80 + np.random.default_rng(0).integers(0, 40, (60, 8, 8, 1))).astype(
        np.uint8
    )
    save_prepared(
        ImageData(images, labels, images[:9], labels[:9], ("dark", "grey", "light")),
        tmp_path / "artifacts/validate_data/dataset.safetensors",
    )
    (tmp_path / "net.py").write_text(NETWORK)

    def run(val_from="auto", **source):
        values = {
            "split_dataset": {"val_from": val_from},
            "problems": {"p": "dark"},
            "runtime": {"device": "cpu", "threads": 1},
            "prepare_source": {"architecture": "net.py:small", "epochs": 2, **source},
        }
        return prepare_source(StageContext("prepare_source", parse_params(values, "test"), tmp_path))

    stage: Any = run
    stage.root, stage.folder = tmp_path, tmp_path / "artifacts/prepare_source"
    return stage


@pytest.fixture(autouse=True)
def _in_project(stage, monkeypatch):
    monkeypatch.chdir(stage.root)


def test_trains_when_there_is_no_checkpoint(stage):
    stage()
    about = read_json(stage.folder / "source.json")
    assert about["sha256"] == sha256_file(stage.folder / "source.safetensors")
    assert about["trained_here"] and about["computed_on"] == in_words()
    assert about["params_total"] == 4 * 27 + 4 + 4 * 3 + 3
    assert about["files"] == {"net.py": sha256_file(stage.root / "net.py")}
    assert (stage.folder / "history.csv").read_text().count("\n") == 4  # header, before, two epochs


def _perfect():
    """Weights of `small` that are always right when pixels are normalised with mean 0.5 and std 0.25.

    The nearest of three brightnesses.
    """
    centres = torch.tensor([1.3, 2.6, 3.8])
    weights = {k: torch.zeros_like(v) for k, v in build("net.py:small", 3).state_dict().items()}
    weights["0.weight"][0, 0, 1, 1], weights["0.bias"][0] = 1, 3
    weights["4.weight"][:, 0], weights["4.bias"][:] = centres, -centres.square() / 2
    return weights


RIGHT = {"mean": [0.5], "std": [0.25, 0.25, 0.25]}


def test_loads_a_checkpoint_unchanged_and_records_its_hash_and_accuracy(stage):
    weights = _perfect()
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, stage.root / "w.th")
    result = stage(checkpoint="w.th", expected_accuracy=0.99, **RIGHT)
    about = read_json(stage.folder / "source.json")
    assert not about["trained_here"]
    assert about["files"]["w.th"] == sha256_file(stage.root / "w.th")
    assert (about["mean"], about["std"]) == ([0.5] * 3, [0.25] * 3)
    assert about["test_accuracy"] == result.summary["test_accuracy"] == 1.0
    assert about["warnings"] == [] and about["fetched_from"] is None
    source = load_source(stage.folder)
    assert all(torch.equal(v, weights[k]) for k, v in source.network.state_dict().items())
    assert source.info.test_accuracy == 1.0


def test_with_val_of_the_test_images_the_others_are_test_and_a_known_accuracy_is_over_all(stage):
    path = stage.root / "artifacts/validate_data/dataset.safetensors"
    data = load_prepared(path)
    held = carve_val(data.x_test, data.y_test, 0.2, 0).val  # one of the three images of every class
    images = data.x_test.copy()
    images[held[0]] = 99 + 80 * (data.y_test[held[0]] == 0)  # the brightness of another class
    save_prepared(ImageData(data.x_train, data.y_train, images, data.y_test, data.classes), path)
    save_file(_perfect(), stage.root / "w.safetensors")
    stage(val_from="test", checkpoint="w.safetensors", expected_accuracy=0.889, **RIGHT)  # 8 of 9
    about = read_json(stage.folder / "source.json")
    assert (about["val_accuracy"], about["test_accuracy"]) == (pytest.approx(2 / 3), 1.0)
    with pytest.raises(SourceError, match=r"expected accuracy 1\.000 on the 9 test images .*, got 0\.889"):
        stage(val_from="test", checkpoint="w.safetensors", expected_accuracy=1, **RIGHT)


def test_a_source_trained_here_learns_from_all_training_images_where_val_is_not_of_them(stage, monkeypatch):
    learnt = []

    def train(network, preprocess, train, val, *arguments, **keywords):
        learnt.append((len(train), len(val)))
        return []

    monkeypatch.setattr("tasks.inputs.made_source.train_from_scratch", train)
    for val_from in ("auto", "train", "test"):
        stage(val_from=val_from)
    assert learnt == [(48, 12), (48, 12), (60, 3)]


def test_a_fetched_checkpoint_is_recorded_by_its_address(stage, monkeypatch):
    monkeypatch.setattr("tasks.inputs.checkpoint.fetch_state_dict", lambda checkpoint, architecture, sha256: _perfect())
    stage(checkpoint="https://host.invalid/w.pth", **RIGHT)
    about = read_json(stage.folder / "source.json")
    assert about["fetched_from"] == "https://host.invalid/w.pth"
    assert list(about["files"]) == ["net.py"]


def test_another_accuracy_than_expected_stops_and_names_the_usual_causes(stage):
    save_file(_perfect(), stage.root / "w.safetensors")
    stage(checkpoint="w.safetensors", expected_accuracy=0.99, **RIGHT)
    published = (stage.folder / "source.json").read_bytes()
    with pytest.raises(
        SourceError,
        match=r"expected accuracy 0\.980 on the 9 test images .*, got 1\.000; .*normalisation .*order of the classes",
    ):
        stage(checkpoint="w.safetensors", expected_accuracy=0.98, **RIGHT)
    with pytest.raises(SourceError, match=r"expected accuracy 1\.000 .* got 0\.333"):
        stage(checkpoint="w.safetensors", expected_accuracy=1, mean=[0.0], std=[1.0])
    assert (stage.folder / "source.json").read_bytes() == published


def test_a_given_checkpoint_at_chance_is_an_error_unless_that_is_expected(stage):
    save_file(_perfect(), stage.root / "w.safetensors")
    wrong = {"checkpoint": "w.safetensors", "mean": [0.0], "std": [1.0]}
    with pytest.raises(SourceError, match=r"w.safetensors: .* near chance: accuracy 0\.333 .*normalisation") as caught:
        stage(**wrong)
    assert "\n" not in str(caught.value)
    assert not stage.folder.exists()
    stage(**wrong, expected_accuracy=0.333)
    assert "near chance" in read_json(stage.folder / "source.json")["warnings"][0]


def test_a_source_trained_here_to_chance_is_a_named_doubt(stage):
    stage(lr=1e-9, epochs=1)
    about = read_json(stage.folder / "source.json")
    assert "near chance" in about["warnings"][0]
    assert about["test_accuracy"] is None


def test_chance_of_a_lopsided_data_set():
    assert _is_near_chance(0.2, 0.1) and not _is_near_chance(0.21, 0.1)
    assert _is_near_chance(0.94, 0.9) and not _is_near_chance(0.97, 0.9)


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ({"checkpoint": "none.pt"}, SourceError, "none.pt: no such checkpoint file"),
        (
            {"checkpoint": "torchvision:DEFAULT"},
            SourceError,
            "expected an architecture torchvision:NAME, got 'net.py:small'",
        ),
        ({"checkpoint": "models:/mine"}, SourceError, "expected models:/NAME/VERSION or models:/NAME@ALIAS"),
        ({"checkpoint": "hub:mine"}, SourceError, "expected hub:OWNER/REPO:NAME"),
        ({"expected_accuracy": 0.9}, ConfigError, "expected_accuracy is for a given checkpoint, got 0.9"),
        (
            {"checkpoint": "w.pt", "expected_accuracy": 90},
            ConfigError,
            "expected_accuracy must be null or in [0, 1], got 90",
        ),
        ({"checkpoint": "cut.safetensors"}, SourceError, "damaged or truncated"),
        ({"checkpoint": "five.safetensors"}, SourceError, "'4.weight' has shape"),
        ({"architecture": "net.py:forgets_classes"}, SourceError, "expected class scores of shape (3, 3), got (3, 2)"),
        (
            {"architecture": "net.py:has_no_weights"},
            SourceError,
            "expected a network with weights, got one without any",
        ),
        ({"architecture": "net.py:wants_big_images"}, SourceError, "does not take images of 8 x 8 pixels"),
        ({"architecture": "net.py:absent"}, ConfigError, "absent"),
        ({"mean": [0.5, 0.5], "std": [1, 1]}, SourceError, "expected 1 or 3 values, got 2"),
        ({"lr": 1e30}, SourceError, "the loss is"),
    ],
)
def test_bad_sources_are_one_line_and_publish_nothing(stage, source, error, said):
    save_file({**build("net.py:small", 5).state_dict(), "4.bias": torch.zeros(3)}, stage.root / "five.safetensors")
    save_file(build("net.py:small", 3).state_dict(), stage.root / "whole.safetensors")
    (stage.root / "cut.safetensors").write_bytes((stage.root / "whole.safetensors").read_bytes()[:200])
    with pytest.raises(error) as caught:
        stage(**source)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not stage.folder.exists()


def test_of_averaged_and_raw_weights_a_parameter_chooses_and_the_source_keeps_the_doubt(stage):
    averaged = _perfect()
    raw = {**averaged, "4.weight": -averaged["4.weight"]}
    torch.save({"state_dict": raw, "state_dict_ema": averaged}, stage.root / "w.pth")
    stage(checkpoint="w.pth", **RIGHT)
    (text,) = read_json(stage.folder / "source.json")["warnings"]
    assert "state_dict_ema, and raw ones, state_dict" in text and "set prepare_source.weights to" in text
    with pytest.raises(SourceError, match="near chance"):  # the raw ones answer wrong
        stage(checkpoint="w.pth", weights="state_dict", **RIGHT)
    stage(checkpoint="w.pth", weights="state_dict_ema", **RIGHT)
    assert read_json(stage.folder / "source.json")["warnings"] == []


def test_the_files_that_the_network_and_its_weights_are_in_are_recorded(stage):
    (stage.root / "net.py").write_text(f"from parts import *\n{NETWORK}")
    (stage.root / "parts.py").write_text("WIDTH = 4\n")
    names, weights = ("one.safetensors", "two.safetensors"), _perfect()
    index = {name: names[i % 2] for i, name in enumerate(weights)}
    for file in names:
        save_file({k: v for k, v in weights.items() if index[k] == file}, stage.root / file)
    (stage.root / "all.index.json").write_text(json.dumps({"weight_map": index}))
    stage(checkpoint="all.index.json", **RIGHT)
    files = read_json(stage.folder / "source.json")["files"]
    assert files == {n: sha256_file(stage.root / n) for n in ("all.index.json", *names, "net.py", "parts.py")}


def test_a_network_of_grey_images_that_gives_a_mapping(stage):
    stage(architecture="net.py:grey", epochs=1)
    source = load_source(stage.folder)
    assert len(source.info.mean) == len(source.info.std) == 1
    assert source.example().shape == (1, 1, 8, 8)
    data = load_prepared(stage.root / "artifacts/validate_data/dataset.safetensors")
    images = source.example(torch.from_numpy(data.x_train[:5]))
    assert images.shape == (5, 1, 8, 8)
    features = source.network.conv(images).relu().mean((2, 3))
    assert torch.equal(source.network(images), source.network.linear(features))
