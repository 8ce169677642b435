"""Files of weights: under a wrong suffix, in several files, exported, and beside objects of other classes."""

import json
import logging
import pickle
from datetime import timedelta

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seam.errors import SourceError
from seam.networks.checkpoints.read import files_of_checkpoint, read_state_dict

WEIGHTS = {"a.weight": torch.ones(2, 3), "b.weight": torch.arange(4.0), "c": torch.zeros(())}
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("write", "suffix", "said"),
    [
        (save_file, ".bin", "a safetensors file by its content"),
        (save_file, ".pth", "a safetensors file by its content"),
        (torch.save, ".safetensors", "a file of torch.save by its content"),
        (torch.save, ".bin", None),
        (torch.save, ".ckpt", None),
        (save_file, ".safetensors", None),
        (torch.save, "", None),
    ],
)
def test_the_content_decides_and_not_the_suffix(write, suffix, said, tmp_path, caplog):
    write(WEIGHTS, tmp_path / f"net{suffix}")
    with caplog.at_level(logging.INFO, "seam"):
        found = read_state_dict(tmp_path / f"net{suffix}")
    assert found.keys() == WEIGHTS.keys() and all(torch.equal(v, WEIGHTS[k]) for k, v in found.items())
    assert [said in r.getMessage() for r in caplog.records] == ([True] if said else [])


@pytest.fixture
def sharded(tmp_path):
    """A folder with weights in two files, and a function that writes their index."""
    save_file({"a.weight": WEIGHTS["a.weight"]}, tmp_path / "model-00001-of-00002.safetensors")
    torch.save({"b.weight": WEIGHTS["b.weight"], "c": WEIGHTS["c"]}, tmp_path / "model-00002-of-00002.bin")

    def index(**changes):
        files = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.bin"}
        content = {"metadata": {}, "weight_map": {**files, "c": "model-00002-of-00002.bin", **changes}}
        (tmp_path / INDEX).write_text(json.dumps(content))
        return tmp_path / INDEX

    return index


def test_an_index_is_read_with_the_files_that_it_names(sharded, caplog):
    path = sharded()
    with caplog.at_level(logging.INFO, "seam"):
        found = read_state_dict(path)
    assert found.keys() == WEIGHTS.keys() and all(torch.equal(v, WEIGHTS[k]) for k, v in found.items())
    assert len(caplog.records) == 1 and "2 files" in caplog.text
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.bin"]
    assert [file.name for file in files_of_checkpoint(path)] == [INDEX, *shards]
    assert files_of_checkpoint(path.with_name(shards[0])) == [path.with_name(shards[0])]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"c": "model-00003-of-00003.bin"}, "names the file model-00003-of-00003.bin, which is not beside it"),
        ({"d": "model-00002-of-00002.bin"}, "expected 'd' in model-00002-of-00002.bin, which lacks it"),
        ({"c": "../other.bin"}, r"files beside it, got \.\./other\.bin"),
        ({"c": "/etc/other.bin"}, "files beside it, got /etc/other.bin"),
        ({"c": 3}, r"expected an index \(weight_map"),
    ],
)
def test_an_index_that_cannot_be_followed(changes, said, sharded):
    with pytest.raises(SourceError, match=said):
        read_state_dict(sharded(**changes))


def test_one_file_of_several_says_to_give_their_index(sharded):
    path = sharded()
    with pytest.raises(SourceError, match=rf"one of several files of weights; give {INDEX}"):
        read_state_dict(path.with_name("model-00001-of-00002.safetensors"))


class Exported(nn.Module):
    """Weights of several precisions, a shared one, a view of another, and a constant that is no weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("small", torch.ones(3, dtype=torch.bfloat16))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("constant", torch.ones(2), persistent=False)

    def forward(self, x):
        return self.second(self.first(x)) @ self.turned + self.constant + self.small.float().sum() + self.count


def test_weights_are_read_out_of_an_exported_program(tmp_path):
    torch.manual_seed(0)
    network = Exported().eval()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    found = read_state_dict(tmp_path / "model.pt2")
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(v.dtype == expected[k].dtype and torch.equal(v, expected[k]) for k, v in found.items())


def test_nothing_is_executed_whatever_is_beside_the_weights(tmp_path):
    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model": WEIGHTS, "callback": Runs(), "took": timedelta(3)}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").keys() == {f"model.{k}" for k in WEIGHTS}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Runs(), 2))
    with pytest.raises(SourceError, match="would execute code"):
        read_state_dict(tmp_path / "w.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_mapping_that_holds_itself_ends(tmp_path):
    content: dict = {"model": WEIGHTS}
    content["self"] = content
    torch.save(content, tmp_path / "w.pth")
    assert len(read_state_dict(tmp_path / "w.pth")) == len(WEIGHTS)
