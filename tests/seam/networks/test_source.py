"""The record of a source: what is written is read, once a process, and belongs to whoever reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from seam.errors import SourceError
from seam.files import read_json, sha256_file, write_json
from seam.networks import source as module
from seam.networks.build import build
from seam.networks.source import Preprocess, SourceInfo, load_source, save_source

INFO = SourceInfo(
    architecture="resnet20",
    num_classes=2,
    classes=("a", "b"),
    mean=(0.5, 0.5, 0.25),
    std=(0.5, 0.25, 0.25),
    image_shape=(8, 9, 1),
    params_total=1,
    files={"net.pt": "ab"},
    backdoor={"target_class": "a", "poisoned_images": 3},
    warnings=("doubt",),
)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that a loading source hashes."""
    files: list[Path] = []
    monkeypatch.setattr(module, "sha256_file", lambda path: (files.append(path), sha256_file(path))[1])
    return files


def test_a_source_comes_back_as_it_was_written(tmp_path: Path) -> None:
    network = build("resnet20", 2)
    save_source(network, INFO, tmp_path)
    source = load_source(tmp_path)
    assert source.info == replace(INFO, sha256=sha256_file(tmp_path / "source.safetensors"))
    wanted, got = network.state_dict(), source.network.state_dict()
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert not source.network.training


def test_it_is_loaded_and_hashed_once_and_again_when_a_file_changes(tmp_path: Path, hashed: list[Path]) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    hashed.clear()
    first = load_source(tmp_path)
    assert load_source(tmp_path).info is first.info
    assert hashed == [tmp_path / "source.safetensors"]
    save_source(build("resnet20", 2), replace(INFO, classes=("c", "d")), tmp_path)
    hashed.clear()
    again = load_source(tmp_path)
    assert again.info.classes == ("c", "d")
    assert again.info.sha256 != first.info.sha256
    assert hashed == [tmp_path / "source.safetensors"]


def test_what_one_reader_does_to_the_network_no_other_sees(tmp_path: Path) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    mine = load_source(tmp_path).network.train().requires_grad_(False)
    with torch.no_grad():
        mine.fc.weight.zero_()
    theirs = load_source(tmp_path).network
    assert theirs.fc.weight.any()
    assert theirs.fc.weight.requires_grad
    assert not theirs.training


def test_reading_draws_nothing_from_the_global_generator(tmp_path: Path) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    before = torch.get_rng_state()
    load_source(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_more_than_two_sources_are_kept(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
        save_source(build("resnet20", 2), INFO, folder)
        load_source(folder)
    assert list(module._loaded) == folders[1:]


def test_altered_missing_and_foreign_files(tmp_path: Path) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    digest = read_json(tmp_path / "source.json")["sha256"]
    load_source(tmp_path)
    (tmp_path / "source.safetensors").write_bytes(b"other")
    with pytest.raises(SourceError, match=f"expected sha256 {digest}"):
        load_source(tmp_path)
    (tmp_path / "source.json").write_text('{"architecture": "resnet20"}')
    with pytest.raises(SourceError, match="expected a prepared source"):
        load_source(tmp_path)
    (tmp_path / "source.json").unlink()
    with pytest.raises(SourceError, match="expected a prepared source"):
        load_source(tmp_path)


def test_its_example_is_of_its_image_size_or_the_given_images_normalised(tmp_path: Path) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    source = load_source(tmp_path)
    assert torch.equal(source.example(), torch.zeros(1, 3, 8, 9))
    images = torch.tensor([[[[0], [255]]]], dtype=torch.uint8)  # one image of 1 x 2 pixels
    wanted = torch.tensor([[[[-1.0, 1.0]], [[-2.0, 2.0]], [[-1.0, 3.0]]]])
    assert torch.allclose(source.example(images), wanted, atol=1e-6)
    assert source.info.pixels == 72


def test_preprocess_normalises_and_repeats_grey() -> None:
    images = torch.tensor([[[[0], [255]]]], dtype=torch.uint8)  # one image of 1 x 2 pixels
    out = Preprocess((0.5, 0.5, 0.25), (0.5, 0.25, 0.25))(images)
    assert torch.allclose(out, torch.tensor([[[[-1.0, 1.0]], [[-2.0, 2.0]], [[-1.0, 3.0]]]]), atol=1e-6)


def test_its_network_is_run_once_to_be_made_plain_and_give_its_scores(tmp_path: Path) -> None:
    save_source(build("resnet20", 2), INFO, tmp_path)
    kind, runs = type(build("resnet20", 2)), []
    hook = register_module_forward_hook(lambda module, *_: runs.append(module) if type(module) is kind else None)
    with hook:
        load_source(tmp_path)
    assert len(runs) == 1


def test_a_record_of_other_images_than_the_network_takes_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))\n"
    )
    info = replace(INFO, architecture=f"{tmp_path}/net.py:net", image_shape=(8, 8, 3))
    save_source(build(info.architecture, 2), info, tmp_path)
    assert load_source(tmp_path).info.image_shape == (8, 8, 3)
    record = read_json(tmp_path / "source.json")
    write_json(tmp_path / "source.json", {**record, "image_shape": [4, 4, 3]})
    with pytest.raises(SourceError, match=r"source\.json: expected a network for images of shape \(4, 4, 3\), got"):
        load_source(tmp_path)
